mod cluster;
mod deciding;
mod formats;
mod in_memory;
mod model;
mod room;
mod world;

use std::{collections::BTreeMap, sync::Arc};

use fastrand::Rng;
use uuid::Uuid;

use self::deciding::Deciding;
use super::*;
use crate::{
    config::{
        group::GroupConfigError,
        node::ConsumerGroupSettings,
        topic::{AlterOp, ConfigChange, TopicConfigError, TopicDefaults},
    },
    model::{
        BootId, BrokerEpoch, LeaderEpoch, NodeId, PartitionId, PartitionIndex, ProducerId, TopicId, TopicName,
    },
};

const US: NodeId = NodeId::new(1);

fn rules() -> Rules {
    Rules {
        node: US,
        default_partitions: 4,
        default_replication_factor: None,
        partitions_max: 30_000,
        replicas_max: usize::MAX,
        topic_defaults: TopicDefaults::default(),
        group_defaults: ConsumerGroupSettings::default(),
    }
}

fn beginnings() -> Vec<MetadataRecord> {
    vec![
        MetadataRecord::ClusterCreated { cluster_id: Uuid::from_u128(7), feature_level: 1 },
        MetadataRecord::BrokerRegistered {
            node: US,
            boot: BootId::from_bytes([3; 16]),
            epoch: BrokerEpoch::new(2),
            endpoints: vec![Endpoint { listener: "kafka".into(), host: "127.0.0.1".into(), port: 9092 }],
        },
    ]
}

fn image_of(records: &[MetadataRecord]) -> MetadataImage {
    let mut image = MetadataImage::default();
    for record in records {
        image.apply(record).unwrap();
    }
    image
}

fn registry() -> Deciding {
    Deciding::new()
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.into(), partitions, replication_factor: -1, ..NewTopic::default() }
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> Refusal {
    outcome.unwrap_err()
}

fn of(topic: &str) -> ConfigOwner {
    ConfigOwner::Topic(topic.to_owned())
}

fn partition(topic: TopicId, index: i32) -> PartitionId {
    PartitionId { topic, index: PartitionIndex::new(index) }
}

#[test]
fn a_topic_is_seen_by_commands_at_once_and_by_readers_when_it_is_committed() {
    let mut registry = registry();
    let created = registry.create_topic(&topic("t", -1), false).unwrap();
    assert_eq!((created.partitions, created.replication_factor), (4, 1));
    assert!(registry.committed().topic_named("t").is_none());
    assert!(matches!(refusal(registry.create_topic(&topic("t", 1), false)), Refusal::TopicExists(_)));
    registry.commit();
    let image = registry.committed();
    let found = image.topic_named("t").unwrap();
    assert_eq!((found.id, found.partition_count()), (created.id, 4));
    let first = found.partition(PartitionIndex::new(0)).unwrap();
    assert_eq!((first.leader, first.leader_epoch, &*first.in_sync), (US, LeaderEpoch::NONE, &[US][..]));
}

#[test]
fn a_wrong_topic_is_refused_for_its_reason() {
    let mut registry = registry();
    registry.create_topic(&topic("there", 1), false).unwrap();
    let mut refused = |new: NewTopic| refusal(registry.create_topic(&new, false));
    assert!(matches!(refused(topic("a/b", 1)), Refusal::InvalidName(_)));
    assert!(matches!(refused(topic("there", 1)), Refusal::TopicExists(_)));
    for count in [0, -2, PARTITIONS_MAX + 1, i32::MAX, i32::MIN] {
        assert_eq!(refused(topic("t", count)), Refusal::InvalidPartitions { asked: count, min: 1 });
    }
    for factor in [0, 2, -2] {
        let new = NewTopic { replication_factor: factor, ..topic("t", 1) };
        assert_eq!(refused(new), Refusal::InvalidReplicationFactor { asked: factor, brokers: 1 });
    }
    let configs = BTreeMap::from([("retention.sm".to_owned(), "1".to_owned())]);
    assert!(matches!(refused(NewTopic { configs, ..topic("t", 1) }), Refusal::InvalidConfig(_)));
}

