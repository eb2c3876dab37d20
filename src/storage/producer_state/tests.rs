use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::{BatchSequence, Check, ProducerError, ProducerLimits, ProducerState};
use crate::{
    model::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs},
    storage::fs::real::RealFs,
};

const NOW: TimestampMs = TimestampMs::new(1_000_000_000);

fn batch(producer: i64, epoch: i16, sequence: i32, records: i32, offset: i64) -> BatchSequence {
    BatchSequence {
        producer_id: ProducerId::new(producer),
        producer_epoch: ProducerEpoch::new(epoch),
        base_sequence: Sequence::new(sequence),
        last_sequence: Sequence::new(sequence).plus(records - 1),
        base_offset: Offset::new(offset),
        last_offset: Offset::new(offset + i64::from(records) - 1),
        max_timestamp: TimestampMs::new(7),
    }
}

fn state() -> ProducerState {
    ProducerState::new(ProducerLimits::default())
}

fn with(batches: &[BatchSequence]) -> ProducerState {
    let mut state = state();
    for batch in batches {
        assert_eq!(state.check(batch), Ok(Check::Append), "{batch:?}");
        state.record(batch, NOW);
    }
    state
}

fn duplicate_of(batch: &BatchSequence) -> Check {
    Check::Duplicate {
        base_offset: batch.base_offset,
        last_offset: batch.last_offset,
        timestamp: batch.max_timestamp,
    }
}

#[test]
fn each_of_the_last_five_batches_is_known_again_with_its_original_offset() {
    let batches: Vec<_> = (0..6).map(|i| batch(4, 0, i * 3, 3, 100 + i64::from(i) * 10)).collect();
    let state = with(&batches);
    for original in &batches[1..] {
        let retry = BatchSequence { base_offset: Offset::ZERO, last_offset: Offset::ZERO, ..*original };
        assert_eq!(state.check(&retry), Ok(duplicate_of(original)));
    }
    let forgotten = state.check(&batches[0]).unwrap_err();
    assert!(matches!(forgotten, ProducerError::OutOfOrderSequence { .. }));
}

#[test]
fn a_gap_or_an_overlap_is_refused_and_names_what_is_next() {
    let state = with(&[batch(4, 0, 0, 3, 0)]);
    for (sequence, records) in [(4, 1), (2, 1), (0, 2), (1, 3)] {
        let refused = state.check(&batch(4, 0, sequence, records, 3));
        let expected = ProducerError::OutOfOrderSequence {
            producer_id: ProducerId::new(4),
            expected: Sequence::new(3),
            found: Sequence::new(sequence),
        };
        assert_eq!(refused, Err(expected), "sequence {sequence}, {records} records");
    }
}

#[test]
fn an_older_epoch_is_fenced_and_a_newer_one_begins_at_zero() {
    let mut state = with(&[batch(4, 2, 0, 3, 0)]);
    assert!(matches!(state.check(&batch(4, 1, 3, 1, 3)), Err(ProducerError::StaleEpoch { .. })));
    assert!(matches!(state.check(&batch(4, 3, 3, 1, 3)), Err(ProducerError::EpochBeginsLate { .. })));
    let first = batch(4, 3, 0, 3, 3);
    assert_eq!(state.check(&first), Ok(Check::Append), "same sequences, another epoch: not a duplicate");
    state.record(&first, NOW);
    assert!(matches!(state.check(&batch(4, 2, 3, 1, 6)), Err(ProducerError::StaleEpoch { .. })));
    assert_eq!(state.check(&first), Ok(duplicate_of(&first)));
}

#[test]
fn an_unknown_producer_may_go_on_with_any_sequence() {
    assert_eq!(state().check(&batch(4, 7, 1234, 5, 0)), Ok(Check::Append));
}

#[test]
fn a_producer_without_an_id_is_never_remembered() {
    let mut state = state();
    for _ in 0..3 {
        let plain = batch(-1, -1, -1, 1, 0);
        assert_eq!(state.check(&plain), Ok(Check::Append));
        state.record(&plain, NOW);
    }
    assert!(state.is_empty());
}

#[test]
fn sequences_wrap_after_the_highest_integer() {
    let wrapping = batch(4, 0, i32::MAX - 1, 4, 0);
    assert_eq!(wrapping.last_sequence, Sequence::new(1));
    let state = with(&[wrapping, batch(4, 0, 2, 2, 4)]);
    assert_eq!(state.check(&wrapping), Ok(duplicate_of(&wrapping)));
    assert_eq!(state.check(&batch(4, 0, 4, 1, 6)), Ok(Check::Append));
}

