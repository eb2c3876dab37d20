//! What followers report to a leader: the newest of each, behind one doorbell, however many frames they came in.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    actors::partition::core::{Session, in_sync::FollowerMoved},
    model::NodeId,
};

/// One thing that a follower, or its stream, has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors::partition) enum Report {
    /// It is so far.
    Moved(FollowerMoved),
    /// It has gone.
    Silent(NodeId, Session),
}

/// The newest position of a follower, and the subscription of which it was last said that it is over.
type Newest = (Option<FollowerMoved>, Option<Session>);

/// The newest reports of one leader's followers.
#[derive(Debug, Default)]
pub(in crate::actors::partition) struct Reports {
    newest: Mutex<BTreeMap<NodeId, Newest>>,
    ringing: AtomicBool,
}

impl Reports {
    /// Whether the leader has to be rung.
    pub(in crate::actors::partition) fn put(&self, report: Report) -> bool {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match report {
            // One of an earlier subscription may come late, from a stream that ends.
            Report::Moved(moved) => {
                let known = &mut newest.entry(moved.node).or_default().0;
                if known.is_none_or(|known| known.session <= moved.session) {
                    *known = Some(moved);
                }
            }
            Report::Silent(node, session) => {
                let known = &mut newest.entry(node).or_default().1;
                *known = (*known).max(Some(session));
            }
        }
        drop(newest);
        !self.ringing.swap(true, Ordering::AcqRel)
    }

    /// Takes all; what comes from now on rings again.
    pub(in crate::actors::partition) fn take(&self) -> Vec<Report> {
        self.ringing.store(false, Ordering::Release);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut *newest);
        drop(newest);
        let of_each = taken.into_iter().flat_map(|(node, (moved, silent))| {
            let moved = moved.map(Report::Moved);
            moved.into_iter().chain(silent.map(|session| Report::Silent(node, session)))
        });
        of_each.collect()
    }
}
