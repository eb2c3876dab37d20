//! What nodes say to each other before they have a session: who they are, and that they want to be taken in.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};
use uuid::Uuid;

use super::identity::Identity;
use crate::{
    actors::{
        cluster_link::{ClusterLink, HelloHandler, LinkError},
        membership::{
            formation::{Hello, HelloAnswer, HelloRefusal, JoinAnswer, Member, SeedAnswer},
            registry::RegistryHandle,
            voters::is_duplicate,
        },
        supervise::BoxFuture,
    },
    config::node::HostPort,
    model::{NodeId, RaftId},
    storage::metadata_log::codec,
};

/// How long a node is kept waiting until it is taken in.
const TAKE_IN_WITHIN: Duration = Duration::from_secs(3);
/// How long the one who forms may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Nodes that may wait to be taken in.
const ASKS_MAX: usize = 256;

/// A question. Variants at the end only.
#[derive(Serialize, Deserialize)]
enum Question {
    Hello(Hello),
    Join { who: Member, cluster_id: Uuid },
}

/// Its answer.
#[derive(Serialize, Deserialize)]
enum Reply {
    Hello(HelloAnswer),
    Join(JoinAnswer),
}

/// A hello, and where its answer goes.
pub(super) struct Asked {
    pub(super) hello: Hello,
    pub(super) reply: oneshot::Sender<HelloAnswer>,
}

/// Nodes that ask to be taken in.
#[derive(Debug, Default)]
pub(super) struct Asks {
    members: Mutex<BTreeMap<RaftId, Member>>,
    /// Told of each.
    pub(super) news: Notify,
}

impl Asks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<RaftId, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Vec<Member> {
        self.lock().values().cloned().collect()
    }

    /// `false` where too many wait.
    fn add(&self, who: Member) -> bool {
        let mut members = self.lock();
        if members.len() >= ASKS_MAX && !members.contains_key(&who.raft_id) {
            return false;
        }
        members.insert(who.raft_id, who);
        drop(members);
        self.news.notify_one();
        true
    }

    pub(super) fn forget(&self, id: RaftId) {
        self.lock().remove(&id);
    }
}

/// Who holds a lease, and by which data folder it is registered.
pub(super) type Alive = Arc<dyn Fn() -> BTreeMap<NodeId, RaftId> + Send + Sync>;

/// What answering takes.
#[derive(Clone)]
pub(super) struct Answering {
    pub(super) registry: RegistryHandle,
    pub(super) identity: Arc<Identity>,
    pub(super) asks: Arc<Asks>,
    pub(super) alive: Alive,
    pub(super) founder: mpsc::Sender<Asked>,
}

impl Answering {
    pub(super) fn handler(self) -> HelloHandler {
        Arc::new(move |_peer, body| {
            let answering = self.clone();
            Box::pin(async move { answering.answer(&body).await })
        })
    }

    async fn answer(&self, body: &[u8]) -> Bytes {
        let reply = match codec::decode::<Question>(body) {
            Ok(Question::Hello(hello)) => Reply::Hello(self.hello(hello).await),
            Ok(Question::Join { who, cluster_id }) => Reply::Join(self.join(who, cluster_id).await),
            Err(error) => Reply::Hello(HelloAnswer::Refused(HelloRefusal::NotTaken(error.to_string()))),
        };
        codec::encode(&reply).map(Bytes::from).unwrap_or_default()
    }

    async fn hello(&self, hello: Hello) -> HelloAnswer {
        let (reply, answer) = oneshot::channel();
        let busy = || HelloAnswer::Refused(HelloRefusal::NotTaken("the node is busy".to_owned()));
        if self.founder.try_send(Asked { hello, reply }).is_err() {
            return busy();
        }
        match timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => busy(),
        }
    }

    async fn join(&self, who: Member, cluster_id: Uuid) -> JoinAnswer {
        match self.identity.get() {
            Some(ours) if ours.cluster_id == cluster_id => {}
            Some(ours) => return JoinAnswer::ForeignCluster(ours.cluster_id),
            None => return JoinAnswer::NotLeader { leader: None },
        }
        // Every voter hears the heartbeats. Of the leader's own id the leader cannot say so: no link leads there from a node that
        // bears it too.
        if is_duplicate(&who, &(self.alive)()) {
            return JoinAnswer::DuplicateNode;
        }
        let Some(quorum) = self.registry.quorum() else { return JoinAnswer::NotLeader { leader: None } };
        let leadership = quorum.leadership().borrow().clone();
        if !leadership.is_self {
            let leader = leadership.leader.and_then(|(_, node)| HostPort::parse(&node.address));
            return JoinAnswer::NotLeader { leader };
        }
        let id = who.raft_id;
        if !self.asks.add(who) {
            return JoinAnswer::NotLeader { leader: None };
        }
        let taken = async {
            let mut leadership = quorum.leadership();
            while !quorum.members().nodes.contains_key(&id) {
                // Changes of membership show in time at most; nothing tells of them alone.
                let _changed = timeout(Duration::from_millis(20), leadership.changed()).await;
            }
        };
        match timeout(TAKE_IN_WITHIN, taken).await {
            Ok(()) => JoinAnswer::Taken,
            Err(_) => JoinAnswer::Unreachable,
        }
    }
}

/// The questions that the one who forms asks.
#[derive(Clone)]
pub(super) struct Asking(pub(super) ClusterLink);

impl Asking {
    pub(super) fn hello(&self, to: HostPort, hello: Hello, within: Duration) -> BoxFuture<SeedAnswer> {
        let link = self.0.clone();
        Box::pin(async move {
            let Ok(body) = codec::encode(&Question::Hello(hello)) else { return SeedAnswer::Unreachable };
            match link.hello(&to, &body, within).await {
                Ok((_, answer)) => match codec::decode::<Reply>(&answer) {
                    Ok(Reply::Hello(answer)) => SeedAnswer::Answered(answer),
                    Ok(Reply::Join(_)) | Err(_) => SeedAnswer::Unreachable,
                },
                Err(
                    error @ (LinkError::Handshake { .. }
                    | LinkError::LoopbackOnly { .. }
                    | LinkError::Tls { .. }),
                ) => SeedAnswer::Answered(HelloAnswer::Refused(HelloRefusal::NotTaken(error.to_string()))),
                Err(error) => {
                    tracing::debug!(seed = %to, %error, "a seed does not answer");
                    SeedAnswer::Unreachable
                }
            }
        })
    }

    pub(super) fn join(
        &self,
        at: HostPort,
        who: Member,
        cluster_id: Uuid,
        within: Duration,
    ) -> BoxFuture<JoinAnswer> {
        let link = self.0.clone();
        Box::pin(async move {
            let Ok(body) = codec::encode(&Question::Join { who, cluster_id }) else {
                return JoinAnswer::Unreachable;
            };
            let answer = link.hello(&at, &body, within).await.ok();
            match answer.and_then(|(_, answer)| codec::decode::<Reply>(&answer).ok()) {
                Some(Reply::Join(answer)) => answer,
                Some(Reply::Hello(_)) | None => JoinAnswer::Unreachable,
            }
        })
    }
}
