//! A group of consumers of one topic, who say what they hold and are told what they get.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    super::{Answer, Commit, CommitTopic, Image, Request, Ticket, TopicImage},
    world::{Joining, World, nobody, topic},
};
use crate::{
    actors::group_coordinator::consumer_protocol::{
        PartitionsByName, Subscription, TopicPartitions, assignment, encode_assignment, encode_subscription,
    },
    config::group::{ClassicAssignor, GroupConfig},
    model::{Offset, PartitionIndex},
    wire::{
        ErrorCode, Str,
        api::{
            offset_commit::OffsetCommitRequestPartition,
            sync_group::{SyncGroupRequest, SyncGroupRequestAssignment},
        },
    },
};

/// A group in a world where there is the topic `t`.
pub(super) struct Consumers {
    pub(super) world: World,
    pub(super) generation: i32,
    topics: BTreeMap<Str, TopicImage>,
    assignor: ClassicAssignor,
}

fn indexes(numbers: &[i32]) -> Vec<PartitionIndex> {
    numbers.iter().copied().map(PartitionIndex::new).collect()
}

/// What a member that holds these partitions joins with.
fn subscription(holds: &[i32]) -> Bytes {
    let owned = TopicPartitions { topic: "t".into(), partitions: indexes(holds) };
    let subscription = Subscription {
        topics: vec!["t".into()],
        owned_partitions: if holds.is_empty() { Vec::new() } else { vec![owned] },
        ..Subscription::default()
    };
    encode_subscription(&subscription).unwrap()
}

/// A share as a leader writes it.
pub(super) fn share(partitions: &[i32]) -> Bytes {
    let partitions = PartitionsByName::from([("t".into(), indexes(partitions).into_iter().collect())]);
    encode_assignment(&partitions, Some(Bytes::from_static(b"the leader's"))).unwrap()
}

/// A share as a member reads it.
fn read(share: &Bytes) -> Vec<i32> {
    if share.is_empty() {
        // Nobody has brought one.
        return Vec::new();
    }
    let read = assignment(share).unwrap();
    read.partitions().into_values().flatten().map(PartitionIndex::get).collect()
}

impl Consumers {
    /// Of a topic with so many partitions, which the coordinator assigns.
    pub(super) fn exclusive(partitions: i32) -> Self {
        Self::of(partitions, ClassicAssignor::Exclusive)
    }

    /// Of a topic with so many partitions, which the leading member assigns.
    pub(super) fn led(partitions: i32) -> Self {
        Self::of(partitions, ClassicAssignor::Leader)
    }

    fn of(partitions: i32, assignor: ClassicAssignor) -> Self {
        let mut consumers = Self { world: World::new(), generation: 0, topics: BTreeMap::new(), assignor };
        consumers.set_partitions(partitions);
        consumers
    }

    pub(super) fn set_partitions(&mut self, partitions: i32) {
        self.topics.insert("t".into(), TopicImage { id: topic(), partitions, ..TopicImage::default() });
        self.tell();
    }

    pub(super) fn set_assignor(&mut self, assignor: ClassicAssignor) {
        self.assignor = assignor;
        self.tell();
    }

    pub(super) fn add_topic(&mut self, name: &'static str, id: u8) {
        let id = crate::model::TopicId::from_bytes([id; 16]);
        self.topics.insert(name.into(), TopicImage { id, partitions: 1, ..TopicImage::default() });
        self.tell();
    }

    /// The coordinator dies, and its successor knows what was written and what there is.
    pub(super) fn crash(&mut self) {
        self.world.crash();
        self.tell();
    }

    /// The same on a node that has only just started.
    pub(super) fn crash_before_topics_are_known(&mut self) {
        self.topics.clear();
        self.crash();
    }

    fn tell(&mut self) {
        let config = GroupConfig { assignor: self.assignor, ..GroupConfig::default() };
        let groups = match self.assignor {
            ClassicAssignor::Leader => BTreeMap::new(),
            ClassicAssignor::Exclusive => BTreeMap::from([("g".into(), config)]),
        };
        let image = Image::new(self.topics.clone()).with_groups(groups, GroupConfig::default());
        let mut effects = Vec::new();
        self.world.coordinator.set_image(self.world.now(), Arc::new(image), &mut effects);
        self.world.carry_out(effects);
    }

