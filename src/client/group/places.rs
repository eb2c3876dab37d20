//! What a member holds: where each partition is read, and how far it is done. Knows no socket.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::member::Partitions;
use crate::{
    client::StartAt,
    model::{Offset, PartitionIndex, TopicId, TopicName},
};

/// A partition by the name of its topic.
pub(super) type Place = (TopicName, PartitionIndex);

/// What is to be said of partitions, by topic. Those of a topic follow each other.
pub(super) fn by_topic<T>(partitions: impl IntoIterator<Item = (TopicName, T)>) -> Vec<(TopicName, Vec<T>)> {
    let mut topics: Vec<(TopicName, Vec<T>)> = Vec::new();
    for (topic, one) in partitions {
        match topics.last_mut().filter(|(last, _)| *last == topic) {
            Some((_, of_topic)) => of_topic.push(one),
            None => topics.push((topic, vec![one])),
        }
    }
    topics
}

/// How long to wait before the coordinator is asked again for a position that it does not tell yet.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How a partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Where to begin is to be asked, not before this.
    Ask(Instant),
    /// It begins there, not before this.
    From(StartAt, Instant),
    /// It is under way.
    UnderWay,
}

/// A partition that is held.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) topic: TopicId,
    pub(super) reading: Reading,
    /// Names what is delivered since it was taken or last read again.
    pub(super) turn: u64,
    /// How often in a row the coordinator has not told where to begin.
    pub(super) asked: u32,
    /// Where the group is to go on, by what was acknowledged.
    pub(super) done: Option<Offset>,
    /// What of that is committed.
    pub(super) committed: Option<Offset>,
    /// The record whose deliveries have failed, and how often.
    pub(super) failed: Option<(Offset, u32)>,
    /// The record that was refused last, and how often in a row since the partition was taken.
    pub(super) refused: Option<(Offset, u32)>,
}

impl Owned {
    /// How often deliveries of this record have failed.
    pub(super) fn attempts(&self, offset: Offset) -> u32 {
        self.failed.filter(|(failed, _)| *failed == offset).map_or(0, |(_, attempts)| attempts)
    }

    /// The record was refused once more; how often that makes in a row.
    pub(super) fn refuse(&mut self, offset: Offset) -> u32 {
        let before = self.refused.filter(|(refused, _)| *refused == offset).map_or(0, |(_, times)| times);
        self.refused = Some((offset, before.saturating_add(1)));
        before.saturating_add(1)
    }

    /// What is done and not committed.
    pub(super) fn to_commit(&self) -> Option<Offset> {
        self.done.filter(|done| self.committed != Some(*done))
    }
}

/// All of them, in one round of the member.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) round: u64,
    /// The member's epoch as it took the last of them.
    pub(super) epoch: i32,
    owned: BTreeMap<Place, Owned>,
    turns: u64,
}

impl Places {
    /// Another round begins, in which nothing is held; says what was.
    pub(super) fn begin(&mut self, round: u64) -> Vec<Place> {
        (self.round, self.epoch) = (round, 0);
        std::mem::take(&mut self.owned).into_keys().collect()
    }

    pub(super) fn get(&self, place: &Place) -> Option<&Owned> {
        self.owned.get(place)
    }

