//! A log whose files somebody else has written to while it was closed.

mod damage;
mod sample;

use std::{fmt, path::Path, sync::Arc};

use super::input::Input;
use crate::{
    clock::ManualClock,
    model::{BootId, LeaderEpoch, Offset, PartitionId, PartitionIndex, TimestampMs, TopicId},
    record::{BatchHeader, crc_is_right},
    storage::{
        log::{Appended, Log, LogReader, OpenError, ReadBuffer, ReadOutcome, ReadRequest, Verify},
        recovery::RecoveryReport,
        scrub::Scrubber,
    },
};
use damage::Damage;
pub(super) use damage::{KINDS, NAMES};
use sample::{SampleLog, batch};

const DIR: &str = "/logs/t-0";
const PARTITION: PartitionId =
    PartitionId { topic: TopicId::from_bytes([7; 16]), index: PartitionIndex::new(0) };
/// More steps than any log of a sample takes.
const STEPS_MAX: usize = 10_000;

/// What a consumer of the whole log gets: offsets of the log's start and end, and each batch.
#[derive(PartialEq, Eq)]
struct Contents {
    start: Offset,
    end: Offset,
    batches: Vec<(Offset, Vec<u8>)>,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}:", self.start, self.end)?;
        let mut each = self.batches.iter();
        each.try_for_each(|(base, bytes)| write!(f, " {base} ({:08x})", crc32fast::hash(bytes)))
    }
}

/// Makes a small log, which the first two bytes choose, and changes its files as the others say. However they are
/// then: the log opens, ends, and serves only batches whose checksum is right; what lies before the first byte of a
/// log file that was changed is there, byte for byte; it goes on, and what is appended is read; and, unless the
/// changes have made up what looks right, what its indexes hold makes no difference, nor does opening it again, nor a
/// clean close.
pub fn recovery(data: &[u8]) {
    let mut input = Input::new(data);
    let sample = SampleLog::build(input.u16());
    let damage = Damage::inflict(&sample, &mut input);
    let mut opener = Opener { sample: &sample, epoch: sample.epoch, may_be_refused: damage.may_be_refused() };

    let Some((log, report)) = opener.open() else { return };
    assert_eq!(report.log_end, log.log_end_offset());
    let first = contents(&log.reader());
    if let Some(untouched) = damage.untouched() {
        assert_is_served(&sample, &first, untouched);
    }
    look_around(&log.reader(), &first);
    without_index(&log.reader());
    let bare = contents(&log.reader());
    // One that counts too many reaches into a batch of which an index knows where it begins.
    assert!(bare == first || !damage.is_honest(), "without an index: {bare:?}, with it {first:?}");
    drop(log);

    let Some((mut log, _)) = opener.open() else { return };
    let second = contents(&log.reader());
    assert!(second == first || !damage.is_honest(), "opened again: {second:?}, after {first:?}");
    let Some(third) = append(&mut log, second) else { return };
    log.close_clean(BootId::from_bytes([1; 16])).expect("no fault is under way");
    let Some((log, _)) = opener.open() else { return };
    let last = contents(&log.reader());
    assert!(last == third || !damage.is_honest(), "opened after a clean close: {last:?}, after {third:?}");
}

/// Takes its index from each segment, which is not to be written any more.
fn without_index(reader: &LogReader) {
    for segment in reader.shared.segments().iter() {
        segment.forget_index().expect("no fault is under way");
    }
}

struct Opener<'a> {
    sample: &'a SampleLog,
    epoch: LeaderEpoch,
    /// See [`Damage::may_be_refused`].
    may_be_refused: bool,
}

impl Opener<'_> {
    /// Opens with the next epoch, as the registry gives them out.
    fn open(&mut self) -> Option<(Log, RecoveryReport)> {
        for _ in 0..3 {
            self.epoch = LeaderEpoch::new(self.epoch.get().checked_add(1)?);
            let fs = self.sample.disk.mount();
            let clock = Arc::new(ManualClock::default());
            match Log::open(fs, Path::new(DIR), PARTITION, self.epoch, self.sample.options, clock) {
                Ok(opened) => return Some(opened),
                // The epoch of a batch lies outside of its checksum.
                Err(OpenError::EpochGoesBack { latest, given, .. }) => {
                    assert!(latest >= given, "{latest} is not above {given}");
                    self.epoch = latest;
                }
                Err(OpenError::Io { .. }) if self.may_be_refused => return None,
                Err(error) => panic!("the log cannot be opened: {error}"),
            }
        }
        panic!("every epoch is refused")
    }
}

