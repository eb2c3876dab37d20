//! The stories of the rules, one command after the other.

use std::collections::BTreeMap;

use super::world::{World, node, nodes};
use crate::{
    actors::membership::core::{
        Applied, ApplyError, Command, CommandAnswer, ConfigOwner, Controller, Elections, FEATURE_LEVEL,
        InSyncChange, MetadataImage, MetadataRecord, NOBODY, NewTopic, Proposal, Refusal, TopicRef,
        WrongChange,
    },
    config::topic::ConfigChange,
    model::{BrokerEpoch, LeaderEpoch, NodeId, PartitionId, ProducerId, TopicId},
};

pub(super) fn change(world: &World, id: PartitionId, in_sync: &[i32]) -> InSyncChange {
    let partition = world.partition(id);
    InSyncChange {
        partition: id,
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        in_sync: nodes(in_sync).into_iter().map(|node| (node, world.epoch(node))).collect(),
    }
}

pub(super) fn alter(world: &mut World, id: PartitionId, in_sync: &[i32]) -> Result<CommandAnswer, Refusal> {
    let change = change(world, id, in_sync);
    world.command(&Command::AlterInSync(change))
}

fn open(world: &World, id: PartitionId, by: i32, opening: u64) -> Command {
    let (node, leader_epoch) = (node(by), world.partition(id).leader_epoch);
    Command::OpenEpoch { partition: id, node, broker_epoch: world.epoch(node), leader_epoch, opening }
}

pub(super) fn create(name: &str, partitions: i32, replication_factor: i16) -> Command {
    let new = NewTopic { name: name.into(), partitions, replication_factor, ..NewTopic::default() };
    Command::CreateTopic { new, id: TopicId::random(), validate_only: false }
}

fn created(answer: CommandAnswer) -> (TopicId, i16, BTreeMap<String, String>) {
    let CommandAnswer::TopicCreated(topic) = answer else { panic!("{answer:?}") };
    (topic.id, topic.replication_factor, topic.configs)
}

#[test]
fn a_broker_is_fenced_until_it_is_ready_and_registering_twice_is_registering_once() {
    let mut world = World::new(1);
    let registration = world.registration(node(2), 22, false);
    let first = world.command(&Command::RegisterBroker(registration.clone())).unwrap();
    assert!(world.broker(node(2)).fenced);
    assert_eq!(world.command(&Command::RegisterBroker(registration.clone())).unwrap(), first);
    world.ready(node(2));
    assert!(world.broker(node(2)).is_live());
    assert_eq!(world.command(&Command::RegisterBroker(registration)).unwrap(), first);
    assert!(world.broker(node(2)).is_live(), "what has been said before changes nothing");
    let other = world.registration(node(3), 22, false);
    assert!(matches!(world.command(&Command::RegisterBroker(other)), Err(Refusal::InvalidRequest(_))));
}

#[test]
fn a_command_of_an_earlier_start_is_refused() {
    let mut world = World::new(2);
    let old = world.epoch(node(2));
    world.start(node(2), 2, true).unwrap();
    for stale in [
        Command::BrokerReady { node: node(2), broker_epoch: old },
        Command::BrokerDown { node: node(2), broker_epoch: old },
        Command::BrokerStopping { node: node(2), broker_epoch: old },
        Command::AllocateProducerIds { node: node(2), broker_epoch: old },
    ] {
        assert!(matches!(world.command(&stale), Err(Refusal::StaleBrokerEpoch { .. })), "{stale:?}");
    }
    let nobody = Command::BrokerReady { node: node(9), broker_epoch: old };
    assert_eq!(world.command(&nobody), Err(Refusal::NotRegistered(node(9))));
}

