//! The leaders that a coordinator needs, on whichever node they are: of the partitions that its groups consume, and of
//! topics of dead letters.
//!
//! One on this node is reached by its partition's handle, one on another by a call of that node's gateway. What is asked of
//! either is the same, and is answered by the node that leads. A call has a time-out and its answer a bound; where there is
//! none, nobody knows. What that means is for whoever asks: of what was served nothing counts then (S22), and a dead letter
//! is written again, which is why it bears a producer's mark.

mod asking;
mod message;
mod reading;
mod serving;
mod writing;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{runtime::Handle, task::JoinSet};

use self::{
    asking::Asking,
    message::{Answer, Ask},
};
use super::core::AskServed;
use crate::{
    actors::{
        membership::{MembershipHandle, NOBODY},
        partition::{PartitionHandle, table::TopicTable},
        supervise::BoxFuture,
    },
    clock::Clock,
    model::{NodeId, Offset, PartitionId},
};

pub(super) use self::message::{Burial, Outcome};

/// How long it may take to say how far consumers may read: somebody waits for a page of metrics.
const ENDS_WITHIN: Duration = Duration::from_millis(500);
/// How many questions go into one call.
const QUESTIONS_MAX: usize = 1_000;

/// Carries what is asked to other nodes, where [`Leaders::serve`] answers it.
pub trait GroupPeers: Send + Sync + 'static {
    /// Asks a node; `None` where no answer has come.
    fn call(&self, to: NodeId, body: Bytes, within: Duration) -> BoxFuture<Option<Bytes>>;
}

/// What it takes to reach leaders.
#[derive(Clone)]
pub struct LeadersArgs {
    /// This node.
    pub node: NodeId,
    /// The partitions.
    pub topics: TopicTable,
    /// Who leads what.
    pub membership: MembershipHandle,
    /// Where blocking work runs.
    pub io: Handle,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way to other nodes; `None` on a node that is alone.
    pub peers: Option<Arc<dyn GroupPeers>>,
}

/// Leaders of partitions. Cheap to clone.
#[derive(Clone)]
pub struct Leaders {
    args: Arc<LeadersArgs>,
}

impl fmt::Debug for Leaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaders").field("node", &self.args.node).finish_non_exhaustive()
    }
}

/// Where a partition is led.
#[derive(Debug)]
enum Home {
    Here(PartitionHandle),
    There(NodeId),
    Nowhere,
}

/// A question, and at which record its owner was lost, if it had been given one.
pub(super) type Served = (AskServed, Option<Offset>);

impl Leaders {
    /// Leaders as they are reached from this node.
    pub fn new(args: LeadersArgs) -> Self {
        Self { args: Arc::new(args) }
    }

    fn home(&self, id: PartitionId) -> Home {
        let leader = self.args.membership.image().partition(id).map_or(NOBODY, |known| known.leader);
        match (&self.args.peers, leader) {
            (Some(_), NOBODY) => Home::Nowhere,
            (Some(_), node) if node != self.args.node => Home::There(node),
            _ => self.handle(id).map_or(Home::Nowhere, Home::Here),
        }
    }

    fn handle(&self, id: PartitionId) -> Option<PartitionHandle> {
        let topic = self.args.topics.by_id(id.topic)?;
        topic.partition(id.index).cloned()
    }

    /// The node whose leader is to be asked, where that is another one. [`Self::served_here`] answers otherwise.
    pub(super) fn elsewhere(&self, ask: &AskServed) -> Option<NodeId> {
        match self.home(partition_of(ask)) {
            Home::There(node) => Some(node),
            Home::Here(_) | Home::Nowhere => None,
        }
    }

    /// What a leader on this node had served.
    pub(super) fn served_here(&self, ask: &AskServed) -> Option<Offset> {
        let partition = self.handle(partition_of(ask))?;
        ask.answer(partition.served(), partition.leader()?.reader.log_start_offset())
    }

    /// What the leaders on another node had served. Who does not answer in time has served nothing that is known.
    pub(super) async fn served_there(&self, node: NodeId, asks: Vec<AskServed>) -> Vec<Served> {
        match self.args.peers.as_deref() {
            Some(peers) => Asking { peers, clock: &*self.args.clock, node }.served(asks).await,
            None => asks.into_iter().map(|ask| (ask, None)).collect(),
        }
    }

    /// How far consumers may read in partitions that are led on other nodes, as far as those say so in time.
    pub(super) async fn ends(&self, partitions: BTreeSet<PartitionId>) -> BTreeMap<PartitionId, Offset> {
        let mut by_node: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for id in partitions {
            if let Home::There(node) = self.home(id) {
                by_node.entry(node).or_default().push(id);
            }
        }
        let mut asking = JoinSet::new();
        for (node, ids) in by_node {
            let leaders = self.clone();
            asking.spawn(async move {
                let mut told = Vec::new();
                for ids in ids.chunks(QUESTIONS_MAX) {
                    match leaders.ask(node, &Ask::Ends(ids.to_vec()), ENDS_WITHIN).await {
                        Some(Answer::Ends(ends)) => told.extend(ids.iter().copied().zip(ends)),
                        Some(_) | None => break,
                    }
                }
                told
            });
        }
        let mut ends = BTreeMap::new();
        while let Some(told) = asking.join_next().await {
            ends.extend(told.into_iter().flatten().filter_map(|(id, end)| Some((id, end?))));
        }
        ends
    }

    async fn ask(&self, node: NodeId, ask: &Ask, within: Duration) -> Option<Answer> {
        let peers = self.args.peers.as_ref()?;
        let answer = peers.call(node, message::encode(ask)?, within).await?;
        message::decode(&answer)
    }
}

fn partition_of(ask: &AskServed) -> PartitionId {
    PartitionId { topic: ask.topic, index: ask.place.1 }
}