    /// A new member's id.
    #[track_caller]
    pub(super) fn come(&mut self) -> Str {
        let ticket = self.join(&Str::default(), &[]);
        let answer = self.world.joined(ticket);
        assert_eq!(answer.error_code, ErrorCode::MemberIdRequired);
        answer.member_id
    }

    pub(super) fn join(&mut self, member: &Str, holds: &[i32]) -> Ticket {
        self.join_with(member, subscription(holds))
    }

    pub(super) fn join_with(&mut self, member: &Str, metadata: Bytes) -> Ticket {
        let protocols = vec![("range".into(), metadata)];
        self.world.join(Joining { member: member.clone(), protocols, ..nobody() })
    }

    pub(super) fn join_static(&mut self, instance: &'static str) -> Ticket {
        let protocols = vec![("range".into(), subscription(&[]))];
        self.world.join(Joining { instance: Some(instance.into()), protocols, ..nobody() })
    }

    pub(super) fn sync(&mut self, member: &Str, brings: &[(&Str, Bytes)]) -> Ticket {
        let brought = |(member, share): &(&Str, Bytes)| SyncGroupRequestAssignment {
            member_id: (*member).clone(),
            assignment: share.clone(),
        };
        self.world.ask(Request::Sync(SyncGroupRequest {
            group_id: "g".into(),
            generation_id: self.generation,
            member_id: member.clone(),
            assignments: brings.iter().map(brought).collect(),
            ..SyncGroupRequest::default()
        }))
    }

    /// All members join, none of them holding anything, and are told their shares.
    #[track_caller]
    pub(super) fn round(&mut self, members: &[&Str], brings: &[(&Str, Bytes)]) -> Vec<Vec<i32>> {
        let holding: Vec<_> = members.iter().map(|member| (*member, &[][..])).collect();
        self.round_of(&holding, brings)
    }

    /// All members join with what they hold, and are told their shares.
    #[track_caller]
    pub(super) fn round_of(&mut self, members: &[(&Str, &[i32])], brings: &[(&Str, Bytes)]) -> Vec<Vec<i32>> {
        let joining: Vec<_> = members.iter().map(|(member, holds)| self.join(member, holds)).collect();
        let joined: Vec<_> = joining.into_iter().map(|ticket| self.world.joined(ticket)).collect();
        assert!(joined.iter().all(|joined| joined.error_code == ErrorCode::None), "{joined:?}");
        self.generation = joined[0].generation_id;
        let leader = joined[0].leader.clone();
        // The leader last, so that the others wait for it.
        let mut syncing = BTreeMap::new();
        for (member, _) in members.iter().filter(|(member, _)| **member != leader) {
            syncing.insert((*member).clone(), self.sync(member, &[]));
        }
        syncing.insert(leader.clone(), self.sync(&leader, brings));
        let mut told = |member: &Str| {
            let synced = self.world.synced(syncing[member]);
            assert_eq!(synced.error_code, ErrorCode::None);
            read(&synced.assignment)
        };
        members.iter().map(|(member, _)| told(member)).collect()
    }

    /// Commits for all of these partitions at once, and gives the code of each.
    pub(super) fn commit(&mut self, member: &Str, partitions: &[i32]) -> Vec<ErrorCode> {
        let committed = |index| OffsetCommitRequestPartition {
            partition_index: PartitionIndex::new(index),
            committed_offset: Offset::new(5),
            ..OffsetCommitRequestPartition::default()
        };
        let partitions = partitions.iter().copied().map(committed).collect();
        let ticket = self.world.ask(Request::Commit(Commit {
            group: "g".into(),
            member_id: member.clone(),
            generation: self.generation,
            topics: vec![CommitTopic { name: "t".into(), id: topic(), partitions }],
            ..Commit::default()
        }));
        match self.world.answers.remove(&ticket) {
            Some(Answer::Commit(codes)) => codes[0].1.iter().map(|(_, code)| *code).collect(),
            other => panic!("{other:?}"),
        }
    }
}