#[test]
fn s06_an_opening_is_answered_only_to_the_leader_and_the_same_one_the_same_way() {
    let mut world = World::new(3);
    let id = world.topic(&[1, 2, 3], &[]);
    assert_eq!(world.partition(id).leader_epoch, LeaderEpoch::NONE);
    let first = open(&world, id, 1, 10);
    let given = CommandAnswer::EpochOpened(LeaderEpoch::new(0));
    assert_eq!(world.command(&first).unwrap(), given);
    assert_eq!(world.command(&first).unwrap(), given, "the answer was lost, and the command came again");
    let second = open(&world, id, 1, 11);
    assert_eq!(world.command(&second).unwrap(), CommandAnswer::EpochOpened(LeaderEpoch::new(1)));
    assert!(matches!(world.command(&first), Err(Refusal::OtherLeaderEpoch { .. })), "it comes late");
    let follower = open(&world, id, 2, 12);
    assert!(matches!(world.command(&follower), Err(Refusal::NotLeader { .. })));
    world.down(node(1));
    assert_eq!(world.partition(id).leader_epoch, LeaderEpoch::new(2), "an election has an epoch of its own");
    let deposed = Command::OpenEpoch {
        partition: id,
        node: node(1),
        broker_epoch: world.epoch(node(1)),
        leader_epoch: LeaderEpoch::new(2),
        opening: 13,
    };
    assert!(matches!(world.command(&deposed), Err(Refusal::NotLeader { .. })));
}

#[test]
fn the_leader_of_a_broker_that_is_gone_comes_from_the_in_sync_set_in_one_entry() {
    let mut world = World::new(3);
    let all: Vec<_> = (0..4).map(|_| world.topic(&[1, 2, 3], &[])).collect();
    let last = all[3];
    alter(&mut world, last, &[1, 3]).unwrap();
    let entries = world.log.len();
    let elections = world.down(node(1));
    assert_eq!((elections.elected, world.log.len()), (4, entries + 1));
    assert_eq!((world.partition(all[0]).leader, world.partition(last).leader), (node(2), node(3)));
    assert_eq!(*world.partition(all[0]).in_sync, *nodes(&[2, 3]));
    assert!(!world.broker(node(1)).is_live());
    assert_eq!(world.down(node(1)), Elections::default(), "it is known already");
}

#[test]
fn s10_who_leaves_a_set_below_its_minimum_stays_electable_until_the_set_is_large_enough() {
    let mut world = World::new(3);
    let id = world.topic(&[1, 2, 3], &[]);
    world.down(node(1));
    assert!(world.partition(id).electable.is_empty(), "two go on to acknowledge");
    world.down(node(2));
    assert_eq!(*world.partition(id).electable, [node(2)]);
    world.down(node(3));
    let partition = world.partition(id);
    assert_eq!((partition.leader, &*partition.in_sync), (NOBODY, &[node(3)][..]));
    world.ready(node(1));
    assert_eq!(world.partition(id).leader, NOBODY, "it lacks what was acknowledged without it");
    world.ready(node(2));
    let partition = world.partition(id);
    assert_eq!(
        (partition.leader, &*partition.in_sync, &*partition.electable),
        (node(2), &[node(2)][..], &[node(3)][..])
    );
    alter(&mut world, id, &[2, 1]).unwrap();
    assert!(world.partition(id).electable.is_empty(), "from here on it may lack something");
}

#[test]
fn s10_a_lower_minimum_makes_those_unelectable_who_are_outside_in_the_same_entry() {
    let mut world = World::new(3);
    let id = world.topic(&[1, 2, 3], &[]);
    alter(&mut world, id, &[1]).unwrap();
    assert_eq!(*world.partition(id).electable, *nodes(&[2, 3]));
    let owner = ConfigOwner::Topic(world.image.topic(id.topic).unwrap().name.to_string());
    let changes = vec![ConfigChange::set("min.insync.replicas", "1")];
    let entries = world.log.len();
    world.command(&Command::AlterConfigs { owner, changes, validate_only: false }).unwrap();
    assert_eq!((world.partition(id).electable.len(), world.log.len()), (0, entries + 1));
}

#[test]
fn s10_a_leader_that_has_not_heard_of_a_higher_minimum_gets_no_smaller_set() {
    let mut world = World::new(2);
    let id = world.topic(&[1, 2], &[]);
    let shrink = change(&world, id, &[1]);
    let owner = ConfigOwner::Topic(world.image.topic(id.topic).unwrap().name.to_string());
    let changes = vec![ConfigChange::set("min.insync.replicas", "2")];
    world.command(&Command::AlterConfigs { owner: owner.clone(), changes, validate_only: false }).unwrap();
    // It would acknowledge alone, and the other one stay electable.
    let refused = world.command(&Command::AlterInSync(shrink)).unwrap_err();
    assert_eq!(refused, Refusal::OtherPartitionEpoch { partition: id, current: 1 });
    let changes = vec![ConfigChange::set("retention.ms", "9")];
    world.command(&Command::AlterConfigs { owner, changes, validate_only: false }).unwrap();
    assert_eq!(world.partition(id).partition_epoch, 1, "other configs do not concern it");
}

