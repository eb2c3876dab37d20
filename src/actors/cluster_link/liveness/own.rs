//! The lease that this node holds itself, and the one that another can hold no more: pure, and by what voters have answered.
//!
//! Whoever answers by what only it knows (a group's coordinator) must not do so beside a successor (S20). A node that stood
//! still does not know that it was taken for dead. What it knows is which of its heartbeats were answered, and when it had
//! sent them: up to a lease after that the voter that answered has not called it silent. It holds its lease while this is
//! so of a majority. A voter that has it fenced renews nothing.
//!
//! A fence stands in the log of a majority, and every majority that answers meets that one: as soon as those who have the
//! entry know of it, the lease ends within its length. So does a successor wait, unless the other process is known to have
//! ended, or another start of it is registered, or too few voters are left that may have heard from it.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Answers, Cause, LeaseTable, Life, Voters};
use crate::{
    clock::Clock,
    model::{BootId, NodeId},
};

/// This node's own lease. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OwnLease {
    pub(in crate::actors::cluster_link) node: NodeId,
    pub(in crate::actors::cluster_link) length: Duration,
    pub(in crate::actors::cluster_link) answers: watch::Receiver<Arc<Answers>>,
    pub(in crate::actors::cluster_link) voters: watch::Receiver<Arc<Voters>>,
    pub(in crate::actors::cluster_link) clock: Arc<dyn Clock>,
}

impl OwnLease {
    /// Whether the node holds it now.
    pub fn is_held(&self) -> bool {
        let now = self.clock.monotonic();
        is_held(now, self.length, self.node, &self.voters.borrow(), &self.answers.borrow())
    }

    /// How long it is.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// The voters as this node knows them.
    pub fn voters(&self) -> Arc<Voters> {
        Arc::clone(&self.voters.borrow())
    }
}

/// Whether a majority of the voters holds the lease of `us`; of itself, a voter always does.
pub fn is_held(now: Duration, length: Duration, us: NodeId, voters: &Voters, answers: &Answers) -> bool {
    let holds = |voter: &&NodeId| {
        let renewed = |voter| answers.get(voter).filter(|answer| !answer.fenced);
        **voter == us || renewed(*voter).is_some_and(|answer| now < answer.sent.saturating_add(length))
    };
    voters.keys().filter(holds).count() >= majority(voters)
}

fn majority(voters: &Voters) -> usize {
    voters.len() / 2 + 1
}

/// What a node knows of another one.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The leases that it keeps; none, where it is no voter.
    pub leases: &'a LeaseTable,
    /// The voters.
    pub voters: &'a Voters,
    /// Itself.
    pub us: NodeId,
    /// The start under which the other one is registered.
    pub registered: Option<BootId>,
    /// The controller, where it has the other one fenced.
    pub fenced_by: Option<NodeId>,
}

