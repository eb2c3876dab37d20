//! Sources as Kafka leaves them: with gaps, transactions, a start within a batch, and a torn end.

use std::{path::Path, sync::Arc};

use super::{ImportError, Survey, Target, survey, write};
use crate::{
    clock::ManualClock,
    model::{
        LeaderEpoch, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TimestampMs,
        TopicId,
    },
    record::{BatchBuilder, BatchHeader, Compression, NewRecord, Producer, assign, records},
    storage::{
        fs::{Fs, Open, faulty::SimulatedDisk},
        inspect,
        log::{Log, LogOptions, ReadBuffer, ReadOutcome, ReadRequest, Wait},
        partition_folder,
    },
};

const FROM: &str = "/kafka/orders-0";
const TO: &str = "/data/importing/x-0";
const PARTITION: PartitionId =
    PartitionId { topic: TopicId::from_bytes([9; 16]), index: PartitionIndex::new(0) };
const TRANSACTIONAL: u8 = 1 << 4;
const CONTROL: u8 = 1 << 5;

/// `count` records whose values are their offsets, in a batch of this producer.
fn batch(base: i64, count: i64, producer: i64, flags: u8) -> Vec<u8> {
    let producer = if producer < 0 {
        Producer::NONE
    } else {
        let (id, epoch) = (ProducerId::new(producer), ProducerEpoch::new(0));
        Producer { id, epoch, base_sequence: Sequence::new(7) }
    };
    let mut builder = BatchBuilder::new(1 << 20);
    for offset in base..base + count {
        let value = offset.to_string();
        let timestamp = TimestampMs::new(1000 + offset);
        assert!(builder.append(&NewRecord {
            timestamp,
            key: None,
            value: Some(value.as_bytes()),
            headers: &[]
        }));
    }
    finish(builder, base, producer, flags)
}

/// The end of a producer's transaction.
fn marker(base: i64, producer: i64, commit: bool) -> Vec<u8> {
    let (id, epoch) = (ProducerId::new(producer), ProducerEpoch::new(0));
    let mut builder = BatchBuilder::new(1000);
    let key = [0, 0, 0, u8::from(commit)];
    let record =
        NewRecord { timestamp: TimestampMs::new(1), key: Some(&key), value: Some(&[0; 6]), headers: &[] };
    assert!(builder.append(&record));
    finish(builder, base, Producer { id, epoch, base_sequence: Sequence::NONE }, TRANSACTIONAL | CONTROL)
}

fn finish(builder: BatchBuilder, base: i64, producer: Producer, flags: u8) -> Vec<u8> {
    let mut bytes = builder.finish(Compression::Lz4, None, producer).unwrap().to_vec();
    bytes[22] |= flags;
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[21..]) as u32;
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    assign(&mut bytes, Offset::new(base), LeaderEpoch::new(41));
    bytes
}

fn disk() -> SimulatedDisk {
    let disk = SimulatedDisk::new(5);
    let fs = disk.mount();
    for dir in [FROM, "/data/importing"] {
        fs.create_dir_all(Path::new(dir)).unwrap();
    }
    fs.sync_dir(Path::new("/")).unwrap();
    fs.sync_dir(Path::new("/data")).unwrap();
    disk
}

fn put(disk: &SimulatedDisk, name: &str, bytes: &[u8]) {
    let fs = disk.mount();
    let file = fs.open(&Path::new(FROM).join(name), Open::CreateNew).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}

fn segment(disk: &SimulatedDisk, base: i64, batches: &[Vec<u8>]) {
    put(disk, &format!("{base:020}.log"), &batches.concat());
}

fn surveyed(disk: &SimulatedDisk) -> Survey {
    survey(&*disk.mount(), Path::new(FROM), false, &mut |_| ()).unwrap()
}

/// Takes the partition over; the offsets that its records have now, and where the log starts and ends.
fn imported(disk: &SimulatedDisk) -> (Vec<i64>, i64, i64) {
    let fs: Arc<dyn Fs> = disk.mount();
    let clock = Arc::new(ManualClock::default());
    let options = LogOptions { segment_bytes: 600, ..LogOptions::default() };
    let epoch = LeaderEpoch::new(0);
    partition_folder::prepare(&*fs, Path::new(TO), PARTITION, TimestampMs::new(1)).unwrap();
    let target = Target {
        fs: Arc::clone(&fs),
        dir: Path::new(TO),
        id: PARTITION,
        epoch,
        options,
        clock: Arc::clone(&clock) as Arc<dyn crate::clock::Clock>,
    };
    write(&surveyed(disk), &target, &mut |_| ()).unwrap();
    disk.power_cut();
    let fs: Arc<dyn Fs> = disk.mount();
    let report = inspect::verify(&fs, Path::new(TO), &mut |_| ()).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    let (log, report) = Log::open(fs, Path::new(TO), PARTITION, LeaderEpoch::new(1), options, clock).unwrap();
    assert!(report.clean.is_some(), "it was closed in order");
    let reader = log.reader();
    let (start, end) = (reader.log_start_offset(), reader.log_end_offset());
    let (mut from, mut offsets) = (start, Vec::new());
    let mut out = ReadBuffer::new();
    while from < end {
        out.clear();
        let request = ReadRequest { from, max_bytes: 500, wait: Wait::MayBlock, ..ReadRequest::default() };
        let ReadOutcome::Read { next, skipped, .. } = reader.read(&request, &mut out).unwrap() else {
            panic!()
        };
        assert!(skipped.is_empty(), "{skipped:?}");
        let mut rest = out.as_slice();
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).unwrap();
            assert!(!header.is_idempotent() && !header.is_transactional() && !header.is_control());
            for record in records(bytes::Bytes::copy_from_slice(rest)).unwrap() {
                let record = record.unwrap();
                assert_eq!(record.value.as_deref(), Some(record.offset.to_string().as_bytes()));
                assert_eq!(record.timestamp.get(), 1000 + record.offset.get());
                offsets.push(record.offset.get());
            }
            rest = &rest[header.total_len()..];
        }
        from = next;
    }
    offsets.retain(|offset| *offset >= start.get());
    (offsets, start.get(), end.get())
}

