//! What the members of a group believe to own, put together: only from outside can it be seen that no two of them
//! own the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use polylogue::model::PartitionIndex;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// Longer than any session time-out here.
const SETTLED_WITHIN: Duration = Duration::from_mins(1);

/// Shared by the members of a group and who measures it.
pub(super) struct Owners(watch::Sender<State>);

#[derive(Default)]
struct State {
    members: BTreeMap<usize, Member>,
    failure: Option<String>,
    last_removed: Option<Instant>,
}

struct Member {
    /// The generation, or the epoch (KIP-848).
    generation: i32,
    partitions: BTreeSet<PartitionIndex>,
}

impl Owners {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// A member owns these and nothing else from now on.
    pub(super) fn set(&self, member: usize, generation: i32, partitions: BTreeSet<PartitionIndex>) {
        self.0.send_modify(|state| {
            if let Some(other) = state.other_owner(member, &partitions) {
                state.fail(format!("members {other} and {member} own the same of {partitions:?}"));
            }
            state.members.insert(member, Member { generation, partitions });
        });
    }

    /// A member owns nothing any more, or is none any more.
    pub(super) fn remove(&self, member: usize) {
        self.0.send_modify(|state| {
            state.members.remove(&member);
            state.last_removed = Some(Instant::now());
        });
    }

    /// When the last member gave everything back, which is when it heard of a rebalance of the classic protocol.
    pub(super) fn last_removed(&self) -> Option<Instant> {
        self.0.borrow().last_removed
    }

    /// Ends the waiting.
    pub(super) fn fail(&self, why: String) {
        self.0.send_modify(|state| state.fail(why));
    }

    /// Waits until `members` share all of `partitions`, each with at least one.
    pub(super) async fn shared(&self, members: usize, partitions: usize) -> Result<()> {
        self.until(|state| state.are_shared(members, partitions)).await
    }

    /// Waits until `members` are in one generation, whatever they own.
    pub(super) async fn together(&self, members: usize) -> Result<()> {
        self.until(|state| state.are_together(members)).await
    }

    async fn until(&self, mut come_true: impl FnMut(&State) -> bool) -> Result<()> {
        let mut state = self.0.subscribe();
        let waiting = state.wait_for(|state| state.failure.is_some() || come_true(state));
        let settled = timeout(SETTLED_WITHIN, waiting).await;
        let state = settled.with_context(|| format!("not settled within {SETTLED_WITHIN:?}"))??;
        match &state.failure {
            Some(failure) => bail!("{failure}"),
            None => Ok(()),
        }
    }
}

impl State {
    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    fn other_owner(&self, member: usize, partitions: &BTreeSet<PartitionIndex>) -> Option<usize> {
        let others = self.members.iter().filter(|(other, _)| **other != member);
        others
            .into_iter()
            .find(|(_, other)| !other.partitions.is_disjoint(partitions))
            .map(|(other, _)| *other)
    }

    /// They are disjoint, or there had been a failure.
    fn are_shared(&self, members: usize, partitions: usize) -> bool {
        let owned: usize = self.members.values().map(|member| member.partitions.len()).sum();
        let everybody_has_some = self.members.values().all(|member| !member.partitions.is_empty());
        self.members.len() == members && owned == partitions && everybody_has_some
    }

    fn are_together(&self, members: usize) -> bool {
        let generations: BTreeSet<i32> = self.members.values().map(|member| member.generation).collect();
        self.members.len() == members && generations.len() == 1
    }
}
