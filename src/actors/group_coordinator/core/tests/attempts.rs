//! Records that take their consumers down, and what is done about them.

mod nacks;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::world::{REBALANCE, SESSION, World, as_member, as_static, topic};
use crate::{
    actors::{
        group_coordinator::{
            consumer_protocol,
            core::{
                Buried, DeadLetter, FetchOffsets, Image, Partitions, Request, TopicImage, stored::Stored,
            },
        },
        partition::ClientKey,
    },
    config::topic::Delivery,
    model::{LeaderEpoch, Offset, PartitionIndex, ProducerId},
    wire::{ErrorCode, Str},
};

const LIMIT: u32 = 3;
const MOMENT: Duration = Duration::from_millis(1);

fn image(delivery: Delivery) -> Image {
    let topic = TopicImage { id: topic(), partitions: 2, delivery: Arc::new(delivery) };
    Image::new(BTreeMap::from([("t".into(), topic)]))
}

fn limit_of(attempts: u32) -> Delivery {
    Delivery { max_attempts: attempts, max_consecutive: 2, ..Delivery::default() }
}

fn limited() -> World {
    let mut world = World::new();
    world.set_image(image(limit_of(LIMIT)));
    world
}

fn share(partitions: &[i32]) -> bytes::Bytes {
    let indexes: BTreeSet<_> = partitions.iter().copied().map(PartitionIndex::new).collect();
    consumer_protocol::encode_assignment(&BTreeMap::from([("t".into(), indexes)]), None).unwrap()
}

impl World {
    /// A member that owns both partitions.
    fn owner(&mut self) -> (Str, i32) {
        let member = self.invite();
        let joining = self.join(as_member(&member));
        let generation = self.joined(joining).generation_id;
        let syncing = self.sync_with(&member, generation, vec![(member.clone(), share(&[0, 1]))]);
        assert_eq!(self.synced(syncing).error_code, ErrorCode::None);
        (member, generation)
    }

    /// The leader serves the client of all members records of a partition.
    fn serve(&mut self, partition: i32, records: std::ops::Range<i64>) {
        let client = ClientKey::new("client", "/127.0.0.1");
        let served = self.served.entry(PartitionIndex::new(partition)).or_default();
        served.record(client, Offset::new(records.start), Offset::new(records.end), self.now);
    }

    /// An owner comes, is given these records of partition 0, and dies.
    fn try_once(&mut self, records: std::ops::Range<i64>) {
        self.owner();
        self.serve(0, records);
        self.die();
    }

    fn die(&mut self) {
        self.pass(SESSION + MOMENT);
        assert_eq!(self.state(), "Empty");
    }

    /// What stands in the log of attempts at partition 0: offset, count, how many in a row.
    fn stored(&self) -> Option<(i64, i32, i32)> {
        let mut last = None;
        for stored in &self.log {
            if let Stored::Attempts { key, value } = stored
                && key.partition == PartitionIndex::new(0)
            {
                last = value.as_ref().map(|value| (value.offset.get(), value.attempts, value.in_a_row));
            }
        }
        last
    }

    fn ask_offset(&mut self) -> bool {
        let topics = Some(vec![Partitions { topic: "t".into(), indexes: vec![PartitionIndex::new(0)] }]);
        let ticket =
            self.ask(Request::FetchOffsets(FetchOffsets { group: "g".into(), member: None, topics }));
        !self.refused.contains(&ticket)
    }

    fn bury(&mut self) -> i64 {
        let next = self.letters[0].offset.plus(1);
        self.buried(Buried::There { next, leader_epoch: LeaderEpoch::new(4) }).offset.get()
    }
}

