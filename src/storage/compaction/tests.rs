//! A compacted log over a disk that loses, beside a plain list of what was appended.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;

use super::CompactionOptions;
use crate::{
    clock::ManualClock,
    model::{
        BootId, LeaderEpoch, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence,
        TimestampMs, TopicId,
    },
    record::{BatchBuilder, BatchHeader, Compression, NewRecord, Producer, records},
    storage::{
        fs::{Fs, LockWait, faulty::SimulatedDisk},
        inspect,
        log::{Appended, Compacted, Log, LogOptions, ReadBuffer, ReadOutcome, ReadRequest, Wait},
    },
};

const DIR: &str = "/data/logs/t-0";
const PARTITION: PartitionId =
    PartitionId { topic: TopicId::from_bytes([7; 16]), index: PartitionIndex::new(0) };
const TOMBSTONES_KEPT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    timestamp: i64,
    appended_at: i64,
}

struct World {
    rng: Rng,
    disk: SimulatedDisk,
    options: LogOptions,
    log: Option<Log>,
    epoch: i32,
    /// Everything that was appended, by offset.
    records: BTreeMap<i64, Kept>,
    flushed: i64,
    now: i64,
    sequence: i32,
    /// What a retry of the last batch of the idempotent producer looks like, and its offsets.
    last_idempotent: Option<(Vec<u8>, i64)>,
    /// Passes that replaced segments, and those that died in the middle of the exchange.
    passes: u32,
    cut_short: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let compaction = CompactionOptions {
            dirty_percent: rng.u8(0..60),
            key_bytes: rng.choice([200, 1000, 1 << 20]).unwrap(),
            tombstones_kept: TOMBSTONES_KEPT,
            ..CompactionOptions::default()
        };
        let options = LogOptions {
            segment_bytes: rng.u64(400..2000),
            index_interval_bytes: rng.u64(0..300),
            snapshot_bytes: rng.u64(300..2000),
            open_segments_max: rng.usize(1..4),
            compaction: Some(compaction),
            ..LogOptions::default()
        };
        let disk = SimulatedDisk::new(rng.u64(..));
        let mut world = Self {
            rng,
            disk,
            options,
            log: None,
            epoch: 0,
            records: BTreeMap::new(),
            flushed: 0,
            now: 1_000_000,
            sequence: 0,
            last_idempotent: None,
            passes: 0,
            cut_short: 0,
        };
        world.open();
        world
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn open(&mut self) {
        self.epoch += 1;
        let clock = Arc::new(ManualClock::default());
        let (fs, epoch): (Arc<dyn Fs>, _) = (self.disk.mount(), LeaderEpoch::new(self.epoch));
        let (log, report) = Log::open(fs, Path::new(DIR), PARTITION, epoch, self.options, clock).unwrap();
        assert_eq!(report.corrupt, [], "a compacted log has no holes");
        let end = log.log_end_offset().get();
        assert!(end >= self.flushed, "{end} of {}", self.flushed);
        self.records.retain(|offset, _| *offset < end);
        self.flushed = end;
        if self.last_idempotent.as_ref().is_some_and(|(_, base)| *base >= end) {
            self.last_idempotent = None;
            self.sequence = i32::MAX; // The test no longer knows which sequence comes next.
        }
        self.log = Some(log);
    }

