//! What is written, byte by byte, in every version that there has been. The files of the first three snapshots were
//! written by the programs of their time.

use std::collections::{BTreeMap, BTreeSet};

use super::{US, beginnings, image_of, partition};
use crate::{
    actors::membership::core::{
        Applied, ApplyError, Assignment, Command, CommandAnswer, ConfigOwner, Elections, Endpoint,
        InSyncChange, MetadataImage, MetadataRecord, NOBODY, NewTopic, Proposal, Refusal, Registration,
        TopicRef, Uncertain, WrongChange, snapshot::Snapshot,
    },
    config::{
        broker::BrokerConfigError,
        group::GroupConfigError,
        topic::{ConfigChange, TopicConfigError},
    },
    model::{
        BootId, BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionId, PartitionIndex, ProducerId, RaftId,
        TopicId, TopicName,
    },
    storage::metadata_log::codec,
};

/// One of everything, with ids that do not change from run to run.
pub(super) fn one_of_each() -> Vec<MetadataRecord> {
    let topic = TopicId::from_bytes([9; 16]);
    let assignment = || Assignment { replicas: vec![US] };
    let mut records = beginnings();
    records.extend([
        MetadataRecord::TopicCreated {
            id: topic,
            name: TopicName::new("t").unwrap(),
            partitions: vec![assignment()],
            configs: BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]),
        },
        MetadataRecord::PartitionsAdded {
            topic,
            first: PartitionIndex::new(1),
            partitions: vec![assignment()],
        },
        MetadataRecord::ConfigsReplaced { topic, configs: BTreeMap::new() },
        MetadataRecord::EpochOpened {
            partition: partition(topic, 1),
            leader: US,
            epoch: LeaderEpoch::new(0),
        },
        MetadataRecord::ProducerIdsAllocated { node: US, first: ProducerId::new(0), count: 1000 },
        MetadataRecord::TopicDeleted { topic },
        MetadataRecord::TopicPurged { topic },
    ]);
    records
}

fn of_a_broker() -> MetadataRecord {
    let configs = BTreeMap::from([("max.connections".to_owned(), "9".to_owned())]);
    MetadataRecord::BrokerConfigsReplaced { broker: Some(US), configs }
}

#[test]
fn configs_of_a_broker_are_written_behind_the_records_that_were_there_before() {
    let expected = [&[9, 1, 2, 1, 15][..], b"max.connections", &[1], b"9"].concat();
    assert_eq!(codec::encode(&of_a_broker()).unwrap(), expected);
}

fn of_a_group() -> MetadataRecord {
    let configs = BTreeMap::from([("assignor".to_owned(), "exclusive".to_owned())]);
    MetadataRecord::GroupConfigsReplaced { group: "g".to_owned(), configs }
}

#[test]
fn configs_of_a_group_are_written_behind_the_records_that_were_there_before() {
    let expected = [&[10, 1][..], b"g", &[1, 8], b"assignor", &[9], b"exclusive"].concat();
    assert_eq!(codec::encode(&of_a_group()).unwrap(), expected);
}

#[test]
fn records_are_written_as_version_1_wrote_them() {
    let fixture = include_bytes!("../fixtures/records.v1");
    let bytes: Vec<u8> = one_of_each().iter().flat_map(|record| codec::encode(record).unwrap()).collect();
    assert_eq!(bytes, fixture);
}

/// What was there before brokers could be more than one, with something in every field.
fn before_version_4() -> Vec<MetadataRecord> {
    let topic = TopicId::from_bytes([8; 16]);
    let assignment = || Assignment { replicas: vec![US] };
    let mut records = one_of_each()[..8].to_vec();
    records.extend([
        MetadataRecord::TopicCreated {
            id: topic,
            name: TopicName::new("u").unwrap(),
            partitions: vec![assignment(), assignment()],
            configs: BTreeMap::from([("flush.ms".to_owned(), "5".to_owned())]),
        },
        MetadataRecord::EpochOpened {
            partition: partition(topic, 1),
            leader: US,
            epoch: LeaderEpoch::new(3),
        },
        of_a_broker(),
        of_a_group(),
    ]);
    records
}

fn read(bytes: &[u8]) -> MetadataImage {
    let snapshot: Snapshot = codec::decode(bytes).unwrap();
    assert_eq!(codec::encode(&snapshot).unwrap(), bytes, "the shape is as it was");
    snapshot.into_image()
}

#[test]
fn a_snapshot_of_version_1_is_still_read() {
    let image = read(include_bytes!("../fixtures/snapshot.v1"));
    assert_eq!(image, image_of(&one_of_each()[..7]));
    let broker = &image.brokers()[&US];
    assert!(broker.is_live() && broker.raft_id.is_unknown() && image.controller_epoch() == 0);
}

#[test]
fn a_snapshot_of_version_2_is_still_read() {
    let mut records = before_version_4();
    records.pop();
    let mut expected = image_of(&records);
    expected.index += 1;
    assert_eq!(read(include_bytes!("../fixtures/snapshot.v2")), expected);
}

