//! Histories of a log that is right by construction, from a seed: the checker must find nothing. Then
//! one fault in what is read: it must find that. A rule that is too strict fails the first, one that
//! looks away the second.

use std::collections::BTreeSet;

use proptest::prelude::{ProptestConfig, any, proptest};

use super::{Checker, Expectations, Report, Rule};
use crate::{
    chaos::history::{
        Acknowledged, Acks, ContentDigest, Entry, Event, ProducerName, ProducerProfile, Read, RecordId,
        Refused, ScanBegan, ScanEnded, Sent, TopicPartition,
    },
    model::Offset,
};

/// A record as the log holds it.
type Stored = (RecordId, ContentDigest);

/// One partition, its producers and a history of both.
struct World {
    random: fastrand::Rng,
    partition: TopicPartition,
    profiles: Vec<ProducerProfile>,
    next: Vec<u32>,
    log: Vec<Stored>,
    /// Records that are acknowledged by a producer whose records are in the log once at most.
    acknowledged_once: BTreeSet<RecordId>,
    events: Vec<Event>,
}

impl World {
    fn new(seed: u64) -> Self {
        let profile = |name: &str, idempotent, retries, in_flight| {
            let name = ProducerName::new(name).unwrap();
            ProducerProfile { name, acks: Acks::All, idempotent, retries, in_flight }
        };
        let profiles = vec![
            profile("idempotent", true, true, 5),
            profile("once", false, false, 1),
            profile("again", false, true, 1),
            profile("unordered", false, true, 5),
        ];
        Self {
            random: fastrand::Rng::with_seed(seed),
            partition: "t/0".parse().unwrap(),
            next: vec![0; profiles.len()],
            events: profiles.iter().cloned().map(Event::Producer).collect(),
            profiles,
            log: Vec::new(),
            acknowledged_once: BTreeSet::new(),
        }
    }

    /// One producer sends a few records as one batch, and everything becomes of it that may.
    fn produce(&mut self) {
        let producer = self.random.usize(0..self.profiles.len());
        let batch: Vec<Stored> = (0..self.random.u32(1..4)).map(|_| self.send(producer)).collect();
        let (once, ordered) = (self.profiles[producer].at_most_once(), self.profiles[producer].ordered());
        if self.random.u8(0..4) == 0 {
            // Written or not, and the answer is lost for good.
            if self.random.bool() {
                self.log.extend(batch.iter().cloned());
            }
            return self.lose(&batch);
        }
        if !once && self.random.u8(0..3) == 0 {
            // Written, the answer lost, and written again below.
            self.log.extend(batch.iter().cloned());
        }
        let mut written = batch;
        if !ordered {
            self.random.shuffle(&mut written);
        }
        for (record, digest) in written {
            let offset = Some(Offset::new(self.log.len() as i64));
            if once {
                self.acknowledged_once.insert(record.clone());
            }
            self.log.push((record.clone(), digest));
            self.events.push(Event::Acknowledged(Acknowledged { record, offset }));
        }
    }

    fn send(&mut self, producer: usize) -> Stored {
        let name = self.profiles[producer].name.clone();
        let sequence = self.next[producer];
        self.next[producer] += 1;
        let record = RecordId { partition: self.partition.clone(), producer: name, sequence };
        let digest = ContentDigest::from_bits(self.random.u64(..));
        self.events.push(Event::Sent(Sent { record: record.clone(), digest }));
        (record, digest)
    }

    fn lose(&mut self, batch: &[Stored]) {
        for (record, _) in batch {
            if self.random.bool() {
                let cause = "timed out".to_owned();
                self.events.push(Event::Unknown(Refused { record: record.clone(), cause }));
            }
        }
    }

    /// Reads a stretch of what is there, as any consumer may.
    fn glance(&mut self) {
        let from = self.random.usize(0..=self.log.len());
        for offset in from..self.log.len().min(from + 5) {
            let read = read(&self.partition, "glance", offset, &self.log[offset]);
            self.events.push(read);
        }
    }

    /// Reads all that `log` holds, completely.
    fn scan(&self, log: &[Stored]) -> Vec<Event> {
        let (reader, partition) = ("scan".to_owned(), self.partition.clone());
        let (from, until) = (Offset::ZERO, Offset::new(log.len() as i64));
        let began = ScanBegan { reader: reader.clone(), partition: partition.clone(), from, until };
        let reads = log.iter().enumerate().map(|(offset, stored)| read(&partition, &reader, offset, stored));
        let mut events = vec![Event::ScanBegan(began)];
        events.extend(reads);
        events.push(Event::ScanEnded(ScanEnded { reader, partition: self.partition.clone() }));
        events
    }

    fn judge(&self, last: Vec<Event>) -> Report {
        let mut checker = Checker::new(Expectations::default());
        for (event, at_us) in self.events.iter().cloned().chain(last).zip(0..) {
            checker.observe(&Entry { at_us, event });
        }
        checker.finish()
    }
}

fn read(partition: &TopicPartition, reader: &str, offset: usize, (record, digest): &Stored) -> Event {
    Event::Read(Read {
        reader: reader.to_owned(),
        partition: partition.clone(),
        offset: Offset::new(offset as i64),
        record: Some(record.clone()),
        digest: *digest,
    })
}

fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..world.random.usize(1..40) {
        match world.random.u8(0..8) {
            0 => world.glance(),
            1 => {
                let scan = world.scan(&world.log);
                world.events.extend(scan);
            }
            _ => world.produce(),
        }
    }
    world
}

#[track_caller]
fn assert_found(world: &World, faulty: &[Stored], rule: Rule) {
    let report = world.judge(world.scan(faulty));
    assert!(report.broken.contains_key(&rule), "{report}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_log_that_is_right_passes_whatever_became_of_its_answers(seed in any::<u64>()) {
        let world = world(seed);
        let report = world.judge(world.scan(&world.log));
        assert!(report.is_clean(), "{report}");
    }

    #[test]
    fn one_fault_in_what_was_acknowledged_is_found_wherever_it_is(seed in any::<u64>()) {
        let mut world = world(seed);
        let places: Vec<usize> = (0..world.log.len())
            .filter(|place| world.acknowledged_once.contains(&world.log[*place].0))
            .collect();
        if places.is_empty() {
            return Ok(());
        }
        let place = places[world.random.usize(0..places.len())];
        let log = world.log.clone();

        let mut lost = log.clone();
        lost.remove(place);
        assert_found(&world, &lost, Rule::AcknowledgedIsPresent);

        let cut = &log[..place];
        assert_found(&world, cut, Rule::AcknowledgedIsPresent);

        let mut changed = log.clone();
        changed[place].1 = ContentDigest::from_bits(!changed[place].1.get());
        assert_found(&world, &changed, Rule::ContentUnchanged);

        let mut twice = log.clone();
        twice.push(log[place].clone());
        assert_found(&world, &twice, Rule::AtMostOnce);

        let mut invented = log.clone();
        invented[place].0.sequence += 1_000_000;
        assert_found(&world, &invented, Rule::NothingInvented);

        let mut swapped = log;
        let last = swapped.len() - 1;
        swapped.swap(place, last);
        if place != last {
            assert_found(&world, &swapped, Rule::AcknowledgedIsPresent);
        }
    }
}