    fn append(&mut self) {
        let count = self.rng.usize(1..4);
        let mut builder = BatchBuilder::new(1 << 20);
        let mut kept = Vec::new();
        for _ in 0..count {
            let key = format!("key-{}", self.rng.u8(0..8)).into_bytes();
            let value = (self.rng.u8(0..4) > 0).then(|| vec![self.rng.u8(..); self.rng.usize(0..60)]);
            let timestamp = self.now - self.rng.i64(0..50);
            let record = NewRecord {
                timestamp: TimestampMs::new(timestamp),
                key: Some(&key),
                value: value.as_deref(),
                headers: &[],
            };
            assert!(builder.append(&record));
            kept.push(Kept { key, value, timestamp, appended_at: self.now });
        }
        let idempotent = self.sequence < i32::MAX && self.rng.bool();
        let producer = if idempotent {
            let (id, epoch) = (ProducerId::new(5), ProducerEpoch::new(0));
            Producer { id, epoch, base_sequence: Sequence::new(self.sequence) }
        } else {
            Producer::NONE
        };
        let codec = self.rng.choice(Compression::ALL).unwrap();
        let batch = builder.finish(codec, None, producer).unwrap().to_vec();
        let header = BatchHeader::parse(&batch).unwrap();
        let now = TimestampMs::new(self.now);
        let Appended::New { base, .. } = self.log().append(&batch, &header, now).unwrap() else {
            panic!("taken for a retry")
        };
        for (at, kept) in kept.into_iter().enumerate() {
            self.records.insert(base.get() + at as i64, kept);
        }
        if idempotent {
            self.sequence += count as i32;
            self.last_idempotent = Some((batch, base.get()));
        }
    }

    fn flush(&mut self) {
        let log = self.log();
        let done = log.begin_flush().run();
        let flushed = log.finish_flush(done).unwrap();
        self.flushed = flushed.get();
    }

    /// Everything that a node does now and then, so that segments can be compacted.
    fn settle(&mut self) {
        self.flush();
        let log = self.log();
        while let Some(job) = log.seal_job() {
            job.run().unwrap();
        }
        if let Some(job) = log.checkpoint_job() {
            job.run().unwrap();
        }
    }

    fn compact(&mut self) -> Option<Compacted> {
        let (now, flushed) = (TimestampMs::new(self.now), Offset::new(self.flushed));
        let log = self.log();
        let job = log.compaction_pass(now, flushed)?;
        assert!(log.compaction_pass(now, flushed).is_none(), "one at a time");
        let done = job.run().ok();
        log.finish_compaction(done.as_ref());
        self.passes += u32::from(done.is_some_and(|done| done.into > 0));
        done
    }

    /// Each batch from the start to the end of the log, all of them following each other.
    fn read(&mut self) -> Vec<(BatchHeader, Bytes)> {
        let reader = self.log().reader();
        let (mut from, end) = (reader.log_start_offset(), reader.log_end_offset());
        let (mut found, mut out) = (Vec::new(), ReadBuffer::new());
        while from < end {
            out.clear();
            let request = ReadRequest {
                from,
                max_bytes: 300,
                at_least_one: true,
                wait: Wait::MayBlock,
                ..ReadRequest::default()
            };
            let ReadOutcome::Read { next, skipped, .. } = reader.read(&request, &mut out).unwrap() else {
                panic!("may block")
            };
            assert!(skipped.is_empty(), "{skipped:?}");
            let mut rest = out.as_slice();
            while !rest.is_empty() {
                let header = BatchHeader::parse(rest).unwrap();
                assert_eq!(header.base_offset, from);
                found.push((header, Bytes::copy_from_slice(&rest[..header.total_len()])));
                from = header.next_offset();
                rest = &rest[header.total_len()..];
            }
            assert_eq!(from, next);
        }
        found
    }

