//! A leader's book of who counts: the set as the cluster has it, what was proposed to change it, and how far each
//! follower is.
//!
//! **Invariants.**
//! - What counts is the maximal set (S2): whoever is in the committed set, or in a proposal that may still be
//!   applied. A proposal is over once the partition's epoch has gone beyond the one that it expects, or it was
//!   answered; an unknown outcome is no answer.
//! - At most one proposal is on its way. One whose outcome is unknown is settled by the next, which expects the same
//!   partition epoch: once the partition has a later one, the first can no longer be applied. So a proposal is made again
//!   even where it changes nothing, and the controller raises the epoch for it.
//! - A follower's position counts for the subscription that it belongs to, and goes back with a new one alone.

use std::time::Duration;

use super::{Session, Subscription, counted};
use crate::{
    config::topic::Durability,
    model::{BrokerEpoch, LeaderEpoch, NodeId, Offset},
};

/// A partition as an image of the metadata has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// Raised by each change of the partition.
    pub partition_epoch: i32,
    /// The last leader epoch that was given.
    pub leader_epoch: LeaderEpoch,
    /// Who keeps it.
    pub replicas: Vec<NodeId>,
    /// Who has all that was acknowledged.
    pub in_sync: Vec<NodeId>,
    /// Who is outside of that set and still has all that was acknowledged (KIP-966).
    pub electable: Vec<NodeId>,
    /// All of them have it on disk, and so stay who they are over a power cut (S11). A topic that becomes `disk` is not
    /// yet that: its leader says when it is.
    pub on_disk: bool,
}

/// A member of a proposed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// The registration that the leader knows it by: another one is another log (KIP-903). -1 for a member that
    /// was in the set before and has not been heard of in this epoch.
    pub broker_epoch: BrokerEpoch,
}

/// What the leader proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetChange {
    /// Names it in the answer.
    pub id: u64,
    /// Applied only if the partition is still there.
    pub expected_partition_epoch: i32,
    /// The whole new set.
    pub in_sync: Vec<Member>,
    /// Each member has on disk what was ever acknowledged.
    pub on_disk: bool,
}

/// What came of a proposal. It is sent once: whoever sends it again on its own makes an answer mean less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetAnswer {
    /// It is applied, and this is the partition now.
    Done(PartitionState),
    /// It was not and will not be applied; with the partition as it is, where the controller said so.
    Refused(Option<PartitionState>),
    /// No answer came.
    Unknown,
}

/// How far a follower is.
#[derive(Clone, Debug)]
struct Follower {
    node: NodeId,
    broker_epoch: BrokerEpoch,
    session: Option<Session>,
    /// Its subscription stands.
    live: bool,
    appended: Offset,
    flushed: Offset,
    /// When it last had all that the leader had.
    caught_up: Duration,
    /// Where the leader's end was at some time since: a follower that comes there had all of that time.
    mark: (Offset, Duration),
    /// In the maximal set.
    counts: bool,
}

impl Follower {
    fn held(&self, durability: Durability) -> Offset {
        counted(durability, self.appended, self.flushed)
    }

    fn note_time(&mut self, durability: Durability, log_end: Offset, now: Duration) {
        let held = self.held(durability);
        if held >= self.mark.0 {
            self.caught_up = self.caught_up.max(self.mark.1);
            self.mark = (log_end, now);
        }
        if held >= log_end {
            self.caught_up = self.caught_up.max(now);
        }
    }
}

/// A follower, for whoever shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerPosition {
    /// The node.
    pub node: NodeId,
    /// What it has.
    pub appended: Offset,
    /// What it has on disk.
    pub flushed: Offset,
    /// It is subscribed.
    pub live: bool,
    /// It counts for the watermark.
    pub counts: bool,
}

/// What a decision about the set is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    pub(super) durability: Durability,
    pub(super) log_end: Offset,
    /// What this replica holds itself.
    pub(super) own: Offset,
    /// Who joins has to hold this (S3).
    pub(super) join_at: Offset,
}

