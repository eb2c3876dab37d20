//! Everything about sockets between nodes.
//!
//! One listener takes four kinds of connections, each proved at its head: sessions of `ractor_cluster` for calls, streams
//! for heartbeats and for replication, and hellos of one question before there is a cluster. `ractor_cluster` gives typed,
//! remote actors and a supervision tree for sessions; what it does not give is here: proof of who is expected and what for,
//! time-outs, reconnection, bounds, and a notion of a peer that is frozen.
//!
//! **Invariants.** At most one session with a node; the lower node id dials, and never while there is one. A call always has
//! a time-out; a body over [`BODY_BYTES_MAX`] is refused before it is sent. Nothing that another node can reach has a name, and
//! the only actors that it can reach are the gateways, one for each service. What comes from a peer is served in tasks whose
//! number is bounded. Liveness does not depend on calls: see [`liveness`].
//!
//! `ractor`'s registries are global to a process: one link for each process, and tests of two nodes are tests of two
//! processes.

mod accept;
mod boots;
mod dial;
mod dialler;
mod error;
mod gateway;
mod handle;
mod handshake;
pub mod liveness;
mod peer;
mod security;
mod service;
mod session;
mod shared;
mod socket;
mod stream;

use std::time::Duration;

pub use self::{
    dial::HELLO_BYTES_MAX,
    error::LinkError,
    gateway::GatewayMessage,
    handle::{ClusterLink, LinkOptions},
    handshake::{Cookie, Expected, Handshake, HandshakeError, Kind, Refusal, RefusalCode, SessionId, Us},
    peer::{Peer, To},
    security::{Security, SecurityError},
    service::{BODY_BYTES_MAX, Service, ServiceHandler},
    shared::{HelloHandler, StreamHandler},
    stream::LinkStream,
};

/// How long a handshake may take, TLS and connecting among it.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(2);