#[test]
fn a_replica_assignment_is_taken_only_if_every_partition_has_brokers_that_are_there() {
    let mut registry = registry();
    let with = |assignments: &[(i32, &[i32])]| NewTopic {
        assignments: assignments
            .iter()
            .map(|(index, nodes)| (*index, nodes.iter().map(|node| NodeId::new(*node)).collect()))
            .collect(),
        ..topic("t", -1)
    };
    for wrong in [&[(1, &[1][..])][..], &[(0, &[1]), (2, &[1])], &[(0, &[])], &[(0, &[1, 1])], &[(0, &[2])]] {
        let outcome = registry.create_topic(&with(wrong), false);
        assert!(matches!(refusal(outcome), Refusal::InvalidAssignment(_)), "{wrong:?}");
    }
    let both = NewTopic { partitions: 1, ..with(&[(0, &[1])]) };
    assert!(matches!(refusal(registry.create_topic(&both, false)), Refusal::InvalidRequest(_)));
    assert_eq!(registry.create_topic(&with(&[(0, &[1]), (1, &[1])]), false).unwrap().partitions, 2);
}

#[test]
fn what_is_only_checked_changes_nothing() {
    let mut registry = registry();
    registry.create_topic(&topic("t", 1), true).unwrap();
    assert_eq!(registry.commit(), []);
    registry.create_topic(&topic("t", 1), false).unwrap();
    registry.commit();
    registry.create_partitions("t", 2, true).unwrap();
    registry.alter_configs(&of("t"), &[ConfigChange::set("flush.ms", "5")], true).unwrap();
    assert_eq!(registry.commit(), []);
}

#[test]
fn all_topics_together_have_no_more_partitions_than_the_limit() {
    let mut registry = registry();
    for name in ["a", "b"] {
        registry.create_topic(&topic(name, PARTITIONS_MAX), false).unwrap();
    }
    registry.create_topic(&topic("c", PARTITIONS_MAX - 1), false).unwrap();
    let refused = refusal(registry.create_topic(&topic("d", 2), false));
    assert_eq!(refused, Refusal::TooManyPartitions { existing: 29_999, asked: 2, max: 30_000 });
    registry.create_partitions("c", PARTITIONS_MAX, false).unwrap();
    let refused = refusal(registry.create_topic(&topic("d", 1), false));
    assert_eq!(refused, Refusal::TooManyPartitions { existing: 30_000, asked: 1, max: 30_000 });
    registry.delete_topic(&TopicRef::Name("a".into())).unwrap();
    registry.create_topic(&topic("d", 1), false).unwrap();
}

#[test]
fn no_replica_is_placed_here_for_which_there_are_no_open_files() {
    let mut registry = registry();
    registry.rules.replicas_max = 5;
    registry.create_topic(&topic("a", 4), false).unwrap();
    let expected = |asked| Refusal::TooManyReplicas { node: US, existing: 4, asked, max: 5 };
    assert_eq!(refusal(registry.create_topic(&topic("b", 2), false)), expected(2));
    assert_eq!(refusal(registry.create_partitions("a", 7, false)), expected(3));
    registry.rules.node = NodeId::new(9);
    registry.create_partitions("a", 7, true).expect("that broker has not said how many it can keep");
    registry.rules.node = US;
    registry.create_partitions("a", 5, false).unwrap();
}

#[test]
fn a_topic_only_grows() {
    let mut registry = registry();
    let created = registry.create_topic(&topic("t", 2), false).unwrap();
    for count in [2, 1, 0, -1, PARTITIONS_MAX + 1] {
        let refused = refusal(registry.create_partitions("t", count, false));
        assert_eq!(refused, Refusal::InvalidPartitions { asked: count, min: 3 });
    }
    registry.create_partitions("t", 5, false).unwrap();
    registry.commit();
    assert_eq!(registry.committed().topic(created.id).unwrap().partition_count(), 5);
    assert_eq!(refusal(registry.create_partitions("u", 5, false)), Refusal::UnknownTopic("u".into()));
}

#[test]
fn a_topic_deleted_and_created_again_has_another_id_and_the_old_one_stays_known_until_purged() {
    let mut registry = registry();
    let first = registry.create_topic(&topic("t", 3), false).unwrap().id;
    assert_eq!(registry.delete_topic(&TopicRef::Name("t".into())).unwrap(), first);
    let second = registry.create_topic(&topic("t", 1), false).unwrap().id;
    registry.commit();
    assert_ne!(first, second);
    let image = Arc::clone(registry.committed());
    assert_eq!(image.topic_named("t").unwrap().id, second);
    assert_eq!(image.deleted_topics()[&first].partitions, 3);
    assert_eq!(refusal(registry.delete_topic(&TopicRef::Id(first))), Refusal::UnknownTopicId(first));
    registry.purge_topic(first).unwrap();
    registry.purge_topic(first).unwrap();
    assert_eq!(registry.commit().len(), 1);
    assert!(registry.committed().deleted_topics().is_empty());
}