    /// Holds what is read against what was appended; the offsets of the records that there are.
    fn check(&mut self, cleaned_to: Option<i64>) -> BTreeSet<i64> {
        let mut there = BTreeSet::new();
        for (_, batch) in self.read() {
            for record in records(batch).unwrap() {
                let record = record.unwrap();
                let kept = &self.records[&record.offset.get()];
                assert_eq!(record.key.as_deref(), Some(&kept.key[..]));
                assert_eq!(record.value.as_deref(), kept.value.as_deref());
                assert_eq!(record.timestamp.get(), kept.timestamp);
                there.insert(record.offset.get());
            }
        }
        let mut newest = BTreeMap::new();
        for (offset, kept) in &self.records {
            newest.insert(kept.key.clone(), *offset);
        }
        for offset in newest.values() {
            let kept = &self.records[offset];
            let old = self.now - kept.appended_at >= TOMBSTONES_KEPT.as_millis() as i64;
            let may_go = kept.value.is_none() && old;
            assert!(there.contains(offset) || may_go, "the newest record of {:?} at {offset}", kept.key);
        }
        let mut of_key: BTreeMap<&[u8], Vec<bool>> = BTreeMap::new();
        for (offset, kept) in &self.records {
            of_key.entry(&kept.key).or_default().push(there.contains(offset));
        }
        for (key, stays) in of_key {
            assert!(
                stays.is_sorted() || !stays.contains(&true),
                "an older record of {key:?} outlives a newer one"
            );
        }
        if let Some(cleaned_to) = cleaned_to {
            let mut newest = BTreeMap::new();
            for (offset, kept) in self.records.range(..cleaned_to) {
                newest.insert(kept.key.clone(), *offset);
            }
            for offset in there.range(..cleaned_to) {
                assert_eq!(newest[&self.records[offset].key], *offset, "an overtaken record stays");
            }
            assert!(self.records.range(cleaned_to..).all(|(offset, _)| there.contains(offset)));
        }
        there
    }

    fn check_producer(&mut self) {
        let Some((batch, base)) = self.last_idempotent.clone() else { return };
        let header = BatchHeader::parse(&batch).unwrap();
        let again = self.log().append(&batch, &header, TimestampMs::new(1)).unwrap();
        assert!(matches!(again, Appended::Duplicate { base: found, .. } if found.get() == base), "{again:?}");
    }

    fn step(&mut self) {
        match self.rng.u8(0..20) {
            0..10 => self.append(),
            10..13 => self.settle(),
            13..16 => {
                self.settle();
                let done = self.compact();
                let all_keys = self.options.compaction.unwrap().key_bytes > 2000;
                self.check(done.filter(|_| all_keys).map(|done| done.cleaned_to.get()));
            }
            16 => self.now += self.rng.i64(0..15_000),
            17 => self.die_while_compacting(),
            18 => {
                self.log = None;
                self.disk.kill();
                self.open();
                self.check_producer();
            }
            _ => {
                self.settle();
                let log = self.log.take().unwrap();
                log.close_clean(BootId::random()).unwrap();
                self.open();
                self.check_producer();
            }
        }
    }

    fn die_while_compacting(&mut self) {
        self.settle();
        let steps = self.rng.u64(0..60);
        self.disk.die_after(Some(steps));
        self.compact();
        self.log = None;
        if self.rng.bool() {
            self.disk.power_cut();
        } else {
            self.disk.kill();
        }
        self.disk.die_after(None);
        let left = self.disk.mount().list(Path::new(DIR)).unwrap();
        self.cut_short += u32::from(left.iter().any(|entry| entry.name.ends_with(".compacted")));
        // Also before anybody has opened it nothing seems to be lost.
        let fs: Arc<dyn Fs> = self.disk.mount();
        let report = inspect::verify(&fs, Path::new(DIR), &mut |_| ()).unwrap();
        assert!(!report.findings.iter().any(|finding| finding.flaw.loses_records()), "{:?}", report.findings);
        self.open();
        self.check(None);
        self.check_producer();
    }
}

#[test]
fn s15_the_newest_record_of_each_key_stays_whatever_dies_when() {
    let seeds = if cfg!(feature = "long") { 20_000 } else { 300 };
    let (mut passes, mut cut_short) = (0, 0);
    for seed in 0..seeds {
        let failed = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..80 {
                world.step();
            }
            world.check(None);
            // What is on disk is sound, and no file of a pass is left.
            world.settle();
            world.log = None;
            let fs: Arc<dyn Fs> = world.disk.mount();
            let report = inspect::verify(&fs, Path::new(DIR), &mut |_| ()).unwrap();
            assert!(report.is_sound(), "{:?}", report.findings);
            (world.passes, world.cut_short)
        });
        match failed {
            Ok((more_passes, more_cut)) => (passes, cut_short) = (passes + more_passes, cut_short + more_cut),
            Err(failure) => {
                eprintln!("seed {seed} failed");
                std::panic::resume_unwind(failure);
            }
        }
    }
    assert!(passes > 500 && cut_short > 10, "{passes} passes, {cut_short} cut short");
}

