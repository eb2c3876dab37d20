//! The one request of a member: it joins, lives, gives back, gets and leaves by it.

use super::{
    Consumer, Cx,
    member::{AWAY, Member, Profile, each, is_within, listed, told},
    pattern,
    stored::{Fact, TopicPartitions},
};
use crate::{
    actors::group_coordinator::{
        assignor::Partitions,
        core::{
            member::{duration, own},
            request::Caller,
            stored::Stored,
        },
    },
    wire::{
        ErrorCode, Str,
        api::consumer_group_heartbeat::{
            self as api, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
        },
    },
};

/// What a member that joins says instead of an epoch.
pub(in super::super) const JOINS: i32 = 0;
/// What one says that leaves.
const LEAVES: i32 = -1;
/// The first version in which members choose their ids.
const CHOOSES_ID: i16 = 1;

/// Why a heartbeat does not count, for a program and for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Refused {
    pub(in super::super) code: ErrorCode,
    pub(in super::super) why: String,
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self { code, why: code.to_string() }
    }
}

impl Refused {
    fn new(code: ErrorCode, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }

    pub(in super::super) fn answer(self) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse {
            error_code: self.code,
            error_message: Some(Str::from(self.why)),
            ..ConsumerGroupHeartbeatResponse::default()
        }
    }
}

/// Whether a heartbeat is one, whoever it is of.
pub(in super::super) fn validate(
    request: &ConsumerGroupHeartbeatRequest,
    version: i16,
    assignors: &[String],
) -> Result<(), Refused> {
    let invalid = |why: &str| Err(Refused::new(ErrorCode::InvalidRequest, why));
    let is_blank = |text: &Option<Str>| text.as_ref().is_some_and(|text| text.is_empty());
    let joins = request.member_epoch == JOINS;
    if request.member_id.is_empty() && (version >= CHOOSES_ID || !joins) {
        return invalid("a member id is needed");
    }
    if is_blank(&request.instance_id) || is_blank(&request.rack_id) {
        return invalid("an instance id or a rack must not be empty");
    }
    match request.member_epoch {
        JOINS => {
            if request.rebalance_timeout_ms < 0 {
                return invalid("a member that joins says its rebalance time-out");
            }
            if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
                return invalid("a member that joins owns nothing, and says so");
            }
            if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
                return invalid("a member that joins says which topics it wants");
            }
        }
        AWAY if request.instance_id.is_none() => {
            return invalid("only a static member can leave for a while");
        }
        epoch if epoch < AWAY => return invalid("there is no such epoch"),
        _ => {}
    }
    if let Some(wanted) = &request.server_assignor
        && !assignors.iter().any(|assignor| assignor == wanted.as_str())
    {
        let why = format!("assignor {wanted} is not one of {}", assignors.join(", "));
        return Err(Refused::new(ErrorCode::UnsupportedAssignor, why));
    }
    if let Some(expression) = request.subscribed_topic_regex.as_ref().filter(|regex| !regex.is_empty())
        && let Err(error) = pattern::compiled(expression)
    {
        let why = format!("{expression:?} is no regular expression: {error}");
        return Err(Refused::new(ErrorCode::InvalidRegularExpression, why));
    }
    Ok(())
}

