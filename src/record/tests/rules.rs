use super::{NOW, batch_around, batch_of, patch, rules};
use crate::{
    model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs},
    record::{
        BatchBuilder, BatchError, BatchHeader, Compression, NewHeader, NewRecord, ProduceRules, Producer,
        RecordFlaw, TimestampType, assign, batches, crc_is_right, detach, empty_batch, records,
        stamp_log_append_time, validate_produced,
    },
};

fn refusal(change: impl FnOnce(&mut Vec<u8>)) -> BatchError {
    let mut batch = batch_of(3, 10, Compression::None);
    patch(&mut batch, change);
    validate_produced(&batch, &rules()).unwrap_err()
}

fn flaw(payload: &[u8]) -> RecordFlaw {
    let error = validate_produced(&batch_around(payload, 0, 1), &rules()).unwrap_err();
    let BatchError::Record { index: 0, flaw } = error else { panic!("{error}") };
    flaw
}

#[test]
fn a_sound_batch_is_taken_and_its_header_returned() {
    let header = validate_produced(&batch_of(3, 10, Compression::None), &rules()).unwrap();
    assert_eq!(header.record_count, 3);
    assert_eq!(header.last_offset(), Offset::new(2));
    assert_eq!(header.next_offset(), Offset::new(3));
    assert_eq!(header.max_timestamp, NOW);
    assert!(!header.is_idempotent() && !header.is_control() && !header.is_transactional());
    assert_eq!(header.last_sequence(), Sequence::NONE);
}

#[test]
fn old_message_formats_are_told_apart_from_garbage_even_when_shorter_than_a_header() {
    let mut old = vec![0; 34];
    assert_eq!(validate_produced(&old, &rules()), Err(BatchError::OldMagic(0)));
    old[16] = 1;
    assert_eq!(validate_produced(&old, &rules()), Err(BatchError::OldMagic(1)));
    old[16] = 3;
    assert_eq!(validate_produced(&old, &rules()), Err(BatchError::Magic(3)));
    old[16] = 2;
    assert_eq!(validate_produced(&old, &rules()), Err(BatchError::Truncated { needed: 61, available: 34 }));
    assert_eq!(validate_produced(&[], &rules()), Err(BatchError::Truncated { needed: 61, available: 0 }));
}

#[test]
fn exactly_one_batch_is_taken() {
    let mut two = batch_of(1, 1, Compression::None);
    let length = two.len();
    two.extend_from_within(..);
    assert_eq!(validate_produced(&two, &rules()), Err(BatchError::TrailingBytes(length)));
}

#[test]
fn a_length_that_cannot_be_is_refused() {
    for length in [i32::MIN, -1, 0, 48, i32::MAX] {
        let error = refusal(|batch| batch[8..12].copy_from_slice(&length.to_be_bytes()));
        assert_eq!(error, BatchError::Length(length));
    }
}

#[test]
fn a_batch_over_the_topics_limit_is_too_large_before_anything_else_is_read() {
    let batch = batch_of(3, 100, Compression::None);
    let exact = ProduceRules { max_batch_bytes: batch.len(), ..rules() };
    assert!(validate_produced(&batch, &exact).is_ok());
    let below = ProduceRules { max_batch_bytes: batch.len() - 1, ..rules() };
    let too_large = BatchError::TooLarge { bytes: batch.len(), max: batch.len() - 1 };
    assert_eq!(validate_produced(&batch, &below), Err(too_large));
}

#[test]
fn attributes_that_a_client_may_not_set_are_refused() {
    let with = |bits: i16| refusal(|batch| batch[21..23].copy_from_slice(&bits.to_be_bytes()));
    assert_eq!(with(5), BatchError::Codec(5));
    assert_eq!(with(7), BatchError::Codec(7));
    assert_eq!(with(1 << 3), BatchError::TimestampType);
    assert_eq!(with(1 << 4), BatchError::Transactional);
    assert_eq!(with(1 << 5), BatchError::Control);
}

#[test]
fn the_count_must_be_that_of_the_offsets_and_above_zero() {
    let with = |count: i32, last: i32| {
        refusal(|batch| {
            batch[23..27].copy_from_slice(&last.to_be_bytes());
            batch[57..61].copy_from_slice(&count.to_be_bytes());
        })
    };
    for (records, last_offset_delta) in [(0, -1), (3, 3), (2, 2), (-1, -2), (i32::MIN, i32::MAX), (3, -1)] {
        assert_eq!(with(records, last_offset_delta), BatchError::Count { records, last_offset_delta });
    }
    assert_eq!(with(2, 1), BatchError::BytesAfterRecords);
    assert_eq!(with(4, 3), BatchError::Record { index: 3, flaw: RecordFlaw::Truncated });
    assert_eq!(
        with(i32::MAX, i32::MAX - 1),
        BatchError::Record { index: 3, flaw: RecordFlaw::Truncated },
        "a huge count costs no more than the bytes that are there"
    );
}