#[test]
fn a_topic_with_replicas_says_itself_what_elections_rest_on() {
    let mut world = World::new(3);
    let (id, factor, configs) = created(world.command(&create("t", 1, -1)).unwrap());
    assert_eq!(
        (factor, configs["min.insync.replicas"].as_str(), configs["durability"].as_str()),
        (3, "2", "disk")
    );
    let (.., configs) = created(world.command(&create("two", 1, 2)).unwrap());
    assert_eq!(configs["min.insync.replicas"], "1");
    let (.., configs) = created(world.command(&create("one", 1, 1)).unwrap());
    assert!(configs.is_empty());
    let owner = ConfigOwner::Topic("t".to_owned());
    let none = Command::ReplaceConfigs { owner, configs: BTreeMap::new(), validate_only: false };
    world.command(&none).unwrap();
    assert_eq!(world.image.topic(id).unwrap().configs["min.insync.replicas"], "2");
}

#[test]
fn s17_a_broker_on_another_disk_leaves_every_set_even_as_the_last() {
    let mut world = World::new(3);
    let (shared, single) = (world.topic(&[1, 2, 3], &[]), world.topic(&[1], &[]));
    alter(&mut world, shared, &[1]).unwrap();
    world.start(node(1), 100, true).unwrap();
    let partition = world.partition(shared);
    assert_eq!((partition.leader, &*partition.in_sync), (node(2), &[node(2)][..]), "an electable one leads");
    assert_eq!(*partition.electable, [node(3)]);
    world.ready(node(1));
    let partition = world.partition(single);
    assert_eq!((partition.leader, partition.in_sync.len(), partition.uncertain.len()), (NOBODY, 0, 0));
    let elections = world.elections(&Command::ElectUnclean(vec![single, single]));
    assert_eq!((elections.elected, elections.unclean), (1, vec![single]));
    assert_eq!(world.partition(single).leader, node(1));
}

#[test]
fn s17_a_node_id_is_used_twice_only_while_its_first_user_lives() {
    let mut world = World::new(2);
    let registration = world.registration(node(2), 22, false);
    let alive = Command::RegisterBroker(registration.clone()).seen_alive(|node, _| node.get() == 2);
    assert_eq!(world.command(&alive), Err(Refusal::DuplicateBroker(node(2))));
    let dead = Command::RegisterBroker(registration).seen_alive(|_, _| false);
    world.command(&dead).unwrap();
    assert_eq!(world.broker(node(2)).raft_id.get(), 22);
}

#[test]
fn s19_records_of_another_controller_change_nothing_but_the_index() {
    let mut world = World::new(1);
    let mut old = Controller::begin(&world.image);
    let decision = old.decide(&world.rules, &create("t", 1, 1)).unwrap();
    let proposal = decision.proposal.unwrap();
    assert!(old.pending().topic_named("t").is_some() && !old.may_answer(decision.rests_on));
    world.elect_controller(node(1));
    let before = world.image.clone();
    let index = before.index() + 1;
    assert_eq!(world.image.apply_entry(index, &proposal), Applied::Stale);
    assert_eq!(world.image, MetadataImage { index, ..before });
    assert!(!old.on_applied(&Applied::Stale));
}

#[test]
fn s19_a_controller_decides_ahead_of_the_log_and_answers_behind_it() {
    let mut world = World::new(1);
    let mut controller = Controller::begin(&world.image);
    let first = controller.decide(&world.rules, &create("t", 1, 1)).unwrap();
    let second = controller.decide(&world.rules, &create("t", 1, 1)).unwrap();
    assert!(matches!(second.outcome, Err(Refusal::TopicExists(_))) && second.proposal.is_none());
    assert!(!controller.may_answer(second.rests_on), "the topic may yet not come to be");
    let index = world.image.index() + 5;
    let applied = world.image.apply_entry(index, &first.proposal.unwrap());
    assert!(controller.on_applied(&applied) && controller.may_answer(second.rests_on));
}

