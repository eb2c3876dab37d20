//! The metadata quorum's messages and the commands of nodes, over the cluster link.
//!
//! A message of the quorum is headed by the id of its cluster: a node without one takes the first that comes, and writes down to
//! which cluster it belongs before it hands the message on; a member refuses every other.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::{runtime::Handle, sync::Notify};
use uuid::Uuid;

use super::identity::Identity;
use crate::{
    actors::{
        cluster_link::{ClusterLink, LinkError, Service, ServiceHandler, To},
        membership::{
            quorum::{PeerError, RaftNode, RaftPeers},
            registry::{CommandPeers, PeerAttempt, RegistryHandle},
        },
        supervise::BoxFuture,
    },
    config::node::HostPort,
    model::{NodeId, RaftId},
};

/// Bytes of a cluster's id.
const ID_BYTES: usize = 16;

/// The way to other nodes, from before there is a link.
#[derive(Clone)]
pub(super) struct LinkPeers {
    link: Arc<OnceLock<ClusterLink>>,
    identity: Arc<Identity>,
}

impl LinkPeers {
    /// A way that leads nowhere until [`Self::open`].
    pub(super) fn new(identity: Arc<Identity>) -> Self {
        Self { link: Arc::default(), identity }
    }

    /// Leads over this link from now on.
    pub(super) fn open(&self, link: ClusterLink) {
        let _only_the_first_counts = self.link.set(link);
    }
}

impl RaftPeers for LinkPeers {
    fn call(
        &self,
        _to: RaftId,
        node: &RaftNode,
        body: Bytes,
        within: Duration,
    ) -> BoxFuture<Result<Bytes, PeerError>> {
        let unreachable = |why: &str| PeerError::Unreachable(why.to_owned());
        let (Some(link), Some(belongs)) = (self.link.get().cloned(), self.identity.get()) else {
            let error = unreachable("this node has no cluster yet");
            return Box::pin(async move { Err(error) });
        };
        let (to, address) = (node.node, HostPort::parse(&node.address));
        Box::pin(async move {
            if !link.is_connected(to)
                && let Some(address) = address
            {
                link.want(address);
            }
            let message = headed(belongs.cluster_id, &body);
            match link.call(To::Node(to), Service::Raft, &message, within).await {
                Ok(answer) if answer.is_empty() => Err(PeerError::Unreachable(format!("node {to} refuses"))),
                Ok(answer) => Ok(answer),
                Err(LinkError::Silent { .. }) => Err(PeerError::Timeout),
                Err(error @ (LinkError::Lost { .. } | LinkError::Failed { .. } | LinkError::Busy { .. })) => {
                    Err(PeerError::Failed(error.to_string()))
                }
                Err(error) => Err(PeerError::Unreachable(error.to_string())),
            }
        })
    }
}

fn headed(cluster_id: Uuid, body: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(ID_BYTES + body.len());
    message.put_slice(cluster_id.as_bytes());
    message.put_slice(body);
    message.freeze()
}

impl CommandPeers for LinkPeers {
    fn send(&self, to: NodeId, body: Bytes, within: Duration) -> BoxFuture<PeerAttempt> {
        let Some(link) = self.link.get().cloned() else { return Box::pin(async { PeerAttempt::NotSent }) };
        Box::pin(async move {
            match link.call(To::Node(to), Service::Controller, &body, within).await {
                Ok(answer) => PeerAttempt::Answered(answer),
                Err(LinkError::Silent { .. } | LinkError::Lost { .. } | LinkError::Failed { .. }) => {
                    PeerAttempt::Unknown
                }
                Err(error) => {
                    tracing::debug!(%to, %error, "a command was not sent");
                    PeerAttempt::NotSent
                }
            }
        })
    }
}

/// Answers the quorum's messages of other nodes; with nothing, where one is refused. `heard` is told of each.
pub(super) fn serve_raft(
    registry: RegistryHandle,
    identity: Arc<Identity>,
    heard: Arc<Notify>,
    io: Handle,
) -> ServiceHandler {
    Arc::new(move |peer, message| {
        let (registry, identity, heard, io) =
            (registry.clone(), Arc::clone(&identity), Arc::clone(&heard), io.clone());
        Box::pin(async move {
            let Some(quorum) = registry.quorum() else { return Bytes::new() };
            let mut body = message;
            if body.len() < ID_BYTES {
                return Bytes::new();
            }
            let id = body.split_to(ID_BYTES);
            let Ok(id) = Uuid::from_slice(&id) else { return Bytes::new() };
            if identity.get().is_none_or(|belongs| belongs.cluster_id != id) {
                let is_blank = quorum.is_blank();
                let joining = io.spawn_blocking(move || identity.joins_instead(id, is_blank)).await;
                match joining {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%peer, cluster = %id, %error, "a message of the metadata quorum is refused");
                        return Bytes::new();
                    }
                    Err(_) => return Bytes::new(),
                }
            }
            let answer = quorum.serve(body).await;
            heard.notify_one();
            answer
        })
    })
}

/// Answers the commands of other nodes.
pub(super) fn serve_commands(registry: RegistryHandle) -> ServiceHandler {
    Arc::new(move |_peer, body| {
        let registry = registry.clone();
        Box::pin(async move { registry.serve(&body).await })
    })
}
