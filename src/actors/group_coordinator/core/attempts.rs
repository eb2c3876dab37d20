//! Which record takes its consumers down, how often it has, and when it is given up.
//!
//! A consumer of ours says that a delivery has failed ([`super::nacks`]). A client that dies says nothing about it, so an
//! attempt is inferred: an owner is lost while the record at the
//! group's position had been served to it. The position is the committed one, or where nothing is committed the
//! first that the owner was given. A commit that moves it clears the count; past the limit the record is marked with a
//! producer of its own, goes to the topic of dead letters, and only when it is there on disk the position moves behind it. Meanwhile nobody is told the
//! position, so that no other owner begins at that record (S22); nor while the partition's leader, on whichever node, is
//! asked what it had served. A leader that does not answer has served nothing, as far as anybody knows: that counts nothing.
//!
//! Counts and marks are kept in the log beside the offsets: a coordinator that dies between two attempts loses none, and one
//! that goes on with what its predecessor had given up writes that as the same producer, so that it is there once.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Effect, Now,
    image::Image,
    offsets::Offsets,
    request::PerPartition,
    stored::{AttemptsValue, OffsetKey, Stored},
};
use crate::{
    actors::{
        group_coordinator::consumer_protocol::PartitionsByName,
        partition::{ClientKey, Served, ServedQuery},
    },
    config::topic::Delivery,
    model::{LeaderEpoch, Offset, PartitionIndex, ProducerId, TimestampMs, TopicId},
    wire::{Str, api::offset_commit::Nacked},
};

/// A partition by the name of its topic.
pub type Place = (Str, PartitionIndex);

/// How an owner was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It said nothing for as long as its session lasts: as a rule it died.
    SessionEnded,
    /// It did not come back within its rebalance time-out.
    RebalanceMissed,
    /// It was told of its new generation and never asked for its share.
    SyncMissed,
    /// It left because its application took too long.
    PollTimedOut,
    /// It left without saying why, long after it had been given the record.
    LeftLate,
    /// Another process took its place as a static member.
    Replaced,
}

impl Cause {
    /// As a dead letter has it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::SessionEnded => "the consumer's session timed out",
            Self::RebalanceMissed => "the consumer did not rejoin within its rebalance timeout",
            Self::SyncMissed => "the consumer did not ask for its assignment",
            Self::PollTimedOut => "the consumer left after its poll timeout",
            Self::LeftLate => "the consumer left a poll timeout or longer after it had got the record",
            Self::Replaced => "the consumer was replaced by another with the same instance id",
        }
    }
}

/// An owner that is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) member: Str,
    pub(super) cause: Cause,
    /// It counts only if the record had been served by then: else the member may have left in good order.
    pub(super) until: Option<Duration>,
}

/// What a member owns.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) member: Str,
    pub(super) client_id: Str,
    pub(super) client_host: Str,
    pub(super) partitions: PartitionsByName,
}

/// A question to the partition's leader: which record had the lost owner been given?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskServed {
    /// The group.
    pub group: Str,
    /// The partition.
    pub place: Place,
    /// Its topic's id.
    pub topic: TopicId,
    /// Where the group stands; `None`: where the client began.
    pub position: Option<Offset>,
    /// The client, and when.
    pub query: ServedQuery,
    /// How the owner was lost.
    pub cause: Cause,
}

impl AskServed {
    /// The offset at which an attempt is to be counted, by what was served of the partition.
    pub fn answer(&self, served: &Served, log_start: Offset) -> Option<Offset> {
        failed_at(self.position, &self.query, served, log_start)
    }
}

/// Which record a lost client had been given, where its group stands at `position`: by what was served of the partition.
pub fn failed_at(
    position: Option<Offset>,
    query: &ServedQuery,
    served: &Served,
    log_start: Offset,
) -> Option<Offset> {
    match position {
        Some(position) if position >= log_start => served.has(query, position).then_some(position),
        // Nobody can begin at a position that is deleted.
        Some(_) | None => served.first(query).filter(|first| *first >= log_start),
    }
}

/// A record that is to go to the topic of dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The group that gives it up.
    pub group: Str,
    /// The partition that it is in.
    pub place: Place,
    /// Its topic's id.
    pub topic: TopicId,
    /// Its offset.
    pub offset: Offset,
    /// How often it was tried.
    pub attempts: u32,
    /// The first time that it failed.
    pub first: TimestampMs,
    /// The last time.
    pub last: TimestampMs,
    /// What happened then.
    pub cause: Str,
    /// The producer that it is written by; [`ProducerId::NONE`] until it has one.
    pub mark: ProducerId,
}

/// A record that was tried and failed, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// The id of its topic.
    pub topic: TopicId,
    /// Its offset.
    pub offset: Offset,
    /// How often.
    pub attempts: u32,
    /// Whether so many in a row had failed that no more are given up.
    pub stopped: bool,
}

