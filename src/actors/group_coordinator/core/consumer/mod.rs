//! A group whose partitions the coordinator assigns (KIP-848).
//!
//! Whatever changes who is in the group or what is wanted raises the group's epoch, and each epoch has a target: what
//! every member is to own in the end. Each member goes there at its own pace, one heartbeat after the other
//! (`member.rs`); nobody waits for anybody but for the partitions that it is to get. Rules and codes are Kafka's.
//!
//! Members that speak the classic protocol can be in such a group as well (`classic.rs`), so that consumers can be
//! changed over one after the other.

mod classic;
mod heartbeat;
mod member;
mod migration;
mod pattern;
pub mod stored;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use twox_hash::XxHash64;

pub(super) use self::{
    heartbeat::{JOINS, Refused, validate},
    migration::can_become_consumer,
};
use self::{
    member::{AWAY, Member, Profile, Standing, State, gathered, listed},
    pattern::Pattern,
    stored::{Fact, GroupValue, MemberKey, MemberTargetValue, TargetValue, TopicPartitions},
};
use super::{
    Cx,
    attempts::{Cause, Share},
    image::{Image, TopicImage},
    member::own,
    stored::{GroupKey, Stored},
};
use crate::{
    actors::group_coordinator::assignor::{self, Assignor, GroupSpec, MemberSpec, Partitions},
    model::{PartitionIndex, TimestampMs, TopicId},
    wire::{ErrorCode, Str, api::consumer_group_describe as described},
};

/// The first version of `OffsetCommit` whose generation may be the epoch of such a member.
const COMMITS_EPOCHS: i16 = 9;

#[derive(Clone, Debug)]
pub(super) struct Consumer {
    pub(super) id: Str,
    /// Raised by every change of members and of what they want.
    epoch: i32,
    /// The epoch that the target was made for.
    target_epoch: i32,
    /// Of the topics that the epoch was raised for last.
    topics_hash: i64,
    empty_since: TimestampMs,
    /// The assignor that made the target.
    assignor: Assignor,
    pub(super) members: BTreeMap<Str, Member>,
    /// Ids of static members by what they are known by.
    instances: BTreeMap<Str, Str>,
    /// Who owns which partition, or has yet to give it back.
    owners: BTreeMap<(TopicId, PartitionIndex), Str>,
    patterns: BTreeMap<Str, Pattern>,
    /// The topics that members name, as they were when the epoch was raised last; `None` is none there.
    named: BTreeMap<Str, Option<TopicImage>>,
    /// Partitions that somebody wants and nobody is to get.
    unowned: usize,
}

impl Consumer {
    pub(super) fn new(id: Str) -> Self {
        Self {
            id,
            epoch: 0,
            target_epoch: 0,
            topics_hash: 0,
            empty_since: TimestampMs::NONE,
            assignor: Assignor::ALL[0],
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            owners: BTreeMap::new(),
            patterns: BTreeMap::new(),
            named: BTreeMap::new(),
            unowned: 0,
        }
    }

    /// What the log said next.
    pub(super) fn load(&mut self, fact: Fact) {
        match fact {
            Fact::Group(_, value) => {
                let value = value.unwrap_or_default();
                (self.epoch, self.topics_hash) = (value.epoch, value.topics_hash);
                self.empty_since = value.empty_since;
            }
            Fact::Target(_, value) => self.target_epoch = value.unwrap_or_default().assignment_epoch,
            Fact::Member(key, Some(value)) => {
                self.member(&key.member).profile = Profile::of_value(&value);
            }
            Fact::Member(key, None) => {
                self.members.remove(&key.member);
            }
            Fact::MemberTarget(key, Some(value)) => {
                self.member(&key.member).target = gathered(&value.topic_partitions);
            }
            Fact::Standing(key, Some(value)) => {
                self.member(&key.member).standing = Standing::of_value(&value);
            }
            // What a member that is gone had; its own tombstone follows.
            Fact::MemberTarget(_, None) | Fact::Standing(_, None) => {}
        }
    }

    fn member(&mut self, id: &Str) -> &mut Member {
        self.members.entry(own(id)).or_insert_with(|| Member::new(Profile::default()))
    }

    /// The log has been read.
    pub(super) fn loaded(&mut self) {
        for (id, member) in &self.members {
            if let Some(instance) = &member.profile.instance_id {
                self.instances.insert(instance.clone(), id.clone());
            }
            self.owners.extend(member.standing.owned().map(|partition| (partition, id.clone())));
        }
    }