/// A log of `records` (key, value), one a batch, in as many segments as need be, flushed and sealed.
fn log_of(records: &[(&str, Option<&str>)]) -> World {
    let mut world = World::new(0);
    world.options.segment_bytes = 200;
    world.options.compaction = Some(CompactionOptions {
        dirty_percent: 1,
        tombstones_kept: TOMBSTONES_KEPT,
        ..CompactionOptions::default()
    });
    let options = world.options;
    world.log().set_options(options);
    for (key, value) in records {
        write(&mut world, key, *value);
    }
    world.settle();
    world
}

/// Appends one record in a batch of its own.
fn write(world: &mut World, key: &str, value: Option<&str>) {
    let mut builder = BatchBuilder::new(1000);
    let (key, value) = (key.as_bytes(), value.map(str::as_bytes));
    let timestamp = TimestampMs::new(world.now);
    assert!(builder.append(&NewRecord { timestamp, key: Some(key), value, headers: &[] }));
    let batch = builder.finish(Compression::None, None, Producer::NONE).unwrap().to_vec();
    let header = BatchHeader::parse(&batch).unwrap();
    world.log().append(&batch, &header, timestamp).unwrap();
}

/// Keys and values of the records that there are.
fn left(world: &mut World) -> Vec<(String, Option<String>)> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let batches = world.read();
    let all = batches.into_iter().flat_map(|(_, batch)| records(batch).unwrap().map(Result::unwrap));
    all.map(|record| (text(&record.key.unwrap()), record.value.as_ref().map(text))).collect()
}

#[test]
fn a_tombstone_takes_its_key_with_it_and_goes_itself_when_its_time_has_come() {
    let filler = [("x", Some("1")), ("x", Some("2")), ("x", Some("3")), ("x", Some("4"))];
    let mut world = log_of(&[&[("gone", Some("value")), ("gone", None)], &filler[..]].concat());
    world.compact().unwrap();
    assert!(left(&mut world).contains(&("gone".to_owned(), None)), "readers who are behind have to see it");
    assert!(!left(&mut world).iter().any(|(_, value)| value.as_deref() == Some("value")));
    // A later pass, when there is something new.
    for late in [false, true] {
        world.now += if late { 11_000 } else { 1_000 };
        for number in 0..4 {
            write(&mut world, "x", Some(&format!("{late}{number}")));
        }
        world.settle();
        world.compact().unwrap();
        let there = left(&mut world).contains(&("gone".to_owned(), None));
        assert_eq!(there, !late);
    }
}

#[test]
fn a_key_that_is_gone_does_not_come_back_with_a_segment_that_was_damaged_and_mended() {
    let filler = [("x", Some("1")), ("x", Some("2")), ("x", Some("3")), ("x", Some("4"))];
    let mut world = log_of(&[&[("gone", Some("value"))], &filler[..]].concat());
    world.compact().unwrap();
    let segment = Path::new(DIR).join("00000000000000000000.log");
    assert!(world.disk.flip(&segment, 65, 1));
    write(&mut world, "gone", None);
    for mended in [false, true] {
        for number in 0..5 {
            write(&mut world, "x", Some(&number.to_string()));
        }
        world.settle();
        world.now += 11_000;
        let done = world.compact().unwrap();
        assert_eq!(done.left == 0, mended, "{done:?}");
        if !mended {
            assert!(world.disk.flip(&segment, 65, 1), "somebody mends it");
        }
    }
    world.now += 11_000;
    for number in 0..5 {
        write(&mut world, "x", Some(&number.to_string()));
    }
    world.settle();
    world.compact().unwrap();
    assert!(!left(&mut world).iter().any(|(key, value)| key == "gone" && value.is_some()));
}