    pub(super) fn get_mut(&mut self, place: &Place) -> Option<&mut Owned> {
        self.owned.get_mut(place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Place, &Owned)> {
        self.owned.iter()
    }

    /// Those that are not to be held any more.
    pub(super) fn to_give_back(&self, wanted: &BTreeMap<Place, TopicId>) -> Vec<Place> {
        let stays = |(place, owned): &(&Place, &Owned)| wanted.get(*place) == Some(&owned.topic);
        self.owned.iter().filter(|one| !stays(one)).map(|(place, _)| place.clone()).collect()
    }

    pub(super) fn give_back(&mut self, place: &Place) {
        self.owned.remove(place);
    }

    /// Takes what is not held yet.
    pub(super) fn take(&mut self, wanted: BTreeMap<Place, TopicId>, now: Instant) {
        for (place, topic) in wanted {
            self.turns += 1;
            let turn = self.turns;
            self.owned.entry(place).or_insert(Owned {
                topic,
                reading: Reading::Ask(now),
                turn,
                asked: 0,
                done: None,
                committed: None,
                failed: None,
                refused: None,
            });
        }
    }

    /// What is held, as the coordinator hears of it.
    pub(super) fn held(&self) -> Partitions {
        let mut held: BTreeMap<TopicId, BTreeSet<PartitionIndex>> = BTreeMap::new();
        for ((_, index), owned) in &self.owned {
            held.entry(owned.topic).or_default().insert(*index);
        }
        held
    }

    /// The partition is read again, or from elsewhere: what was delivered of it until now counts no more.
    pub(super) fn read_again(&mut self, place: &Place, reading: Reading) {
        self.turns += 1;
        if let Some(owned) = self.owned.get_mut(place) {
            (owned.reading, owned.turn, owned.asked) = (reading, self.turns, 0);
        }
    }

    /// The position was not told.
    pub(super) fn not_told(&mut self, place: &Place, now: Instant) {
        if let Some(owned) = self.owned.get_mut(place) {
            // The first time the reason may be another partition that was asked about at once: each alone, then.
            let pause = FIRST_PAUSE.saturating_mul(1 << owned.asked.min(16)).min(LONGEST_PAUSE);
            owned.reading = Reading::Ask(if owned.asked == 0 { now } else { now + pause });
            owned.asked += 1;
        }
    }

    /// Whose positions are to be asked for now, in one request: all that were not asked for yet, or else one.
    pub(super) fn to_ask(&self, now: Instant) -> Vec<Place> {
        let due = |owned: &Owned| matches!(owned.reading, Reading::Ask(at) if at <= now);
        let due = self.owned.iter().filter(|(_, owned)| due(owned));
        let fresh: Vec<_> =
            due.clone().filter(|(_, owned)| owned.asked == 0).map(|(place, _)| place.clone()).collect();
        if fresh.is_empty() { due.map(|(place, _)| place.clone()).take(1).collect() } else { fresh }
    }

    /// What is to be read from now on.
    pub(super) fn begin_due(&mut self, now: Instant) -> Vec<(Place, StartAt)> {
        let mut begins = Vec::new();
        for (place, owned) in &mut self.owned {
            if let Reading::From(start, at) = owned.reading
                && at <= now
            {
                owned.reading = Reading::UnderWay;
                begins.push((place.clone(), start));
            }
        }
        begins
    }

    /// When something is to be asked or read, at the earliest.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = |owned: &Owned| match owned.reading {
            Reading::Ask(at) | Reading::From(_, at) => Some(at),
            Reading::UnderWay => None,
        };
        self.owned.values().filter_map(due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(index: i32) -> Place {
        (TopicName::new("t").unwrap(), PartitionIndex::new(index))
    }

    fn wanted(indexes: &[i32]) -> BTreeMap<Place, TopicId> {
        indexes.iter().map(|index| (place(*index), TopicId::from_bytes([7; 16]))).collect()
    }

    fn holding(indexes: &[i32], now: Instant) -> Places {
        let mut places = Places::default();
        places.take(wanted(indexes), now);
        places
    }

    #[tokio::test]
    async fn what_is_wanted_is_taken_what_is_not_is_given_back_and_the_rest_goes_on() {
        let now = Instant::now();
        let mut places = holding(&[0, 1], now);
        let turn = places.get(&place(1)).unwrap().turn;
        assert_eq!(places.to_give_back(&wanted(&[1, 2])), [place(0)]);
        places.give_back(&place(0));
        places.take(wanted(&[1, 2]), now);
        let held: Vec<_> = places.iter().map(|(place, _)| place.clone()).collect();
        assert_eq!(held, [place(1), place(2)]);
        assert_eq!(places.get(&place(1)).unwrap().turn, turn);
        // A topic that was made anew under the same name is another.
        let other = wanted(&[1, 2]).into_keys().map(|place| (place, TopicId::from_bytes([8; 16]))).collect();
        assert_eq!(places.to_give_back(&other), [place(1), place(2)]);
    }

    #[tokio::test]
    async fn a_partition_that_comes_back_is_not_taken_for_what_it_was() {
        let now = Instant::now();
        let mut places = holding(&[0], now);
        let turn = places.get(&place(0)).unwrap().turn;
        places.give_back(&place(0));
        places.take(wanted(&[0]), now);
        let again = places.get(&place(0)).unwrap().turn;
        assert_ne!(turn, again);
        places.read_again(&place(0), Reading::UnderWay);
        assert_ne!(places.get(&place(0)).unwrap().turn, again);
    }

    #[tokio::test]
    async fn one_position_that_is_not_told_holds_no_other_up() {
        let now = Instant::now();
        let mut places = holding(&[0, 1], now);
        assert_eq!(places.to_ask(now), [place(0), place(1)]);
        places.not_told(&place(0), now);
        places.not_told(&place(1), now);
        assert_eq!(places.to_ask(now), [place(0)], "each alone");
        places.not_told(&place(0), now);
        assert_eq!(places.to_ask(now), [place(1)]);
        places.read_again(&place(1), Reading::From(StartAt::BEGINNING, now));
        assert_eq!(places.begin_due(now), [(place(1), StartAt::BEGINNING)]);
        assert!(places.to_ask(now).is_empty() && places.begin_due(now).is_empty());
        let due = places.due().unwrap();
        assert!(due > now && due <= now + LONGEST_PAUSE);
        assert_eq!(places.to_ask(due), [place(0)]);
    }

    #[tokio::test]
    async fn only_what_is_done_and_not_committed_is_to_be_committed() {
        let mut places = holding(&[0], Instant::now());
        let owned = places.get_mut(&place(0)).unwrap();
        assert_eq!(owned.to_commit(), None);
        owned.done = Some(Offset::new(5));
        assert_eq!(owned.to_commit(), Some(Offset::new(5)));
        owned.committed = owned.done;
        assert_eq!(owned.to_commit(), None);
        owned.failed = Some((Offset::new(5), 2));
        assert_eq!((owned.attempts(Offset::new(5)), owned.attempts(Offset::new(6))), (2, 0));
    }
}
