//! A group of Kafka's classic protocol: its members join, one of them assigns, the coordinator hands out.
//!
//! ```text
//!            first join                 all have joined, or time is up
//!   Empty ───────────────▶ Preparing ─────────────────────────────────▶ Completing
//!     ▲                      │  ▲ ▲                                        │   │
//!     └── nobody is left ────┘  │ └── a member comes, goes or changes ─────┘   │ the leader's
//!                               └──────────── the same ─────────── Stable ◀────┘ assignment
//! ```
//!
//! A generation is one pass through it. What a member does or commits counts only with the generation that it is
//! in (S21). Rules and codes are those of Kafka (KIP-62, KIP-345, KIP-394, KIP-814).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Cx, Ticket,
    attempts::Cause,
    holdings::Holdings,
    member::{Member, own},
    request::Answer,
    stored::{ClassicGroupValue, GroupKey, Stored},
};
use crate::{
    actors::group_coordinator::consumer_protocol,
    model::TimestampMs,
    wire::{
        ErrorCode, Str,
        api::{
            describe_groups::{DescribedGroup, DescribedGroupMember},
            heartbeat::HeartbeatResponse,
            join_group::{JoinGroupResponse, JoinGroupResponseMember},
            sync_group::SyncGroupResponse,
        },
    },
};

/// The protocol type of consumers; its assignments can be read.
pub(super) const CONSUMER: &str = "consumer";

/// Whatever the members say, one has this long to join or to ask for its assignment.
const SHORTEST_REBALANCE: Duration = Duration::from_secs(1);

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody is in it.
    Empty,
    /// Members are waited for.
    Preparing(Gathering),
    /// The leader's assignment is waited for.
    Completing,
    /// Everybody knows what is theirs.
    Stable,
}

/// How long members are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gathering {
    pub(super) ends: Duration,
    /// The group was empty: others may be about to come as well.
    pub(super) first: Option<First>,
}

/// The wait of the first members of an empty group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First {
    /// It is not prolonged beyond this.
    pub(super) until: Duration,
    /// Somebody came since it was prolonged last.
    pub(super) grew: bool,
}

impl State {
    /// The name that clients are told.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Preparing(_) => "PreparingRebalance",
            Self::Completing => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Classic {
    pub(super) id: Str,
    pub(super) state: State,
    /// Since when, by the wall clock; kept in the log.
    pub(super) since: TimestampMs,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<Str>,
    pub(super) protocol: Option<Str>,
    pub(super) leader: Option<Str>,
    pub(super) members: BTreeMap<Str, Member>,
    /// Ids of static members by what they are known by.
    pub(super) instances: BTreeMap<Str, Str>,
    /// Ids that were given out and whose owners are to join with them, until when (KIP-394).
    pub(super) invited: BTreeMap<Str, Duration>,
    /// When members that owe a sync are given up.
    pub(super) sync_ends: Option<Duration>,
    /// Who was assigned what, and what by.
    pub(super) holdings: Holdings,
}

impl Classic {
    pub(super) fn new(id: Str, since: TimestampMs) -> Self {
        Self {
            id,
            state: State::Empty,
            since,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            invited: BTreeMap::new(),
            sync_ends: None,
            holdings: Holdings::default(),
        }
    }

    /// Whether nobody is in it or on the way into it.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.invited.is_empty()
    }

    /// Since when it has been empty, if it is and ever was not.
    pub(super) fn empty_since(&self) -> Option<TimestampMs> {
        (self.state == State::Empty && self.protocol_type.is_some()).then_some(self.since)
    }

    fn enter(&mut self, state: State, cx: &Cx<'_>) {
        self.state = state;
        self.since = cx.now.wall;
    }