/// The book.
#[derive(Debug)]
pub(super) struct InSync {
    me: NodeId,
    epoch: LeaderEpoch,
    lag_time_max: Duration,
    state: PartitionState,
    followers: Vec<Follower>,
    on_its_way: Option<SetChange>,
    /// Members of proposals whose outcome is unknown; all of them expect the partition as it is known here.
    in_doubt: Vec<NodeId>,
    next_id: u64,
    /// The last proposal came to nothing: the next one waits for the time to pass or the state to change.
    rests: bool,
}

impl InSync {
    /// At the beginning of an epoch nobody's position is known, and nobody is late. `begins` is the log's end then.
    pub(super) fn new(
        me: NodeId,
        epoch: LeaderEpoch,
        state: PartitionState,
        lag_time_max: Duration,
        begins: (Offset, Duration),
    ) -> Self {
        let mut book = Self {
            me,
            epoch,
            lag_time_max,
            state,
            followers: Vec::new(),
            on_its_way: None,
            in_doubt: Vec::new(),
            next_id: 0,
            rests: false,
        };
        book.count(begins);
        book
    }

    /// The set as committed, as far as it is known here.
    pub(super) fn committed(&self) -> usize {
        self.state.in_sync.len()
    }

    pub(super) fn partition_epoch(&self) -> i32 {
        self.state.partition_epoch
    }

    pub(super) fn is_replica(&self, node: NodeId) -> bool {
        node != self.me && self.state.replicas.contains(&node)
    }

    /// Whether this follower may be chosen to lead, for all that is known: then it has whatever was promised. A set from
    /// before the epoch rules out nobody.
    pub(super) fn may_lead(&self, node: NodeId) -> bool {
        let counts = |follower: &Follower| follower.node == node && follower.counts;
        self.state.leader_epoch != self.epoch
            || self.state.electable.contains(&node)
            || self.followers.iter().any(counts)
    }

    /// Whether the watermark may move at all: the set is one of this very epoch, large enough, and nobody outside
    /// of it may lead (S10). More than there are replicas cannot be waited for (KIP-966). What stood in an image before the epoch was given may lack somebody whom an earlier
    /// leader had proposed (S2).
    pub(super) fn may_advance(&self, min_in_sync: usize) -> bool {
        self.state.leader_epoch == self.epoch
            && self.committed() >= min_in_sync.min(self.state.replicas.len())
            && self.state.electable.is_empty()
            && self.state.in_sync.contains(&self.me)
    }

    /// What every other member of the maximal set holds.
    pub(super) fn held_by_others(&self, durability: Durability) -> Offset {
        let counting = self.followers.iter().filter(|follower| follower.counts);
        counting.map(|follower| follower.held(durability)).min().unwrap_or(Offset::MAX)
    }