    /// The topics are others than before; also the first that a coordinator gets after it has read its log, from when
    /// on members of before have as long as any to say that they live.
    pub(super) fn refresh(&mut self, cx: &mut Cx<'_>) {
        let (now, session) = (cx.now.monotonic, cx.consumer_session(&self.id));
        for member in self.members.values_mut().filter(|member| member.deadline == Duration::MAX) {
            member.heard_of(now, session);
            if member.standing.state == State::Unrevoked {
                member.acts_by = Some(now.saturating_add(member.profile.rebalance_timeout));
            }
        }
        if self.members.is_empty() || self.is_current(cx.image) {
            return;
        }
        self.patterns.clear();
        if self.hash(cx.image) == self.topics_hash {
            self.note_topics(cx.image);
        } else {
            self.raise(cx);
        }
    }

    /// Whether nothing that members want has changed, as far as that can be told at once: there may be many groups.
    fn is_current(&self, image: &Image) -> bool {
        let by_name =
            !self.named.is_empty() && self.members.values().all(|member| member.profile.pattern.is_none());
        by_name && self.named.iter().all(|(name, topic)| image.topics.get(name) == topic.as_ref())
    }

    fn note_topics(&mut self, image: &Image) {
        let names = self.members.values().flat_map(|member| &member.profile.topics);
        self.named = names.map(|name| (name.clone(), image.topics.get(name).cloned())).collect();
    }

    /// Whether it has ever been written.
    pub(super) const fn has_been(&self) -> bool {
        self.epoch > 0
    }

    /// Since when it has been without members, if it is.
    pub(super) fn empty_since(&self) -> Option<TimestampMs> {
        (self.members.is_empty() && self.empty_since != TimestampMs::NONE).then_some(self.empty_since)
    }

