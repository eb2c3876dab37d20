//! The client door: the Kafka protocol over actor handles.
//!
//! A connection is a task that reads requests, one handler per API carries them out. Handlers see the
//! partitions' and the registry's handles and never a file: what is promised, the actors promise.

mod cluster_view;
mod connection;
mod departed;
mod dispatch;
mod errors;
mod handlers;
mod log_limit;
mod meters;
mod others;

use std::{net::SocketAddr, sync::Arc, time::Duration};

pub use self::connection::Budget;
use self::connection::FramePool;
pub use self::{departed::Departed, log_limit::LogLimit, meters::RequestMeters, others::Others};
use crate::{
    actors::{
        group_coordinator::Groups,
        listener::{ConnectionContext, Serve},
        membership::MembershipHandle,
        partition::{
            Bulk, CorruptBatch,
            table::{Topic, TopicTable},
        },
    },
    clock::Clock,
    config::{
        node::{HostPort, NodeConfig},
        topic::TopicDefaults,
    },
    metrics::Metrics,
    model::NodeId,
    telemetry::LogLevels,
};

/// What a connection may take, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Bytes of one request.
    pub request_bytes: usize,
    /// From a request's first byte to its last.
    pub frame_timeout: Duration,
    /// Without any request.
    pub idle_timeout: Duration,
    /// Without a peer taking any byte of an answer.
    pub write_timeout: Duration,
}

/// What topics get that are made because somebody asked for them.
#[derive(Clone, Copy, Debug)]
pub struct AutoCreate {
    /// Whether they are made at all.
    pub enabled: bool,
    /// How many partitions they get.
    pub partitions: i32,
}

/// What all connections of a node share.
#[derive(Debug)]
pub struct Broker {
    /// This node.
    pub node_id: NodeId,
    /// The metadata.
    pub membership: MembershipHandle,
    /// The partitions.
    pub topics: TopicTable,
    /// The coordinators of consumer groups.
    pub groups: Groups,
    /// The other nodes; `None` on a node alone.
    pub others: Option<Arc<dyn Others>>,
    /// What the node was started with; addresses are those that were bound.
    pub settings: NodeConfig,
    /// The levels of log lines.
    pub levels: LogLevels,
    /// Topics made on demand.
    pub auto_create: AutoCreate,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Brokers that died a moment ago.
    pub departed: Departed,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Requests, counted by API.
    pub meters: RequestMeters,
    /// Bounds for each connection.
    pub limits: ConnectionLimits,
    /// Bytes that all connections together may hold.
    pub in_flight: Budget,
    /// Buffers of large requests, to be used again.
    pub(crate) frames: Arc<FramePool>,
    /// Who serves connections that move much.
    pub bulk: Bulk,
    /// Keeps a storm of bad requests out of the log.
    pub complaints: LogLimit,
}

impl Broker {
    /// What topics get that do not say otherwise, as it is now.
    pub(crate) fn topic_defaults(&self) -> TopicDefaults {
        self.settings.topic_defaults.with(self.membership.image().dynamic_configs(self.node_id))
    }

    /// What serves a connection that came in by a listener whose clients are told this address.
    pub fn serve(self: Arc<Self>, advertised: HostPort) -> Serve {
        let advertised = Arc::new(advertised);
        Arc::new(move |stream, context: ConnectionContext| {
            Box::pin(connection::serve(stream, context, Arc::clone(&advertised), Arc::clone(&self)))
        })
    }

    fn drop_peer(&self, listener: &str, peer: SocketAddr, reason: &str, why: &dyn std::fmt::Display) {
        self.metrics.connections_dropped.of([listener.to_owned(), reason.to_owned()]).inc();
        if let Some(unsaid) = self.complaints.may_speak(self.clock.as_ref()) {
            tracing::warn!(%peer, unsaid, "connection closed: {why}");
        }
    }

    fn report_corrupt(&self, topic: &Topic, batch: &CorruptBatch) {
        if batch.newly_found {
            self.metrics.corrupt_batches.inc();
            let what = if batch.is_held { "is not served before it is repaired" } else { "is skipped" };
            tracing::error!(topic = %topic.name, "corrupt batch {what}: {batch}");
        }
    }
}
