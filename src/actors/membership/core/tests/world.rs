//! A cluster's metadata with a controller that applies what it decides at once, and what must hold after each command.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{US, rules};
use crate::{
    actors::membership::core::{
        Applied, BrokerImage, Command, CommandAnswer, Elections, Endpoint, FEATURE_LEVEL, MetadataImage,
        NOBODY, NewTopic, PartitionImage, Proposal, Refusal, Registration, Rules, decide, election::Policies,
    },
    model::{BootId, BrokerEpoch, LeaderEpoch, NodeId, PartitionId, RaftId, TopicId},
};

pub(super) const fn node(id: i32) -> NodeId {
    NodeId::new(id)
}

pub(super) fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId::new).collect()
}

pub(super) struct World {
    pub(super) image: MetadataImage,
    pub(super) rules: Rules,
    pub(super) log: Vec<(u64, Proposal)>,
    leaders: BTreeMap<(PartitionId, LeaderEpoch), NodeId>,
    boots: u128,
}

impl World {
    /// A controller, and brokers from 1 on that are ready.
    pub(super) fn new(brokers: i32) -> Self {
        let mut world = Self {
            image: MetadataImage::default(),
            rules: rules(),
            log: Vec::new(),
            leaders: BTreeMap::new(),
            boots: 0,
        };
        world.elect_controller(US);
        world.command(&Command::CreateCluster(Uuid::from_u128(7))).unwrap();
        for id in 1..=brokers {
            world.start(node(id), id as u64, false).unwrap();
            world.ready(node(id));
        }
        world
    }

    pub(super) fn elect_controller(&mut self, node: NodeId) {
        self.append(Proposal::Elected { node });
        assert_eq!(self.image.controller(), Some(node));
        assert_eq!(self.image.controller_epoch(), self.image.index());
    }

    fn append(&mut self, proposal: Proposal) {
        // A log has entries of its own too.
        let index = self.image.index() + 1 + u64::from(self.log.len().is_multiple_of(3));
        assert_eq!(self.image.apply_entry(index, &proposal), Applied::Done, "{proposal:?}");
        self.log.push((index, proposal));
    }

    pub(super) fn command(&mut self, command: &Command) -> Result<CommandAnswer, Refusal> {
        let (records, answer) = decide(&self.image, &self.rules, command)?;
        if !records.is_empty() {
            let before = self.image.clone();
            self.append(Proposal::Records { controller_epoch: before.controller_epoch(), records });
            self.check(&before, command);
        }
        Ok(answer)
    }

    pub(super) fn elections(&mut self, command: &Command) -> Elections {
        let answer = self.command(command).unwrap();
        let CommandAnswer::Elected(elections) = answer else { panic!("{answer:?}") };
        elections
    }

    pub(super) fn broker(&self, node: NodeId) -> &BrokerImage {
        &self.image.brokers()[&node]
    }

    pub(super) fn epoch(&self, node: NodeId) -> BrokerEpoch {
        self.broker(node).epoch
    }

    /// A start on the disk `raft_id`, after an end that was in order or not.
    pub(super) fn registration(&mut self, node: NodeId, raft_id: u64, clean: bool) -> Registration {
        self.boots += 1;
        Registration {
            node,
            boot: BootId::from_bytes(self.boots.to_be_bytes()),
            raft_id: RaftId::new(raft_id),
            endpoints: vec![Endpoint { listener: "cluster".into(), host: format!("n{node}"), port: 7092 }],
            rack: None,
            feature_level: FEATURE_LEVEL,
            clean: self.image.brokers().get(&node).map(|broker| broker.boot).filter(|_| clean),
            another_is_alive: false,
        }
    }

    pub(super) fn start(&mut self, node: NodeId, raft_id: u64, clean: bool) -> Result<BrokerEpoch, Refusal> {
        let registration = self.registration(node, raft_id, clean);
        let answer = self.command(&Command::RegisterBroker(registration))?;
        let CommandAnswer::Registered { epoch, .. } = answer else { panic!("{answer:?}") };
        Ok(epoch)
    }

    pub(super) fn ready(&mut self, node: NodeId) -> Elections {
        self.elections(&Command::BrokerReady { node, broker_epoch: self.epoch(node) })
    }

    pub(super) fn down(&mut self, node: NodeId) -> Elections {
        self.elections(&Command::BrokerDown { node, broker_epoch: self.epoch(node) })
    }

    /// A topic of one partition.
    pub(super) fn topic(&mut self, replicas: &[i32], configs: &[(&str, &str)]) -> PartitionId {
        let id = TopicId::from_bytes((self.log.len() as u128 + 1).to_be_bytes());
        let new = NewTopic {
            name: format!("t{}", self.log.len()),
            partitions: -1,
            replication_factor: -1,
            assignments: BTreeMap::from([(0, nodes(replicas))]),
            configs: configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        self.command(&Command::CreateTopic { new, id, validate_only: false }).unwrap();
        super::partition(id, 0)
    }

    pub(super) fn partition(&self, id: PartitionId) -> &PartitionImage {
        self.image.partition(id).unwrap()
    }

    fn check(&mut self, before: &MetadataImage, command: &Command) {
        let policies = Policies::new(&self.image, &self.rules);
        for (id, topic, after) in self.image.partitions() {
            let min = policies.of(&topic.configs, after.replicas.len()).min_in_sync;
            check_partition(&self.image, after, min);
            if let Some(before) = before.partition(id) {
                check_change(before, after, command);
            }
            if after.leader_epoch != LeaderEpoch::NONE && after.leader != NOBODY {
                let first = self.leaders.entry((id, after.leader_epoch)).or_insert(after.leader);
                assert_eq!(*first, after.leader, "two leaders of {id} under one epoch");
            }
        }
    }

    /// What the same entries give on another node.
    pub(super) fn replayed(&self) -> MetadataImage {
        let mut image = MetadataImage::default();
        for (index, proposal) in &self.log {
            assert_eq!(image.apply_entry(*index, proposal), Applied::Done);
        }
        image
    }
}

fn check_partition(image: &MetadataImage, partition: &PartitionImage, min: usize) {
    if let Some(leader) = partition.leader() {
        assert!(partition.in_sync.contains(&leader), "leads out of sync: {partition:?}");
        assert!(!image.brokers()[&leader].fenced, "leads and is fenced: {partition:?}");
    }
    let known = |node: &NodeId| partition.replicas.contains(node);
    assert!(partition.in_sync.iter().all(known) && partition.electable.iter().all(known));
    assert!(!partition.in_sync.iter().any(|node| partition.electable.contains(node)), "{partition:?}");
    if partition.in_sync.len() > 1 {
        let there = |node: &NodeId| !image.brokers()[node].fenced;
        assert!(partition.in_sync.iter().all(there), "not the last, and waited for: {partition:?}");
    }
    let below = partition.in_sync.len() < min;
    assert!(partition.electable.is_empty() || below, "s10: electable beside enough: {partition:?}");
}

fn check_change(before: &PartitionImage, after: &PartitionImage, command: &Command) {
    let raised = i32::from(before != after);
    assert_eq!(after.partition_epoch, before.partition_epoch + raised, "{command:?}");
    assert!(after.leader_epoch >= before.leader_epoch);
    if after.leader != before.leader {
        assert_eq!(after.leader_epoch, before.leader_epoch.next(), "{command:?}");
    }
    if after.in_sync.is_empty() && !before.in_sync.is_empty() {
        assert!(matches!(command, Command::RegisterBroker(_)), "the last member left by {command:?}");
    }
}
