//! Since when this node leads the partitions of the groups, and who did before: how long a successor has to wait (S20).
//!
//! Whoever led before may not know yet that it does not, and may answer what needs no writing. It does so no longer than its
//! lease. So a coordinator answers nothing before that is over, or before its predecessor is known to have stopped: by a
//! process that has ended, by another start of its node, or by its replica, which follows ours.
//!
//! Images may be skipped. An epoch between two that were seen was somebody's that was not: then it is waited all the same.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::model::{BootId, LeaderEpoch, NodeId, PartitionIndex};

/// What a node knows of leases, its own and those of others.
#[derive(Clone)]
pub struct NodeLeases {
    /// How long they are.
    pub length: Duration,
    /// Whether this node holds its own.
    pub is_held: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Whether that start of another node holds none any more.
    pub is_over: Arc<dyn Fn(NodeId, BootId) -> bool + Send + Sync>,
}

impl NodeLeases {
    /// Of a node that is alone: nobody else could answer.
    pub fn alone() -> Self {
        Self { length: Duration::ZERO, is_held: Arc::new(|| true), is_over: Arc::new(|_, _| true) }
    }
}

impl fmt::Debug for NodeLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeLeases").field("length", &self.length).finish_non_exhaustive()
    }
}

/// A start of a node.
pub type Start = (NodeId, BootId);

/// This node's time as the leader of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// Up to which epoch it is known to go.
    pub epoch: LeaderEpoch,
    /// Since when (monotonic).
    pub since: Duration,
    /// Who led before, or all that may have.
    pub before: Arc<[Start]>,
}

impl Tenure {
    /// Whether whoever led before answers nothing any more. `has_stopped` says so of a start of a node.
    pub fn is_alone(
        &self,
        now: Duration,
        lease: Duration,
        has_stopped: impl Fn(NodeId, BootId) -> bool,
    ) -> bool {
        let has_waited = now.saturating_sub(self.since) >= lease;
        has_waited || self.before.iter().all(|(node, boot)| has_stopped(*node, *boot))
    }
}

/// All partitions that this node leads.
pub type Tenures = BTreeMap<PartitionIndex, Tenure>;

#[derive(Clone, Debug)]
enum Last {
    Us(Tenure),
    Other(Start),
    Unknown,
}

/// A partition, as an image has it.
#[derive(Clone, Copy, Debug)]
pub struct Led<'a> {
    /// The last epoch that was given.
    pub epoch: LeaderEpoch,
    /// Who leads, if somebody does.
    pub by: Option<Start>,
    /// All that keep it, as they are registered.
    pub replicas: &'a [Start],
}

/// What images have told of leaders, one after the other.
#[derive(Clone, Debug)]
pub struct Terms {
    us: NodeId,
    known: BTreeMap<PartitionIndex, (LeaderEpoch, Last)>,
}

impl Terms {
    /// Before the first image.
    pub fn new(us: NodeId) -> Self {
        Self { us, known: BTreeMap::new() }
    }

    /// An image says who leads a partition.
    pub fn saw(&mut self, now: Duration, partition: PartitionIndex, Led { epoch, by, replicas }: Led<'_>) {
        let before = self.known.remove(&partition);
        let is_first = before.is_none() && epoch <= LeaderEpoch::new(0);
        let is_next = |known: LeaderEpoch| epoch == known || epoch == known.next();
        let last = before.filter(|(known, _)| is_next(*known)).map(|(_, last)| last);
        let tenure = |before: &[Start]| Last::Us(Tenure { epoch, since: now, before: before.into() });
        let now_is = match (by, last) {
            (Some(start), _) if start.0 != self.us => Last::Other(start),
            // An opening of its own log, or again after nobody.
            (Some(_), Some(Last::Us(tenure))) => Last::Us(Tenure { epoch, ..tenure }),
            (Some(_), Some(Last::Other(start))) => tenure(&[start]),
            (Some(_), _) if is_first => tenure(&[]),
            (Some(_), _) => {
                let others = replicas.iter().filter(|(node, _)| *node != self.us).copied();
                tenure(&others.collect::<Vec<_>>())
            }
            (None, last) => last.unwrap_or(Last::Unknown),
        };
        self.known.insert(partition, (epoch, now_is));
    }

