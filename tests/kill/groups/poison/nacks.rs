//! The same where a member of ours says itself that it cannot work on the record.

use std::slice;

use polylogue::{
    client::{Client, ClientConfig, Delivery, GroupConfig, GroupConsumer},
    model::{NodeId, TopicName},
};

use super::{TOPIC, World, header};
use crate::support::WITHIN;

/// A member, and what it runs on.
struct Member<'a> {
    world: &'a World,
    consumer: GroupConsumer,
}

impl<'a> Member<'a> {
    fn join(world: &'a World) -> Self {
        let client = Client::new(ClientConfig::new(&world.nodes.bootstrap()));
        let topic = TopicName::new(TOPIC).unwrap();
        let join = GroupConsumer::join(&client, GroupConfig::new(&world.group), slice::from_ref(&topic));
        Self { world, consumer: world.runtime.block_on(join).unwrap() }
    }

    #[track_caller]
    fn next(&mut self, offset: i64) -> Delivery {
        let next = self.world.runtime.block_on(self.consumer.next(WITHIN)).unwrap();
        let delivery = next.unwrap();
        assert_eq!(delivery.record.offset.get(), offset);
        delivery
    }

    /// Refuses the record, and is told this number of attempts and whether it is given up.
    #[track_caller]
    fn refuse(&mut self, offset: i64, expected: (u32, bool)) {
        let delivery = self.next(offset);
        assert_eq!(delivery.attempts, expected.0 - 1);
        let nacked = self.world.runtime.block_on(self.consumer.nack(&delivery, "too hard")).unwrap();
        assert_eq!((nacked.attempts, nacked.given_up), expected);
    }

    fn finish(mut self, offset: i64) {
        let last = self.next(offset);
        self.consumer.ack(&last).unwrap();
        self.world.runtime.block_on(self.consumer.close()).unwrap();
    }
}

#[test]
fn a_record_that_is_refused_is_counted_and_given_up_once_though_every_node_is_killed_in_between() {
    let mut world = World::start("nacks", "3");
    world.produce(&[10, 10]);
    let [leader, letters, coordinator] = [1, 2, 3].map(NodeId::new);
    for (attempts, node) in [(1, coordinator), (2, leader)] {
        let mut member = Member::join(&world);
        member.refuse(0, (attempts, false));
        // It dies without a word, and before it was given the record again: that is no attempt.
        drop(member);
        world.nodes.kill_one(node);
        world.until_failed(0, attempts);
        world.nodes.start_one(node);
        world.until_home();
    }
    let mut member = Member::join(&world);
    member.refuse(0, (3, true));
    member.finish(1);
    world.nodes.kill_one(letters);
    world.nodes.start_one(letters);
    world.until_home();
    world.until_at(2);
    let found = world.letters();
    assert_eq!(found.len(), 1, "{found:?}");
    let said = ["offset", "attempts", "cause"].map(|name| header(&found[0], name));
    assert_eq!(said, ["0", "3", "too hard"]);
    world.nodes.stop();
}

#[test]
fn a_member_goes_on_at_the_next_coordinator_with_what_it_refused() {
    let mut world = World::start("nacks-moved", "3");
    world.produce(&[10, 10]);
    let coordinator = NodeId::new(3);
    let topic = TopicName::new(TOPIC).unwrap();
    let client = Client::new(ClientConfig::new(&world.nodes.bootstrap()));
    let join = GroupConsumer::join(&client, GroupConfig::new(&world.group), slice::from_ref(&topic));
    let mut consumer = world.runtime.block_on(join).unwrap();
    for attempts in 1..=3 {
        let next = world.runtime.block_on(consumer.next(WITHIN)).unwrap().unwrap();
        assert_eq!((next.record.offset.get(), next.attempts), (0, attempts - 1));
        if attempts == 2 {
            world.nodes.kill_one(coordinator);
        }
        let nacked = world.runtime.block_on(consumer.nack(&next, "too hard")).unwrap();
        assert_eq!((nacked.attempts, nacked.given_up), (attempts, attempts == 3));
    }
    let last = world.runtime.block_on(consumer.next(WITHIN)).unwrap().unwrap();
    assert_eq!(last.record.offset.get(), 1);
    consumer.ack(&last).unwrap();
    world.runtime.block_on(consumer.close()).unwrap();
    assert_eq!(world.letters().len(), 1);
    world.nodes.start_one(coordinator);
    world.nodes.stop();
}
