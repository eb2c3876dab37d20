//! Offsets: kept, told and forgotten.

use std::collections::BTreeSet;

use super::{
    Coordinator, Cx, Effect, Now, Place, Ticket,
    group::{Group, Protocol},
    member::own,
    offsets::{Committed, Offsets},
    request::{Answer, Commit, CommitTopic, FetchOffsets, Partitions, PerPartition},
};
use crate::{
    model::PartitionIndex,
    wire::{ErrorCode, Str},
};

impl Coordinator {
    pub(super) fn on_commit(
        &mut self,
        now: Now,
        ticket: Ticket,
        version: i16,
        commit: Commit,
        effects: &mut Vec<Effect>,
    ) {
        let codes = self.commit(now, version, commit, effects);
        effects.push(Effect::Answer(ticket, Answer::Commit(codes)));
    }

    /// Keeps what may be kept, and says what came of each.
    pub(super) fn commit(
        &mut self,
        now: Now,
        version: i16,
        commit: Commit,
        effects: &mut Vec<Effect>,
    ) -> PerPartition<ErrorCode> {
        let allowed = match self.groups.get_mut(&commit.group) {
            Some(group) => {
                let cx = Cx::new(now, &self.settings, &self.image, effects);
                let instance = commit.instance_id.as_ref();
                group.may_commit(&cx, &commit.member_id, instance, commit.generation, version)
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
            return commit.topics.into_iter().map(refused).collect();
        }
        let id = own(&commit.group);
        self.found(&id, now.wall);
        let positions = self.positions_of(&id, &commit.topics);
        let Some(group) = self.groups.get_mut(&id) else { return Vec::new() };
        let member = own(&commit.member_id);
        let Group { protocol, offsets, .. } = group;
        let held_by_another = |topic: &Str, id, index| match &*protocol {
            Protocol::Classic(classic) => {
                classic.is_held_by_another(&member, topic, index).then_some(ErrorCode::IllegalGeneration)
            }
            Protocol::Consumer(consumer) => {
                consumer.is_anothers(&member, id, index).then_some(ErrorCode::StaleMemberEpoch)
            }
        };
        let write = |stored| effects.push(Effect::Write(stored));
        let codes = offsets.commit(commit, &self.settings, now.wall, held_by_another, write);
        let kept = codes.iter().flat_map(|(_, codes)| codes).filter(|(_, code)| *code == ErrorCode::None);
        self.counts.commits += kept.count() as u64;
        self.attempts_committed(&id, &positions, &codes, effects);
        codes
    }

    pub(super) fn fetch_offsets(
        &self,
        fetch: FetchOffsets,
    ) -> Result<PerPartition<Option<Committed>>, ErrorCode> {
        let Some(group) = self.groups.get(&fetch.group) else {
            return Ok(Offsets::default().fetch(fetch.topics));
        };
        if let (Some((member, epoch)), Protocol::Consumer(consumer)) = (&fetch.member, &group.protocol) {
            consumer.may_fetch(member, *epoch)?;
        }
        Ok(group.offsets.fetch(fetch.topics))
    }

    pub(super) fn delete_offsets(
        &mut self,
        id: &Str,
        topics: Vec<Partitions>,
        effects: &mut Vec<Effect>,
    ) -> Result<PerPartition<ErrorCode>, ErrorCode> {
        let group = self.groups.get_mut(id).ok_or(ErrorCode::GroupIdNotFound)?;
        if !group.is_empty() && !group.is_of_consumers() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let consumed = group.subscribed_topics(&self.image);
        let mut answer = Vec::with_capacity(topics.len());
        for Partitions { topic, indexes } in topics {
            let code = if consumed.as_ref().is_none_or(|consumed| consumed.contains(&topic)) {
                ErrorCode::GroupSubscribedToTopic
            } else {
                let wanted: BTreeSet<PartitionIndex> = indexes.iter().copied().collect();
                let named = |name: &Str, index, _: &Committed| *name == topic && wanted.contains(&index);
                group.offsets.forget(id, named, |stored| effects.push(Effect::Write(stored)));
                let of_wanted = |_, (name, index): &Place, _| *name == topic && wanted.contains(index);
                group.attempts.forget(id, of_wanted, effects);
                ErrorCode::None
            };
            answer.push((topic, indexes.into_iter().map(|index| (index, code)).collect()));
        }
        Ok(answer)
    }
}