#[test]
fn configs_are_altered_and_replaced_and_a_refused_change_changes_nothing() {
    let mut registry = registry();
    registry.create_topic(&topic("t", 1), false).unwrap();
    registry.alter_configs(&of("t"), &[ConfigChange::set("retention.ms", "010")], false).unwrap();
    let half = [
        ConfigChange::set("flush.ms", "5"),
        ConfigChange { key: "retention.ms".into(), op: AlterOp::Append, value: Some("1".into()) },
    ];
    let refused = refusal(registry.alter_configs(&of("t"), &half, false));
    assert_eq!(refused, Refusal::InvalidConfig(TopicConfigError::NotAList { key: "retention.ms" }));
    registry.commit();
    let configs = |registry: &Deciding| registry.committed().topic_named("t").unwrap().configs.clone();
    assert_eq!(configs(&registry), BTreeMap::from([("retention.ms".to_owned(), "10".to_owned())]));
    let replacement = BTreeMap::from([("flush.ms".to_owned(), "5".to_owned())]);
    registry.replace_configs(&of("t"), &replacement, false).unwrap();
    registry.replace_configs(&of("t"), &replacement, false).unwrap();
    assert_eq!(registry.commit().len(), 1, "the second one changes nothing and is not written");
    assert_eq!(configs(&registry), replacement);
}

#[test]
fn configs_of_brokers_are_kept_for_one_and_for_all_and_taken_away_again() {
    let mut registry = registry();
    let set = |key: &str, value: &str| vec![ConfigChange::set(key, value)];
    let (us, all) = (ConfigOwner::Broker(US), ConfigOwner::AllBrokers);
    registry.alter_configs(&us, &set("log.retention.ms", "7"), true).unwrap();
    assert_eq!(registry.commit(), [], "it was only checked");
    registry.alter_configs(&us, &set("log.retention.ms", "7"), false).unwrap();
    registry.alter_configs(&all, &set("log.retention.ms", "9"), false).unwrap();
    registry.alter_configs(&all, &set("max.connections", "010"), false).unwrap();
    assert_eq!(registry.commit().len(), 3);
    let image = Arc::clone(registry.committed());
    let dynamic = image.dynamic_configs(US);
    assert_eq!((dynamic.get("log.retention.ms"), dynamic.number("max.connections")), (Some("7"), Some(10)));
    assert_eq!(image.dynamic_configs(NodeId::new(2)).get("log.retention.ms"), Some("9"));
    registry.replace_configs(&us, &BTreeMap::new(), false).unwrap();
    registry.alter_configs(&all, &[ConfigChange::delete("log.retention.ms")], false).unwrap();
    registry.commit();
    let dynamic = registry.committed().dynamic_configs(US);
    assert_eq!((dynamic.get("log.retention.ms"), dynamic.number("max.connections")), (None, Some(10)));
}

#[test]
fn configs_of_brokers_that_cannot_be_are_refused_and_change_nothing() {
    let mut registry = registry();
    let us = ConfigOwner::Broker(US);
    let mut refuse = |owner: &ConfigOwner, key: &str| {
        refusal(registry.alter_configs(owner, &[ConfigChange::set(key, "7")], false))
    };
    assert!(matches!(refuse(&us, "broker.id"), Refusal::InvalidBrokerConfig(_)));
    assert!(matches!(refuse(&us, "no.such.key"), Refusal::InvalidBrokerConfig(_)));
    assert!(matches!(refuse(&us, "log.cleanup.policy"), Refusal::InvalidBrokerConfig(_)));
    let nobody = ConfigOwner::Broker(NodeId::new(9));
    assert!(matches!(refuse(&nobody, "max.connections"), Refusal::InvalidRequest(_)));
    let values = BTreeMap::from([("max.connections".to_owned(), "0".to_owned())]);
    assert!(matches!(
        refusal(registry.replace_configs(&us, &values, false)),
        Refusal::InvalidBrokerConfig(_)
    ));
    assert_eq!(registry.commit(), []);
}

#[test]
fn configs_of_groups_are_kept_whether_there_is_such_a_group_or_not_and_taken_away_again() {
    let mut registry = registry();
    let group = ConfigOwner::Group("g".to_owned());
    let session = |value: &str| [ConfigChange::set("consumer.session.timeout.ms", value)];
    registry.alter_configs(&group, &session("10000"), true).unwrap();
    assert_eq!(registry.commit(), [], "it was only checked");
    registry.alter_configs(&group, &session("010000"), false).unwrap();
    registry.alter_configs(&group, &session("10000"), false).unwrap();
    assert_eq!(registry.commit().len(), 1, "the second one changes nothing");
    let kept = BTreeMap::from([("consumer.session.timeout.ms".to_owned(), "10000".to_owned())]);
    assert_eq!(*registry.committed().configs_of_group("g"), kept);
    assert!(registry.committed().configs_of_group("other").is_empty());
    let exclusive = BTreeMap::from([("assignor".to_owned(), "exclusive".to_owned())]);
    registry.replace_configs(&group, &exclusive, false).unwrap();
    registry.commit();
    assert_eq!(*registry.committed().configs_of_group("g"), exclusive);
    registry.alter_configs(&group, &[ConfigChange::delete("assignor")], false).unwrap();
    registry.commit();
    assert!(registry.committed().group_configs().is_empty());
}