impl Known<'_> {
    /// Whether this start of the node holds no lease, and can get none any more.
    pub fn is_over(&self, node: NodeId, boot: BootId) -> bool {
        if self.registered != Some(boot) {
            return true;
        }
        match self.leases.nodes.get(&node) {
            Some(lease) if lease.boot != boot => lease.is_alive(),
            Some(lease) => match lease.life {
                Life::Alive { .. } => false,
                Life::Dead { cause: Cause::Refused | Cause::Succeeded, .. } => true,
                Life::Dead { cause: Cause::Silent, .. } => self.is_out_of_reach(true),
            },
            None => self.is_out_of_reach(false),
        }
    }

    /// Whether those voters that may have heard from it within a lease are no majority: we and the controller have not.
    fn is_out_of_reach(&self, is_silent_here: bool) -> bool {
        let has_heard = |voter: &&NodeId| {
            let is_us = **voter == self.us && is_silent_here;
            self.fenced_by != Some(**voter) && !is_us
        };
        self.fenced_by.is_some() && self.voters.keys().filter(has_heard).count() < majority(self.voters)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{Answer, Beat, Lease},
        *,
    };
    use crate::config::node::HostPort;

    const LEASE: Duration = Duration::from_millis(1500);
    const US: NodeId = NodeId::new(1);
    const OTHER: NodeId = NodeId::new(2);

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn voters(ids: &[i32]) -> Voters {
        ids.iter().map(|id| (NodeId::new(*id), HostPort::new("h".to_owned(), 1))).collect()
    }

    fn answers(given: &[(i32, u64, bool)]) -> Answers {
        let answer = |sent, fenced| Answer { controller_epoch: 1, controller: None, fenced, sent: at(sent) };
        given.iter().map(|(id, sent, fenced)| (NodeId::new(*id), answer(*sent, *fenced))).collect()
    }

    fn held(now: u64, voters: &Voters, answers: &Answers) -> bool {
        is_held(at(now), LEASE, US, voters, answers)
    }

    #[test]
    fn s20_a_node_holds_its_lease_while_a_majority_has_heard_it_within_its_length() {
        let three = voters(&[1, 2, 3]);
        let one_answers = answers(&[(2, 1000, false)]);
        assert!(held(2499, &three, &one_answers), "a voter itself, and another one");
        assert!(!held(2500, &three, &one_answers));
        assert!(!held(1, &three, &answers(&[])), "alone it is no majority");
        assert!(held(1, &voters(&[1]), &answers(&[])), "as the only voter it is");
        assert!(!held(1, &voters(&[]), &answers(&[])), "nothing is known yet");

        let others = voters(&[2, 3, 4]);
        assert!(!held(1001, &others, &one_answers), "who is no voter needs two of three");
        assert!(held(2499, &others, &answers(&[(2, 1000, false), (4, 2000, false)])));
        assert!(
            !held(2500, &others, &answers(&[(2, 1000, false), (4, 2000, false)])),
            "the older one counts"
        );
    }

    #[test]
    fn s20_a_voter_that_has_the_node_fenced_renews_nothing_nor_does_one_that_was_a_voter() {
        let three = voters(&[1, 2, 3]);
        assert!(!held(1001, &three, &answers(&[(2, 1000, true)])));
        assert!(held(1001, &three, &answers(&[(2, 1000, true), (3, 1000, false)])));
        assert!(!held(1001, &three, &answers(&[(9, 1000, false)])));
    }

    fn boot(byte: u8) -> BootId {
        BootId::from_bytes([byte; 16])
    }

    fn table(of: u8, life: Life) -> LeaseTable {
        let lease = Lease { boot: boot(of), life, beat: Beat::default() };
        LeaseTable { nodes: BTreeMap::from([(OTHER, lease)]) }
    }

    fn over(leases: &LeaseTable, ids: &[i32], registered: u8, fenced_by: Option<i32>) -> bool {
        let voters = voters(ids);
        let (registered, fenced_by) = (Some(boot(registered)), fenced_by.map(NodeId::new));
        Known { leases, voters: &voters, us: US, registered, fenced_by }.is_over(OTHER, boot(7))
    }

    #[test]
    fn s20_a_process_that_ended_and_a_start_that_was_superseded_are_over_and_one_that_lives_is_not() {
        let dead = |cause| table(7, Life::Dead { since: at(1), cause });
        assert!(over(&dead(Cause::Refused), &[1, 2, 3], 7, None));
        assert!(over(&dead(Cause::Succeeded), &[1, 2, 3], 7, None));
        let alive = table(7, Life::Alive { since: at(1) });
        assert!(!over(&alive, &[1, 2, 3], 7, Some(3)));
        assert!(over(&alive, &[1, 2, 3], 8, None), "another start of it is registered");
        assert!(
            over(&table(8, Life::Alive { since: at(1) }), &[1, 2, 3], 7, None),
            "another start of it is heard"
        );
    }

    #[test]
    fn s20_one_that_is_silent_is_over_only_where_too_few_are_left_that_may_have_heard_it() {
        let silent = table(7, Life::Dead { since: at(1), cause: Cause::Silent });
        assert!(over(&silent, &[1, 2, 3], 7, Some(3)), "neither we nor the controller have");
        assert!(!over(&silent, &[1, 2, 3], 7, Some(1)), "it may hear from the third one, which is not asked");
        assert!(!over(&silent, &[1, 2, 3, 4, 5], 7, Some(3)));
        assert!(!over(&silent, &[1, 2, 3], 7, None), "nobody has fenced it");
        assert!(!over(&LeaseTable::default(), &[2, 3, 4], 7, Some(3)), "we are no voter");
    }
}
