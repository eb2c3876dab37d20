//! What a coordinator decides, without a clock, a file or a runtime.
//!
//! [`Coordinator::step`] takes a request or the passing of time and says what is to be written and who is to be
//! answered what, in this order. State changes at once, ahead of the disk: whoever carries the effects out gives an
//! answer only when everything that was to be written before it is on disk, so nobody hears of a state that a
//! crash could undo. When a write fails the whole coordinator is thrown away and read from the log again.

mod administration;
mod attempts;
mod classic;
mod commits;
pub mod consumer;
mod delivery;
mod exclusive;
mod group;
mod holdings;
mod image;
mod joining;
mod member;
mod nacks;
mod offsets;
mod request;
mod requests;
pub mod stored;
mod survey;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use self::{
    attempts::Loss,
    classic::Classic,
    consumer::{Consumer, stored::Fact},
    group::{Group, Protocol},
    member::own,
    stored::{GroupKey, Stored},
};
pub use self::{
    attempts::{AskServed, Attempted, Buried, Cause, DeadLetter, Place, failed_at},
    image::{Image, TopicImage},
    offsets::Committed,
    request::{
        Answer, Caller, Commit, CommitTopic, FetchOffsets, ListFilter, Partitions, PerPartition, Request,
    },
    survey::{Survey, Surveyed},
};
use super::error::Refusal;
use crate::{
    actors::group_coordinator::assignor::Assignor,
    config::node::GroupSettings,
    model::{TimestampMs, TopicId},
    wire::Str,
};

/// Both clocks, read at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Measures waits.
    pub monotonic: Duration,
    /// Stamps what is written.
    pub wall: TimestampMs,
}

/// Names a request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Append this to the log.
    Write(Stored),
    /// Answer, once all that is to be written before is on disk.
    Answer(Ticket, Answer),
    /// Refuse, at once.
    Refuse(Ticket, Refusal),
    /// Ask the partition's leader, and tell [`Coordinator::served`], also that there is no answer: until then nobody is
    /// told the group's position there.
    AskServed(AskServed),
    /// Get a producer that the record is written to the dead letters by, however long that takes, and tell
    /// [`Coordinator::marked`].
    Mark(DeadLetter),
    /// Append the record to the topic of dead letters, once all that is to be written before is on disk and however long
    /// it takes, and tell [`Coordinator::buried`].
    Bury(DeadLetter),
    /// Leave the record of that partition where it is.
    Spare {
        /// The group.
        group: Str,
        /// The partition.
        place: Place,
    },
    /// Say that nothing of the group becomes a dead letter any more.
    DeadLettersStopped {
        /// The group.
        group: Str,
        /// The partition with too many in a row.
        place: Place,
    },
    /// Say that the partition does not stand in the way any more.
    DeadLettersGoOn {
        /// The group.
        group: Str,
        /// The partition.
        place: Place,
    },
}

/// What has been counted since it was last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rebalances that have begun.
    pub rebalances: u64,
    /// Members that were given up because they said nothing.
    pub lost_members: u64,
    /// Offsets that were forgotten because their time was up.
    pub expired_offsets: u64,
    /// Offsets that were committed.
    pub commits: u64,
    /// Deliveries that have failed: owners that were lost over a record, and nacks.
    pub attempts: u64,
    /// Records that have become dead letters.
    pub dead_letters: u64,
}

/// How many groups there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Groups.
    pub groups: usize,
    /// Their members.
    pub members: usize,
    /// Partitions of topics that members subscribe to and that no member owns.
    pub unowned: usize,
    /// Partitions whose failures have stopped the dead letters of their group.
    pub stopped: usize,
}

/// What a step has at hand.
struct Cx<'a> {
    now: Now,
    settings: &'a GroupSettings,
    image: &'a Image,
    effects: &'a mut Vec<Effect>,
    rebalances: u64,
    lost: u64,
    /// Owners that are lost.
    losses: Vec<Loss>,
    /// Somebody owns something else than before.
    owners_changed: bool,
    /// It was but a sign of life: nothing is due earlier than before, unless this is.
    lives_until: Option<Duration>,
}

impl<'a> Cx<'a> {
    fn new(now: Now, settings: &'a GroupSettings, image: &'a Image, effects: &'a mut Vec<Effect>) -> Self {
        let (rebalances, lost, losses, owners_changed, lives_until) = (0, 0, Vec::new(), false, None);
        Self { now, settings, image, effects, rebalances, lost, losses, owners_changed, lives_until }
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.effects.push(Effect::Answer(ticket, answer));
    }

    fn write(&mut self, stored: Stored) {
        self.effects.push(Effect::Write(stored));
    }

    /// Without a heartbeat for so long a member whose partitions the coordinator assigns counts as dead.
    fn consumer_session(&self, group: &Str) -> Duration {
        self.image.group(group).consumer_session_timeout
    }

    /// When such a member is to send a heartbeat again.
    fn consumer_heartbeat_ms(&self, group: &Str) -> i32 {
        member::millis(self.image.group(group).consumer_heartbeat_interval)
    }

