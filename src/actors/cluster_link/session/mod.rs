//! The sessions of `ractor_cluster`: at most one with each node.
//!
//! A session is a connection that has proved itself and was handed to the `NodeServer`. What the server says about it (opened,
//! ready, gone) is noted here under the number that the connection bears as its label; the table outlives the server, and a
//! connection's end is noticed by the connection itself, so that a crash of the server leaves no session behind that only
//! seems to live.
//!
//! **Invariants.** A second connection never takes the place of a live session: it is refused, and makes us ask the session
//! for a sign of life; without one it is cut off, and the next attempt finds its place free. A session of a start that has been
//! succeeded is cut off.

mod inner;
mod table;
#[cfg(test)]
mod tests;

pub(super) use self::{
    inner::{ServerEvents, SessionStream},
    table::{Found, NewSession, Sessions, Taken},
};
