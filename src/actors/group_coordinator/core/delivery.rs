//! Where a coordinator learns that an owner is lost, and what follows from it for records; see
//! [`super::attempts`].

use super::{
    Coordinator, Cx, Effect, Group, Now,
    attempts::{AskServed, Buried, Cause, DeadLetter, Loss},
    image::Image,
    request::{CommitTopic, FetchOffsets},
};
use crate::{
    model::{Offset, PartitionIndex, ProducerId, TimestampMs},
    wire::{ErrorCode, Str},
};

/// What Java's consumer says when it leaves because its application took too long (KIP-800).
const POLL_TIMED_OUT: &str = "poll timeout";

impl Cx<'_> {
    /// This member is lost with what it owns.
    pub(super) fn owner_lost(&mut self, member: &Str, cause: Cause) {
        self.losses.push(Loss { member: member.clone(), cause, until: None });
    }

    /// This member leaves. Whoever says why is believed; of whoever does not it cannot be told whether it left in
    /// good order, so it counts only where it has sat on the record for as long as it may between two polls.
    pub(super) fn owner_leaves(&mut self, member: &Str, reason: Option<&Str>, poll: std::time::Duration) {
        match reason.map(Str::as_str).filter(|reason| !reason.is_empty()) {
            Some(reason) if reason.contains(POLL_TIMED_OUT) => self.owner_lost(member, Cause::PollTimedOut),
            Some(_) => {}
            None => {
                let until = self.now.monotonic.checked_sub(poll);
                if until.is_some() {
                    self.losses.push(Loss { member: member.clone(), cause: Cause::LeftLate, until });
                }
            }
        }
    }
}

impl Group {
    /// After a change: who is lost, and who owns what now.
    pub(super) fn settle_owners(
        &mut self,
        now: Now,
        losses: &[Loss],
        changed: bool,
        image: &Image,
        effects: &mut Vec<Effect>,
    ) {
        for loss in losses {
            effects.extend(self.attempts.owner_lost(&self.id, loss, image, &self.offsets));
        }
        if changed {
            let shares = if image.is_limited() { self.shares(image) } else { Vec::new() };
            self.attempts.set_owners(now, image, shares);
        }
    }
}

impl Coordinator {
    /// The answer to an [`AskServed`]: at which offset an attempt counts. `None` also where there is no answer.
    pub fn served(&mut self, now: Now, ask: &AskServed, at: Option<Offset>, effects: &mut Vec<Effect>) {
        let Some(group) = self.groups.get_mut(&ask.group) else { return };
        if !group.attempts.answered(&ask.place) {
            return;
        }
        let (Some(offset), Some(topic)) = (at, self.image.topics.get(&ask.place.0)) else { return };
        // Whoever has moved the group past the record meanwhile has dealt with it.
        let stands = group.offsets.position(&ask.place, topic.id) == ask.position;
        if topic.id == ask.topic && stands {
            self.counts.attempts += 1;
            group.attempts.count(now, ask, offset, &topic.delivery, effects);
            self.count_stopped();
        }
    }

    /// The answer to [`Effect::Mark`].
    pub fn marked(&mut self, letter: &DeadLetter, mark: ProducerId, effects: &mut Vec<Effect>) {
        if let Some(group) = self.groups.get_mut(&letter.group)
            && group.attempts.awaits(letter)
        {
            group.attempts.marked(letter, mark, effects);
        }
    }

    /// What became of a record that was to be a dead letter.
    pub fn buried(&mut self, now: Now, letter: &DeadLetter, buried: Buried, effects: &mut Vec<Effect>) {
        let Some(group) = self.groups.get_mut(&letter.group) else { return };
        if !group.attempts.awaits(letter) {
            return;
        }
        match buried {
            Buried::There { next, leader_epoch } => {
                self.counts.dead_letters += 1;
                let moved = group.offsets.move_to(&group.id, letter, next, leader_epoch, now.wall);
                effects.push(Effect::Write(moved));
                group.attempts.moved_past(&group.id, &letter.place, next, effects);
            }
            Buried::Gone => group.attempts.forget(&group.id, |_, place, _| *place == letter.place, effects),
        }
        self.count_stopped();
    }

    /// Whether an offset that is asked for is not to be told yet (S22).
    pub(super) fn is_held(&self, fetch: &FetchOffsets) -> bool {
        let Some(group) = self.groups.get(&fetch.group).filter(|group| group.attempts.may_hold()) else {
            return false;
        };
        // Whoever asks for all is no consumer that begins.
        let topics = fetch.topics.iter().flatten();
        let mut places =
            topics.flat_map(|topic| topic.indexes.iter().map(move |index| (topic.topic.clone(), *index)));
        places.any(|place| group.attempts.holds(&place))
    }

    /// Clears what the commits of `committed` have moved past.
    pub(super) fn attempts_committed(
        &mut self,
        group: &Str,
        committed: &[(Str, PartitionIndex, Offset)],
        codes: &[(Str, Vec<(PartitionIndex, ErrorCode)>)],
        effects: &mut Vec<Effect>,
    ) {
        let Some(group) = self.groups.get_mut(group) else { return };
        let codes = codes.iter().flat_map(|(_, codes)| codes).map(|(_, code)| *code);
        let mut forgotten = false;
        for ((topic, index, offset), code) in committed.iter().zip(codes) {
            if code == ErrorCode::None {
                let place = (topic.clone(), *index);
                forgotten |= group.attempts.committed(&group.id, &place, *offset, effects);
            }
        }
        if forgotten {
            self.count_stopped();
        }
    }

    /// What of a commit may matter to attempts; nothing where there are none.
    pub(super) fn positions_of(
        &self,
        group: &Str,
        topics: &[CommitTopic],
    ) -> Vec<(Str, PartitionIndex, Offset)> {
        if self.groups.get(group).is_none_or(|group| group.attempts.is_empty()) {
            return Vec::new();
        }
        let of_topic = |topic: &CommitTopic| {
            let name = topic.name.clone();
            let partitions = topic.partitions.clone().into_iter();
            partitions.map(move |one| (name.clone(), one.partition_index, one.committed_offset))
        };
        topics.iter().flat_map(of_topic).collect()
    }

    /// Other limits may hold: looks at everybody's owners again.
    pub(super) fn limits_changed(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let image = std::sync::Arc::clone(&self.image);
        for group in self.groups.values_mut() {
            group.settle_owners(now, &[], true, &image, effects);
            group.attempts.spare_unlimited(&group.id, &image, effects);
            if !self.resumed {
                group.attempts.resume(&group.id, &image, effects);
            }
        }
        self.count_stopped();
    }

    /// Forgets attempts on records that nobody has come back to for as long as offsets are kept.
    pub(super) fn sweep_attempts(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let retention = self.settings.offsets_retention;
        for group in self.groups.values_mut().filter(|group| group.is_empty()) {
            let expired = |_, _: &_, last: TimestampMs| last.later(retention) <= now.wall;
            group.attempts.forget(&group.id, expired, effects);
        }
        self.count_stopped();
    }

    pub(super) fn count_stopped(&mut self) {
        self.stopped = self.groups.values().map(|group| group.attempts.stopped()).sum();
    }
}
