//! What this node's replicas have found in logs of which they may have lost the end, told to the controller (S11).
//!
//! When all nodes of a partition whose acknowledged records were in memory have been killed, nobody is left who is known to
//! have everything. The partition waits until each of them has looked, and the one with most leads. Each says what it has as
//! soon as its log is open and follows nobody: nothing changes the log then. It is level-triggered: what the image lacks is
//! said, until the image has it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::table::TopicTable;
use crate::{
    actors::membership::{Command, MembershipError, MetadataImage, registry::RegistryHandle},
    model::{LeaderEpoch, NodeId, Offset, PartitionId},
};

/// So many ends are said at a time: each may become a record, and all of them stand in one entry.
const ENDS_MAX: usize = 500;
/// How long the controller may take to answer.
const COMMAND_WITHIN: Duration = Duration::from_secs(5);
/// How often is looked whether another log is open, or whether the controller takes what it has not taken.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How often is looked although nothing was told.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What a replica has: which, the epoch of its last batch, and its end.
type End = (PartitionId, LeaderEpoch, Offset);

/// What it stands on.
#[derive(Clone)]
pub struct EndsArgs {
    /// The metadata, and the way to the controller.
    pub registry: RegistryHandle,
    /// This node's replicas.
    pub topics: TopicTable,
    /// This node.
    pub node: NodeId,
}

/// Runs for as long as the node does.
pub async fn run(args: EndsArgs) {
    let mut images = args.registry.watch();
    let (mut said, mut waited_for) = (Vec::new(), BTreeSet::new());
    loop {
        let image = Arc::clone(&images.borrow_and_update());
        let doubts =
            Doubts::of(&image, args.node, |id| args.topics.by_id(id.topic)?.partition(id.index)?.unled_end());
        doubts.tell_of(&mut waited_for);
        let is_news = !doubts.due.is_empty() && doubts.due != said;
        said = doubts.due;
        if is_news {
            if let Err(error) = report(&args, &said).await {
                tracing::warn!(partitions = said.len(), %error, "ends of logs were not taken by the controller");
                said.clear();
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            continue;
        }
        let pause = if doubts.is_unsaid { AGAIN_AFTER } else { LOOK_EVERY };
        let _or_it_is_time = timeout(pause, images.changed()).await;
    }
}

async fn report(args: &EndsArgs, ends: &[End]) -> Result<(), MembershipError> {
    let (node, broker_epoch) = (args.node, args.registry.us().broker_epoch());
    let command = Command::ReportEnds { node, broker_epoch, ends: ends.to_vec() };
    args.registry.command(command, COMMAND_WITHIN).await.map(drop)
}

/// What an image says of partitions that have no leader and of which this node may have lost the end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Doubts {
    /// What is to be said now; no more than goes into one command.
    due: Vec<End>,
    /// Something is to be said, now or once a log is open.
    is_unsaid: bool,
    /// How many partitions there are.
    partitions: usize,
    /// Whom they wait for.
    waited_for: BTreeSet<NodeId>,
}

impl Doubts {
    fn of(
        image: &MetadataImage,
        us: NodeId,
        found: impl Fn(PartitionId) -> Option<(LeaderEpoch, Offset)>,
    ) -> Self {
        let mut doubts = Self::default();
        for (id, _, partition) in image.partitions() {
            let ours = partition.uncertain.iter().find(|uncertain| uncertain.node == us);
            let Some(ours) = ours.filter(|_| partition.leader().is_none()) else { continue };
            doubts.partitions += 1;
            doubts.waited_for.extend(partition.waits_for());
            // While somebody is left who has everything, the others are not asked.
            if !partition.is_in_doubt() {
                continue;
            }
            let found = found(id);
            doubts.is_unsaid |= ours.end.is_none() || found.is_some_and(|found| ours.end != Some(found));
            if let Some((epoch, end)) = found.filter(|found| ours.end != Some(*found))
                && doubts.due.len() < ENDS_MAX
            {
                doubts.due.push((id, epoch, end));
            }
        }
        doubts
    }