#[test]
fn configs_of_groups_that_cannot_be_are_refused_and_change_nothing() {
    let mut registry = registry();
    let group = ConfigOwner::Group("g".to_owned());
    let mut refuse = |key: &str, value: &str| {
        refusal(registry.alter_configs(&group, &[ConfigChange::set(key, value)], false))
    };
    let unknown = GroupConfigError::UnknownKey { key: "no.such.key".to_owned() };
    assert_eq!(refuse("no.such.key", "1"), Refusal::InvalidGroupConfig(unknown));
    assert!(matches!(refuse("consumer.session.timeout.ms", "1"), Refusal::InvalidGroupConfig(_)));
    let both = BTreeMap::from([
        ("consumer.heartbeat.interval.ms".to_owned(), "7000".to_owned()),
        ("consumer.session.timeout.ms".to_owned(), "6000".to_owned()),
    ]);
    assert!(matches!(
        refusal(registry.replace_configs(&group, &both, false)),
        Refusal::InvalidGroupConfig(_)
    ));
    assert_eq!(registry.commit(), []);
}

#[test]
fn an_image_shares_the_configs_of_groups_with_one_before_that_had_the_same() {
    let mut registry = registry();
    let group = ConfigOwner::Group("g".to_owned());
    registry.alter_configs(&group, &[ConfigChange::set("assignor", "exclusive")], false).unwrap();
    registry.commit();
    let before = Arc::clone(registry.committed());
    registry.create_topic(&topic("t", 1), false).unwrap();
    registry.commit();
    assert!(Arc::ptr_eq(before.group_configs(), registry.committed().group_configs()));
}

#[test]
fn s06_each_opening_has_a_higher_epoch_and_none_is_given_for_what_is_not_ours() {
    let mut registry = registry();
    let id = registry.create_topic(&topic("t", 1), false).unwrap().id;
    let epochs: Vec<i32> = (0..3).map(|_| registry.open_epoch(partition(id, 0)).unwrap().get()).collect();
    assert_eq!(epochs, [0, 1, 2]);
    for missing in [partition(id, 1), partition(id, -1), partition(TopicId::random(), 0)] {
        assert_eq!(refusal(registry.open_epoch(missing)), Refusal::UnknownPartition(missing));
    }
    registry.commit();
    let other = Rules { node: NodeId::new(2), ..rules() };
    let refused = open_epoch_here(registry.committed(), &other, partition(id, 0)).unwrap_err();
    assert!(matches!(refused, Refusal::NotReplica { .. }));
    let (epoch, _) = open_epoch_here(registry.committed(), &rules(), partition(id, 0)).unwrap();
    assert_eq!(epoch, LeaderEpoch::new(3));
}

#[test]
fn s06_an_epoch_at_the_end_of_its_range_is_not_handed_out_again() {
    let mut registry = registry();
    let id = registry.create_topic(&topic("t", 1), false).unwrap().id;
    let mut records = beginnings();
    records.extend(registry.commit());
    let last = LeaderEpoch::new(i32::MAX);
    records.push(MetadataRecord::EpochOpened { partition: partition(id, 0), leader: US, epoch: last });
    let mut registry = Deciding::on(image_of(&records));
    assert!(matches!(refusal(registry.open_epoch(partition(id, 0))), Refusal::EpochsUsedUp(_)));
}

#[test]
fn blocks_of_producer_ids_follow_each_other_and_none_comes_twice() {
    let mut registry = registry();
    let mut next = ProducerId::new(0);
    for _ in 0..3 {
        let block = registry.producer_ids();
        assert_eq!(block.start, next);
        assert_eq!(block.end.get() - block.start.get(), i64::from(PRODUCER_ID_BLOCK));
        next = block.end;
    }
    assert_eq!(registry.commit().len(), 3);
    let mut successor = Deciding::on(MetadataImage::clone(registry.committed()));
    assert_eq!(successor.producer_ids().start, next);
}

