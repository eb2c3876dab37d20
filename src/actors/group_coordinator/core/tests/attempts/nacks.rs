//! Deliveries that consumers refuse themselves.

use super::{LIMIT, World, image, limit_of, limited, topic};
use crate::{
    actors::group_coordinator::core::{Answer, Commit, CommitTopic, Request},
    model::{Offset, PartitionIndex},
    wire::{
        ErrorCode,
        api::offset_commit::{Nack, Nacked, OffsetCommitRequestPartition},
    },
};

fn counted(attempts: u32) -> Nacked {
    Nacked { attempts: attempts.cast_signed(), ..Nacked::default() }
}

fn given_up(attempts: u32) -> Nacked {
    Nacked { attempts: attempts.cast_signed(), given_up: true, dead_letters_stopped: false }
}

impl World {
    fn nack_because(
        &mut self,
        member: &str,
        generation: i32,
        offset: i64,
        attempt: u32,
        cause: &str,
    ) -> (ErrorCode, Option<Nacked>) {
        let partition = OffsetCommitRequestPartition {
            partition_index: PartitionIndex::new(0),
            committed_offset: Offset::new(offset),
            nack: Some(Nack { attempt: attempt.cast_signed(), cause: cause.into() }),
            ..OffsetCommitRequestPartition::default()
        };
        let ticket = self.ask(Request::Nack(Commit {
            group: "g".into(),
            member_id: member.into(),
            generation,
            retention_ms: -1,
            topics: vec![CommitTopic { name: "t".into(), id: topic(), partitions: vec![partition] }],
            ..Commit::default()
        }));
        match self.answers.remove(&ticket) {
            Some(Answer::Nack(mut outcomes)) => outcomes[0].1.remove(0).1,
            other => panic!("{other:?}"),
        }
    }

    fn nack(&mut self, member: &str, generation: i32, offset: i64, attempt: u32) -> Nacked {
        let (code, nacked) = self.nack_because(member, generation, offset, attempt, "no");
        assert_eq!(code, ErrorCode::None);
        nacked.unwrap()
    }
}

#[test]
fn a_record_that_is_refused_is_given_up_after_so_many_tries_with_the_consumers_own_words() {
    let mut world = limited();
    let (member, generation) = world.owner();
    for attempt in 1..LIMIT {
        assert_eq!(world.nack(&member, generation, 5, attempt), counted(attempt));
        assert_eq!(world.committed(), Some(5), "all before it is done");
    }
    let words = format!("{}é{}", "x".repeat(1023), "y".repeat(9000));
    let last = world.nack_because(&member, generation, 5, LIMIT, &words);
    assert_eq!(last, (ErrorCode::None, Some(given_up(LIMIT))));
    let letter = &world.letters[0];
    assert_eq!((letter.offset.get(), letter.attempts), (5, LIMIT));
    assert_eq!(letter.cause.as_str(), "x".repeat(1023), "not more of it than is bearable");
    assert!(!world.ask_offset(), "nobody is told where to go on before the letter is on disk");
    assert_eq!(world.bury(), 5);
    assert_eq!(world.committed(), Some(6));
    let counts = world.coordinator.take_counts();
    assert_eq!((counts.attempts, counts.dead_letters), (u64::from(LIMIT), 1));
}

#[test]
fn a_nack_that_is_sent_again_counts_once_and_takes_nobody_back() {
    let mut world = limited();
    let (member, generation) = world.owner();
    for _ in 0..5 {
        assert_eq!(world.nack(&member, generation, 5, 1), counted(1));
    }
    world.crash();
    assert_eq!(world.nack(&member, generation, 5, 1), counted(1), "as its successor knows, too");
    assert_eq!(world.nack(&member, generation, 5, 2), counted(2));
    for _ in 0..2 {
        assert_eq!(world.nack(&member, generation, 5, LIMIT), given_up(LIMIT));
    }
    assert_eq!(world.letters.len(), 1);
    world.bury();
    // The answer to the last one was lost: the record is a dead letter by now.
    assert_eq!(world.nack(&member, generation, 5, LIMIT), given_up(0));
    assert_eq!(world.committed(), Some(6));
    assert_eq!(world.stored(), Some((6, 0, 1)));
    assert_eq!(world.nack(&member, generation, 6, 0), counted(1));
    assert_eq!(world.nack(&member, generation, 6, 0), counted(2), "without a number it cannot be told");
}

#[test]
fn nacks_and_lost_owners_are_attempts_on_the_same_record() {
    let mut world = limited();
    world.try_once(0..9);
    let (member, generation) = world.owner();
    world.serve(0, 0..9);
    world.pass(super::MOMENT);
    assert_eq!(world.nack(&member, generation, 0, 2), counted(2));
    // It is lost before it was given the record again: that is no other attempt.
    world.die();
    assert_eq!(world.stored(), Some((0, 2, 0)));
    world.try_once(0..9);
    assert_eq!(world.letters[0].attempts, LIMIT);
}

#[test]
fn s21_a_nack_by_anybody_but_the_owner_in_its_generation_is_refused_and_counts_nothing() {
    let mut world = limited();
    let (member, generation) = world.owner();
    let mut refused = |member: &str, generation| world.nack_because(member, generation, 5, 1, "no");
    assert_eq!(refused(&member, generation + 1), (ErrorCode::IllegalGeneration, None));
    assert_eq!(refused(&member, generation - 1), (ErrorCode::IllegalGeneration, None));
    assert_eq!(refused("another", generation), (ErrorCode::UnknownMemberId, None));
    assert_eq!(refused("", -1), (ErrorCode::UnknownMemberId, None));
    world.die();
    let late = world.nack_because(&member, generation, 5, 1, "no");
    assert_eq!(late.1, None);
    assert_ne!(late.0, ErrorCode::None);
    assert_eq!((world.stored(), world.committed()), (None, None));
    assert_eq!(world.coordinator.take_counts().attempts, 0);
}

#[test]
fn a_nack_where_nothing_is_limited_is_a_commit_of_the_records_offset() {
    let mut world = World::new();
    world.set_image(image(limit_of(0)));
    let (member, generation) = world.owner();
    for _ in 0..5 {
        assert_eq!(world.nack(&member, generation, 5, 1), counted(0));
    }
    assert_eq!((world.committed(), world.stored()), (Some(5), None));
}

#[test]
fn too_many_refused_in_a_row_stop_dead_letters_until_a_record_is_consumed() {
    let mut world = World::new();
    world.set_image(image(limit_of(1)));
    let (member, generation) = world.owner();
    for offset in 0..2 {
        assert_eq!(world.nack(&member, generation, offset, 1), given_up(1));
        assert_eq!(world.bury(), offset);
    }
    for attempt in 1..5_u32 {
        let stopped = Nacked { attempts: attempt.cast_signed(), given_up: false, dead_letters_stopped: true };
        assert_eq!(world.nack(&member, generation, 2, attempt), stopped);
    }
    assert_eq!((world.letters.len(), world.committed()), (0, Some(2)));
    assert_eq!(world.commit(&member, generation, 3), ErrorCode::None);
    assert_eq!(world.nack(&member, generation, 3, 1), given_up(1));
}