    /// Says whom is waited for, when that changes.
    fn tell_of(&self, before: &mut BTreeSet<NodeId>) {
        if *before == self.waited_for {
            return;
        }
        before.clone_from(&self.waited_for);
        if self.partitions > 0 {
            let nodes: Vec<String> = self.waited_for.iter().map(ToString::to_string).collect();
            tracing::warn!(
                partitions = self.partitions,
                nodes = nodes.join(", "),
                "partitions have no leader, for this node may have lost the end of their logs: these nodes are waited for"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        actors::membership::{Assignment, MetadataRecord, NOBODY, Uncertain},
        model::{PartitionIndex, TopicId, TopicName},
    };

    const US: NodeId = NodeId::new(1);
    const OTHER: NodeId = NodeId::new(2);

    fn end(epoch: i32, offset: i64) -> (LeaderEpoch, Offset) {
        (LeaderEpoch::new(epoch), Offset::new(offset))
    }

    fn partition() -> PartitionId {
        PartitionId { topic: TopicId::from_bytes([9; 16]), index: PartitionIndex::new(0) }
    }

    /// A partition of two replicas without a leader.
    fn image(in_sync: &[NodeId], uncertain: &[Uncertain]) -> MetadataImage {
        let mut image = MetadataImage::default();
        let cluster_id = uuid::Uuid::from_bytes([5; 16]);
        let topic = MetadataRecord::TopicCreated {
            id: partition().topic,
            name: TopicName::new("t").unwrap(),
            partitions: vec![Assignment { replicas: vec![US, OTHER] }],
            configs: std::collections::BTreeMap::new(),
        };
        let changed = MetadataRecord::PartitionChanged {
            partition: partition(),
            leader: NOBODY,
            leader_epoch: LeaderEpoch::NONE.next(),
            in_sync: in_sync.to_vec(),
            electable: Vec::new(),
            uncertain: uncertain.to_vec(),
            opening: 0,
            partition_epoch: 1,
        };
        for record in [MetadataRecord::ClusterCreated { cluster_id, feature_level: 1 }, topic, changed] {
            image.apply(&record).unwrap();
        }
        image
    }

    fn doubts(image: &MetadataImage, found: Option<(LeaderEpoch, Offset)>) -> Doubts {
        Doubts::of(image, US, |_| found)
    }

    #[test]
    fn s11_what_a_log_has_is_said_until_the_controller_has_it() {
        let in_doubt =
            |ours| image(&[], &[Uncertain { node: US, end: ours }, Uncertain { node: OTHER, end: None }]);
        let image = in_doubt(None);
        let unopened = doubts(&image, None);
        assert!(unopened.due.is_empty() && unopened.is_unsaid, "its log is not open: {unopened:?}");
        assert_eq!(unopened.waited_for, BTreeSet::from([US, OTHER]));
        let opened = doubts(&image, Some(end(4, 90)));
        assert_eq!(opened.due, [(partition(), LeaderEpoch::new(4), Offset::new(90))]);

        let known = in_doubt(Some(end(4, 90)));
        let said = doubts(&known, Some(end(4, 90)));
        assert!(said.due.is_empty() && !said.is_unsaid, "{said:?}");
        assert_eq!(said.waited_for, BTreeSet::from([OTHER]));
        let shorter = doubts(&known, Some(end(4, 80)));
        assert_eq!(shorter.due.len(), 1, "a log that was opened once more and has less is told again");
    }

    #[test]
    fn s11_nothing_is_asked_while_somebody_is_left_who_has_everything() {
        let image = image(&[OTHER], &[Uncertain { node: US, end: None }]);
        let doubts = doubts(&image, Some(end(4, 90)));
        assert!(doubts.due.is_empty() && !doubts.is_unsaid);
        assert_eq!((doubts.partitions, doubts.waited_for), (1, BTreeSet::from([OTHER])));
    }
}