#[test]
fn only_idle_producers_expire() {
    let mut state = with(&[batch(1, 0, 0, 1, 0), batch(2, 0, 0, 1, 1)]);
    let day = Duration::from_hours(24);
    let later = TimestampMs::new(NOW.get() + 23 * 3_600_000);
    state.record(&batch(2, 0, 1, 1, 2), later);
    assert_eq!(state.expire(TimestampMs::new(NOW.get() + day.as_millis() as i64 - 1)), 0);
    assert_eq!(state.expire(TimestampMs::new(NOW.get() + day.as_millis() as i64)), 1);
    assert_eq!(state.producers().map(|p| p.producer_id.get()).collect::<Vec<_>>(), [2]);
}

#[test]
fn memory_is_bounded_and_those_idle_longest_go_first() {
    let mut state = ProducerState::new(ProducerLimits { max_producers: 32, ..ProducerLimits::default() });
    for producer in 0..32 {
        state.record(&batch(producer, 0, 0, 1, producer), NOW);
    }
    state.record(&batch(0, 0, 1, 1, 32), NOW);
    for newcomer in 100..1000 {
        state.record(&batch(newcomer, 0, 0, 1, newcomer), NOW);
        assert!(state.len() <= 32);
        let survivors: Vec<i64> = state.producers().map(|p| p.producer_id.get()).collect();
        assert!(survivors.contains(&newcomer));
        assert_eq!(survivors.contains(&0), newcomer < 130, "after {newcomer}: {survivors:?}");
        if newcomer == 100 {
            assert!(!survivors.contains(&1) && !survivors.contains(&2) && survivors.contains(&3));
        }
    }
}

#[test]
fn a_snapshot_that_claims_batches_beyond_its_end_is_not_believed() {
    let state = with(&[batch(1, 0, 0, 5, 10)]);
    assert!(ProducerState::decode(&state.encode(Offset::new(14)), ProducerLimits::default()).is_err());
    assert!(ProducerState::decode(&state.encode(Offset::new(15)), ProducerLimits::default()).is_ok());
}

#[test]
fn a_snapshot_file_gives_back_state_and_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("00000000000000000015.snapshot");
    let limits = ProducerLimits::default();
    assert!(ProducerState::load(&RealFs, &path, limits).unwrap().is_none());
    let state = with(&[batch(1, 0, 0, 5, 10), batch(9, 3, 0, 1, 15)]);
    state.store(&RealFs, &path, Offset::new(16)).unwrap();
    assert_eq!(ProducerState::load(&RealFs, &path, limits).unwrap(), Some((state, Offset::new(16))));
}

/// The whole history of one producer, without forgetting.
#[derive(Default)]
struct PlainProducer {
    epoch: i16,
    next: i32,
    sent: Vec<BatchSequence>,
}

fn plain_answer(known: Option<&PlainProducer>, batch: &BatchSequence) -> Option<Check> {
    let Some(known) = known else { return Some(Check::Append) };
    let epoch = batch.producer_epoch.get();
    if epoch != known.epoch {
        return (epoch > known.epoch && batch.base_sequence.get() == 0).then_some(Check::Append);
    }
    let recent = known.sent.iter().rev().take(5);
    let same = |sent: &&BatchSequence| {
        (sent.base_sequence, sent.last_sequence) == (batch.base_sequence, batch.last_sequence)
    };
    match recent.clone().find(same) {
        Some(original) => Some(duplicate_of(original)),
        None => (batch.base_sequence.get() == known.next).then_some(Check::Append),
    }
}

proptest! {
    #[test]
    fn s09_rebuilding_from_a_snapshot_and_the_batches_above_it_gives_the_same_answers(
        steps in prop::collection::vec((0_i64..3, 0_i16..3, 0_i32..8, 1_i32..4), 1..80),
        snapshot_at in 0_usize..80,
    ) {
        let mut plain: BTreeMap<i64, PlainProducer> = BTreeMap::new();
        let (mut state, mut rebuilt, mut end) = (state(), None, 0);
        for (step, (producer, epoch, sequence, records)) in steps.into_iter().enumerate() {
            if step == snapshot_at {
                let bytes = state.encode(Offset::new(end));
                let (copy, copy_end) = ProducerState::decode(&bytes, ProducerLimits::default()).unwrap();
                prop_assert_eq!(copy_end, Offset::new(end));
                rebuilt = Some(copy);
            }
            let batch = batch(producer, epoch, sequence, records, end);
            let answer = state.check(&batch);
            prop_assert_eq!(answer.ok(), plain_answer(plain.get(&producer), &batch));
            if answer == Ok(Check::Append) {
                end += i64::from(records);
                state.record(&batch, NOW);
                if let Some(rebuilt) = &mut rebuilt {
                    rebuilt.record(&batch, NOW);
                }
                let known = plain.entry(producer).or_default();
                if known.epoch != epoch {
                    *known = PlainProducer { epoch, ..PlainProducer::default() };
                }
                known.next = sequence + records;
                known.sent.push(batch);
            }
        }
        if let Some(rebuilt) = rebuilt {
            prop_assert_eq!(rebuilt, state);
        }
    }

    #[test]
    fn a_damaged_snapshot_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ProducerState::decode(&bytes, ProducerLimits::default());
    }
}