#[test]
fn a_producer_id_needs_its_epoch_and_sequence() {
    let with = |id: i64, epoch: i16, sequence: i32| {
        let mut batch = batch_of(3, 10, Compression::None);
        patch(&mut batch, |batch| {
            batch[43..51].copy_from_slice(&id.to_be_bytes());
            batch[51..53].copy_from_slice(&epoch.to_be_bytes());
            batch[53..57].copy_from_slice(&sequence.to_be_bytes());
        });
        validate_produced(&batch, &rules())
    };
    for (id, epoch, sequence) in [(5, -1, 0), (5, 0, -1), (-2, 0, 0), (i64::MIN, -1, -1)] {
        let error = with(id, epoch, sequence).unwrap_err();
        assert!(matches!(error, BatchError::ProducerFields { .. }), "{error}");
    }
    let header = with(5, 0, i32::MAX - 1).unwrap();
    assert!(header.is_idempotent());
    assert_eq!(header.producer_id, ProducerId::new(5));
    assert_eq!(header.last_sequence(), Sequence::new(0), "sequences wrap at 2^31");
    assert!(with(-1, 0, 0).is_ok(), "kafkajs and sarama leave zeros where there is no producer id");
}

#[test]
fn each_field_of_a_record_is_held_within_its_bounds() {
    // length 6: attributes, timestamp delta, offset delta, null key, null value, no headers
    let sound = [12, 0, 0, 0, 1, 1, 0];
    assert!(validate_produced(&batch_around(&sound, 0, 1), &rules()).is_ok());
    assert_eq!(flaw(&[]), RecordFlaw::Truncated);
    assert_eq!(flaw(&[1]), RecordFlaw::Length);
    assert_eq!(flaw(&[14, 0, 0, 0, 1, 1, 0]), RecordFlaw::Length);
    assert_eq!(flaw(&[10, 0, 0, 0, 1, 1, 0]), RecordFlaw::Length);
    assert_eq!(flaw(&[12, 0, 0, 2, 1, 1, 0]), RecordFlaw::OffsetDelta);
    assert_eq!(flaw(&[12, 0, 0, 0, 3, 1, 0]), RecordFlaw::NegativeLength);
    assert_eq!(flaw(&[12, 0, 0, 0, 1, 3, 0]), RecordFlaw::NegativeLength);
    assert_eq!(flaw(&[12, 0, 0, 0, 1, 8, 0]), RecordFlaw::Truncated);
    assert_eq!(flaw(&[12, 0, 0, 0, 1, 1, 1]), RecordFlaw::NegativeLength);
    assert_eq!(flaw(&[12, 0, 0, 0, 1, 1, 2]), RecordFlaw::Truncated);
    assert_eq!(flaw(&[14, 0, 0, 0, 1, 1, 2, 1]), RecordFlaw::HeaderName);
    assert_eq!(flaw(&[16, 0, 0, 0, 1, 1, 2, 0, 3]), RecordFlaw::NegativeLength);
    assert!(validate_produced(&batch_around(&[16, 0, 0, 0, 1, 1, 2, 0, 1], 0, 1), &rules()).is_ok());
}

#[test]
fn numbers_that_do_not_end_or_overflow_are_refused() {
    assert_eq!(flaw(&[0xff, 0xff, 0xff, 0xff, 0x1f]), RecordFlaw::Varint);
    assert_eq!(flaw(&[0xff; 12]), RecordFlaw::Varint);
    assert_eq!(flaw(&[0xff, 0xff, 0xff, 0xff]), RecordFlaw::Truncated);
    let mut endless_time = vec![40, 0];
    endless_time.extend_from_slice(&[0xff; 18]);
    assert_eq!(flaw(&endless_time), RecordFlaw::Varint);
    // The greatest length there is, of which nothing follows.
    assert_eq!(flaw(&[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 1, 0]), RecordFlaw::Length);
    assert_eq!(flaw(&[12, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f]), RecordFlaw::Truncated);
}

