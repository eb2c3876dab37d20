//! Who leads, as far as this member knows, and what a new leader finds to finish.

use std::sync::Arc;

use openraft::{ServerState, raft::ClientWriteResponse};
use tokio::sync::watch;

use super::{
    Members,
    types::{Metrics, Raft, RaftNode, TypeConfig, member},
};
use crate::model::RaftId;

/// Who leads in which term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The term.
    pub term: u64,
    /// Who leads in it; `None` while nobody is known to, and while this member has not applied the term's first
    /// entry, and with it all that was committed before.
    pub leader: Option<(RaftId, RaftNode)>,
    /// Whether that is this member.
    pub is_self: bool,
}

impl Leadership {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let leads = metrics.state == ServerState::Leader;
        let has_begun = metrics.last_applied.is_some_and(|last| last.leader_id == metrics.vote.leader_id);
        let is_self = leads && has_begun && metrics.running_state.is_ok();
        let leader = if leads == is_self { leader_of(metrics) } else { None };
        Self { term: metrics.current_term, leader, is_self }
    }
}

pub(super) fn leader_of(metrics: &Metrics) -> Option<(RaftId, RaftNode)> {
    let id = metrics.current_leader?;
    metrics.membership_config.membership().get_node(&id).map(|node| member(id, node))
}

/// Whether there is nobody to hear a heartbeat, nor anybody else who could ask for votes.
fn leads_alone(metrics: &Metrics) -> bool {
    metrics.state == ServerState::Leader && metrics.membership_config.membership().nodes().count() == 1
}

/// Follows the metrics until the member ends. A leader that is alone keeps no time: it would only cost.
pub(super) async fn follow(raft: Raft, told: watch::Sender<Leadership>, roster: watch::Sender<Arc<Members>>) {
    let mut metrics = raft.metrics();
    loop {
        let (now, members) = {
            let metrics = metrics.borrow_and_update();
            raft.runtime_config().tick(!leads_alone(&metrics));
            (Leadership::of(&metrics), Members::roster(&metrics))
        };
        roster.send_if_modified(|before| {
            let has_changed = **before != members;
            if has_changed {
                *before = Arc::new(members);
            }
            has_changed
        });
        let begins = now.is_self && !told.borrow().is_self;
        told.send_if_modified(|before| {
            let has_changed = *before != now;
            *before = now;
            has_changed
        });
        if begins {
            tokio::spawn(finish_joint_change(raft.clone()));
        }
        if metrics.changed().await.is_err() {
            told.send_replace(Leadership::default());
            return;
        }
    }
}

/// An earlier leader may have been lost between the two steps of a change; its successor takes the second (S18).
async fn finish_joint_change(raft: Raft) {
    let wanted = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow();
        let configs = metrics.membership_config.membership().get_joint_config();
        if configs.len() < 2 {
            return;
        }
        configs.last().cloned().unwrap_or_default()
    };
    tracing::info!(voters = ?wanted, "finishing a change of the metadata quorum's voters");
    let done: Result<ClientWriteResponse<TypeConfig>, _> = raft.change_membership(wanted, false).await;
    if let Err(error) = done {
        // The next leader tries again.
        tracing::warn!(%error, "the change of the metadata quorum's voters was not finished");
    }
}