    /// Who is meant, if it is a member of the group: the protocol's checks of every request of a member.
    pub(super) fn known(&self, member: &Str, instance: Option<&Str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(id) if id != member => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    pub(super) fn known_at(
        &self,
        member: &Str,
        instance: Option<&Str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        self.known(member, instance)?;
        if generation == self.generation { Ok(()) } else { Err(ErrorCode::IllegalGeneration) }
    }

    /// A sign of life, and whether the member has to join again.
    pub(super) fn heartbeat(
        &mut self,
        cx: &Cx<'_>,
        member: &Str,
        instance: Option<&Str>,
        generation: i32,
    ) -> ErrorCode {
        if let Err(code) = self.known_at(member, instance, generation) {
            return code;
        }
        if let Some(member) = self.members.get_mut(member) {
            member.heard_of(cx.now.monotonic);
        }
        match self.state {
            State::Empty => ErrorCode::UnknownMemberId,
            State::Preparing(_) => ErrorCode::RebalanceInProgress,
            State::Completing | State::Stable => ErrorCode::None,
        }
    }

    /// Whether a commit with these marks counts (S21). One by a member is a sign of life as well.
    pub(super) fn may_commit(
        &mut self,
        cx: &Cx<'_>,
        member: &Str,
        instance: Option<&Str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        let by_nobody = generation < 0 && member.is_empty() && instance.is_none();
        if by_nobody && self.members.is_empty() {
            return Ok(());
        }
        self.known_at(member, instance, generation)?;
        if let Some(member) = self.members.get_mut(member) {
            member.heard_of(cx.now.monotonic);
            if !member.let_in {
                return Err(ErrorCode::IllegalGeneration);
            }
        }
        match self.state {
            State::Empty => Err(ErrorCode::UnknownMemberId),
            State::Completing => Err(ErrorCode::RebalanceInProgress),
            State::Preparing(_) | State::Stable => Ok(()),
        }
    }

    /// Begins a generation: everybody has to join again.
    pub(super) fn prepare(&mut self, cx: &mut Cx<'_>) {
        let was_empty = self.state == State::Empty;
        for member in self.members.values_mut() {
            member.owes_sync = false;
            if let Some(ticket) = member.syncing.take() {
                member.heard_of(cx.now.monotonic);
                cx.answer(ticket, sync_refused(ErrorCode::RebalanceInProgress));
            }
        }
        self.sync_ends = None;
        let now = cx.now.monotonic;
        let longest = self.longest_rebalance();
        let delay = cx.settings.initial_rebalance_delay;
        let gathering = if was_empty && !delay.is_zero() {
            let until = now.saturating_add(longest.max(delay));
            Gathering { ends: now.saturating_add(delay), first: Some(First { until, grew: false }) }
        } else {
            Gathering { ends: now.saturating_add(longest), first: None }
        };
        self.enter(State::Preparing(gathering), cx);
        cx.rebalances += 1;
        self.complete_if_all_joined(cx);
    }

    fn longest_rebalance(&self) -> Duration {
        let longest = self.members.values().map(|member| member.rebalance_timeout).max();
        longest.unwrap_or_default().max(SHORTEST_REBALANCE)
    }

    /// Ends the wait for members when nobody is missing.
    pub(super) fn complete_if_all_joined(&mut self, cx: &mut Cx<'_>) {
        let State::Preparing(Gathering { first: None, .. }) = self.state else { return };
        if self.invited.is_empty() && self.members.values().all(|member| member.joining.is_some()) {
            self.complete(cx);
        }
    }

    /// The wait for members is over: begins the next generation with those who have joined.
    fn complete(&mut self, cx: &mut Cx<'_>) {
        let late = |(id, m): (&Str, &Member)| (m.joining.is_none() && !m.is_static()).then(|| id.clone());
        let late: Vec<_> = self.members.iter().filter_map(late).collect();
        for id in late {
            cx.lost += 1;
            cx.owner_lost(&id, Cause::RebalanceMissed);
            self.forget(&id, cx, ErrorCode::UnknownMemberId);
        }
        if self.members.is_empty() {
            self.become_empty(cx);
            return;
        }
        let Some(first) = self.members.iter().find(|(_, m)| m.joining.is_some()).map(|(id, _)| id.clone())
        else {
            // Only static members that are away: they may yet come back, until their sessions end.
            let ends = cx.now.monotonic.saturating_add(self.longest_rebalance());
            self.state = State::Preparing(Gathering { ends, first: None });
            return;
        };
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = self.choose_protocol();
        let stays =
            self.leader.as_ref().and_then(|id| self.members.get(id)).is_some_and(|m| m.joining.is_some());
        if !stays {
            self.leader = Some(first);
        }
        self.enter(State::Completing, cx);
        self.sync_ends = Some(cx.now.monotonic.saturating_add(self.longest_rebalance()));
        self.answer_joined(cx);
    }

    fn answer_joined(&mut self, cx: &mut Cx<'_>) {
        let joined: Vec<_> =
            self.members.iter().filter(|(_, m)| m.joining.is_some()).map(|(id, _)| id.clone()).collect();
        for id in joined {
            let answer = self.current_for(&id, false);
            let Some(member) = self.members.get_mut(&id) else { continue };
            (member.owes_sync, member.let_in) = (true, true);
            member.heard_of(cx.now.monotonic);
            if let Some(ticket) = member.joining.take() {
                cx.answer(ticket, Answer::Join(answer));
            }
        }
    }

    fn become_empty(&mut self, cx: &mut Cx<'_>) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        (self.protocol, self.leader, self.sync_ends) = (None, None, None);
        self.holdings = Holdings::default();
        self.enter(State::Empty, cx);
        cx.owners_changed = true;
        cx.write(self.stored());
    }

    /// The protocol that all members speak and most of them like best.
    pub(super) fn choose_protocol(&self) -> Option<Str> {
        let mut votes: BTreeMap<&Str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let best = member.protocols.iter().find(|(name, _)| self.all_speak(name, None));
            if let Some((name, _)) = best {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.clone())
    }

    /// Whether all members but for one speak it.
    pub(super) fn all_speak(&self, protocol: &Str, but: Option<&Str>) -> bool {
        self.members.iter().all(|(id, member)| but == Some(id) || member.speaks(protocol))
    }

    /// What a member is told of the generation that there is.
    pub(super) fn current_for(&self, id: &Str, skip_assignment: bool) -> JoinGroupResponse {
        let leads = self.leader.as_ref() == Some(id);
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: Some(self.protocol.clone().unwrap_or_default()),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment,
            member_id: id.clone(),
            members: if leads { self.as_leaders_see() } else { Vec::new() },
            ..JoinGroupResponse::default()
        }
    }