#[test]
fn s19_a_group_of_which_one_record_is_broken_changes_nothing_but_the_index() {
    let mut world = World::new(1);
    let id = world.topic(&[1], &[]);
    let before = world.image.clone();
    let records = vec![
        MetadataRecord::TopicDeleted { topic: id.topic },
        MetadataRecord::TopicDeleted { topic: id.topic },
    ];
    let proposal = Proposal::Records { controller_epoch: before.controller_epoch(), records };
    let index = before.index() + 1;
    let applied = world.image.apply_entry(index, &proposal);
    assert_eq!(applied, Applied::Broken(ApplyError::NoTopic(id.topic)));
    assert_eq!(world.image, MetadataImage { index, ..before });
    let records = vec![MetadataRecord::ControllerElected { node: node(1) }];
    let proposal = Proposal::Records { controller_epoch: world.image.controller_epoch(), records };
    assert_eq!(world.image.apply_entry(index + 1, &proposal), Applied::Broken(ApplyError::Controller));
}

#[test]
fn a_partition_that_does_not_follow_is_refused() {
    let mut world = World::new(2);
    let id = world.topic(&[1, 2], &[]);
    let changed = |leader: i32, leader_epoch: i32, in_sync: &[i32], partition_epoch: i32| {
        MetadataRecord::PartitionChanged {
            partition: id,
            leader: node(leader),
            leader_epoch: LeaderEpoch::new(leader_epoch),
            in_sync: nodes(in_sync),
            electable: Vec::new(),
            uncertain: Vec::new(),
            opening: 0,
            partition_epoch,
        }
    };
    for (wrong, what) in [
        (changed(1, -1, &[1], 2), WrongChange::PartitionEpoch),
        (changed(1, -1, &[1], 0), WrongChange::PartitionEpoch),
        (changed(2, -1, &[1, 2], 1), WrongChange::LeaderEpoch),
        (changed(1, 1, &[1, 2], 1), WrongChange::LeaderEpoch),
        (changed(2, 0, &[1], 1), WrongChange::Leader),
        (changed(1, -1, &[1, 3], 1), WrongChange::Members),
        (changed(1, -1, &[1, 1], 1), WrongChange::Members),
    ] {
        let mut after = world.image.clone();
        assert_eq!(after.apply(&wrong), Err(ApplyError::Change { partition: id, what }), "{wrong:?}");
        assert_eq!(after, world.image);
    }
}

#[test]
fn a_leader_alters_the_set_once_per_change_that_it_knows_of() {
    let mut world = World::new(3);
    let id = world.topic(&[1, 2, 3], &[]);
    let first = change(&world, id, &[1, 2]);
    let answer = world.command(&Command::AlterInSync(first.clone())).unwrap();
    assert_eq!(answer, CommandAnswer::InSync { partition_epoch: 1, in_sync: nodes(&[1, 2]) });
    let refused =
        |world: &mut World, change: InSyncChange| world.command(&Command::AlterInSync(change)).unwrap_err();
    assert_eq!(
        refused(&mut world, first.clone()),
        Refusal::OtherPartitionEpoch { partition: id, current: 1 }
    );
    let good = change(&world, id, &[1, 2, 3]);
    let with = |edit: fn(&mut InSyncChange)| {
        let mut change = good.clone();
        edit(&mut change);
        change
    };
    let no_replica = with(|change| change.in_sync.push((node(1), BrokerEpoch::new(1))));
    assert!(matches!(refused(&mut world, no_replica), Refusal::InvalidRequest(_)));
    let without_leader = with(|change| change.in_sync.retain(|(member, _)| *member != node(1)));
    assert!(matches!(refused(&mut world, without_leader), Refusal::InvalidRequest(_)));
    let other_epoch = with(|change| change.leader_epoch = LeaderEpoch::new(7));
    assert!(matches!(refused(&mut world, other_epoch), Refusal::OtherLeaderEpoch { .. }));
    let other_leader = with(|change| change.leader = node(2));
    assert!(matches!(refused(&mut world, other_leader), Refusal::NotLeader { .. }));
    let old_member = with(|change| change.in_sync[2].1 = BrokerEpoch::new(0));
    assert!(matches!(refused(&mut world, old_member), Refusal::StaleBrokerEpoch { .. }));
    world.down(node(3));
    assert_eq!(refused(&mut world, good), Refusal::Ineligible(node(3)));
}