#[test]
fn a_compacted_topic_takes_no_record_without_a_key() {
    let mut builder = BatchBuilder::new(1000);
    assert!(builder.append(&NewRecord { timestamp: NOW, key: Some(b""), ..NewRecord::default() }));
    assert!(builder.append(&NewRecord { timestamp: NOW, ..NewRecord::default() }));
    let batch = super::finish(builder, Compression::None);
    assert!(validate_produced(&batch, &rules()).is_ok());
    let compacted = ProduceRules { require_keys: true, ..rules() };
    let missing = BatchError::Record { index: 1, flaw: RecordFlaw::KeyMissing };
    assert_eq!(validate_produced(&batch, &compacted), Err(missing));
}

fn timed(times: &[i64]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(10_000);
    for time in times {
        let timestamp = TimestampMs::new(*time);
        assert!(builder.append(&NewRecord { timestamp, value: Some(b"v"), ..NewRecord::default() }));
    }
    super::finish(builder, Compression::None).to_vec()
}

#[test]
fn times_too_far_from_now_are_refused_unless_the_leader_gives_the_time() {
    let near = ProduceRules { before_max_ms: 1000, after_max_ms: 100, ..rules() };
    let now = NOW.get();
    let refused = |time: i64| BatchError::Timestamp { timestamp: TimestampMs::new(time), now: NOW };
    assert!(validate_produced(&timed(&[now - 1000, now + 100, now]), &near).is_ok());
    assert_eq!(validate_produced(&timed(&[now, now - 1001]), &near), Err(refused(now - 1001)));
    assert_eq!(validate_produced(&timed(&[now, now + 101]), &near), Err(refused(now + 101)));
    let append_time = ProduceRules { timestamp_type: TimestampType::LogAppendTime, ..near };
    assert!(validate_produced(&timed(&[now, now + 101]), &append_time).is_ok());
}

#[test]
fn a_record_without_a_time_is_not_too_old() {
    let near = ProduceRules { before_max_ms: 1000, after_max_ms: 100, ..rules() };
    assert!(validate_produced(&timed(&[-1]), &near).is_ok());
    assert!(validate_produced(&timed(&[NOW.get(), -1]), &near).is_ok());
    assert!(validate_produced(&timed(&[-1, -1]), &near).is_ok());
    assert!(validate_produced(&timed(&[-1, NOW.get() - 1001]), &near).is_err());
}

#[test]
fn a_highest_timestamp_below_a_records_is_refused() {
    let error = refusal(|batch| batch[35..43].copy_from_slice(&(NOW.get() - 1).to_be_bytes()));
    let claimed = TimestampMs::new(NOW.get() - 1);
    assert_eq!(error, BatchError::MaxTimestamp { claimed, actual: NOW });
    let error = refusal(|batch| batch[35..43].copy_from_slice(&i64::MAX.to_be_bytes()));
    assert_eq!(error, BatchError::Timestamp { timestamp: TimestampMs::new(i64::MAX), now: NOW });
}

#[test]
fn a_time_that_overflows_is_refused() {
    let mut batch = batch_around(&[12, 0, 2, 0, 1, 1, 0], 0, 1);
    patch(&mut batch, |batch| {
        batch[27..35].copy_from_slice(&i64::MAX.to_be_bytes());
        batch[35..43].copy_from_slice(&i64::MAX.to_be_bytes());
    });
    let overflow = BatchError::Record { index: 0, flaw: RecordFlaw::Timestamp };
    assert_eq!(validate_produced(&batch, &rules()), Err(overflow));
}

#[test]
fn assigning_offset_and_epoch_leaves_the_checksum_right() {
    let mut batch = batch_of(3, 10, Compression::None);
    assign(&mut batch, Offset::new(1234), LeaderEpoch::new(7));
    let header = BatchHeader::parse(&batch).unwrap();
    assert!(crc_is_right(&batch, &header));
    assert_eq!(header.base_offset, Offset::new(1234));
    assert_eq!(header.partition_leader_epoch, LeaderEpoch::new(7));
    let offsets: Vec<_> = records(batch.into()).unwrap().map(|record| record.unwrap().offset.get()).collect();
    assert_eq!(offsets, [1234, 1235, 1236]);
    assign(&mut [0; 60], Offset::ZERO, LeaderEpoch::NONE);
}

#[test]
fn the_leaders_time_counts_for_every_record_and_the_checksum_is_right_again() {
    let mut batch = batch_of(3, 10, Compression::Lz4);
    let later = TimestampMs::new(NOW.get() + 5000);
    stamp_log_append_time(&mut batch, later);
    let header = BatchHeader::parse(&batch).unwrap();
    assert!(crc_is_right(&batch, &header));
    assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(header.max_timestamp, later);
    assert!(records(batch.into()).unwrap().all(|record| record.unwrap().timestamp == later));
    stamp_log_append_time(&mut [0; 60], later);
}