    fn as_leaders_see(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.clone().unwrap_or_default();
        let seen = |(id, member): (&Str, &Member)| JoinGroupResponseMember {
            member_id: id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(&protocol),
        };
        self.members.iter().map(seen).collect()
    }

    /// The leader's assignment is there: the group is stable, and everybody who waits is told.
    pub(super) fn assign(&mut self, cx: &mut Cx<'_>, mut assignments: BTreeMap<Str, Bytes>) {
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
        self.enter(State::Stable, cx);
        self.read_holdings();
        self.count_unowned(cx.image);
        cx.owners_changed = true;
        cx.write(self.stored());
        let waiting: Vec<_> =
            self.members.iter().filter(|(_, m)| m.syncing.is_some()).map(|(id, _)| id.clone()).collect();
        for id in waiting {
            self.answer_synced(cx, &id);
        }
        self.settle_syncs();
    }

    /// Answers a member that waits for its assignment.
    pub(super) fn answer_synced(&mut self, cx: &mut Cx<'_>, id: &Str) {
        let (protocol_type, protocol_name) = (self.protocol_type.clone(), self.protocol.clone());
        let Some(member) = self.members.get_mut(id) else { return };
        let Some(ticket) = member.syncing.take() else { return };
        member.heard_of(cx.now.monotonic);
        let assignment = member.assignment.clone();
        cx.answer(
            ticket,
            Answer::Sync(SyncGroupResponse {
                protocol_type,
                protocol_name,
                assignment,
                ..SyncGroupResponse::default()
            }),
        );
    }