#[test]
fn a_snapshot_of_version_3_is_still_read() {
    let image = read(include_bytes!("../fixtures/snapshot.v3"));
    assert_eq!(image, image_of(&before_version_4()));
    let deleted = &image.deleted_topics()[&TopicId::from_bytes([9; 16])];
    assert_eq!(deleted.on, BTreeSet::from([US]));
}

#[test]
fn a_snapshot_of_version_4_is_written_as_it_was_first() {
    let records = [before_version_4(), of_more_than_one_broker()].concat();
    let image = image_of(&records);
    assert_eq!(codec::encode(&Snapshot::of(&image)).unwrap(), include_bytes!("../fixtures/snapshot.v4"));
    assert_eq!(read(include_bytes!("../fixtures/snapshot.v4")), image);
}

#[test]
fn an_image_comes_back_from_a_snapshot_as_it_was() {
    let records = [before_version_4(), of_more_than_one_broker()].concat();
    for upto in 1..=records.len() {
        let image = image_of(&records[..upto]);
        assert_eq!(read(&codec::encode(&Snapshot::of(&image)).unwrap()), image);
    }
}

/// One of each record that came with the second feature level, at the end of those before.
fn of_more_than_one_broker() -> Vec<MetadataRecord> {
    let (node, epoch) = (NodeId::new(2), BrokerEpoch::new(9));
    let topic = TopicId::from_bytes([7; 16]);
    vec![
        MetadataRecord::ControllerElected { node: US },
        MetadataRecord::BrokerRegisteredV2 {
            node,
            boot: BootId::from_bytes([4; 16]),
            epoch,
            raft_id: RaftId::new(77),
            endpoints: vec![Endpoint { listener: "cluster".into(), host: "two".into(), port: 7092 }],
            rack: Some("a".to_owned()),
            feature_level: 2,
        },
        MetadataRecord::BrokerUnfenced { node, epoch },
        MetadataRecord::TopicCreated {
            id: topic,
            name: TopicName::new("w").unwrap(),
            partitions: vec![Assignment { replicas: vec![node, US] }],
            configs: BTreeMap::new(),
        },
        MetadataRecord::BrokerFenced { node, epoch },
        MetadataRecord::PartitionChanged {
            partition: partition(topic, 0),
            leader: NOBODY,
            leader_epoch: LeaderEpoch::new(0),
            in_sync: vec![US],
            electable: Vec::new(),
            uncertain: vec![Uncertain { node, end: Some((LeaderEpoch::new(0), Offset::new(300))) }],
            opening: 5,
            partition_epoch: 1,
        },
        MetadataRecord::BrokerStopping { node, epoch },
        MetadataRecord::TopicPurgedOn { topic: TopicId::from_bytes([9; 16]), node: NodeId::new(3) },
        MetadataRecord::FeatureLevelRaised { level: 2 },
    ]
}

#[test]
fn records_of_more_than_one_broker_are_written_behind_those_that_were_there_before() {
    let records = of_more_than_one_broker();
    let numbers = records.iter().map(|record| codec::encode(record).unwrap()[0]);
    assert_eq!(numbers.collect::<Vec<_>>(), [11, 12, 14, 2, 13, 16, 15, 17, 18]);
    let bytes: Vec<u8> = records.iter().flat_map(|record| codec::encode(record).unwrap()).collect();
    assert_eq!(bytes, include_bytes!("../fixtures/records.v2"));
}

#[test]
fn what_is_to_be_on_disk_is_written_behind_what_was_there_before_and_only_where_there_is_something() {
    let topic = TopicId::from_bytes([7; 16]);
    let demanded = MetadataRecord::DiskDemanded { topic };
    let reached = MetadataRecord::DiskReached { partition: partition(topic, 0) };
    assert_eq!(codec::encode(&demanded).unwrap(), [&[19][..], &[16], &[7; 16]].concat());
    assert_eq!(codec::encode(&reached).unwrap(), [&[20][..], &[16], &[7; 16], &[0]].concat());
    let mut records = [before_version_4(), of_more_than_one_broker()].concat();
    let without = codec::encode(&Snapshot::of(&image_of(&records))).unwrap();
    records.push(demanded);
    let image = image_of(&records);
    let with = codec::encode(&Snapshot::of(&image)).unwrap();
    assert_eq!((without[0], with[0]), (3, 4));
    assert_eq!(read(&with), image);
    records.push(reached);
    let image = image_of(&records);
    assert_eq!(codec::encode(&Snapshot::of(&image)).unwrap()[0], 3, "{image:?}");
}

#[test]
fn how_much_brokers_can_keep_is_written_behind_what_was_there_before_and_only_where_one_has_said_so() {
    let (node, epoch) = (NodeId::new(2), BrokerEpoch::new(9));
    let told = MetadataRecord::ReplicasMaxTold { node, epoch, max: 170 };
    assert_eq!(codec::encode(&told).unwrap(), [21, 4, 18, 170]);
    let topic = TopicId::from_bytes([7; 16]);
    let mut records = [before_version_4(), of_more_than_one_broker()].concat();
    for demanded in [None, Some(MetadataRecord::DiskDemanded { topic })] {
        records.extend(demanded);
        records.push(told.clone());
        let image = image_of(&records);
        let bytes = codec::encode(&Snapshot::of(&image)).unwrap();
        assert_eq!((bytes[0], image.replicas_max(node)), (5, Some(170)));
        assert_eq!(read(&bytes), image);
    }
}