#[test]
fn a_record_that_takes_its_consumers_down_is_given_up_after_so_many_tries() {
    let mut world = limited();
    let (member, generation) = world.owner();
    assert_eq!(world.commit(&member, generation, 5), ErrorCode::None);
    world.serve(0, 0..9);
    world.die();
    assert_eq!(world.stored(), Some((5, 1, 0)));
    world.try_once(5..9);
    assert_eq!((world.stored(), world.letters.len()), (Some((5, 2, 0)), 0));
    world.try_once(5..9);
    let letter = world.letters[0].clone();
    assert_eq!((letter.offset.get(), letter.attempts), (5, 3));
    assert!(letter.first < letter.last && letter.cause.contains("session"));
    assert!(!world.ask_offset(), "nobody may begin at it meanwhile");
    assert_eq!(world.bury(), 5);
    assert!(world.ask_offset());
    let committed = world.committed_whole().unwrap();
    assert_eq!((committed.offset.get(), committed.leader_epoch.get()), (6, 4));
    assert_eq!((committed.metadata.as_str(), committed.topic), ("", topic()));
    let counts = world.coordinator.take_counts();
    assert_eq!((counts.attempts, counts.dead_letters), (3, 1));
}

#[test]
fn s22_while_a_leader_elsewhere_is_asked_nobody_is_told_the_position_and_its_silence_counts_nothing() {
    let mut world = limited();
    world.asked = Some(Vec::new());
    world.try_once(0..9);
    assert!(!world.ask_offset(), "whether the record is to be given up is not known yet");
    world.answer_asked(false);
    assert_eq!(world.stored(), None);
    assert!(world.ask_offset());
    for count in 1..=LIMIT.cast_signed() {
        world.try_once(0..9);
        world.answer_asked(true);
        assert_eq!(world.stored(), Some((0, count, 0)));
    }
    assert_eq!(world.letters.len(), 1);
    assert!(!world.ask_offset(), "it is on its way");
}

#[test]
fn s22_an_answer_about_a_record_that_the_group_has_moved_past_counts_nothing() {
    let mut world = limited();
    world.asked = Some(Vec::new());
    world.try_once(0..9);
    assert_eq!(world.commit("", -1, 1), ErrorCode::None);
    world.answer_asked(true);
    assert_eq!(world.stored(), None);
    assert!(world.ask_offset());
}

#[test]
fn s22_owners_that_die_before_anything_was_served_have_failed_on_nothing() {
    let mut world = limited();
    let (member, generation) = world.owner();
    world.serve(0, 0..9);
    assert_eq!(world.commit(&member, generation, 5), ErrorCode::None);
    world.leave(&member, None);
    for _ in 0..5 {
        world.pass(MOMENT);
        world.owner();
        world.die();
    }
    assert_eq!((world.stored(), world.letters.len()), (None, 0));
    // Nor on the record that they would have come to next.
    for _ in 0..5 {
        world.try_once(0..5);
    }
    assert_eq!((world.stored(), world.letters.len()), (None, 0));
}

#[test]
fn without_a_committed_offset_it_is_the_record_that_the_client_began_with() {
    let mut world = limited();
    for _ in 0..LIMIT {
        world.try_once(7..20);
    }
    assert_eq!(world.bury(), 7);
    assert_eq!(world.committed(), Some(8));
}

#[test]
fn a_commit_that_moves_the_position_clears_the_count_and_one_that_does_not_does_not() {
    let mut world = limited();
    world.try_once(0..9);
    world.try_once(0..9);
    let (member, generation) = world.owner();
    assert_eq!(world.commit(&member, generation, 0), ErrorCode::None);
    assert_eq!(world.stored(), Some((0, 2, 0)));
    assert_eq!(world.commit(&member, generation, 1), ErrorCode::None);
    assert_eq!(world.stored(), None);
    world.serve(0, 0..9);
    world.die();
    assert_eq!(world.stored(), Some((1, 1, 0)));
}

#[test]
fn attempts_are_there_after_the_coordinator_has_died() {
    let mut world = limited();
    for _ in 0..LIMIT {
        world.try_once(0..9);
        world.crash();
    }
    // The last crash has come before the record was a dead letter: it is on its way again, and still held.
    assert!(!world.ask_offset());
    assert_eq!(world.letters[0].attempts, LIMIT);
    assert_eq!(world.bury(), 0);
    world.crash();
    assert_eq!((world.committed(), world.letters.len()), (Some(1), 0));
}

