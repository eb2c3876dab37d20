//! The other members: `openraft`'s calls as bytes, over whatever carries them.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::{
    RaftNetwork, RaftNetworkFactory,
    error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Timeout, Unreachable},
    network::{Backoff, RPCOption, RPCTypes},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
        VoteRequest, VoteResponse,
    },
};
use serde::{Deserialize, Serialize};

use super::types::{Raft, RaftNode, TypeConfig};
use crate::{actors::supervise::BoxFuture, model::RaftId, storage::metadata_log::codec};

/// The version of what is sent. A member that does not know it says so.
const VERSION: u8 = 1;
/// How long a member that is not reached is left alone.
const BACKOFF: Duration = Duration::from_millis(100);

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// There is no way to the member now; trying again at once is no use.
    #[error("member is not reached: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("member has not answered in time")]
    Timeout,
    /// The connection broke, or what came back is no answer.
    #[error("call has failed: {0}")]
    Failed(String),
}

/// Carries bytes to other members.
pub trait RaftPeers: Send + Sync + 'static {
    /// Asks a member, whose side hands the body to [`Quorum::serve`](super::Quorum::serve) and sends back what that gives.
    fn call(
        &self,
        to: RaftId,
        node: &RaftNode,
        body: Bytes,
        within: Duration,
    ) -> BoxFuture<Result<Bytes, PeerError>>;
}

/// Variants at the end only: the encoding knows them by their place.
#[derive(Serialize, Deserialize)]
enum Ask {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<u64>),
    Snapshot(InstallSnapshotRequest<TypeConfig>),
}

#[derive(Serialize, Deserialize)]
struct Request {
    /// Who is meant: an address may have passed to another (S17).
    to: u64,
    ask: Ask,
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Append(Result<AppendEntriesResponse<u64>, RaftError<u64>>),
    Vote(Result<VoteResponse<u64>, RaftError<u64>>),
    Snapshot(Result<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>>),
    /// The request was not for this member, or not understood.
    Refused(String),
}

type Failure<E> = RPCError<u64, RaftNode, RaftError<u64, E>>;

/// Makes a way to each member.
pub(super) struct Network {
    pub(super) us: RaftId,
    pub(super) peers: Arc<dyn RaftPeers>,
}

/// The way to one member.
pub(super) struct Peer {
    us: RaftId,
    to: RaftId,
    node: RaftNode,
    peers: Arc<dyn RaftPeers>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &RaftNode) -> Peer {
        Peer { us: self.us, to: RaftId::new(target), node: node.clone(), peers: Arc::clone(&self.peers) }
    }
}

impl Peer {
    async fn ask<E: std::error::Error>(
        &self,
        ask: Ask,
        action: RPCTypes,
        within: Duration,
    ) -> Result<Answer, Failure<E>> {
        let failed = |error: &dyn fmt::Display| network_error(&error.to_string());
        let body = encode(&Request { to: self.to.get(), ask }).map_err(|error| failed(&error))?;
        let called = self.peers.call(self.to, &self.node, body, within).await;
        let answer = called.map_err(|error| match error {
            PeerError::Unreachable(_) => RPCError::Unreachable(Unreachable::new(&error)),
            PeerError::Timeout => RPCError::Timeout(Timeout {
                action,
                id: self.us.get(),
                target: self.to.get(),
                timeout: within,
            }),
            PeerError::Failed(_) => RPCError::Network(NetworkError::new(&error)),
        })?;
        match decode(&answer).map_err(|error| failed(&error))? {
            // It will not change its mind soon.
            Answer::Refused(why) => {
                Err(RPCError::Unreachable(Unreachable::new(&PeerError::Unreachable(why))))
            }
            answer @ (Answer::Append(_) | Answer::Vote(_) | Answer::Snapshot(_)) => Ok(answer),
        }
    }

    fn answered<T, E: std::error::Error>(
        &self,
        answer: Option<Result<T, RaftError<u64, E>>>,
    ) -> Result<T, Failure<E>> {
        match answer {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(RPCError::RemoteError(RemoteError::new(self.to.get(), error))),
            None => Err(network_error("the answer is to another question")),
        }
    }
}

fn network_error<E: std::error::Error>(why: &str) -> Failure<E> {
    RPCError::Network(NetworkError::new(&PeerError::Failed(why.to_owned())))
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, RaftNode, RaftError<u64>>> {
        let answer = self.ask(Ask::Append(rpc), RPCTypes::AppendEntries, option.hard_ttl()).await?;
        self.answered(if let Answer::Append(answer) = answer { Some(answer) } else { None })
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, RaftNode, RaftError<u64, InstallSnapshotError>>>
    {
        let answer = self.ask(Ask::Snapshot(rpc), RPCTypes::InstallSnapshot, option.hard_ttl()).await?;
        self.answered(if let Answer::Snapshot(answer) = answer { Some(answer) } else { None })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, RaftNode, RaftError<u64>>> {
        let answer = self.ask(Ask::Vote(rpc), RPCTypes::Vote, option.hard_ttl()).await?;
        self.answered(if let Answer::Vote(answer) = answer { Some(answer) } else { None })
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}

/// Answers a call of another member.
pub(super) async fn serve(us: RaftId, raft: &Raft, body: &[u8]) -> Bytes {
    let answer = match decode::<Request>(body) {
        Err(error) => Answer::Refused(error.to_string()),
        Ok(Request { to, .. }) if to != us.get() => {
            Answer::Refused(format!("this is member {us}, not member {to}"))
        }
        Ok(Request { ask: Ask::Append(request), .. }) => Answer::Append(raft.append_entries(request).await),
        Ok(Request { ask: Ask::Vote(request), .. }) => Answer::Vote(raft.vote(request).await),
        Ok(Request { ask: Ask::Snapshot(request), .. }) => {
            Answer::Snapshot(raft.install_snapshot(request).await)
        }
    };
    // An answer always fits; if not, the other side takes an empty one for none.
    encode(&answer).unwrap_or_default()
}

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
enum WireError {
    #[error("an empty message")]
    Empty,
    #[error("a message of version {0}")]
    Version(u8),
    #[error(transparent)]
    Codec(#[from] codec::CodecError),
}

fn encode<T: Serialize>(value: &T) -> Result<Bytes, WireError> {
    let mut body = vec![VERSION];
    body.extend_from_slice(&codec::encode(value)?);
    Ok(body.into())
}

fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    match body.split_first() {
        Some((&VERSION, rest)) => Ok(codec::decode(rest)?),
        Some((version, _)) => Err(WireError::Version(*version)),
        None => Err(WireError::Empty),
    }
}

/// A request for a vote as it is sent.
#[cfg(test)]
pub(super) fn vote_request(to: RaftId, asked: VoteRequest<u64>) -> Bytes {
    encode(&Request { to: to.get(), ask: Ask::Vote(asked) }).unwrap_or_default()
}