/// What became of such a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buried {
    /// It is in the topic of dead letters, on disk.
    There {
        /// The offset to go on from.
        next: Offset,
        /// The leader epoch of the record.
        leader_epoch: LeaderEpoch,
    },
    /// It is not there any more to be read.
    Gone,
}

/// A delivery that has failed.
pub(super) struct Failed<'a> {
    pub(super) group: &'a Str,
    pub(super) place: &'a Place,
    pub(super) topic: TopicId,
    pub(super) offset: Offset,
    pub(super) cause: Str,
}

#[derive(Clone, Debug)]
struct Owner {
    member: Str,
    client: ClientKey,
    /// Since when it has owned the partition without a break, or has last said that a delivery failed.
    since: Duration,
}

/// A record that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tries {
    topic: TopicId,
    offset: Offset,
    count: u32,
    first: TimestampMs,
    last: TimestampMs,
    cause: Str,
    in_a_row: u32,
    stopped: bool,
    /// The producer that writes it to the dead letters.
    mark: ProducerId,
    /// It is on its way to the dead letters.
    moving: bool,
}

/// What one group has failed on, and who could.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts {
    /// Of partitions with a limit.
    owners: BTreeMap<Place, Owner>,
    tries: BTreeMap<Place, Tries>,
    /// How many questions about a partition wait for its leader.
    asked: BTreeMap<Place, u32>,
}

impl Attempts {
    /// Whether nothing of it is in the log.
    pub(super) fn is_empty(&self) -> bool {
        self.tries.is_empty()
    }

    /// Partitions whose failures have stopped the group's dead letters.
    pub(super) fn stopped(&self) -> usize {
        self.tries.values().filter(|tries| tries.stopped).count()
    }

    /// What was tried and failed, by partition.
    pub(super) fn told(&self) -> PerPartition<Attempted> {
        let mut told: PerPartition<Attempted> = Vec::new();
        for ((topic, partition), tries) in self.tries.iter().filter(|(_, tries)| tries.count > 0) {
            let (attempts, stopped) = (tries.count, tries.stopped);
            let one = (*partition, Attempted { topic: tries.topic, offset: tries.offset, attempts, stopped });
            match told.last_mut().filter(|(name, _)| name == topic) {
                Some((_, partitions)) => partitions.push(one),
                None => told.push((topic.clone(), vec![one])),
            }
        }
        told
    }

    /// Whether there is a position that may not be told now.
    pub(super) fn may_hold(&self) -> bool {
        !self.tries.is_empty() || !self.asked.is_empty()
    }

    /// Whether the group's position there is not to be told now.
    pub(super) fn holds(&self, place: &Place) -> bool {
        self.asked.contains_key(place) || self.tries.get(place).is_some_and(|tries| tries.moving)
    }

    /// A question has an answer, or will get none. Whether it was open.
    pub(super) fn answered(&mut self, place: &Place) -> bool {
        let Some(open) = self.asked.get_mut(place) else { return false };
        *open -= 1;
        if *open == 0 {
            self.asked.remove(place);
        }
        true
    }

    /// Who owns what from now on. Whoever owned a partition before has owned it since then.
    pub(super) fn set_owners(&mut self, now: Now, image: &Image, shares: Vec<Share>) {
        let mut before = std::mem::take(&mut self.owners);
        for Share { member, client_id, client_host, partitions } in shares {
            let client = ClientKey::new(&client_id, &client_host);
            let places = partitions
                .into_iter()
                .flat_map(|(topic, indexes)| indexes.into_iter().map(move |index| (topic.clone(), index)));
            for place in places.filter(|place| limit(image, place).is_some()) {
                let same = before.remove(&place).filter(|owner| owner.member == member);
                let since = same.map_or(now.monotonic, |owner| owner.since);
                self.owners.insert(place, Owner { member: member.clone(), client, since });
            }
        }
    }

    /// An owner is lost: asks for each of its partitions whether that is an attempt on a record.
    pub(super) fn owner_lost(
        &mut self,
        group: &Str,
        loss: &Loss,
        image: &Image,
        offsets: &Offsets,
    ) -> Vec<Effect> {
        let mut asks = Vec::new();
        let asked = &mut self.asked;
        self.owners.retain(|place, owner| {
            if owner.member != loss.member {
                return true;
            }
            if let Some(topic) = image.topics.get(&place.0) {
                let query = ServedQuery { client: owner.client, since: owner.since, until: loss.until };
                *asked.entry(place.clone()).or_default() += 1;
                asks.push(Effect::AskServed(AskServed {
                    group: group.clone(),
                    place: place.clone(),
                    topic: topic.id,
                    position: offsets.position(place, topic.id),
                    query,
                    cause: loss.cause,
                }));
            }
            false
        });
        asks
    }