#[test]
fn a_successor_writes_what_was_on_its_way_as_the_same_producer_and_the_next_record_as_another() {
    let mut world = limited();
    (0..LIMIT).for_each(|_| world.try_once(0..9));
    let first = world.letters[0].clone();
    world.crash();
    assert_eq!((world.letters.len(), &world.letters[0]), (1, &first), "marked as it was");
    // An answer to a question for a mark comes late: for another record, or for one that has its mark.
    let other = DeadLetter { offset: Offset::new(9), ..first.clone() };
    let mut effects = Vec::new();
    world.coordinator.marked(&other, first.mark, &mut effects);
    world.coordinator.marked(&first, ProducerId::new(99), &mut effects);
    assert_eq!(effects, [], "neither counts");
    world.bury();
    (0..LIMIT).for_each(|_| world.try_once(1..9));
    assert_eq!((world.letters.len(), world.letters[0].offset), (1, Offset::new(1)));
    assert_ne!(world.letters[0].mark, first.mark);
}

#[test]
fn owners_of_before_the_coordinator_died_have_been_served_nothing_until_they_fetch_again() {
    let mut world = limited();
    world.owner();
    world.serve(0, 0..9);
    world.crash();
    world.die();
    assert_eq!(world.stored(), None);
    world.owner();
    world.crash();
    world.serve(0, 0..9);
    world.die();
    assert_eq!(world.stored(), Some((0, 1, 0)));
}

#[test]
fn without_a_limit_nothing_is_counted_and_a_partition_can_have_one_of_its_own() {
    let mut world = World::new();
    world.set_image(image(limit_of(0)));
    world.try_once(0..9);
    assert_eq!(world.stored(), None);
    let overrides = BTreeMap::from([(PartitionIndex::new(0), 1)]);
    world.set_image(image(Delivery { overrides, ..limit_of(0) }));
    world.serve(1, 0..9);
    world.try_once(0..9);
    assert_eq!(world.letters.len(), 1);
    // Whoever takes the limit away again, means it: the record stays where it is.
    world.set_image(image(limit_of(0)));
    assert!(world.ask_offset());
    assert!(world.letters.is_empty());
}

#[test]
fn a_member_that_leaves_in_good_order_has_failed_on_nothing() {
    let mut world = limited();
    for reason in [None, Some("the consumer is being closed")] {
        let (member, _) = world.owner();
        world.serve(0, 0..9);
        assert_eq!(world.leave_because(&member, None, reason), ErrorCode::None);
    }
    assert_eq!(world.stored(), None);
}

#[test]
fn a_member_that_leaves_because_its_application_took_too_long_has_failed() {
    let mut world = limited();
    let (member, _) = world.owner();
    world.serve(0, 0..9);
    let reason = "consumer poll timeout has expired.";
    assert_eq!(world.leave_because(&member, None, Some(reason)), ErrorCode::None);
    assert_eq!(world.stored(), Some((0, 1, 0)));
    // One that cannot say why is known by how long it has sat on the record.
    let (member, generation) = world.owner();
    world.serve(0, 0..9);
    let ends = world.now + REBALANCE;
    while world.now < ends {
        world.pass(SESSION / 2);
        assert_eq!(world.heartbeat(&member, generation), ErrorCode::None);
    }
    assert_eq!(world.leave(&member, None), ErrorCode::None);
    assert_eq!(world.stored(), Some((0, 2, 0)));
}

#[test]
fn a_static_member_whose_place_another_process_takes_has_died() {
    let mut world = limited();
    let joining = world.join(as_static("i"));
    let joined = world.joined(joining);
    let syncing = world.sync_with(&joined.member_id, 1, vec![(joined.member_id.clone(), share(&[0]))]);
    assert_eq!(world.synced(syncing).error_code, ErrorCode::None);
    for tries in 1..LIMIT {
        world.serve(0, 0..9);
        world.pass(Duration::from_secs(2));
        world.join(as_static("i"));
        assert_eq!(world.stored(), Some((0, tries.cast_signed(), 0)));
        world.pass(Duration::from_secs(2));
    }
    world.join(as_static("i"));
    assert_eq!(world.stored(), Some((0, LIMIT.cast_signed() - 1, 0)), "it had not been served anything");
}