    pub(super) fn positions(&self) -> impl Iterator<Item = FollowerPosition> + '_ {
        self.followers.iter().map(|follower| FollowerPosition {
            node: follower.node,
            appended: follower.appended,
            flushed: follower.flushed,
            live: follower.live,
            counts: follower.counts,
        })
    }

    /// Takes what an image or an answer says, if it is later than what is known; says whether it was.
    pub(super) fn adopt(&mut self, state: PartitionState, begins: (Offset, Duration)) -> bool {
        if state.partition_epoch <= self.state.partition_epoch {
            return false;
        }
        // Whatever was proposed expects an epoch that is gone.
        self.state = state;
        self.on_its_way = None;
        self.in_doubt.clear();
        self.rests = false;
        self.count(begins);
        true
    }

    pub(super) fn answered(&mut self, id: u64, answer: SetAnswer, begins: (Offset, Duration)) -> bool {
        let is_it = |change: &mut SetChange| change.id == id;
        match answer {
            SetAnswer::Done(state) => {
                let done = self.on_its_way.take_if(is_it);
                self.rests |= done.is_some();
                let adopted = self.adopt(state, begins);
                if !adopted {
                    // Whoever answers had an older image: what was done is not known before a later one comes.
                    self.doubt(done);
                }
                self.count(begins);
                adopted
            }
            SetAnswer::Refused(state) => {
                self.rests |= self.on_its_way.take_if(is_it).is_some();
                let adopted = state.is_some_and(|state| self.adopt(state, begins));
                self.count(begins);
                adopted
            }
            SetAnswer::Unknown => {
                let lost = self.on_its_way.take_if(is_it);
                self.rests |= lost.is_some();
                self.doubt(lost);
                false
            }
        }
    }

    fn doubt(&mut self, change: Option<SetChange>) {
        for Member { node, .. } in change.into_iter().flat_map(|change| change.in_sync) {
            if !self.in_doubt.contains(&node) {
                self.in_doubt.push(node);
            }
        }
    }

    /// A follower's log is, or is not, a beginning of ours. Refused where a later subscription has come before.
    pub(super) fn subscribed(
        &mut self,
        asked: &Subscription,
        follows: bool,
        begins: (Offset, Duration),
    ) -> bool {
        let Some(follower) = self.followers.iter_mut().find(|follower| follower.node == asked.node) else {
            return false;
        };
        let known = follower.session.map(|session| (follower.broker_epoch, session));
        if known.is_some_and(|known| known > (asked.broker_epoch, asked.session)) {
            return false;
        }
        follower.broker_epoch = asked.broker_epoch;
        follower.session = Some(asked.session);
        follower.live = follows;
        // What is going to be cut holds nothing.
        follower.appended = if follows { asked.end } else { Offset::ZERO };
        follower.flushed = if follows { asked.flushed } else { Offset::ZERO };
        follower.mark = begins;
        true
    }

    pub(super) fn moved(&mut self, at: &FollowerMoved, measure: &Measure, now: Duration) -> bool {
        let Some(follower) = self.subscriber(at.node, at.session) else { return false };
        follower.appended = follower.appended.max(at.appended);
        follower.flushed = follower.flushed.max(at.flushed);
        follower.note_time(measure.durability, measure.log_end, now);
        true
    }

    pub(super) fn silent(&mut self, node: NodeId, session: Session) {
        if let Some(follower) = self.subscriber(node, session) {
            follower.live = false;
        }
    }

    fn subscriber(&mut self, node: NodeId, session: Session) -> Option<&mut Follower> {
        let is_it = |follower: &&mut Follower| follower.node == node && follower.session == Some(session);
        self.followers.iter_mut().find(is_it).filter(|follower| follower.live)
    }

    /// Time has passed: who has nothing to catch up with is not late, and whoever waits for a rest has had it.
    pub(super) fn tick(&mut self, measure: &Measure, now: Duration) {
        self.rests = false;
        for follower in &mut self.followers {
            follower.note_time(measure.durability, measure.log_end, now);
        }
    }

    /// Whether time alone may change the set.
    pub(super) fn wants_tick(&self, measure: &Measure) -> bool {
        let is_behind = |follower: &Follower| {
            self.state.in_sync.contains(&follower.node) && follower.held(measure.durability) < measure.log_end
        };
        let to_prove = measure.durability == Durability::Disk && !self.state.on_disk;
        to_prove || self.rests || !self.in_doubt.is_empty() || self.followers.iter().any(is_behind)
    }

    /// The change that is due, if any may be proposed now. `now` where followers may be found late.
    pub(super) fn propose(&mut self, measure: &Measure, now: Option<Duration>) -> Option<SetChange> {
        let is_ours = self.state.leader_epoch == self.epoch && self.state.in_sync.contains(&self.me);
        if self.rests || !is_ours || self.on_its_way.is_some() {
            return None;
        }
        let in_sync = self.wanted(measure, now);
        let on_disk = self.is_on_disk(&in_sync, measure);
        let is_changed = in_sync.len() != self.committed()
            || in_sync.iter().any(|member| !self.state.in_sync.contains(&member.node))
            || (on_disk && !self.state.on_disk);
        if !is_changed && (self.in_doubt.is_empty() || now.is_none()) {
            return None;
        }
        self.next_id += 1;
        let expected_partition_epoch = self.state.partition_epoch;
        let change = SetChange { id: self.next_id, expected_partition_epoch, in_sync, on_disk };
        self.on_its_way = Some(change.clone());
        self.count((measure.log_end, now.unwrap_or_default()));
        Some(change)
    }

    /// The committed set without those who are late, and with those who may join.
    fn wanted(&self, measure: &Measure, now: Option<Duration>) -> Vec<Member> {
        let of_me = Member { node: self.me, broker_epoch: BrokerEpoch::new(-1) };
        let mut wanted = vec![of_me];
        for follower in &self.followers {
            let stays = if self.state.in_sync.contains(&follower.node) {
                now.is_none_or(|now| now.saturating_sub(follower.caught_up) <= self.lag_time_max)
            } else {
                self.may_join(follower, measure)
            };
            if stays {
                let broker_epoch = follower.session.map(|_| follower.broker_epoch);
                let broker_epoch = broker_epoch.unwrap_or(BrokerEpoch::new(-1));
                wanted.push(Member { node: follower.node, broker_epoch });
            }
        }
        wanted
    }

    fn may_join(&self, follower: &Follower, measure: &Measure) -> bool {
        follower.live
            && self.state.replicas.contains(&follower.node)
            && follower.held(measure.durability) >= measure.join_at
    }

    /// Whether each of them has on disk what any leader up to this one can have acknowledged, and so has everybody
    /// else who may lead, or may do so once this very change has put him out of the set (KIP-966).
    fn is_on_disk(&self, members: &[Member], measure: &Measure) -> bool {
        let holds = |node: NodeId| {
            let of_it = self.followers.iter().find(|follower| follower.node == node);
            let held = of_it.map(|follower| follower.held(measure.durability));
            held.or((node == self.me).then_some(measure.own)).is_some_and(|held| held >= measure.join_at)
        };
        let may_lead = self.state.in_sync.iter().chain(&self.state.electable).copied();
        measure.durability == Durability::Disk
            && members.iter().map(|member| member.node).chain(may_lead).all(holds)
    }

    /// Sets anew who counts (S2).
    fn count(&mut self, begins: (Offset, Duration)) {
        let Self { me, state, followers, on_its_way, in_doubt, .. } = self;
        let on_its_way = on_its_way.iter().flat_map(|change| change.in_sync.iter().map(|member| member.node));
        let proposed: Vec<NodeId> = on_its_way.chain(in_doubt.iter().copied()).collect();
        let counts = |node: &NodeId| state.in_sync.contains(node) || proposed.contains(node);
        let known = state.replicas.iter().chain(&state.in_sync).chain(&proposed);
        followers.retain(|follower| known.clone().any(|node| *node == follower.node));
        for node in known.filter(|node| **node != *me) {
            if followers.iter().all(|follower| follower.node != *node) {
                followers.push(Follower {
                    node: *node,
                    broker_epoch: BrokerEpoch::new(-1),
                    session: None,
                    live: false,
                    appended: Offset::ZERO,
                    flushed: Offset::ZERO,
                    caught_up: begins.1,
                    mark: begins,
                    counts: false,
                });
            }
        }
        for follower in followers.iter_mut() {
            follower.counts = counts(&follower.node);
        }
    }
}

/// A follower's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerMoved {
    /// Who.
    pub node: NodeId,
    /// The subscription that it belongs to.
    pub session: Session,
    /// What it has.
    pub appended: Offset,
    /// What it has on disk.
    pub flushed: Offset,
}
