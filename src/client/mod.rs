//! A client of the cluster, over the Kafka protocol.
//!
//! It exists so that whoever writes to or reads from a log stands on the same ground: the command
//! line, the demo, the embeddable producer and consumer, and followers. It speaks to any broker of
//! the protocol. It knows nothing of a terminal, of actors or of this project's nodes.
//!
//! - [`Client`]: connections and what is known of topics and leaders, cheap to clone.
//! - [`Producer`] writes, [`Consumer`] reads, [`GroupConsumer`] reads as a member of a group, [`Admin`] manages; each is
//!   made from a client.
//! - [`Connection`] is one connection for any request, which the others are made of.
//!
//! **Invariants.** Everything that waits has a time-out. A request that changes something and has no
//! answer is never reported as failed: its outcome is unknown, and the error says so. Records are
//! slices of what was received, and copied once into what is sent.

pub mod admin;
mod cluster;
mod config;
mod connection;
pub mod consumer;
mod error;
pub mod group;
mod metadata;
mod offsets;
pub mod partitioner;
mod pool;
pub mod producer;
#[cfg(test)]
mod tests;

pub use self::{
    admin::Admin,
    cluster::Client,
    config::ClientConfig,
    connection::{Connection, Pending, Versions},
    consumer::{Assignment, Consumer, ConsumerConfig, Polled, StartAt},
    error::{ClientError, ConnectionError},
    group::{Delivery, GroupConfig, GroupConsumer, GroupError, Nacked},
    metadata::{Broker, Leader, Metadata, PartitionMetadata, TopicMetadata},
    offsets::{FoundOffset, OffsetSpec},
    producer::{Producer, ProducerConfig, ProducerRecord},
};