#[test]
fn an_owner_that_keeps_its_partition_over_a_rebalance_keeps_what_it_was_served() {
    let mut world = limited();
    let (member, _) = world.owner();
    world.serve(0, 0..9);
    world.pass(Duration::from_secs(1));
    let joining = world.join(as_member(&member));
    let generation = world.joined(joining).generation_id;
    let syncing = world.sync_with(&member, generation, vec![(member.clone(), share(&[0]))]);
    assert_eq!(world.synced(syncing).error_code, ErrorCode::None);
    world.die();
    assert_eq!(world.stored(), Some((0, 1, 0)));
}

#[test]
fn too_many_in_a_row_are_an_outage_until_a_record_is_consumed() {
    let mut world = World::new();
    world.set_image(image(limit_of(1)));
    for record in 0..2 {
        world.try_once(record..9);
        assert_eq!(world.bury(), record);
    }
    assert!(world.said.is_empty());
    for _ in 0..3 {
        world.try_once(2..9);
        assert!(world.letters.is_empty());
        world.crash();
    }
    assert_eq!((world.said.as_slice(), world.coordinator.sizes().stopped), ([true].as_slice(), 1));
    // The group's other partitions neither.
    world.owner();
    world.serve(1, 0..9);
    world.die();
    assert!(world.letters.is_empty());
    let (member, generation) = world.owner();
    assert_eq!(world.commit(&member, generation, 3), ErrorCode::None);
    assert_eq!((world.said.as_slice(), world.coordinator.sizes().stopped), ([true, false].as_slice(), 0));
    world.serve(0, 3..9);
    world.die();
    assert_eq!(world.bury(), 3);
    assert_eq!(world.stored(), Some((4, 0, 1)));
}

#[test]
fn a_record_that_is_gone_before_it_could_be_given_up_is_nobodys_failure() {
    let mut world = limited();
    for _ in 0..LIMIT {
        world.try_once(0..9);
    }
    world.buried(Buried::Gone);
    assert_eq!((world.stored(), world.committed()), (None, None));
    assert!(world.ask_offset());
    // A position that is deleted is nobody's beginning.
    world.commit("", -1, 3);
    world.log_start = Offset::new(6);
    world.try_once(6..9);
    assert_eq!(world.stored(), Some((6, 1, 0)));
}

#[test]
fn a_commit_while_the_record_is_on_its_way_is_kept() {
    let mut world = limited();
    for _ in 0..LIMIT {
        world.try_once(0..9);
    }
    let letter = world.letters[0].clone();
    assert_eq!(world.commit("", -1, 7), ErrorCode::None);
    assert!(world.letters.is_empty(), "it is spared");
    world.letters.push(letter);
    world.bury();
    assert_eq!((world.committed(), world.stored()), (Some(7), None), "it was too late for that");
}

#[test]
fn what_is_forgotten_of_a_group_takes_its_attempts_with_it() {
    let mut world = limited();
    world.try_once(0..9);
    assert_eq!(world.delete(), ErrorCode::None);
    assert_eq!(world.stored(), None);
    world.try_once(0..9);
    world.sweep();
    assert_eq!(world.stored(), Some((0, 1, 0)), "the consumer may yet come back");
    world.pass(Duration::from_hours(24 * 30));
    world.sweep();
    assert_eq!((world.stored(), world.coordinator.sizes().groups), (None, 0));
    world.try_once(0..9);
    let mut effects = Vec::new();
    world.coordinator.topics_deleted(&BTreeSet::from([topic()]), &mut effects);
    world.carry_out(effects);
    assert_eq!(world.stored(), None);
}
