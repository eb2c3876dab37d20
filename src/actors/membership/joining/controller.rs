//! What a node asks of the controller about itself.

use std::time::Duration;

use crate::{
    actors::{membership::core::Endpoint, supervise::BoxFuture},
    model::{BootId, BrokerEpoch, NodeId, RaftId},
};

/// The node, for the controller to register. The same boot may be registered any number of times: it keeps its epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRegistration {
    /// Its id.
    pub node: NodeId,
    /// Its disk (S17).
    pub raft_id: RaftId,
    /// This start of it.
    pub boot: BootId,
    /// Where it is reached.
    pub endpoints: Vec<Endpoint>,
    /// Where it stands, for the placement of replicas.
    pub rack: Option<String>,
    /// The boot that stopped cleanly last on this disk, by its mark (S11).
    pub stopped_cleanly: Option<BootId>,
}

/// A command of a node about itself. Each does the same when it is carried out twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeCommand {
    /// It has started.
    Register(NodeRegistration),
    /// Its replicas are open: it may lead.
    Ready {
        /// Who.
        node: NodeId,
        /// By which registration.
        broker_epoch: BrokerEpoch,
    },
    /// It is about to stop: its leaders move.
    Stopping {
        /// Who.
        node: NodeId,
        /// By which registration.
        broker_epoch: BrokerEpoch,
    },
}

/// The controller's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAnswer {
    /// To [`NodeCommand::Register`].
    Registered {
        /// Fences earlier starts.
        broker_epoch: BrokerEpoch,
        /// The entry of the quorum's log that says so (S12).
        index: u64,
    },
    /// To the others.
    Done {
        /// The entry of the quorum's log that says so.
        index: u64,
    },
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeCommandError {
    /// A node that is alive is registered under this id, by another boot: its lease has not run out.
    #[error("a node that is alive is registered as node {0}")]
    DuplicateNode(NodeId),
    /// This boot has been registered before, and a later one since.
    #[error("another start of node {0} has been registered since")]
    Superseded(NodeId),
    /// The controller knows no such registration.
    #[error("the controller does not know this registration")]
    UnknownEpoch,
    /// It will never be taken as it is.
    #[error("{0}")]
    Refused(String),
    /// Nothing was done, and it may go better next time: there is no controller, or its disk is full.
    #[error("{0}")]
    NotNow(String),
    /// It may have been carried out.
    #[error("the controller has not answered in time")]
    OutcomeUnknown,
}

/// The way to the controller, wherever it is.
pub trait Controller: Send + Sync + 'static {
    /// Resolves in little more than `within`.
    fn command(
        &self,
        command: NodeCommand,
        within: Duration,
    ) -> BoxFuture<Result<NodeAnswer, NodeCommandError>>;
}
