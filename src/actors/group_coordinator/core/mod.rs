//! What a coordinator decides, without a clock, a file or a runtime.
//!
//! [`Coordinator::step`] takes a request or the passing of time and says what is to be written and who is to be
//! answered what, in this order. State changes at once, ahead of the disk: whoever carries the effects out gives an
//! answer only when everything that was to be written before it is on disk, so nobody hears of a state that a
//! crash could undo. When a write fails the whole coordinator is thrown away and read from the log again.

mod classic;
mod joining;
mod member;
mod offsets;
mod request;
pub mod stored;
mod survey;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use self::{
    classic::{CONSUMER, Classic, heartbeat_answer, join_refused, sync_refused},
    member::{duration, own},
    offsets::Offsets,
    stored::{GroupKey, Stored},
};
pub use self::{
    offsets::Committed,
    request::{
        Answer, Caller, Commit, CommitTopic, FetchOffsets, ListFilter, Partitions, PerPartition, Request,
    },
    survey::{Survey, Surveyed},
};
use crate::{
    config::node::GroupSettings,
    model::{PartitionIndex, TimestampMs, TopicId},
    wire::{
        ErrorCode, Str,
        api::{
            describe_groups::DescribedGroup,
            join_group::JoinGroupRequest,
            leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse},
            list_groups::ListedGroup,
        },
    },
};

/// The type of groups whose members assign among themselves.
const CLASSIC: &str = "classic";
/// The state of a group that is not there.
const DEAD: &str = "Dead";

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
}

/// How many groups there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Groups.
    pub groups: usize,
    /// Their members.
    pub members: usize,
}

/// What a step has at hand.
struct Cx<'a> {
    now: Now,
    settings: &'a GroupSettings,
    effects: &'a mut Vec<Effect>,
    rebalances: u64,
    lost: u64,
}

impl Cx<'_> {
    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.effects.push(Effect::Answer(ticket, answer));
    }

    fn write(&mut self, stored: Stored) {
        self.effects.push(Effect::Write(stored));
    }
}

#[derive(Clone, Debug)]
struct Group {
    classic: Classic,
    offsets: Offsets,
    /// When it is to be looked at, as it stands in `Coordinator::checks`.
    check: Option<Duration>,
}

impl Group {
    fn new(id: Str, now: TimestampMs) -> Self {
        Self { classic: Classic::new(id, now), offsets: Offsets::default(), check: None }
    }
}