    /// The name of its state that clients are told.
    pub(super) fn state(&self) -> &'static str {
        let is_there = |member: &Member| {
            member.standing.state == State::Stable && member.standing.epoch == self.target_epoch
        };
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self.members.values().any(|member| member.standing.epoch != AWAY && !is_there(member)) {
            "Reconciling"
        } else {
            "Stable"
        }
    }

    /// Partitions that somebody wants and nobody is to get.
    pub(super) const fn unowned(&self) -> usize {
        self.unowned
    }

    /// The names of all topics that somebody wants.
    pub(super) fn subscribed_topics(&self, image: &Image) -> BTreeSet<Str> {
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(member.profile.topics.iter().cloned());
            let pattern =
                member.profile.pattern.as_ref().and_then(|pattern| Pattern::new(pattern, image).ok());
            let matched = pattern.iter().flat_map(|pattern| &pattern.topics);
            topics.extend(matched.filter_map(|id| image.name_of(*id)).cloned());
        }
        topics
    }

    /// Whether a commit with these marks counts (S21).
    pub(super) fn may_commit(
        &self,
        member: &Str,
        instance: Option<&Str>,
        epoch: i32,
        version: i16,
    ) -> Result<(), ErrorCode> {
        if epoch < 0 && member.is_empty() && instance.is_none() && self.members.is_empty() {
            return Ok(());
        }
        let Member { profile, standing, .. } = self.known(member, instance)?;
        if profile.classic.is_some() {
            return if epoch == standing.epoch { Ok(()) } else { Err(ErrorCode::IllegalGeneration) };
        }
        if version < COMMITS_EPOCHS {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if epoch == standing.epoch { Ok(()) } else { Err(ErrorCode::StaleMemberEpoch) }
    }

    /// Whether offsets may be told to a member with these marks; anybody may ask who does not pose as one.
    pub(super) fn may_fetch(&self, member: &Str, epoch: i32) -> Result<(), ErrorCode> {
        let known = self.members.get(member).ok_or(ErrorCode::UnknownMemberId)?;
        if epoch == known.standing.epoch { Ok(()) } else { Err(ErrorCode::StaleMemberEpoch) }
    }

    /// Whether a partition is another member's.
    pub(super) fn is_anothers(&self, member: &Str, topic: TopicId, index: PartitionIndex) -> bool {
        self.owners.get(&(topic, index)).is_some_and(|owner| owner != member)
    }

    /// Who is meant, if it is a member of the group.
    fn known(&self, member: &Str, instance: Option<&Str>) -> Result<&Member, ErrorCode> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(id) if id != member => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        self.members.get(member).ok_or(ErrorCode::UnknownMemberId)
    }

    /// Raises the epoch, and makes the target for it.
    fn raise(&mut self, cx: &mut Cx<'_>) {
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        self.topics_hash = self.hash(cx.image);
        self.note_topics(cx.image);
        self.empty_since = if self.members.is_empty() { cx.now.wall } else { TimestampMs::NONE };
        cx.rebalances += 1;
        cx.write(Stored::Consumer(self.stored()));
        self.retarget(cx);
    }

    fn retarget(&mut self, cx: &mut Cx<'_>) {
        self.assignor = self.preferred(cx);
        let group = self.spec(cx.image);
        let mut assignment = self.assignor.assign(&group);
        self.unowned = assignor::count_unowned(&group, &assignment);
        for (id, member) in &mut self.members {
            let target = assignment.remove(id).unwrap_or_default();
            if target != member.target {
                member.target = target;
                cx.write(Stored::Consumer(target_of(&self.id, id, &member.target)));
            }
        }
        self.target_epoch = self.epoch;
        cx.write(Stored::Consumer(self.stored_target()));
    }

    /// The assignor that most members want; the first of them in the order of the names if there are several.
    fn preferred(&self, cx: &Cx<'_>) -> Assignor {
        let mut votes: BTreeMap<&Str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.profile.assignor.as_ref()) {
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.values().max().copied().unwrap_or_default();
        let wanted = votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name);
        wanted.and_then(|name| name.parse().ok()).unwrap_or_else(|| cx.default_assignor())
    }

    fn spec(&mut self, image: &Image) -> GroupSpec {
        let mut group = GroupSpec::default();
        for (id, member) in &self.members {
            let topics = wanted(&member.profile, &mut self.patterns, image);
            for id in &topics {
                group.topics.insert(*id, image.partitions_of(*id));
            }
            let (instance_id, owned) = (member.profile.instance_id.clone(), member.target.clone());
            group.members.insert(id.clone(), MemberSpec { instance_id, topics, owned });
        }
        group
    }

    /// Of the topics that somebody wants, and of how many partitions they have.
    fn hash(&mut self, image: &Image) -> i64 {
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.append(&mut wanted(&member.profile, &mut self.patterns, image));
        }
        let mut bytes = Vec::with_capacity(topics.len() * 20);
        for id in topics {
            bytes.extend_from_slice(&id.to_bytes());
            bytes.extend_from_slice(&image.partitions_of(id).to_be_bytes());
        }
        XxHash64::oneshot(0, &bytes).cast_signed()
    }

    /// What each member owns.
    pub(super) fn shares(&self, image: &Image) -> Vec<Share> {
        let share = |(id, member): (&Str, &Member)| Share {
            member: id.clone(),
            client_id: member.profile.client_id.clone(),
            client_host: member.profile.client_host.clone(),
            partitions: classic::by_name(&member.standing.assigned, image),
        };
        self.members.iter().map(share).collect()
    }

    /// Moves a member towards its target as far as it may go; whether what it is assigned is another thing now.
    fn reconcile(&mut self, cx: &mut Cx<'_>, id: &Str, owned: Option<&Partitions>) -> bool {
        let owners = &mut self.owners;
        let Some(member) = self.members.get_mut(id) else { return false };
        let is_free = |topic, index| owners.get(&(topic, index)).is_none_or(|owner| owner == id);
        let Some(next) = member.reconciled(self.target_epoch, owned, is_free) else { return false };
        for partition in member.standing.owned() {
            owners.remove(&partition);
        }
        owners.extend(next.owned().map(|partition| (partition, id.clone())));
        member.acts_by = (next.state == State::Unrevoked)
            .then(|| cx.now.monotonic.saturating_add(member.profile.rebalance_timeout));
        let changed = next.assigned != member.standing.assigned;
        cx.owners_changed |= changed;
        member.standing = next;
        cx.write(Stored::Consumer(standing_of(&self.id, id, &member.standing)));
        changed
    }

    /// These are members no more.
    fn remove(&mut self, cx: &mut Cx<'_>, ids: &[Str]) {
        for id in ids {
            let Some(member) = self.members.remove(id) else { continue };
            cx.owners_changed = true;
            for partition in member.standing.owned() {
                self.owners.remove(&partition);
            }
            if let Some(instance) = &member.profile.instance_id
                && self.instances.get(instance) == Some(id)
            {
                self.instances.remove(instance);
            }
            for fact in member_tombstones(&self.id, id) {
                cx.write(Stored::Consumer(fact));
            }
        }
        if !ids.is_empty() {
            self.raise(cx);
        }
    }

    /// Does what time demands by now.
    pub(super) fn check(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.monotonic;
        let mut late = Vec::new();
        for (id, member) in self.members.iter().filter(|(_, member)| member.due() <= now) {
            let cause = if member.deadline <= now { Cause::SessionEnded } else { Cause::RebalanceMissed };
            // One that has left for a while has done so in good order.
            if member.standing.epoch != AWAY {
                cx.owner_lost(id, cause);
            }
            late.push(id.clone());
        }
        cx.lost += late.len() as u64;
        self.remove(cx, &late);
    }

    /// When time will demand something again, at the earliest.
    pub(super) fn next_check(&self) -> Option<Duration> {
        self.members.values().map(Member::due).min()
    }

    /// When time will demand something of one member; never, if it is none.
    pub(super) fn due(&self, member: &Str) -> Duration {
        self.members.get(member).map_or(Duration::MAX, Member::due)
    }

    fn stored(&self) -> Fact {
        let (epoch, topics_hash, empty_since) = (self.epoch, self.topics_hash, self.empty_since);
        Fact::Group(self.key(), Some(GroupValue { epoch, topics_hash, empty_since }))
    }

    fn stored_target(&self) -> Fact {
        Fact::Target(self.key(), Some(TargetValue { assignment_epoch: self.target_epoch }))
    }

    fn key(&self) -> GroupKey {
        GroupKey { group: self.id.clone() }
    }

    /// What takes back all that the log keeps of it.
    pub(super) fn tombstones(&self) -> Vec<Stored> {
        let members = self.members.keys().flat_map(|member| member_tombstones(&self.id, member));
        let group = self.has_been().then(|| [Fact::Target(self.key(), None), Fact::Group(self.key(), None)]);
        members.chain(group.into_iter().flatten()).map(Stored::Consumer).collect()
    }

    pub(super) fn describe(&self, image: &Image) -> described::DescribedGroup {
        let member = |(id, member): (&Str, &Member)| described::Member {
            member_id: id.clone(),
            instance_id: member.profile.instance_id.clone(),
            rack_id: member.profile.rack_id.clone(),
            member_epoch: member.standing.epoch,
            client_id: member.profile.client_id.clone(),
            client_host: member.profile.client_host.clone(),
            subscribed_topic_names: member.profile.topics.clone(),
            subscribed_topic_regex: member.profile.pattern.clone(),
            assignment: shown(&member.standing.assigned, image),
            target_assignment: shown(&member.target, image),
            member_type: i8::from(member.profile.classic.is_none()),
        };
        described::DescribedGroup {
            group_id: self.id.clone(),
            group_state: Str::from_static(self.state()),
            group_epoch: self.epoch,
            assignment_epoch: self.target_epoch,
            assignor_name: Str::from_static(self.assignor.name()),
            members: self.members.iter().map(member).collect(),
            ..described::DescribedGroup::default()
        }
    }
}