impl Consumer {
    /// Carries out a heartbeat that is valid.
    pub(in super::super) fn heartbeat(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Caller,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refused> {
        if request.member_epoch < JOINS {
            return self.leave(cx, request);
        }
        let id = if request.member_id.is_empty() {
            Str::from(caller.fresh.to_string())
        } else {
            own(&request.member_id)
        };
        let owned = request.topic_partitions.as_deref().map(told);
        self.admit(cx, request, &id, owned.as_ref())?;
        let wants_other = self.tell_profile(cx, caller, request, &id);
        if wants_other {
            self.raise(cx);
        }
        let changed = self.reconcile(cx, &id, owned.as_ref());
        let (now, session) = (cx.now.monotonic, cx.consumer_session(&self.id));
        let Some(member) = self.members.get_mut(&id) else { return Err(ErrorCode::UnknownMemberId.into()) };
        member.heard_of(now, session);
        if request.member_epoch != JOINS && !wants_other {
            cx.lives_until = Some(member.due());
        }
        let wants_all = request.rebalance_timeout_ms >= 0
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && request.topic_partitions.is_some();
        let is_told = request.member_epoch == JOINS || wants_all || changed;
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(id),
            member_epoch: member.standing.epoch,
            heartbeat_interval_ms: cx.consumer_heartbeat_ms(&self.id),
            assignment: is_told.then(|| answered(&member.standing.assigned)),
            ..ConsumerGroupHeartbeatResponse::default()
        })
    }

    /// Sees to it that there is a member of this id, if there may be.
    fn admit(
        &mut self,
        cx: &mut Cx<'_>,
        request: &ConsumerGroupHeartbeatRequest,
        id: &Str,
        owned: Option<&Partitions>,
    ) -> Result<(), Refused> {
        let instance = request.instance_id.as_ref();
        if request.member_epoch != JOINS {
            let member = self.known(id, instance)?;
            return is_current(member, request.member_epoch, owned);
        }
        let former = instance.and_then(|instance| self.instances.get(instance)).cloned();
        match former {
            Some(former) if former != *id => self.replace(cx, &former, id),
            _ if self.members.contains_key(id) => {
                // One that was away owns again what was kept for it.
                cx.owners_changed |= self.members.get(id).is_some_and(|member| member.standing.epoch == AWAY);
                Ok(())
            }
            _ if self.members.len() >= cx.consumer_max_size() => {
                let why = format!("group {} has as many members as it may", self.id);
                Err(Refused::new(ErrorCode::GroupMaxSizeReached, why))
            }
            _ => {
                self.add(id, Profile { instance_id: instance.map(own), ..Profile::default() });
                Ok(())
            }
        }
    }

    pub(super) fn add(&mut self, id: &Str, profile: Profile) {
        if let Some(instance) = &profile.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.members.insert(id.clone(), Member::new(profile));
    }

    /// A static member that was away is back under another id (KIP-345): it takes its own place.
    fn replace(&mut self, cx: &mut Cx<'_>, former: &Str, id: &Str) -> Result<(), Refused> {
        let away = self.members.get(former).is_none_or(|member| member.standing.epoch == AWAY);
        if !away {
            let why = "another member of this instance id is in the group and has not left";
            return Err(Refused::new(ErrorCode::UnreleasedInstanceId, why));
        }
        self.take_place(cx, former, id);
        Ok(())
    }

    /// Gives a member another id.
    pub(super) fn take_place(&mut self, cx: &mut Cx<'_>, former: &Str, id: &Str) {
        let Some(mut member) = self.members.remove(former) else { return };
        for fact in super::member_tombstones(&self.id, former) {
            cx.write(Stored::Consumer(fact));
        }
        (member.standing.epoch, member.standing.previous) = (JOINS, JOINS);
        cx.owners_changed = true;
        for partition in member.standing.owned() {
            self.owners.insert(partition, id.clone());
        }
        if let Some(instance) = &member.profile.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        for fact in [
            Fact::Member(super::member_key(&self.id, id), Some(member.value())),
            super::target_of(&self.id, id, &member.target),
            super::standing_of(&self.id, id, &member.standing),
        ] {
            cx.write(Stored::Consumer(fact));
        }
        self.members.insert(id.clone(), member);
    }

    /// Takes note of what a member says of itself; what it leaves out is as it was. Whether the target may be
    /// another by it.
    fn tell_profile(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Caller,
        request: &ConsumerGroupHeartbeatRequest,
        id: &Str,
    ) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        let before = &member.profile;
        let said =
            |said: &Option<Str>, before: &Option<Str>| said.as_ref().map(own).or_else(|| before.clone());
        let pattern = match &request.subscribed_topic_regex {
            Some(none) if none.is_empty() => None,
            pattern => said(pattern, &before.pattern),
        };
        let rebalance_timeout = if request.rebalance_timeout_ms < 0 {
            before.rebalance_timeout
        } else {
            duration(request.rebalance_timeout_ms)
        };
        let topics = match &request.subscribed_topic_names {
            Some(names) => sorted(names),
            None => before.topics.clone(),
        };
        let after = Profile {
            instance_id: before.instance_id.clone(),
            rack_id: said(&request.rack_id, &before.rack_id),
            client_id: own(&caller.client_id),
            client_host: own(&caller.client_host),
            rebalance_timeout,
            topics,
            pattern,
            assignor: said(&request.server_assignor, &before.assignor),
            classic: None,
        };
        if after == *before {
            return false;
        }
        let wants_other = after.topics != before.topics
            || after.pattern != before.pattern
            || after.assignor != before.assignor;
        // A member that wants nothing yet is one as well.
        let is_new = member.deadline == std::time::Duration::MAX;
        member.profile = after;
        cx.write(Stored::Consumer(Fact::Member(super::member_key(&self.id, id), Some(member.value()))));
        wants_other || is_new
    }

    fn leave(
        &mut self,
        cx: &mut Cx<'_>,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refused> {
        let id = own(&request.member_id);
        let poll = self.known(&id, request.instance_id.as_ref())?.profile.rebalance_timeout;
        // Nothing is said of why, here or in any version; a consumer's poll time-out is its rebalance time-out.
        cx.owner_leaves(&id, None, poll);
        if request.member_epoch == LEAVES {
            self.remove(cx, std::slice::from_ref(&id));
        } else if let Some(member) = self.members.get_mut(&id) {
            member.standing.epoch = AWAY;
            for partition in each(&std::mem::take(&mut member.standing.revoking)) {
                self.owners.remove(&partition);
            }
            (member.standing.state, member.acts_by) = (super::State::Stable, None);
            cx.write(Stored::Consumer(super::standing_of(&self.id, &id, &member.standing)));
        }
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(id),
            member_epoch: request.member_epoch,
            ..ConsumerGroupHeartbeatResponse::default()
        })
    }
}

/// Whether a member is where it says it is. It may be one step behind: the answer that took it further was lost
/// then, and what it owns tells that it has not gone there.
fn is_current(member: &Member, epoch: i32, owned: Option<&Partitions>) -> Result<(), Refused> {
    let standing = &member.standing;
    let lost_answer = epoch == standing.previous
        && epoch < standing.epoch
        && owned.is_some_and(|owned| is_within(owned, &standing.assigned));
    if epoch == standing.epoch || lost_answer {
        return Ok(());
    }
    let why = format!("the member is at epoch {epoch}, and would have to be at {}", standing.epoch);
    Err(Refused::new(ErrorCode::FencedMemberEpoch, why))
}

fn sorted(names: &[Str]) -> Vec<Str> {
    let mut names: Vec<_> = names.iter().map(own).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn answered(partitions: &Partitions) -> api::Assignment {
    let one = |TopicPartitions { topic_id, partitions }| api::TopicPartitions { topic_id, partitions };
    api::Assignment { topic_partitions: listed(partitions).into_iter().map(one).collect() }
}
