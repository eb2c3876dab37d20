//! Commands on their way between nodes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::{Semaphore, watch};

use super::message::{Decided, RegistryMessage, Told};
use crate::{
    actors::{
        membership::{
            core::{Command, CommandAnswer, Refusal},
            forward::{self, Attempt, Leadership, Ways},
        },
        supervise::{BoxFuture, CallError, Slot},
    },
    model::NodeId,
    storage::metadata_log::codec,
};

/// The version of what is sent. A node that does not know it says so.
const VERSION: u8 = 1;
/// Commands that may wait for this node's registry at once; the next one waits for a place.
const PLACES: usize = 1_024;

/// Carries commands to other nodes, whose side hands the body to [`RegistryHandle::serve`](super::RegistryHandle::serve).
pub trait CommandPeers: Send + Sync + 'static {
    /// Asks a node.
    fn send(&self, to: NodeId, body: Bytes, within: Duration) -> BoxFuture<PeerAttempt>;
}

/// What became of asking a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAttempt {
    /// It has answered.
    Answered(Bytes),
    /// It cannot have got the question.
    NotSent,
    /// It may have.
    Unknown,
}

/// What a command comes to: where it has to be seen, and what it is.
pub(super) type Outcome = Result<(u64, CommandAnswer), Failure>;

/// Why a controller has done nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It refused.
    Refused(Refusal),
    /// Its disk is full.
    StorageFull,
}

impl forward::Command for Command {
    type Answer = Outcome;

    fn is_idempotent(&self) -> bool {
        Self::is_idempotent(self)
    }
}

/// What a node answers a command. Variants at the end only: the encoding knows them by their place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Response {
    Answered { index: u64, outcome: Result<CommandAnswer, Refusal> },
    NotController { hint: Option<NodeId> },
    StorageFull,
    Unknown,
}

/// How a node decides a command or sends it on.
pub(super) struct WaysOfNode {
    pub(super) slot: Slot<RegistryMessage>,
    pub(super) peers: Arc<dyn CommandPeers>,
    pub(super) leadership: watch::Receiver<Leadership<NodeId>>,
    places: Arc<Semaphore>,
}

impl WaysOfNode {
    pub(super) fn new(
        slot: Slot<RegistryMessage>,
        peers: Arc<dyn CommandPeers>,
        leadership: watch::Receiver<Leadership<NodeId>>,
    ) -> Self {
        Self { slot, peers, leadership, places: Arc::new(Semaphore::new(PLACES)) }
    }

    /// Answers a command of another node.
    pub(super) async fn serve(self: Arc<Self>, body: &[u8], within: Duration) -> Bytes {
        let Some(command) = decode::<Command>(body) else {
            let refusal = Refusal::InvalidRequest("the controller does not know this command");
            let response = Response::Answered { index: 0, outcome: Err(refusal) };
            return encode(&response).unwrap_or_default();
        };
        let response = match Self::decide_here(Arc::clone(&self), command, within).await {
            Attempt::Answered(Ok((index, answer))) => Response::Answered { index, outcome: Ok(answer) },
            Attempt::Answered(Err(Failure::Refused(refusal))) => {
                Response::Answered { index: 0, outcome: Err(refusal) }
            }
            Attempt::Answered(Err(Failure::StorageFull)) => Response::StorageFull,
            Attempt::NotController { hint } => Response::NotController { hint },
            Attempt::NotSent => Response::NotController { hint: None },
            Attempt::Unknown => Response::Unknown,
        };
        encode(&response).unwrap_or_default()
    }

    async fn decide_here(self: Arc<Self>, command: Command, within: Duration) -> Attempt<Outcome, NodeId> {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return Attempt::NotSent };
        let Some(registry) = self.slot.get() else { return Attempt::NotController { hint: None } };
        let ask =
            |reply| RegistryMessage::Decide { command: Box::new(command), told: Told::new(reply, place) };
        match registry.call(ask, within).await {
            Ok(Decided::Answered { index, outcome: Ok(answer) }) => Attempt::Answered(Ok((index, answer))),
            Ok(Decided::Answered { outcome: Err(refusal), .. }) => {
                Attempt::Answered(Err(Failure::Refused(refusal)))
            }
            Ok(Decided::StorageFull) => Attempt::Answered(Err(Failure::StorageFull)),
            Ok(Decided::NotController) => Attempt::NotController { hint: self.hint() },
            Err(CallError::Gone) => Attempt::NotController { hint: None },
            Ok(Decided::Unknown) | Err(CallError::Timeout { .. } | CallError::Dropped) => Attempt::Unknown,
        }
    }

    fn hint(&self) -> Option<NodeId> {
        match &*self.leadership.borrow() {
            Leadership::Peer(node) => Some(*node),
            Leadership::None | Leadership::Us => None,
        }
    }
}

/// The trait wants a shared self whose futures outlive the borrow.
#[derive(Clone)]
pub(super) struct SharedWays(pub(super) Arc<WaysOfNode>);

impl Ways<Command, NodeId> for SharedWays {
    fn decide(&self, command: Command, within: Duration) -> BoxFuture<Attempt<Outcome, NodeId>> {
        Box::pin(WaysOfNode::decide_here(Arc::clone(&self.0), command, within))
    }

    fn send(&self, to: NodeId, command: Command, within: Duration) -> BoxFuture<Attempt<Outcome, NodeId>> {
        let Some(body) = encode(&command) else {
            let refusal = Refusal::InvalidRequest("the command is too large for the metadata quorum");
            return Box::pin(async move { Attempt::Answered(Err(Failure::Refused(refusal))) });
        };
        let asked = self.0.peers.send(to, body, within);
        Box::pin(async move {
            match asked.await {
                PeerAttempt::Answered(body) => {
                    decode::<Response>(&body).map_or(Attempt::Unknown, Response::into_attempt)
                }
                PeerAttempt::NotSent => Attempt::NotSent,
                PeerAttempt::Unknown => Attempt::Unknown,
            }
        })
    }
}

impl Response {
    fn into_attempt(self) -> Attempt<Outcome, NodeId> {
        match self {
            Self::Answered { index, outcome: Ok(answer) } => Attempt::Answered(Ok((index, answer))),
            Self::Answered { outcome: Err(refusal), .. } => Attempt::Answered(Err(Failure::Refused(refusal))),
            Self::NotController { hint } => Attempt::NotController { hint },
            Self::StorageFull => Attempt::Answered(Err(Failure::StorageFull)),
            Self::Unknown => Attempt::Unknown,
        }
    }
}

fn encode<T: Serialize>(value: &T) -> Option<Bytes> {
    let mut body = vec![VERSION];
    body.extend_from_slice(&codec::encode(value).ok()?);
    Some(body.into())
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    match body.split_first() {
        Some((&VERSION, rest)) => codec::decode(rest).ok(),
        Some(_) | None => None,
    }
}