impl Member {
    fn heard_of(&mut self, now: Duration, session: Duration) {
        let session = self.profile.classic.as_ref().map_or(session, |classic| classic.session_timeout);
        self.deadline = now.saturating_add(session);
    }

    /// When it counts as dead unless it does something.
    fn due(&self) -> Duration {
        self.acts_by.map_or(self.deadline, |acts_by| acts_by.min(self.deadline))
    }
}

/// The topics that there are of those that a member wants.
fn wanted(profile: &Profile, patterns: &mut BTreeMap<Str, Pattern>, image: &Image) -> BTreeSet<TopicId> {
    let named = profile.topics.iter().filter_map(|name| image.topics.get(name));
    let mut topics: BTreeSet<_> = named.map(|topic| topic.id).collect();
    if let Some(pattern) = &profile.pattern {
        if !patterns.contains_key(pattern)
            && let Ok(compiled) = Pattern::new(pattern, image)
        {
            patterns.insert(pattern.clone(), compiled);
        }
        topics.extend(patterns.get(pattern).iter().flat_map(|pattern| &pattern.topics));
    }
    topics
}

fn shown(partitions: &Partitions, image: &Image) -> described::Assignment {
    let topics = listed(partitions).into_iter();
    let shown = |TopicPartitions { topic_id, partitions }| {
        // One that was deleted is shown to nobody.
        let topic_name = image.name_of(topic_id)?.clone();
        Some(described::TopicPartitions { topic_id, topic_name, partitions })
    };
    described::Assignment { topic_partitions: topics.filter_map(shown).collect() }
}

fn member_key(group: &Str, member: &Str) -> MemberKey {
    MemberKey { group: group.clone(), member: member.clone() }
}

fn target_of(group: &Str, member: &Str, target: &Partitions) -> Fact {
    let value = MemberTargetValue { topic_partitions: listed(target) };
    Fact::MemberTarget(member_key(group, member), Some(value))
}

fn standing_of(group: &Str, member: &Str, standing: &Standing) -> Fact {
    Fact::Standing(member_key(group, member), Some(standing.value()))
}

/// As Kafka orders them: who reads them from the start always knows the member that the others are of.
fn member_tombstones(group: &Str, member: &Str) -> [Fact; 3] {
    [
        Fact::Standing(member_key(group, member), None),
        Fact::MemberTarget(member_key(group, member), None),
        Fact::Member(member_key(group, member), None),
    ]
}