#[test]
fn s02_a_set_that_is_proposed_as_it_is_settles_what_was_proposed_before() {
    let mut world = World::new(3);
    let id = world.topic(&[1, 2, 3], &[]);
    alter(&mut world, id, &[1, 2]).unwrap();
    // Its outcome is unknown to the leader, for it has not come here yet.
    let earlier = change(&world, id, &[1, 2, 3]);
    let as_it_is = change(&world, id, &[1, 2]);
    let answer = world.command(&Command::AlterInSync(as_it_is)).unwrap();
    assert_eq!(answer, CommandAnswer::InSync { partition_epoch: 2, in_sync: nodes(&[1, 2]) });
    let late = world.command(&Command::AlterInSync(earlier)).unwrap_err();
    assert_eq!(late, Refusal::OtherPartitionEpoch { partition: id, current: 2 });
    assert_eq!(*world.partition(id).in_sync, nodes(&[1, 2]));
}

#[test]
fn a_broker_that_wants_to_stop_hands_over_and_stays_where_it_is_the_last() {
    let mut world = World::new(3);
    let (shared, single) = (world.topic(&[1, 2, 3], &[]), world.topic(&[1], &[]));
    let alone = world.topic(&[1, 2], &[]);
    alter(&mut world, alone, &[1]).unwrap();
    let stopping = Command::BrokerStopping { node: node(1), broker_epoch: world.epoch(node(1)) };
    let CommandAnswer::Stopping { leads, elections } = world.command(&stopping).unwrap() else { panic!() };
    assert_eq!((leads, elections.elected), (2, 1));
    assert_eq!((world.partition(shared).leader, world.partition(single).leader), (node(2), node(1)));
    alter(&mut world, alone, &[1, 2]).unwrap();
    let CommandAnswer::Stopping { leads, .. } = world.command(&stopping).unwrap() else { panic!() };
    assert_eq!((leads, world.partition(alone).leader), (1, node(2)));
    let refused = alter(&mut world, shared, &[2, 3, 1]).unwrap_err();
    assert_eq!(refused, Refusal::Ineligible(node(1)));
    let (id, ..) = created(world.command(&create("t", 6, 1)).unwrap());
    assert!(world.image.topic(id).unwrap().partitions.iter().all(|partition| partition.leader != node(1)));
}

#[test]
fn the_first_replicas_get_their_partitions_back_once_they_are_in_sync() {
    let mut world = World::new(2);
    let all: Vec<_> = (0..3).map(|_| world.topic(&[1, 2], &[])).collect();
    world.down(node(1));
    assert_eq!(world.elections(&Command::ElectPreferred).elected, 0);
    world.ready(node(1));
    assert_eq!(world.elections(&Command::ElectPreferred).elected, 0, "it is not in sync yet");
    for id in &all[..2] {
        alter(&mut world, *id, &[2, 1]).unwrap();
    }
    assert_eq!(
        world.elections(&Command::ElectPreferredOf(vec![all[1], all[2]])).elected,
        1,
        "of those asked for"
    );
    assert_eq!(world.elections(&Command::ElectPreferred).elected, 1);
    let leaders: Vec<NodeId> = all.iter().map(|id| world.partition(*id).leader).collect();
    assert_eq!(leaders, nodes(&[1, 1, 2]));
}

#[test]
fn an_unclean_leader_is_made_only_where_the_topic_allows_it_and_is_named() {
    let mut world = World::new(2);
    let allowed = world.topic(&[1, 2], &[("unclean.leader.election.enable", "true")]);
    let not_allowed = world.topic(&[1, 2], &[]);
    for id in [allowed, not_allowed] {
        alter(&mut world, id, &[1]).unwrap();
    }
    let elections = world.down(node(1));
    assert_eq!((elections.unclean, elections.leaderless), (vec![allowed], 1));
    assert_eq!((world.partition(allowed).leader, world.partition(not_allowed).leader), (node(2), NOBODY));
    world.ready(node(1));
    assert_eq!(world.partition(not_allowed).leader, node(1));
}

#[test]
fn a_topic_created_again_by_the_same_command_is_the_same_topic() {
    let mut world = World::new(3);
    let command = create("t", 2, 3);
    let first = world.command(&command).unwrap();
    assert_eq!(world.command(&command).unwrap(), first);
    assert!(matches!(world.command(&create("t", 2, 3)), Err(Refusal::TopicExists(_))));
    assert!(matches!(world.command(&create("u", 1, 4)), Err(Refusal::InvalidReplicationFactor { .. })));
    let (id, ..) = created(first);
    world.command(&Command::DeleteTopic(TopicRef::Id(id))).unwrap();
    assert_eq!(world.command(&command), Err(Refusal::UnknownTopicId(id)), "it comes late");
}