    pub(super) fn settle_syncs(&mut self) {
        if self.members.values().all(|member| !member.owes_sync) {
            self.sync_ends = None;
        }
    }

    /// A member is not one any more; the group goes on without it.
    pub(super) fn remove(&mut self, cx: &mut Cx<'_>, id: &Str) {
        self.forget(id, cx, ErrorCode::UnknownMemberId);
        match self.state {
            State::Empty => {}
            State::Preparing(_) => self.complete_if_all_joined(cx),
            State::Completing | State::Stable => self.prepare(cx),
        }
    }

    /// Takes a member out of the lists and answers whatever it waits for.
    pub(super) fn forget(&mut self, id: &Str, cx: &mut Cx<'_>, code: ErrorCode) -> Option<Member> {
        let mut member = self.members.remove(id)?;
        if let Some(instance) = &member.instance_id
            && self.instances.get(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
        if let Some(ticket) = member.joining.take() {
            cx.answer(ticket, join_refused(code, id));
        }
        if let Some(ticket) = member.syncing.take() {
            cx.answer(ticket, sync_refused(code));
        }
        Some(member)
    }

    /// Does what time demands by now.
    pub(super) fn check(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.monotonic;
        let invited = self.invited.len();
        self.invited.retain(|_, until| *until > now);
        let silent =
            |(id, member): (&Str, &Member)| (!member.waits() && member.deadline <= now).then(|| id.clone());
        let silent: Vec<_> = self.members.iter().filter_map(silent).collect();
        for id in &silent {
            cx.lost += 1;
            cx.owner_lost(id, Cause::SessionEnded);
            self.remove(cx, id);
        }
        if self.sync_ends.is_some_and(|ends| ends <= now) {
            self.give_up_syncs(cx);
        }
        if invited != self.invited.len() {
            self.complete_if_all_joined(cx);
        }
        if let State::Preparing(gathering) = self.state
            && gathering.ends <= now
        {
            self.gathered(cx, gathering);
        }
    }

    fn give_up_syncs(&mut self, cx: &mut Cx<'_>) {
        self.sync_ends = None;
        let owing: Vec<_> =
            self.members.iter().filter(|(_, m)| m.owes_sync).map(|(id, _)| id.clone()).collect();
        for id in &owing {
            cx.lost += 1;
            cx.owner_lost(id, Cause::SyncMissed);
            self.forget(id, cx, ErrorCode::UnknownMemberId);
        }
        if !owing.is_empty() && matches!(self.state, State::Completing | State::Stable) {
            self.prepare(cx);
        }
    }

    /// The time for members to join is over, unless it is prolonged for others that come.
    fn gathered(&mut self, cx: &mut Cx<'_>, gathering: Gathering) {
        let now = cx.now.monotonic;
        match gathering.first {
            Some(First { until, grew: true }) if until > now => {
                let ends = now.saturating_add(cx.settings.initial_rebalance_delay).min(until);
                self.state = State::Preparing(Gathering { ends, first: Some(First { until, grew: false }) });
            }
            Some(_) => {
                // From here on it is as any other: those with an id but without a join are waited for.
                let ends = now.saturating_add(self.longest_rebalance());
                self.state = State::Preparing(Gathering { ends, first: None });
                if self.members.values().all(|member| member.joining.is_some()) {
                    self.complete(cx);
                }
            }
            None => self.complete(cx),
        }
    }

    /// When time will demand something again, at the earliest.
    pub(super) fn next_check(&self) -> Option<Duration> {
        let gathering = match self.state {
            State::Preparing(gathering) => Some(gathering.ends),
            State::Empty | State::Completing | State::Stable => None,
        };
        let sessions = self.members.values().filter(|member| !member.waits()).map(|member| member.deadline);
        let invited = self.invited.values().copied();
        sessions.chain(invited).chain(gathering).chain(self.sync_ends).min()
    }

    /// What the log keeps of it.
    pub(super) fn stored(&self) -> Stored {
        let protocol = self.protocol.as_ref();
        let members = self.members.iter().map(|(id, member)| member.value(id, protocol)).collect();
        let value = ClassicGroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.since,
            members,
        };
        Stored::ClassicGroup { key: GroupKey { group: self.id.clone() }, value: Some(value) }
    }