#[test]
fn s07_nobody_opens_the_log_while_a_pass_is_under_way_and_a_pass_of_a_closed_log_changes_nothing() {
    let records: Vec<_> = (0..40).map(|_| ("same", Some("value"))).collect();
    let mut world = log_of(&records);
    let before = world.disk.mount().list(Path::new(DIR)).unwrap();
    let (now, end) = (TimestampMs::new(world.now), world.log().log_end_offset());
    let job = world.log().compaction_pass(now, end).unwrap();
    world.log = None;
    let fs = world.disk.mount();
    let lock = || fs.lock(&Path::new(DIR).join("lock"), LockWait::Fail);
    assert!(lock().is_err(), "the pass has the folder");
    assert_eq!(job.run().unwrap().into, 0, "and ends when the log is closed");
    assert!(lock().is_ok());
    assert_eq!(world.disk.mount().list(Path::new(DIR)).unwrap(), before);
    world.open();
    assert_eq!(left(&mut world).len(), 40);
}

#[test]
fn s09_a_producers_last_sequence_outlives_its_records() {
    let mut world = log_of(&[]);
    world.sequence = 0;
    while world.last_idempotent.is_none() {
        world.append();
    }
    let (_, base) = world.last_idempotent.clone().unwrap();
    let overtaken: BTreeSet<_> = world.records.range(base..).map(|(_, kept)| kept.key.clone()).collect();
    world.sequence = i32::MAX;
    while !overtaken.iter().all(|key| {
        let newest = world.records.iter().rev().find(|(_, kept)| kept.key == *key);
        newest.is_some_and(|(offset, _)| *offset > base + 20)
    }) {
        world.append();
    }
    (0..20).for_each(|_| world.append());
    world.settle();
    world.compact().unwrap();
    let kept = world.read().into_iter().find(|(header, _)| header.base_offset.get() == base).unwrap().0;
    assert!(kept.is_idempotent());
    world.log = None;
    world.open();
    world.check_producer();
}

#[test]
fn many_small_segments_become_few_and_their_offsets_are_covered_by_empty_batches() {
    let records: Vec<_> = (0..60).map(|_| ("same", Some("value"))).collect();
    let mut world = log_of(&records);
    let before = world.log().reader().segments().len();
    assert!(before > 20, "{before}");
    world.options.segment_bytes = 1 << 20;
    let options = world.options;
    world.log().set_options(options);
    let done = world.compact().unwrap();
    assert!(done.bytes_after < done.bytes_before / 10, "{done:?}");
    let after = world.log().reader().segments().len();
    assert_eq!((done.segments, done.into), (before - after + 1, 1));
    let batches = world.read();
    assert_eq!(batches[0].0.record_count, 0);
    assert!(batches[0].0.next_offset() > Offset::new(50), "one batch for all that went");
}

#[test]
fn a_reader_of_an_old_segment_goes_on_in_the_new_one() {
    let records: Vec<_> =
        (0..40).map(|at| if at % 2 == 0 { ("a", Some("1")) } else { ("b", Some("2")) }).collect();
    let mut world = log_of(&records);
    let reader = world.log().reader();
    let range = reader.file_range(&ReadRequest { from: Offset::new(3), ..ReadRequest::default() }).unwrap();
    world.compact().unwrap();
    if let Some(range) = range {
        // The file that it was is still there for who has it open.
        assert!(range.next > Offset::new(3));
    }
    let mut out = ReadBuffer::new();
    let request = ReadRequest {
        from: Offset::new(3),
        max_bytes: 300,
        at_least_one: true,
        wait: Wait::MayBlock,
        ..ReadRequest::default()
    };
    let ReadOutcome::Read { next, skipped, .. } = reader.read(&request, &mut out).unwrap() else { panic!() };
    assert!(next > Offset::new(3) && skipped.is_empty());
}