/// The groups of one partition of `__consumer_offsets`.
#[derive(Clone, Debug, Default)]
pub struct Coordinator {
    settings: GroupSettings,
    groups: BTreeMap<Str, Group>,
    /// When which group is to be looked at; may be too early, never too late.
    checks: BTreeSet<(Duration, Str)>,
    /// Of all groups together.
    members: usize,
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
            Stored::ClassicGroup { key: GroupKey { group: id }, value } => {
                if value.is_some() {
                    self.found(&id, TimestampMs::NONE);
                }
                let Some(group) = self.groups.get_mut(&id) else { return };
                let id = group.classic.id.clone();
                group.classic = match value {
                    Some(value) => Classic::of_value(id, &value),
                    None => Classic::new(id, TimestampMs::NONE),
                };
            }
        }
    }

    /// The log is at its end: members of before have as long as any to say that they live.
    pub fn loaded(&mut self, now: Now) {
        self.groups.retain(|_, group| {
            !group.offsets.is_empty() || !group.classic.is_empty() || group.classic.protocol_type.is_some()
        });
        self.members = self.groups.values().map(|group| group.classic.members.len()).sum();
        let ids: Vec<_> = self.groups.keys().cloned().collect();
        for id in ids {
            if let Some(group) = self.groups.get_mut(&id) {
                group.classic.members.values_mut().for_each(|member| member.heard_of(now.monotonic));
            }
            self.arm(&id);
        }
    }

    /// How many groups and members there are.
    pub fn sizes(&self) -> Sizes {
        Sizes { groups: self.groups.len(), members: self.members }
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
            self.with_group(&id, now, effects, |group, cx| group.classic.check(cx));
        }
    }

    /// Forgets offsets whose time is up, and groups that have nothing left.
    pub fn sweep(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let (settings, mut expired) = (&self.settings, 0);
        for group in self.groups.values_mut() {
            let Group { classic, offsets, .. } = group;
            if !classic.is_empty() {
                continue;
            }
            let since = classic.empty_since();
            offsets.forget(
                &classic.id,
                |_, _, committed| committed.has_expired(since, settings, now.wall),
                |stored| {
                    expired += 1;
                    effects.push(Effect::Write(stored));
                },
            );
        }
        self.counts.expired_offsets += expired;
        self.drop_those_with_nothing(effects);
    }

    /// Forgets offsets of topics that are gone.
    pub fn topics_deleted(&mut self, gone: &BTreeSet<TopicId>, effects: &mut Vec<Effect>) {
        for Group { classic, offsets, .. } in self.groups.values_mut() {
            let of_gone = |_: &Str, _, committed: &Committed| gone.contains(&committed.topic);
            offsets.forget(&classic.id, of_gone, |stored| effects.push(Effect::Write(stored)));
        }
    }

    fn drop_those_with_nothing(&mut self, effects: &mut Vec<Effect>) {
        self.groups.retain(|_, group| {
            let stays = !group.classic.is_empty() || !group.offsets.is_empty();
            if !stays {
                effects.extend(group.classic.tombstone().map(Effect::Write));
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
            Request::Sync(request) if self.groups.contains_key(&request.group_id) => {
                self.with_group(&request.group_id, now, effects, |group, cx| {
                    group.classic.sync(cx, ticket, &request);
                });
            }
            Request::Sync(_) => {
                effects.push(Effect::Answer(ticket, sync_refused(ErrorCode::UnknownMemberId)));
            }
            Request::Heartbeat(request) => {
                let Some(group) = self.groups.get_mut(&request.group_id) else {
                    effects.push(Effect::Answer(ticket, heartbeat_answer(ErrorCode::UnknownMemberId)));
                    return;
                };
                let cx = Cx { now, settings: &self.settings, effects, rebalances: 0, lost: 0 };
                let instance = request.group_instance_id.as_ref();
                let code = group.classic.heartbeat(&cx, &request.member_id, instance, request.generation_id);
                effects.push(Effect::Answer(ticket, heartbeat_answer(code)));
            }
            Request::Leave(request) => self.on_leave(now, ticket, caller, request, effects),
            Request::Commit(commit) => self.on_commit(now, ticket, commit, effects),
            Request::FetchOffsets(FetchOffsets { group, topics }) => {
                let offsets = match self.groups.get(&group) {
                    Some(group) => group.offsets.fetch(topics),
                    None => Offsets::default().fetch(topics),
                };
                effects.push(Effect::Answer(ticket, Answer::Offsets(offsets)));
            }
            Request::DeleteOffsets { group, topics } => {
                let outcome = self.delete_offsets(&group, topics, effects);
                effects.push(Effect::Answer(ticket, Answer::DeleteOffsets(outcome)));
            }
            Request::Describe { group } => {
                let described = self.describe(group, caller.version);
                effects.push(Effect::Answer(ticket, Answer::Describe(described)));
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

    fn on_join(
        &mut self,
        now: Now,
        ticket: Ticket,
        caller: &Caller,
        request: &JoinGroupRequest,
        effects: &mut Vec<Effect>,
    ) {
        let refused = |code| Effect::Answer(ticket, join_refused(code, &request.member_id));
        let session = duration(request.session_timeout_ms);
        if request.session_timeout_ms < 0
            || session < self.settings.min_session_timeout
            || session > self.settings.max_session_timeout
        {
            effects.push(refused(ErrorCode::InvalidSessionTimeout));
            return;
        }
        if !self.groups.contains_key(&request.group_id) {
            if !request.member_id.is_empty() {
                effects.push(refused(ErrorCode::UnknownMemberId));
                return;
            }
            self.found(&request.group_id, now.wall);
        }
        self.with_group(&request.group_id, now, effects, |group, cx| {
            group.classic.join(cx, ticket, caller, request);
        });
    }

    fn on_leave(
        &mut self,
        now: Now,
        ticket: Ticket,
        caller: &Caller,
        request: LeaveGroupRequest,
        effects: &mut Vec<Effect>,
    ) {
        let mut answer = LeaveGroupResponse::default();
        if self.groups.contains_key(&request.group_id) {
            let one = MemberIdentity { member_id: request.member_id, ..MemberIdentity::default() };
            let leaving = if caller.version < 3 { vec![one] } else { request.members };
            self.with_group(&request.group_id, now, effects, |group, cx| {
                answer.members =
                    leaving.into_iter().map(|leaving| group.classic.leave(cx, leaving)).collect();
            });
        } else if caller.version < 3 {
            answer.error_code = ErrorCode::UnknownMemberId;
        } else {
            let unknown = |leaving: MemberIdentity| MemberResponse {
                member_id: leaving.member_id,
                group_instance_id: leaving.group_instance_id,
                error_code: ErrorCode::UnknownMemberId,
            };
            answer.members = request.members.into_iter().map(unknown).collect();
        }
        if caller.version < 3
            && let Some(only) = answer.members.pop()
        {
            answer.error_code = only.error_code;
        }
        effects.push(Effect::Answer(ticket, Answer::Leave(answer)));
    }

    fn on_commit(&mut self, now: Now, ticket: Ticket, commit: Commit, effects: &mut Vec<Effect>) {
        let allowed = match self.groups.get_mut(&commit.group) {
            Some(group) => {
                let cx = Cx { now, settings: &self.settings, effects, rebalances: 0, lost: 0 };
                let instance = commit.instance_id.as_ref();
                group.classic.may_commit(&cx, &commit.member_id, instance, commit.generation)
            }
            None if commit.generation < 0 => Ok(()),
            None => Err(ErrorCode::IllegalGeneration),
        };
        if let Err(code) = allowed {
            let refused = |topic: CommitTopic| {
                let codes =
                    topic.partitions.iter().map(|partition| (partition.partition_index, code)).collect();
                (topic.name, codes)
            };
            let answer = commit.topics.into_iter().map(refused).collect();
            effects.push(Effect::Answer(ticket, Answer::Commit(answer)));
            return;
        }
        let id = own(&commit.group);
        self.found(&id, now.wall);
        let Some(group) = self.groups.get_mut(&id) else { return };
        let write = |stored| effects.push(Effect::Write(stored));
        let codes = group.offsets.commit(commit, &self.settings, now.wall, write);
        let kept = codes.iter().flat_map(|(_, codes)| codes).filter(|(_, code)| *code == ErrorCode::None);
        self.counts.commits += kept.count() as u64;
        effects.push(Effect::Answer(ticket, Answer::Commit(codes)));
    }

    fn delete_offsets(
        &mut self,
        id: &Str,
        topics: Vec<Partitions>,
        effects: &mut Vec<Effect>,
    ) -> Result<PerPartition<ErrorCode>, ErrorCode> {
        let group = self.groups.get_mut(id).ok_or(ErrorCode::GroupIdNotFound)?;
        let of_consumers = group.classic.protocol_type.as_ref().is_some_and(|kind| *kind == CONSUMER);
        if !group.classic.is_empty() && !of_consumers {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let consumed = group.classic.subscribed_topics();
        let mut answer = Vec::with_capacity(topics.len());
        for Partitions { topic, indexes } in topics {
            let code = if consumed.as_ref().is_none_or(|consumed| consumed.contains(&topic)) {
                ErrorCode::GroupSubscribedToTopic
            } else {
                let wanted: BTreeSet<PartitionIndex> = indexes.iter().copied().collect();
                let named = |name: &Str, index, _: &Committed| *name == topic && wanted.contains(&index);
                group.offsets.forget(id, named, |stored| effects.push(Effect::Write(stored)));
                ErrorCode::None
            };
            answer.push((topic, indexes.into_iter().map(|index| (index, code)).collect()));
        }
        Ok(answer)
    }

    fn describe(&self, id: Str, version: i16) -> DescribedGroup {
        if let Some(group) = self.groups.get(&id) {
            return group.classic.describe();
        }
        let dead =
            DescribedGroup { group_id: id, group_state: Str::from_static(DEAD), ..DescribedGroup::default() };
        if version < 6 {
            return dead;
        }
        let error_message = Some(Str::from(format!("group {} is not known", dead.group_id)));
        DescribedGroup { error_code: ErrorCode::GroupIdNotFound, error_message, ..dead }
    }

    fn list(&self, filter: &ListFilter) -> Vec<ListedGroup> {
        let wanted = |among: &[Str], name: &str| {
            among.is_empty() || among.iter().any(|one| one.eq_ignore_ascii_case(name))
        };
        let groups = self.groups.values().map(|group| &group.classic);
        groups
            .filter(|group| wanted(&filter.states, group.state.name()) && wanted(&filter.types, CLASSIC))
            .map(|group| ListedGroup {
                group_id: group.id.clone(),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                group_state: Str::from_static(group.state.name()),
                group_type: Str::from_static(CLASSIC),
            })
            .collect()
    }

    fn delete(&mut self, id: &Str, effects: &mut Vec<Effect>) -> ErrorCode {
        match self.groups.get(id) {
            None => return ErrorCode::GroupIdNotFound,
            Some(group) if !group.classic.is_empty() => return ErrorCode::NonEmptyGroup,
            Some(_) => {}
        }
        let Some(mut group) = self.groups.remove(id) else { return ErrorCode::GroupIdNotFound };
        if let Some(check) = group.check {
            self.checks.remove(&(check, id.clone()));
        }
        group.offsets.forget(id, |_, _, _| true, |stored| effects.push(Effect::Write(stored)));
        effects.extend(group.classic.tombstone().map(Effect::Write));
        ErrorCode::None
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
        let mut cx = Cx { now, settings: &self.settings, effects, rebalances: 0, lost: 0 };
        let before = group.classic.members.len();
        change(group, &mut cx);
        self.members = (self.members + group.classic.members.len()).saturating_sub(before);
        self.counts.rebalances += cx.rebalances;
        self.counts.lost_members += cx.lost;
        self.arm(id);
    }

    /// Sees to it that the group is looked at in time.
    fn arm(&mut self, id: &Str) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some(next) = group.classic.next_check() else { return };
        if group.check.is_none_or(|check| next < check) {
            let id = group.classic.id.clone();
            if let Some(check) = group.check.replace(next) {
                self.checks.remove(&(check, id.clone()));
            }
            self.checks.insert((next, id));
        }
    }
}