#[test]
fn a_record_that_does_not_follow_is_refused_and_changes_nothing() {
    let mut registry = registry();
    let id = registry.create_topic(&topic("t", 1), false).unwrap().id;
    let mut records = beginnings();
    records.extend(registry.commit());
    let image = image_of(&records);
    let broker = |epoch| MetadataRecord::BrokerRegistered {
        node: US,
        boot: BootId::random(),
        epoch: BrokerEpoch::new(epoch),
        endpoints: Vec::new(),
    };
    let created = |id, name: &str| MetadataRecord::TopicCreated {
        id,
        name: TopicName::new(name).unwrap(),
        partitions: Vec::new(),
        configs: BTreeMap::new(),
    };
    for wrong in [
        beginnings().remove(0),
        broker(2),
        created(id, "u"),
        created(TopicId::random(), "t"),
        created(TopicId::default(), "u"),
        MetadataRecord::TopicDeleted { topic: TopicId::random() },
        MetadataRecord::TopicPurged { topic: id },
        MetadataRecord::EpochOpened { partition: partition(id, 0), leader: US, epoch: LeaderEpoch::NONE },
        MetadataRecord::EpochOpened { partition: partition(id, 1), leader: US, epoch: LeaderEpoch::new(9) },
        MetadataRecord::PartitionsAdded { topic: id, first: PartitionIndex::new(0), partitions: Vec::new() },
        MetadataRecord::ProducerIdsAllocated { node: US, first: ProducerId::new(1), count: 1 },
    ] {
        let mut after = image.clone();
        assert!(after.apply(&wrong).is_err(), "{wrong:?}");
        assert_eq!(after, image, "{wrong:?}");
    }
    assert_eq!(MetadataImage::default().apply(&broker(3)), Err(ApplyError::Cluster));
    let newer =
        MetadataRecord::ClusterCreated { cluster_id: Uuid::from_u128(1), feature_level: FEATURE_LEVEL + 1 };
    assert_eq!(MetadataImage::default().apply(&newer), Err(ApplyError::FeatureLevel(FEATURE_LEVEL + 1)));
}

#[test]
fn a_new_image_shares_every_topic_that_has_not_changed() {
    let mut registry = registry();
    let kept = registry.create_topic(&topic("kept", 1000), false).unwrap().id;
    let changed = registry.create_topic(&topic("changed", 1000), false).unwrap().id;
    registry.commit();
    let before = Arc::clone(registry.committed());
    registry.open_epoch(partition(changed, 7)).unwrap();
    registry.commit();
    let after = registry.committed();
    assert!(Arc::ptr_eq(before.topic(kept).unwrap(), after.topic(kept).unwrap()));
    let (old, new) = (before.topic(changed).unwrap(), after.topic(changed).unwrap());
    assert!(!Arc::ptr_eq(old, new));
    assert!(Arc::ptr_eq(&old.partitions[8].replicas, &new.partitions[8].replicas));
}

/// A command that may or may not be possible.
fn any_command(registry: &mut Deciding, rng: &mut Rng) {
    let name = ["a", "b", "c"][rng.usize(..3)];
    let id = registry.committed().topic_named(name).map_or(TopicId::default(), |topic| topic.id);
    let owner = [ConfigOwner::AllBrokers, ConfigOwner::Broker(US)][rng.usize(..2)].clone();
    let _or_refused = match rng.u8(..10) {
        0 | 1 => registry.create_topic(&topic(name, rng.i32(1..4)), false).map(drop),
        2 => registry.delete_topic(&TopicRef::Name(name.into())).map(drop),
        3 => registry.create_partitions(name, rng.i32(1..6), false),
        4 => registry.alter_configs(&of(name), &[ConfigChange::set("flush.ms", "7")], false),
        5 => registry.open_epoch(partition(id, rng.i32(0..4))).map(drop),
        6 => {
            registry.producer_ids();
            Ok(())
        }
        7 => {
            let change = ConfigChange::set("log.roll.ms", &rng.u8(1..4).to_string());
            registry.alter_configs(&owner, &[change], false)
        }
        8 => registry.replace_configs(&owner, &BTreeMap::new(), false),
        _ => registry.purge_topic(registry.committed().deleted_topics().keys().next().copied().unwrap_or(id)),
    };
}

#[test]
fn what_is_decided_ahead_is_what_the_written_records_give() {
    for seed in 0..300 {
        let (mut rng, mut registry, mut log) = (Rng::with_seed(seed), registry(), beginnings());
        for _ in 0..100 {
            any_command(&mut registry, &mut rng);
            if rng.u8(..4) == 0 {
                log.extend(registry.commit());
                assert_eq!(**registry.committed(), image_of(&log), "seed {seed}");
            }
        }
    }
}