    /// What takes back all that the log keeps of it; `None`: it keeps nothing.
    pub(super) fn tombstone(&self) -> Option<Stored> {
        let key = GroupKey { group: self.id.clone() };
        self.protocol_type.is_some().then_some(Stored::ClassicGroup { key, value: None })
    }

    /// A group as the log has it: stable if it has members, since only what has settled is written.
    pub(super) fn of_value(id: Str, value: &ClassicGroupValue) -> Self {
        let protocol = value.protocol.as_ref().map(own);
        let members: BTreeMap<_, _> = value
            .members
            .iter()
            .map(|member| (own(&member.member_id), Member::of_value(member, protocol.as_ref())))
            .collect();
        let instances = members
            .iter()
            .filter_map(|(id, member)| member.instance_id.clone().map(|instance| (instance, id.clone())))
            .collect();
        Self {
            state: if members.is_empty() { State::Empty } else { State::Stable },
            generation: value.generation,
            protocol_type: (!value.protocol_type.is_empty()).then(|| own(&value.protocol_type)),
            leader: value.leader.as_ref().map(own),
            protocol,
            members,
            instances,
            ..Self::new(id, value.current_state_timestamp)
        }
    }

    /// Topics that members consume or are about to, as far as can be told; `None`: it cannot.
    pub(super) fn subscribed_topics(&self) -> Option<BTreeSet<Str>> {
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            for (_, metadata) in &member.protocols {
                topics.extend(consumer_protocol::subscription(metadata).ok()?.topics);
            }
        }
        Some(topics)
    }

    pub(super) fn describe(&self) -> DescribedGroup {
        let stable = self.state == State::Stable;
        let protocol = self.protocol.clone().unwrap_or_default();
        let described = |(id, member): (&Str, &Member)| DescribedGroupMember {
            member_id: id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            member_metadata: if stable { member.metadata(&protocol) } else { Bytes::new() },
            member_assignment: if stable { member.assignment.clone() } else { Bytes::new() },
        };
        DescribedGroup {
            group_id: self.id.clone(),
            group_state: Str::from_static(self.state.name()),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_data: if stable { protocol.clone() } else { Str::default() },
            members: self.members.iter().map(described).collect(),
            ..DescribedGroup::default()
        }
    }
}

pub(super) fn join_refused(error_code: ErrorCode, member_id: &Str) -> Answer {
    Answer::Join(JoinGroupResponse {
        error_code,
        member_id: member_id.clone(),
        ..JoinGroupResponse::default()
    })
}

pub(super) fn sync_refused(error_code: ErrorCode) -> Answer {
    Answer::Sync(SyncGroupResponse { error_code, ..SyncGroupResponse::default() })
}

pub(super) fn heartbeat_answer(error_code: ErrorCode) -> Answer {
    Answer::Heartbeat(HeartbeatResponse { error_code, ..HeartbeatResponse::default() })
}

/// Puts a ticket where another may still wait, which is told to try again: its connection is as a rule gone.
pub(super) fn replace_ticket(
    place: &mut Option<Ticket>,
    ticket: Ticket,
    cx: &mut Cx<'_>,
    stale: impl FnOnce(ErrorCode) -> Answer,
) {
    if let Some(earlier) = place.replace(ticket) {
        cx.answer(earlier, stale(ErrorCode::RebalanceInProgress));
    }
}