#[test]
fn a_new_partition_counts_only_on_replicas_that_are_there() {
    let mut world = World::new(3);
    world.down(node(1));
    let (id, ..) = created(world.command(&create("t", 3, 3)).unwrap());
    for partition in &world.image.topic(id).unwrap().partitions {
        assert!(partition.replicas.contains(&node(1)) && !partition.in_sync.contains(&node(1)));
    }
    world.down(node(2));
    let by_hand = NewTopic {
        name: "u".into(),
        partitions: -1,
        replication_factor: -1,
        assignments: BTreeMap::from([(0, nodes(&[1, 2]))]),
        configs: BTreeMap::new(),
    };
    let command = Command::CreateTopic { new: by_hand, id: TopicId::random(), validate_only: false };
    assert!(matches!(world.command(&command), Err(Refusal::InvalidAssignment(_))));
}

#[test]
fn a_deleted_topic_is_forgotten_when_its_data_is_gone_from_every_broker() {
    let mut world = World::new(3);
    let topic = world.topic(&[1, 2, 3], &[]).topic;
    world.command(&Command::DeleteTopic(TopicRef::Id(topic))).unwrap();
    for by in [1, 1, 2] {
        world.command(&Command::PurgeTopic { topic, node: node(by) }).unwrap();
    }
    assert_eq!(world.image.deleted_topics()[&topic].on.len(), 1);
    world.start(node(3), 33, false).unwrap();
    assert!(world.image.deleted_topics().is_empty(), "its last folder was on a disk that is lost");
    world.command(&Command::PurgeTopic { topic, node: node(3) }).unwrap();
}

#[test]
fn producer_ids_go_to_one_broker_each() {
    let mut world = World::new(2);
    let mut firsts = Vec::new();
    for by in [1, 2, 1] {
        let command = Command::AllocateProducerIds { node: node(by), broker_epoch: world.epoch(node(by)) };
        let CommandAnswer::ProducerIds { first, count: 1000 } = world.command(&command).unwrap() else {
            panic!()
        };
        firsts.push(first);
    }
    assert_eq!(firsts, [0, 1000, 2000].map(ProducerId::new));
}

#[test]
fn what_only_some_brokers_understand_is_not_used() {
    let mut world = World::new(1);
    let mut old = world.registration(node(2), 2, false);
    old.feature_level = 1;
    assert!(matches!(world.command(&Command::RegisterBroker(old)), Err(Refusal::FeatureLevel { .. })));
    assert_eq!(world.command(&Command::RaiseFeatureLevel(FEATURE_LEVEL)), Ok(CommandAnswer::Done));
    let unknown = Command::RaiseFeatureLevel(FEATURE_LEVEL + 1);
    assert!(matches!(world.command(&unknown), Err(Refusal::InvalidRequest(_))));
}

#[test]
fn s10_a_replica_that_cannot_write_gives_up_where_others_are_enough_and_stays_where_they_are_not() {
    let mut world = World::new(3);
    let id = world.topic(&[1, 2, 3], &[("min.insync.replicas", "2")]);
    let give_up = |world: &World, by| Command::GiveUp {
        partition: id,
        node: node(by),
        broker_epoch: world.epoch(node(by)),
    };
    let before = world.partition(id).clone();
    assert_eq!(before.leader, node(1));

    // The leader: another leads, in a later term, and does not wait for it.
    let command = give_up(&world, 1);
    assert_eq!(world.elections(&command).elected, 1);
    let after = world.partition(id).clone();
    assert_eq!((after.leader, &*after.in_sync), (node(2), &*nodes(&[2, 3])));
    assert!(after.leader_epoch > before.leader_epoch && after.electable.is_empty());
    // Again, as a replica does that follows by now and cannot write either.
    assert_eq!(world.elections(&command), Elections::default());
    assert_eq!(*world.partition(id), after);

    // Two are the least that may be: neither the follower nor the leader goes.
    for by in [3, 2] {
        let command = give_up(&world, by);
        assert_eq!(world.elections(&command), Elections::default());
        assert_eq!(*world.partition(id), after);
    }
    // A follower, when all count again.
    alter(&mut world, id, &[1, 2, 3]).unwrap();
    let command = give_up(&world, 3);
    assert_eq!(world.elections(&command), Elections::default());
    let after = world.partition(id);
    assert_eq!((after.leader, &*after.in_sync), (node(2), &*nodes(&[1, 2])));
}