    /// The lost owner had been given the record at `offset`: that is an attempt.
    pub(super) fn count(
        &mut self,
        now: Now,
        ask: &AskServed,
        offset: Offset,
        delivery: &Delivery,
        effects: &mut Vec<Effect>,
    ) {
        let failed = Failed {
            group: &ask.group,
            place: &ask.place,
            topic: ask.topic,
            offset,
            cause: Str::from_static(ask.cause.text()),
        };
        self.fail(now, failed, delivery, effects);
    }

    /// A delivery of the record has failed.
    fn fail(&mut self, now: Now, failed: Failed<'_>, delivery: &Delivery, effects: &mut Vec<Effect>) {
        let Failed { group, place, topic, offset, cause } = failed;
        let Some(limit) = delivery.limit(place.1) else { return };
        let tries = self.tries.entry(place.clone()).or_insert_with(|| Tries::at(topic, offset));
        if tries.moving {
            return;
        }
        if tries.offset != offset || tries.topic != topic {
            *tries = Tries::at(topic, offset);
        }
        if tries.count == 0 {
            tries.first = now.wall;
        }
        tries.count = tries.count.saturating_add(1);
        (tries.last, tries.cause) = (now.wall, cause);
        if tries.count >= limit {
            self.give_up(group, place, delivery, effects);
        }
        if let Some(tries) = self.tries.get(place) {
            effects.push(Effect::Write(tries.stored(group, place)));
        }
    }

    /// The owner says itself that a delivery has failed, for the `attempt`th time as far as it knows. Says whether that
    /// is news, and what has become of the record.
    pub(super) fn nacked(
        &mut self,
        now: Now,
        failed: Failed<'_>,
        attempt: u32,
        delivery: &Delivery,
        effects: &mut Vec<Effect>,
    ) -> (bool, Nacked) {
        let (place, topic, offset) = (failed.place, failed.topic, failed.offset);
        let counted = |tries: &&Tries| tries.offset == offset && tries.topic == topic;
        let before = self.tries.get(place).filter(counted);
        let is_news = before.is_none_or(|tries| !tries.moving && (attempt == 0 || tries.count < attempt));
        if is_news {
            self.fail(now, failed, delivery, effects);
            // What it was given until now is accounted for: should it be lost too, that is another attempt only if it
            // was given the record again.
            if let Some(owner) = self.owners.get_mut(place) {
                owner.since = now.monotonic;
            }
        }
        let tries = self.tries.get(place).filter(counted);
        let nacked = tries.map_or_else(Nacked::default, |tries| Nacked {
            attempts: i32::try_from(tries.count).unwrap_or(i32::MAX),
            given_up: tries.moving,
            dead_letters_stopped: self.stopped() > 0,
        });
        (is_news && tries.is_some(), nacked)
    }

    /// The record has failed too often: it goes to the dead letters, unless it is one of too many.
    fn give_up(&mut self, group: &Str, place: &Place, delivery: &Delivery, effects: &mut Vec<Effect>) {
        let group_stopped = self.stopped() > 0;
        let Some(tries) = self.tries.get_mut(place) else { return };
        let too_many = delivery.max_consecutive > 0 && tries.in_a_row >= delivery.max_consecutive;
        if too_many && !tries.stopped {
            tries.stopped = true;
            effects.push(Effect::DeadLettersStopped { group: group.clone(), place: place.clone() });
        }
        if too_many || group_stopped {
            return;
        }
        tries.moving = true;
        let letter = tries.letter(group, place);
        let is_marked = letter.mark != ProducerId::NONE;
        effects.push(if is_marked { Effect::Bury(letter) } else { Effect::Mark(letter) });
    }

    /// The record that is given up has a producer to be written by. It keeps the first: that may be at work already.
    pub(super) fn marked(&mut self, letter: &DeadLetter, mark: ProducerId, effects: &mut Vec<Effect>) {
        let tries = self.tries.get_mut(&letter.place).filter(|tries| tries.mark == ProducerId::NONE);
        let Some(tries) = tries else { return };
        tries.mark = mark;
        effects.push(Effect::Write(tries.stored(&letter.group, &letter.place)));
        effects.push(Effect::Bury(tries.letter(&letter.group, &letter.place)));
    }

    /// What the coordinator that was before had given up and not moved past.
    pub(super) fn resume(&mut self, group: &Str, image: &Image, effects: &mut Vec<Effect>) {
        let spent = self.tries.iter().filter(|(place, tries)| {
            limit(image, place).is_some_and(|limit| tries.count >= limit) && !tries.moving
        });
        let spent: Vec<_> = spent.map(|(place, _)| place.clone()).collect();
        for place in spent {
            if let Some(topic) = image.topics.get(&place.0) {
                self.give_up(group, &place, &topic.delivery, effects);
            }
        }
    }

