//! Small logs, each with a history that its seed decides.

use std::{path::Path, sync::Arc, time::Duration};

use fastrand::Rng;

use super::{DIR, PARTITION};
use crate::{
    clock::ManualClock,
    model::{BootId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs},
    record::{BatchBuilder, BatchHeader, Compression, NewRecord, Producer},
    storage::{
        fs::{Fs as _, Open, faulty::SimulatedDisk},
        log::{Log, LogOptions},
    },
};

/// A batch as it stands in its file.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) segment: Offset,
    pub(super) position: u64,
    pub(super) bytes: Vec<u8>,
}

/// A closed log, all of it on disk.
#[derive(Debug)]
pub(super) struct SampleLog {
    pub(super) disk: SimulatedDisk,
    pub(super) options: LogOptions,
    /// The highest that the log was opened with.
    pub(super) epoch: LeaderEpoch,
    pub(super) log_start: Offset,
    pub(super) batches: Vec<Kept>,
    /// Each file by name, as it was left.
    pub(super) files: Vec<(String, Vec<u8>)>,
}

impl SampleLog {
    pub(super) fn build(seed: u16) -> Self {
        let mut rng = Rng::with_seed(seed.into());
        let options = LogOptions {
            segment_bytes: rng.u64(700..2500),
            index_interval_bytes: rng.u64(0..300),
            snapshot_bytes: rng.u64(400..2000),
            open_segments_max: rng.usize(1..4),
            retention: Some(Duration::from_hours(1)),
            ..LogOptions::default()
        };
        let disk = SimulatedDisk::new(seed.into());
        let mut writer = Writer::open(&disk, options);
        for _ in 0..rng.usize(4..40) {
            writer.step(&mut rng);
        }
        let log_start = writer.log.log_start_offset();
        let epoch = writer.log.leader_epoch();
        writer.end(&mut rng);
        disk.kill();
        let files = settle(&disk);
        let batches = files.iter().flat_map(|(name, bytes)| batches_of(name, bytes)).collect();
        Self { disk, options, epoch, log_start, batches, files }
    }
}

struct Writer<'a> {
    disk: &'a SimulatedDisk,
    log: Log,
    time: i64,
    sequence: i32,
}

impl<'a> Writer<'a> {
    fn open(disk: &'a SimulatedDisk, options: LogOptions) -> Self {
        Self { disk, log: open(disk, 1, options), time: 0, sequence: 0 }
    }

    fn step(&mut self, rng: &mut Rng) {
        match rng.u8(0..20) {
            0 => self.flush(),
            1..4 => self.checkpoint(),
            4 => self.open_again(),
            5 => {
                self.flush();
                if let Some(job) = self.log.seal_job() {
                    job.run().expect("no fault is under way");
                }
            }
            6 => self.delete(rng),
            _ => self.append(rng),
        }
    }

    fn append(&mut self, rng: &mut Rng) {
        self.time += rng.i64(-3..30);
        let count = rng.i32(1..4);
        let mut builder = BatchBuilder::new(1 << 20);
        for _ in 0..count {
            let value = vec![rng.u8(..); rng.usize(0..200)];
            let record = NewRecord {
                timestamp: TimestampMs::new(self.time),
                value: Some(&value),
                ..NewRecord::default()
            };
            assert!(builder.append(&record));
        }
        let mut producer = Producer::NONE;
        if rng.bool() {
            let (id, epoch) = (ProducerId::new(5), ProducerEpoch::new(0));
            producer = Producer { id, epoch, base_sequence: Sequence::new(self.sequence) };
            self.sequence += count;
        }
        let compression = rng.choice(Compression::ALL).unwrap_or_default();
        let batch = builder.finish(compression, None, producer).expect("it has records");
        let header = BatchHeader::parse(&batch).expect("it was built");
        self.log.append(&batch, &header, TimestampMs::new(self.time)).expect("no fault is under way");
    }

    fn flush(&mut self) {
        let done = self.log.begin_flush().run();
        self.log.finish_flush(done).expect("no fault is under way");
    }

    fn checkpoint(&mut self) {
        self.flush();
        if let Some(job) = self.log.checkpoint_job() {
            job.run().expect("no fault is under way");
        }
    }

    /// The process dies and the next one goes on.
    fn open_again(&mut self) {
        let (epoch, options) = (self.log.leader_epoch().get() + 1, *self.log.options());
        self.disk.kill();
        self.log = open(self.disk, epoch, options);
    }

    fn delete(&mut self, rng: &mut Rng) {
        self.flush();
        let (start, end) = (self.log.log_start_offset(), self.log.log_end_offset());
        let before = start.plus(rng.i64(0..=end.distance_from(start).min(6)));
        let deleted = self.log.delete_records(before).map(crate::storage::log::CheckpointJob::run);
        deleted.transpose().expect("no fault is under way");
        let retired = self.log.retention_pass(TimestampMs::new(self.time), end);
        retired.map(crate::storage::log::RetentionJob::run).transpose().expect("no fault is under way");
    }

    fn end(mut self, rng: &mut Rng) {
        match rng.u8(0..3) {
            0 => self.log.close_clean(BootId::from_bytes([1; 16])).expect("no fault is under way"),
            1 => self.checkpoint(),
            _ => {}
        }
    }
}

fn open(disk: &SimulatedDisk, epoch: i32, options: LogOptions) -> Log {
    let clock = Arc::new(ManualClock::default());
    let opened = Log::open(disk.mount(), Path::new(DIR), PARTITION, LeaderEpoch::new(epoch), options, clock);
    opened.expect("no fault is under way").0
}

/// A batch of so many records.
pub(super) fn batch(records: usize, timestamp: i64, value: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1 << 20);
    for _ in 0..records {
        let timestamp = TimestampMs::new(timestamp);
        assert!(builder.append(&NewRecord { timestamp, value: Some(value), ..NewRecord::default() }));
    }
    let batch = builder.finish(Compression::None, None, Producer::NONE);
    batch.expect("it has records").to_vec()
}

/// Brings all that was written to the disk, so that it and the cache hold the same, and reads it.
pub(super) fn settle(disk: &SimulatedDisk) -> Vec<(String, Vec<u8>)> {
    let fs = disk.mount();
    let dir = Path::new(DIR);
    fs.sync_dir(dir).expect("no fault is under way");
    let entries = fs.list(dir).expect("no fault is under way");
    let read = entries.into_iter().filter(|entry| entry.name != "lock").map(|entry| {
        let file = fs.open(&dir.join(&entry.name), Open::ReadWrite).expect("it was listed");
        file.sync_data().expect("no fault is under way");
        let mut bytes = vec![0; entry.len as usize];
        file.read_at(&mut bytes, 0).expect("no fault is under way");
        (entry.name, bytes)
    });
    read.collect()
}

/// The offset in the name of a segment's log.
pub(super) fn base_of(name: &str) -> Option<Offset> {
    name.strip_suffix(".log")?.parse().ok().map(Offset::new)
}

fn batches_of(name: &str, bytes: &[u8]) -> Vec<Kept> {
    let mut found = Vec::new();
    let Some(segment) = base_of(name) else { return found };
    let mut position = 0;
    while let Some(Ok(header)) = bytes.get(position..).map(BatchHeader::parse) {
        let end = position + header.total_len();
        let Some(whole) = bytes.get(position..end) else { break };
        found.push(Kept {
            base: header.base_offset,
            next: header.next_offset(),
            segment,
            position: position as u64,
            bytes: whole.to_vec(),
        });
        position = end;
    }
    found
}
