//! Takes the lead over from a member whose process is known to be gone, without waiting until it is missed.
//!
//! A voter grants no vote while it may still be led: for the longest election time-out after it last heard of its leader, whatever
//! it knows of it otherwise. It is out of that once it asks for votes itself, and of two who ask in one term the one with the higher id
//! gets both votes, if its log is no shorter. So all ask at once, the one with the highest id a moment later than the others, and
//! all ask again, in a higher term and after a random time, while that has not led to a leader.
//!
//! This is haste and no more: an election is what it always is, and a false alarm costs a change of leaders.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Quorum, types::Metrics};
use crate::model::NodeId;

/// What the highest id leaves the others, so that they know of the death too when it asks them.
const HEAD_START: Duration = Duration::from_millis(10);
/// How long the first election may take before another is begun, as a part of what a silent leader is given: at least this, and
/// at most twice as long (60 to 120 ms, as it comes). It takes four syncs, one after the other, so each further one may take twice
/// as long as the one before: a disk that is slow would never get to the end of one.
const FIRST_ELECTION: f64 = 0.3;
/// From then on the usual time-outs have to do.
const ELECTIONS_MAX: u32 = 4;

impl Quorum {
    /// Asks for votes if `gone` leads, as far as this member knows; ends when somebody else does, or after some attempts. To be
    /// called on all voters that know that the node's process has ended.
    pub async fn succeed(&self, gone: NodeId) {
        let raft = &self.inner.raft;
        let mut metrics = raft.metrics();
        let Some(head_start) = self.metrics(|metrics| head_start(metrics, self.inner.id.get(), gone)) else {
            return;
        };
        sleep(head_start).await;
        for attempt in 0..ELECTIONS_MAX {
            if !is_without_leader(&metrics.borrow_and_update(), gone) || raft.trigger().elect().await.is_err()
            {
                return;
            }
            let first = self.inner.pace.election_timeout.mul_f64(FIRST_ELECTION);
            let patience = (first * 2_u32.pow(attempt)).mul_f64(1.0 + fastrand::f64());
            let elected = metrics.wait_for(|metrics| !is_without_leader(metrics, gone));
            let _or_another = timeout(patience, elected).await;
        }
    }
}

/// How long this member leaves the others; `None` if it has no leader to succeed, or no vote.
fn head_start(metrics: &Metrics, us: u64, gone: NodeId) -> Option<Duration> {
    let membership = metrics.membership_config.membership();
    let leader = metrics.current_leader.filter(|id| leads_as(metrics, *id, gone))?;
    let mut others = membership.voter_ids().filter(|id| *id != leader && *id != us);
    let votes = membership.voter_ids().any(|id| id == us);
    votes.then(|| if others.any(|id| id > us) { Duration::ZERO } else { HEAD_START })
}

fn leads_as(metrics: &Metrics, leader: u64, node: NodeId) -> bool {
    metrics.membership_config.membership().get_node(&leader).is_some_and(|member| member.node == node)
}

/// Also while there is an election.
fn is_without_leader(metrics: &Metrics, gone: NodeId) -> bool {
    metrics.running_state.is_ok() && metrics.current_leader.is_none_or(|id| leads_as(metrics, id, gone))
}