#[test]
fn a_fetch_answer_may_end_within_a_batch() {
    let first = batch_of(2, 10, Compression::None);
    let second = batch_of(3, 10, Compression::Zstd);
    let mut both = [first.clone(), second.clone()].concat();
    let lens = |bytes: &[u8]| -> Vec<usize> {
        batches(bytes.to_vec().into()).map(|batch| batch.unwrap().1.len()).collect()
    };
    assert_eq!(lens(&both), [first.len(), second.len()]);
    for cut in first.len()..both.len() {
        assert_eq!(lens(&both[..cut]), [first.len()]);
    }
    both[first.len() + 16] = 9;
    let found: Vec<_> = batches(both.into()).collect();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].as_ref().unwrap_err(), &BatchError::Magic(9));
}

#[test]
fn a_builder_is_full_at_its_limit_and_still_takes_one_record_of_any_size() {
    let value = vec![7; 100];
    let record = NewRecord { timestamp: NOW, value: Some(&value), ..NewRecord::default() };
    let mut builder = BatchBuilder::new(500);
    while builder.append(&record) {}
    assert_eq!(builder.record_count(), 4);
    assert!(builder.len() <= 500);
    let mut small = BatchBuilder::new(10);
    assert!(small.append(&record));
    assert!(!small.append(&record));
    assert_eq!(super::finish(small, Compression::None).len(), 61 + 2 + 1 + 1 + 1 + 1 + 2 + 100 + 1);
}

#[test]
fn an_empty_builder_makes_no_batch() {
    let finished = BatchBuilder::new(100).finish(Compression::None, None, Producer::NONE);
    assert_eq!(finished, Err(BatchError::Count { records: 0, last_offset_delta: -1 }));
}

#[test]
fn headers_keep_their_order_and_may_repeat_a_name() {
    let headers = [
        NewHeader { name: "b", value: Some(b"1") },
        NewHeader { name: "a", value: None },
        NewHeader { name: "b", value: Some(b"") },
    ];
    let mut builder = BatchBuilder::new(1000);
    assert!(builder.append(&NewRecord { timestamp: NOW, headers: &headers, ..NewRecord::default() }));
    let record = records(super::finish(builder, Compression::None)).unwrap().next().unwrap().unwrap();
    let found: Vec<_> = record.headers.iter().map(|h| (&h.name[..], h.value.as_deref())).collect();
    assert_eq!(found, [(&b"b"[..], Some(&b"1"[..])), (b"a", None), (b"b", Some(b""))]);
}

#[test]
fn a_batch_of_another_cluster_keeps_its_records_and_loses_what_means_nothing_here() {
    let mut builder = BatchBuilder::new(1000);
    let record = NewRecord { value: Some(b"kept"), ..NewRecord::default() };
    assert!(builder.append(&record));
    let producer =
        Producer { id: ProducerId::new(8), epoch: ProducerEpoch::new(2), base_sequence: Sequence::new(5) };
    let mut batch = builder.finish(Compression::Gzip, None, producer).unwrap().to_vec();
    batch[22] |= 0b11_0000;
    detach(&mut batch, 9);
    let header = BatchHeader::parse(&batch).unwrap();
    assert!(crc_is_right(&batch, &header));
    assert!(!header.is_idempotent() && !header.is_transactional() && !header.is_control());
    assert_eq!((header.last_offset_delta, header.record_count), (9, 1));
    assert_eq!((header.producer_epoch, header.base_sequence), (ProducerEpoch::NONE, Sequence::NONE));
    let kept: Vec<_> = records(batch.into()).unwrap().map(|record| record.unwrap().value).collect();
    assert_eq!(kept, [Some(b"kept".as_slice().into())]);
}

#[test]
fn an_empty_batch_is_whole_and_covers_its_offsets() {
    let batch = empty_batch(Offset::new(40), 7, LeaderEpoch::new(3), TimestampMs::new(11));
    let header = BatchHeader::parse(&batch).unwrap();
    assert!(crc_is_right(&batch, &header));
    assert_eq!((header.base_offset, header.next_offset()), (Offset::new(40), Offset::new(47)));
    assert_eq!((header.total_len(), header.record_count), (batch.len(), 0));
    assert!(!header.is_idempotent());
    assert_eq!((header.base_timestamp, header.max_timestamp), (TimestampMs::new(11), TimestampMs::new(11)));
    assert_eq!(records(batch.to_vec().into()).unwrap().count(), 0);
}