fn contents(reader: &LogReader) -> Contents {
    let (start, end) = (reader.log_start_offset(), reader.log_end_offset());
    assert!(start <= end, "the log starts at {start} and ends at {end}");
    let mut batches = Vec::new();
    let mut out = ReadBuffer::new();
    let mut from = start;
    for _ in 0..STEPS_MAX {
        if from >= end {
            assert_eq!(from, end, "more is read than there is");
            return Contents { start, end, batches };
        }
        out.clear();
        let request = ReadRequest { from, max_bytes: 700, ..ReadRequest::default() };
        let outcome = reader.read(&request, &mut out).expect("an open log can be read");
        let ReadOutcome::Read { next, skipped, .. } = outcome else { panic!("it may wait for the disk") };
        assert!(next > from, "no progress at {from}");
        assert!(skipped.iter().all(|skip| skip.first < skip.next), "{skipped:?}");
        let served = split(out.as_slice());
        let last = served.last().map_or(from, |(header, _)| header.next_offset());
        assert!(last <= next, "served up to {last}, to go on at {next}");
        for (header, bytes) in served {
            let base = header.base_offset;
            assert!(header.next_offset() > from && base < end, "batch {base} of {from}..{end}");
            let is_skipped = |skip: &crate::storage::log::CorruptBatch| {
                base < skip.next && skip.first < header.next_offset()
            };
            assert!(!skipped.iter().any(is_skipped), "batch {base} is served and left out");
            batches.push((base, bytes.to_vec()));
        }
        from = next;
    }
    panic!("reading does not end")
}

/// Whole batches whose checksums are right, one behind the other.
fn split(mut bytes: &[u8]) -> Vec<(BatchHeader, &[u8])> {
    let mut found: Vec<(BatchHeader, &[u8])> = Vec::new();
    while !bytes.is_empty() {
        let header = BatchHeader::parse(bytes).expect("whole batches are served");
        assert!(crc_is_right(bytes, &header), "batch {} is served with a wrong checksum", header.base_offset);
        let before = found.last().map_or(header.base_offset, |(before, _)| before.next_offset());
        assert!(header.base_offset >= before, "batch {} behind {before}", header.base_offset);
        let (batch, rest) = bytes.split_at(header.total_len());
        found.push((header, batch));
        bytes = rest;
    }
    found
}

fn assert_is_served(sample: &SampleLog, found: &Contents, below: Offset) {
    let expected = sample.batches.iter().filter(|kept| kept.next > sample.log_start && kept.next <= below);
    for kept in expected {
        let served = found.batches.iter().find(|(base, _)| *base == kept.base);
        let bytes = served.map(|(_, bytes)| bytes);
        assert_eq!(bytes, Some(&kept.bytes), "batch {} lies before {below} and is gone", kept.base);
    }
}

/// What else is asked of a log: it ends and does not panic.
fn look_around(reader: &LogReader, found: &Contents) {
    let times = [i64::MIN, -1, 0, 1, 500, 1_000, i64::MAX];
    for time in times {
        let _ = reader.offset_for_time(TimestampMs::new(time), Offset::MAX);
    }
    let _ = reader.offset_of_max_timestamp(Offset::MAX);
    for epoch in [-1, 0, 1, 2, 3, i32::MAX] {
        let _ = reader.epoch_end(LeaderEpoch::new(epoch));
    }
    for (from, _) in &found.batches {
        for verify in [Verify::Always, Verify::First, Verify::Never] {
            let request = ReadRequest { from: *from, verify, ..ReadRequest::default() };
            if let Ok(Some(range)) = reader.file_range(&request) {
                assert!(range.next > *from, "no progress at {from}");
            }
        }
    }
    let mut scrubber = Scrubber::new(reader.clone());
    let mut steps = 0;
    while !scrubber.step(1_000).expect("an open log can be scrubbed").round_ended {
        steps += 1;
        assert!(steps < STEPS_MAX, "scrubbing does not end");
    }
}

/// What the log has after one more batch; `None` where no offset is left for it.
fn append(log: &mut Log, mut expected: Contents) -> Option<Contents> {
    let batch = batch(2, 900, b"appended after recovery");
    let header = BatchHeader::parse(&batch).expect("it was built");
    let end = expected.end;
    if end.get() > i64::MAX / 2 {
        return None;
    }
    let appended = log.append(&batch, &header, TimestampMs::new(900)).expect("a recovered log takes batches");
    assert_eq!(appended, Appended::New { base: end, last: end.plus(1) });
    let done = log.begin_flush().run();
    assert_eq!(log.finish_flush(done), Ok(end.plus(2)));
    let mut stored = batch.clone();
    crate::record::assign(&mut stored, end, log.leader_epoch());
    expected.end = end.plus(2);
    expected.batches.push((end, stored));
    assert_eq!(contents(&log.reader()), expected, "what is appended is not what is read");
    if let Some(job) = log.checkpoint_job() {
        job.run().expect("no fault is under way");
    }
    Some(expected)
}