    /// Those that this node leads, or led last.
    pub fn tenures(&self) -> Tenures {
        let ours = |(partition, (_, last)): (&PartitionIndex, &(LeaderEpoch, Last))| match last {
            Last::Us(tenure) => Some((*partition, tenure.clone())),
            Last::Other(_) | Last::Unknown => None,
        };
        self.known.iter().filter_map(ours).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: NodeId = NodeId::new(1);
    const OTHER: NodeId = NodeId::new(2);
    const PARTITION: PartitionIndex = PartitionIndex::new(3);
    const LEASE: Duration = Duration::from_millis(1500);

    fn start(node: NodeId) -> Start {
        (node, BootId::from_bytes([node.get() as u8; 16]))
    }

    /// What is known after these leaders, a second apart.
    fn after(seen: &[(i32, Option<NodeId>)]) -> Option<Tenure> {
        let mut leaders = Terms::new(US);
        let replicas = [start(US), start(OTHER), start(NodeId::new(3))];
        for (second, (epoch, leader)) in seen.iter().enumerate() {
            let (epoch, by) = (LeaderEpoch::new(*epoch), leader.map(start));
            leaders.saw(
                Duration::from_secs(second as u64),
                PARTITION,
                Led { epoch, by, replicas: &replicas },
            );
        }
        leaders.tenures().remove(&PARTITION)
    }

    fn tenure(epoch: i32, second: u64, before: &[i32]) -> Tenure {
        let before = before.iter().map(|node| start(NodeId::new(*node))).collect();
        Tenure { epoch: LeaderEpoch::new(epoch), since: Duration::from_secs(second), before }
    }

    #[test]
    fn s20_a_successor_knows_whom_it_succeeds_and_since_when() {
        assert_eq!(after(&[(-1, Some(US)), (0, Some(US)), (1, Some(US))]), Some(tenure(1, 0, &[])));
        assert_eq!(after(&[(4, Some(OTHER)), (5, Some(US)), (6, Some(US))]), Some(tenure(6, 1, &[2])));
        assert_eq!(after(&[(4, Some(OTHER)), (5, None), (6, Some(US))]), Some(tenure(6, 2, &[2])));
        assert_eq!(after(&[(4, Some(OTHER)), (5, Some(US)), (6, Some(OTHER))]), None);
        let back = [(4, Some(OTHER)), (5, Some(US)), (6, None), (7, Some(US))];
        assert_eq!(after(&back), Some(tenure(7, 1, &[2])), "nobody was there in between");
    }

    #[test]
    fn s20_where_images_were_skipped_any_other_replica_may_have_led() {
        assert_eq!(after(&[(4, Some(US))]), Some(tenure(4, 0, &[2, 3])), "before this process");
        assert_eq!(after(&[(4, None), (5, Some(US))]), Some(tenure(5, 1, &[2, 3])));
        assert_eq!(after(&[(4, Some(OTHER)), (6, Some(US))]), Some(tenure(6, 1, &[2, 3])));
        assert_eq!(after(&[(0, Some(US)), (2, Some(US))]), Some(tenure(2, 1, &[2, 3])));
        assert_eq!(after(&[(0, Some(US)), (2, None), (3, Some(US))]), Some(tenure(3, 2, &[2, 3])));
    }

    #[test]
    fn s20_a_successor_waits_the_old_lease_out_unless_its_holder_has_stopped() {
        let since = Duration::from_secs(10);
        let (early, late) = (since + Duration::from_millis(1), since + LEASE);
        let two = tenure(5, 10, &[2, 3]);
        assert!(!two.is_alone(early, LEASE, |_, _| false) && two.is_alone(late, LEASE, |_, _| false));
        assert!(!two.is_alone(since, LEASE, |node, _| node == OTHER), "the third may have led");
        assert!(two.is_alone(since, LEASE, |node, boot| start(node) == (node, boot)));
        assert!(tenure(5, 10, &[]).is_alone(since, LEASE, |_, _| false), "nobody ever led before");
    }
}
