//! How batches get from a leader to its followers: one byte stream for each pair of nodes, with all partitions on it.
//!
//! The follower's node opens the stream and subscribes; the leader sends what was asked for, within a credit of bytes,
//! as soon as it is appended. Positions come back at any time: a flush that ends is reported at once (S4), whatever
//! else is under way. A partition on which nothing happens costs nothing. `adr/0018` says why this is not Kafka's Fetch.
//!
//! **Bounds.** What was sent and not yet appended by the follower is at most [`WINDOW`] for a partition and
//! [`CREDIT`] for a stream, but for a batch that is larger: it goes alone. A replica's mailbox gets a doorbell, never a
//! message for each frame.

mod arrivals;
mod bells;
mod client;
mod connection;
mod copy;
mod feeders;
pub mod frame;
mod reports;
mod server;
#[cfg(test)]
mod tests;

pub use self::{
    arrivals::{Arrival, Arrivals, Data},
    client::{ByteStream, ConnectError, Connecting, Connector, Streams},
    connection::StreamError,
    feeders::{Feeders, FeedingLost},
    server::{Leaders, serve},
};
pub(in crate::actors::partition) use self::{
    bells::Bells,
    copy::Copied,
    reports::{Report, Reports},
};

/// The most bytes of data that a stream's follower takes without having appended them.
pub const CREDIT: u32 = 16 << 20;

/// The most bytes of data that are on their way to one partition; also the most that are read for it at a turn.
pub const WINDOW: usize = 1 << 20;