    /// Whether `letter` is still on its way, so that what became of it counts.
    pub(super) fn awaits(&self, letter: &DeadLetter) -> bool {
        let tries = self.tries.get(&letter.place);
        tries
            .is_some_and(|tries| tries.moving && tries.offset == letter.offset && tries.topic == letter.topic)
    }

    /// The record is a dead letter, and the position is now `next`.
    pub(super) fn moved_past(&mut self, group: &Str, place: &Place, next: Offset, effects: &mut Vec<Effect>) {
        let Some(tries) = self.tries.get_mut(place) else { return };
        let in_a_row = tries.in_a_row.saturating_add(1);
        *tries = Tries { in_a_row, last: tries.last, ..Tries::at(tries.topic, next) };
        effects.push(Effect::Write(tries.stored(group, place)));
    }

    /// A consumer or an administrator has committed `offset`. Whether anything is forgotten.
    pub(super) fn committed(
        &mut self,
        group: &Str,
        place: &Place,
        offset: Offset,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let moved = self.tries.get(place).is_some_and(|tries| tries.offset != offset);
        if moved {
            self.forget(group, |_, other, _| other == place, effects);
        }
        moved
    }

    /// Limits are others: what is on its way where there is none any more, stays.
    pub(super) fn spare_unlimited(&mut self, group: &Str, image: &Image, effects: &mut Vec<Effect>) {
        for (place, tries) in &mut self.tries {
            if tries.moving && limit(image, place).is_none() {
                tries.moving = false;
                effects.push(Effect::Spare { group: group.clone(), place: place.clone() });
            }
        }
    }

    /// Takes back what `goes` names: by topic, partition and when it was last tried.
    pub(super) fn forget(
        &mut self,
        group: &Str,
        goes: impl Fn(TopicId, &Place, TimestampMs) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        self.tries.retain(|place, tries| {
            if !goes(tries.topic, place, tries.last) {
                return true;
            }
            if tries.moving {
                effects.push(Effect::Spare { group: group.clone(), place: place.clone() });
            }
            if tries.stopped {
                effects.push(Effect::DeadLettersGoOn { group: group.clone(), place: place.clone() });
            }
            effects.push(Effect::Write(Stored::Attempts { key: key(group, place), value: None }));
            false
        });
    }

    /// What the log said.
    pub(super) fn load(&mut self, place: &Place, value: Option<AttemptsValue>) {
        match value {
            Some(value) => {
                let place = (Str::from(place.0.as_str()), place.1);
                self.tries.insert(place, Tries::of_value(&value));
            }
            None => {
                self.tries.remove(place);
            }
        }
    }
}

impl Tries {
    /// A record that has not failed yet.
    fn at(topic: TopicId, offset: Offset) -> Self {
        let (first, last) = (TimestampMs::NONE, TimestampMs::NONE);
        let (count, in_a_row, stopped, moving) = (0, 0, false, false);
        let (cause, mark) = (Str::default(), ProducerId::NONE);
        Self { topic, offset, count, first, last, cause, in_a_row, stopped, mark, moving }
    }

    fn letter(&self, group: &Str, place: &Place) -> DeadLetter {
        DeadLetter {
            group: group.clone(),
            place: place.clone(),
            topic: self.topic,
            offset: self.offset,
            attempts: self.count,
            first: self.first,
            last: self.last,
            cause: self.cause.clone(),
            mark: self.mark,
        }
    }

    fn stored(&self, group: &Str, place: &Place) -> Stored {
        let value = AttemptsValue {
            topic_id: self.topic,
            offset: self.offset,
            attempts: i32::try_from(self.count).unwrap_or(i32::MAX),
            first: self.first,
            last: self.last,
            cause: self.cause.clone(),
            in_a_row: i32::try_from(self.in_a_row).unwrap_or(i32::MAX),
            stopped: self.stopped,
            mark: self.mark,
        };
        Stored::Attempts { key: key(group, place), value: Some(value) }
    }

    fn of_value(value: &AttemptsValue) -> Self {
        Self {
            topic: value.topic_id,
            offset: value.offset,
            count: u32::try_from(value.attempts).unwrap_or(0),
            first: value.first,
            last: value.last,
            cause: Str::from(value.cause.as_str()),
            in_a_row: u32::try_from(value.in_a_row).unwrap_or(0),
            stopped: value.stopped,
            mark: value.mark,
            moving: false,
        }
    }
}

fn key(group: &Str, (topic, partition): &Place) -> OffsetKey {
    OffsetKey { group: group.clone(), topic: topic.clone(), partition: *partition }
}

fn limit(image: &Image, (topic, partition): &Place) -> Option<u32> {
    image.topics.get(topic)?.delivery.limit(*partition)
}