#[test]
fn offsets_stay_also_where_compaction_has_left_gaps_in_and_between_segments() {
    let disk = disk();
    segment(&disk, 100, &[batch(100, 3, 4, 0), batch(110, 2, 4, 0)]);
    segment(&disk, 200, &[batch(205, 1, -1, 0), batch(206, 4, 5, 0)]);
    let report = surveyed(&disk);
    assert_eq!(
        (report.batches, report.records, report.start, report.end),
        (4, 10, Offset::new(100), Offset::new(210))
    );
    assert_eq!(report.missing, 7 + 88 + 5);
    let offsets: Vec<i64> = (100..103).chain(110..112).chain(205..210).collect();
    assert_eq!(imported(&disk), (offsets, 100, 210));
}

#[test]
fn committed_transactions_are_kept_aborted_and_open_ones_and_markers_are_not() {
    let disk = disk();
    segment(
        &disk,
        0,
        &[
            batch(0, 2, 1, TRANSACTIONAL),
            batch(2, 1, 2, TRANSACTIONAL),
            batch(3, 2, -1, 0),
            marker(5, 2, false),
            marker(6, 1, true),
            batch(7, 1, 2, TRANSACTIONAL),
            marker(8, 2, true),
            batch(9, 3, 1, TRANSACTIONAL),
        ],
    );
    assert_eq!(surveyed(&disk).left_out, 5);
    assert_eq!(imported(&disk), (vec![0, 1, 3, 4, 7], 0, 12));
}

#[test]
fn a_start_within_a_batch_and_an_end_without_records_stay_where_they_were() {
    let started = disk();
    segment(&started, 0, &[batch(0, 5, -1, 0), batch(5, 5, -1, 0)]);
    let fs = started.mount();
    let file = fs.open(Path::new("/kafka/log-start-offset-checkpoint"), Open::CreateNew).unwrap();
    file.write_all_at(b"0\n1\norders 0 7\n", 0).unwrap();
    assert_eq!(imported(&started), (vec![7, 8, 9], 7, 10));

    let emptied = disk();
    segment(&emptied, 44, &[]);
    assert_eq!(imported(&emptied), (vec![], 44, 44));
}

#[test]
fn a_torn_end_is_left_out_and_other_damage_is_refused_unless_it_may_be_passed_over() {
    let torn = disk();
    let whole = [batch(0, 2, -1, 0), batch(2, 2, -1, 0)];
    segment(&torn, 0, &[whole.concat(), batch(4, 2, -1, 0)[..40].to_vec()]);
    assert!(surveyed(&torn).torn.is_some());
    assert_eq!(imported(&torn), (vec![0, 1, 2, 3], 0, 4));

    let hit = disk();
    let mut bytes = [batch(0, 2, -1, 0), batch(2, 2, -1, 0), batch(4, 1, -1, 0)].concat();
    let middle = batch(0, 2, -1, 0).len() + 65;
    bytes[middle] ^= 1;
    segment(&hit, 0, &[bytes]);
    let refused = survey(&*hit.mount(), Path::new(FROM), false, &mut |_| ()).unwrap_err();
    assert!(matches!(refused, ImportError::Damaged { .. }), "{refused}");
    let passed = survey(&*hit.mount(), Path::new(FROM), true, &mut |_| ()).unwrap();
    assert_eq!((passed.damaged.len(), passed.records, passed.missing), (1, 3, 2));
}

#[test]
fn a_segment_of_an_old_format_is_named_as_such() {
    let disk = disk();
    let mut old = vec![0; 60];
    old[11] = 48;
    old[16] = 1;
    segment(&disk, 0, &[old]);
    let refused = survey(&*disk.mount(), Path::new(FROM), false, &mut |_| ()).unwrap_err();
    assert!(matches!(refused, ImportError::OldFormat { magic: 1, .. }), "{refused}");
}