    fn consumer_max_size(&self) -> usize {
        self.settings.consumer.max_size as usize
    }

    /// Of groups whose members want none.
    fn default_assignor(&self) -> Assignor {
        let named = self.settings.consumer.assignors.first();
        named.and_then(|name| name.parse().ok()).unwrap_or(Assignor::ALL[0])
    }
}

/// The groups of one partition of `__consumer_offsets`.
#[derive(Clone, Debug, Default)]
pub struct Coordinator {
    settings: GroupSettings,
    image: Arc<Image>,
    groups: BTreeMap<Str, Group>,
    /// When which group is to be looked at; may be too early, never too late.
    checks: BTreeSet<(Duration, Str)>,
    /// Of all groups together.
    members: usize,
    unowned: usize,
    /// Of all groups together: partitions whose failures have stopped dead letters.
    stopped: usize,
    /// What a predecessor had given up is on its way again.
    resumed: bool,
    counts: Counts,
}

impl Coordinator {
    /// One that knows no group.
    pub fn new(settings: GroupSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// What the log said next, from its beginning on.
    pub fn load(&mut self, stored: Stored) {
        match stored {
            Stored::Offset { key, value } => {
                if value.is_none() && !self.groups.contains_key(&key.group) {
                    return;
                }
                self.found(&key.group, TimestampMs::NONE);
                if let Some(group) = self.groups.get_mut(&key.group) {
                    group.offsets.load(&key.topic, key.partition, value);
                }
            }
            Stored::Attempts { key, value } => {
                if value.is_some() {
                    self.found(&key.group, TimestampMs::NONE);
                }
                if let Some(group) = self.groups.get_mut(&key.group) {
                    group.attempts.load(&(key.topic, key.partition), value);
                }
            }
            Stored::ClassicGroup { key: GroupKey { group: id }, value } => {
                if value.is_some() {
                    self.found(&id, TimestampMs::NONE);
                }
                let Some(group) = self.groups.get_mut(&id) else { return };
                if value.is_none() && matches!(group.protocol, Protocol::Consumer(_)) {
                    // It was of the classic protocol once.
                    return;
                }
                let id = group.id.clone();
                group.protocol = Protocol::Classic(Box::new(match value {
                    Some(value) => Classic::of_value(id, &value),
                    None => Classic::new(id, TimestampMs::NONE),
                }));
            }
            Stored::Consumer(fact) => self.load_fact(fact),
        }
    }

    fn load_fact(&mut self, fact: Fact) {
        if !fact.is_tombstone() {
            self.found(fact.group(), TimestampMs::NONE);
        }
        let Some(group) = self.groups.get_mut(fact.group()) else { return };
        if !fact.is_tombstone() && matches!(group.protocol, Protocol::Classic(_)) {
            group.protocol = Protocol::Consumer(Consumer::new(group.id.clone()));
        }
        if let Protocol::Consumer(consumer) = &mut group.protocol {
            consumer.load(fact);
        }
    }

    /// The log is at its end: members of before have as long as any to say that they live.
    pub fn loaded(&mut self, now: Now) {
        self.groups.retain(|_, group| group.is_known());
        self.members = self.groups.values().map(Group::members).sum();
        let ids: Vec<_> = self.groups.keys().cloned().collect();
        for id in ids {
            if let Some(group) = self.groups.get_mut(&id) {
                group.loaded(now);
            }
            self.arm(&id);
        }
    }

    /// How many groups and members there are.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            groups: self.groups.len(),
            members: self.members,
            unowned: self.unowned,
            stopped: self.stopped,
        }
    }

    /// What has been counted since this was last called.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// When [`Self::tick`] has something to do, at the earliest.
    pub fn next_tick(&self) -> Option<Duration> {
        self.checks.first().map(|(at, _)| *at)
    }

    /// Does what time demands.
    pub fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some((at, id)) = self.checks.first().cloned() {
            if at > now.monotonic {
                break;
            }
            self.checks.remove(&(at, id.clone()));
            if let Some(group) = self.groups.get_mut(&id) {
                group.check = None;
            }
            self.with_group(&id, now, effects, Group::check);
        }
    }

    /// Forgets offsets whose time is up, and groups that have nothing left.
    pub fn sweep(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let (settings, mut expired) = (&self.settings, 0);
        for group in self.groups.values_mut() {
            if !group.is_empty() {
                continue;
            }
            let since = group.empty_since();
            group.offsets.forget(
                &group.id,
                |_, _, committed| committed.has_expired(since, settings, now.wall),
                |stored| {
                    expired += 1;
                    effects.push(Effect::Write(stored));
                },
            );
        }
        self.counts.expired_offsets += expired;
        self.sweep_attempts(now, effects);
        self.drop_those_with_nothing(effects);
    }

    /// What holds outside of the groups from now on.
    pub fn set_image(&mut self, now: Now, image: Arc<Image>, effects: &mut Vec<Effect>) {
        let other_limits = !self.image.limited().eq(image.limited());
        self.image = image;
        if other_limits {
            self.limits_changed(now, effects);
        }
        self.follow_image(now, effects);
        self.resumed = true;
    }

    /// Forgets offsets of topics that are gone.
    pub fn topics_deleted(&mut self, gone: &BTreeSet<TopicId>, effects: &mut Vec<Effect>) {
        for Group { id, offsets, attempts, .. } in self.groups.values_mut() {
            let of_gone = |_: &Str, _, committed: &Committed| gone.contains(&committed.topic);
            offsets.forget(id, of_gone, |stored| effects.push(Effect::Write(stored)));
            attempts.forget(id, |topic, _, _| gone.contains(&topic), effects);
        }
        self.count_stopped();
    }

    fn drop_those_with_nothing(&mut self, effects: &mut Vec<Effect>) {
        self.groups.retain(|_, group| {
            let stays = !group.is_empty() || group.keeps_anything();
            if !stays {
                effects.extend(group.tombstones().into_iter().map(Effect::Write));
            }
            stays
        });
    }

    /// Carries out a request; its answer is among the effects, now or later.
    pub fn step(
        &mut self,
        now: Now,
        ticket: Ticket,
        caller: &Caller,
        request: Request,
        effects: &mut Vec<Effect>,
    ) {
        match request {
            Request::Join(request) => self.on_join(now, ticket, caller, &request, effects),
            Request::Sync(request) => self.on_sync(now, ticket, &request, effects),
            Request::Heartbeat(request) => self.on_heartbeat(now, ticket, &request, effects),
            Request::Leave(request) => self.on_leave(now, ticket, caller, request, effects),
            Request::ConsumerHeartbeat(request) => {
                self.on_consumer_heartbeat(now, ticket, caller, &request, effects);
            }
            Request::Commit(commit) => self.on_commit(now, ticket, caller.version, commit, effects),
            Request::Nack(commit) => self.on_nack(now, ticket, caller.version, commit, effects),
            Request::FetchOffsets(fetch) if self.is_held(&fetch) => {
                effects.push(Effect::Refuse(ticket, Refusal::Loading));
            }
            Request::FetchOffsets(fetch) => {
                let offsets = self.fetch_offsets(fetch);
                effects.push(Effect::Answer(ticket, Answer::Offsets(offsets)));
            }
            Request::Attempts { group } => {
                let attempted = self.groups.get(&group).map(|group| group.attempts.told());
                effects.push(Effect::Answer(ticket, Answer::Attempts(attempted.unwrap_or_default())));
            }
            Request::DeleteOffsets { group, topics } => {
                let outcome = self.delete_offsets(&group, topics, effects);
                effects.push(Effect::Answer(ticket, Answer::DeleteOffsets(outcome)));
            }
            Request::Describe { group } => {
                let described = self.describe(group, caller.version);
                effects.push(Effect::Answer(ticket, Answer::Describe(described)));
            }
            Request::ConsumerDescribe { group } => {
                let described = self.describe_consumer(group);
                effects.push(Effect::Answer(ticket, Answer::ConsumerDescribe(described)));
            }
            Request::List(filter) => {
                effects.push(Effect::Answer(ticket, Answer::List(self.list(&filter))));
            }
            Request::Delete { group } => {
                let code = self.delete(&group, effects);
                effects.push(Effect::Answer(ticket, Answer::Delete(code)));
            }
        }
    }

    /// Makes a group where there is none of this id.
    fn found(&mut self, id: &Str, now: TimestampMs) {
        if !self.groups.contains_key(id) {
            let id = own(id);
            self.groups.insert(id.clone(), Group::new(id, now));
        }
    }

    fn with_group(
        &mut self,
        id: &Str,
        now: Now,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut Group, &mut Cx<'_>),
    ) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let mut cx = Cx::new(now, &self.settings, &self.image, effects);
        let before = (group.members(), group.unowned());
        change(group, &mut cx);
        let Cx { effects, rebalances, lost, losses, owners_changed, lives_until, .. } = cx;
        group.settle_owners(now, &losses, owners_changed, &self.image, effects);
        self.members = (self.members + group.members()).saturating_sub(before.0);
        self.unowned = (self.unowned + group.unowned()).saturating_sub(before.1);
        self.counts.rebalances += rebalances;
        self.counts.lost_members += lost;
        match lives_until {
            Some(until) => self.arm_by(id, until),
            None => self.arm(id),
        }
    }

    /// Sees to it that the group is looked at in time; looks at all of its members for that.
    fn arm(&mut self, id: &Str) {
        if let Some(next) = self.groups.get(id).and_then(Group::next_check) {
            self.arm_by(id, next);
        }
    }

    /// Sees to it that the group is looked at by then, unless that is never.
    fn arm_by(&mut self, id: &Str, next: Duration) {
        let Some(group) = self.groups.get_mut(id).filter(|_| next < Duration::MAX) else { return };
        if group.check.is_none_or(|check| next < check) {
            let id = group.id.clone();
            if let Some(check) = group.check.replace(next) {
                self.checks.remove(&(check, id.clone()));
            }
            self.checks.insert((next, id));
        }
    }
}