fn travels<T>(value: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = codec::encode(value).unwrap();
    assert_eq!(codec::decode::<T>(&bytes).unwrap(), *value);
}

fn one_of_each_command() -> Vec<Command> {
    let (node, broker_epoch) = (NodeId::new(2), BrokerEpoch::new(3));
    let (topic, leader_epoch) = (TopicId::from_bytes([7; 16]), LeaderEpoch::new(4));
    let id = partition(topic, 0);
    let owner = || ConfigOwner::Topic("t".to_owned());
    vec![
        Command::CreateTopic {
            new: NewTopic { name: "t".into(), ..NewTopic::default() },
            id: topic,
            validate_only: true,
        },
        Command::CreatePartitions { name: "t".into(), count: 3, validate_only: false },
        Command::DeleteTopic(TopicRef::Id(topic)),
        Command::PurgeTopic { topic, node },
        Command::AlterConfigs {
            owner: owner(),
            changes: vec![ConfigChange::set("a", "b")],
            validate_only: false,
        },
        Command::ReplaceConfigs { owner: owner(), configs: BTreeMap::new(), validate_only: false },
        Command::OpenEpoch { partition: id, node, broker_epoch, leader_epoch, opening: 9 },
        Command::AllocateProducerIds { node, broker_epoch },
        Command::RegisterBroker(Registration {
            node,
            boot: BootId::from_bytes([1; 16]),
            raft_id: RaftId::new(7),
            endpoints: Vec::new(),
            rack: None,
            feature_level: 2,
            clean: Some(BootId::from_bytes([2; 16])),
            another_is_alive: false,
        }),
        Command::BrokerReady { node, broker_epoch },
        Command::BrokerDown { node, broker_epoch },
        Command::BrokerStopping { node, broker_epoch },
        Command::AlterInSync(InSyncChange {
            partition: id,
            leader: node,
            leader_epoch,
            partition_epoch: 1,
            in_sync: vec![(node, broker_epoch)],
        }),
        Command::ElectPreferred,
        Command::ElectUnclean(vec![id]),
        Command::ReportEnds { node, broker_epoch, ends: vec![(id, leader_epoch, Offset::new(1))] },
        Command::RaiseFeatureLevel(2),
        Command::CreateCluster(uuid::Uuid::from_u128(1)),
        Command::ElectPreferredOf(vec![id]),
        Command::AlterInSyncOnDisk(InSyncChange {
            partition: id,
            leader: node,
            leader_epoch,
            partition_epoch: 1,
            in_sync: vec![(node, broker_epoch)],
        }),
        Command::GiveUp { partition: id, node, broker_epoch },
        Command::TellReplicasMax { node, broker_epoch, max: 170 },
    ]
}

#[test]
fn commands_travel_and_each_keeps_its_number() {
    for (number, command) in one_of_each_command().iter().enumerate() {
        travels(command);
        assert_eq!(usize::from(codec::encode(command).unwrap()[0]), number, "{command:?}");
    }
}

#[test]
fn answers_and_refusals_travel() {
    let id = PartitionId { topic: TopicId::from_bytes([7; 16]), index: PartitionIndex::new(1) };
    let elections = Elections { elected: 1, unclean: vec![id], ..Elections::default() };
    let outcomes: [Result<CommandAnswer, Refusal>; 10] = [
        Ok(CommandAnswer::Registered { epoch: BrokerEpoch::new(1), elections }),
        Ok(CommandAnswer::ProducerIds { first: ProducerId::new(0), count: 1000 }),
        Err(Refusal::InvalidName(TopicName::new("a/b").unwrap_err())),
        Err(Refusal::InvalidAssignment("a partition has no replica")),
        Err(Refusal::InvalidConfig(TopicConfigError::NotAList { key: "retention.ms" })),
        Err(Refusal::InvalidBrokerConfig(BrokerConfigError::ReadOnly { key: "node.id", instead: "no" })),
        Err(Refusal::InvalidGroupConfig(GroupConfigError::Unserved { key: "k".into(), kind: "groups" })),
        Err(Refusal::OtherLeaderEpoch { partition: id, current: LeaderEpoch::new(3) }),
        Err(Refusal::TooManyPartitions { existing: 1, asked: 2, max: usize::MAX }),
        Err(Refusal::TooManyReplicas { node: NodeId::new(1), existing: 1, asked: 2, max: 2 }),
    ];
    outcomes.iter().for_each(travels);
    travels(&Applied::Broken(ApplyError::Change { partition: id, what: WrongChange::Leader }));
    travels(&Proposal::Records { controller_epoch: 7, records: of_more_than_one_broker() });
}
