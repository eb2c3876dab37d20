//! Groups whose partitions the coordinator assigns (KIP-848), on a node that is a process and is killed.

use polylogue::{
    local_cluster::LocalNode,
    model::{Offset, PartitionIndex, TopicId},
    wire::{
        ErrorCode, Str,
        api::{
            consumer_group_describe::ConsumerGroupDescribeRequest,
            consumer_group_heartbeat::{
                ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
            },
            offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic},
            offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        },
    },
};

use crate::{
    groups::find_coordinator,
    nodes::{kill_and_start, start_with},
    peer::Peer,
};

/// A member that says what it is told to say.
struct Member {
    peer: Peer,
    id: Str,
    epoch: i32,
    owned: Vec<i32>,
    topic: TopicId,
}

impl Member {
    fn new(node: &LocalNode, id: &'static str, topic: TopicId) -> Self {
        let mut peer = Peer::connect(node);
        find_coordinator(&mut peer, "g");
        Self { peer, id: id.into(), epoch: 0, owned: Vec::new(), topic }
    }

    /// One heartbeat; what it is given it takes, what it is not it gives back.
    fn beat(&mut self) -> ConsumerGroupHeartbeatResponse {
        let joins = self.epoch == 0;
        let partitions: Vec<_> = self.owned.iter().copied().map(PartitionIndex::new).collect();
        let owned = TopicPartitions { topic_id: self.topic, partitions };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            rebalance_timeout_ms: if joins { 20_000 } else { -1 },
            subscribed_topic_names: joins.then(|| vec!["t".into()]),
            topic_partitions: Some(if self.owned.is_empty() { Vec::new() } else { vec![owned] }),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let answer = self.peer.call(1, &request);
        if answer.error_code == ErrorCode::None {
            self.epoch = answer.member_epoch;
            if let Some(assignment) = &answer.assignment {
                let indexes = assignment.topic_partitions.iter().flat_map(|topic| &topic.partitions);
                self.owned = indexes.map(|index| index.get()).collect();
            }
        }
        answer
    }

    fn commit(&mut self, partition: i32, offset: i64) -> ErrorCode {
        let committed = OffsetCommitRequestPartition {
            partition_index: PartitionIndex::new(partition),
            committed_offset: Offset::new(offset),
            ..OffsetCommitRequestPartition::default()
        };
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: self.epoch,
            member_id: self.id.clone(),
            topics: vec![OffsetCommitRequestTopic { name: "t".into(), partitions: vec![committed] }],
            ..OffsetCommitRequest::default()
        };
        self.peer.call(9, &request).topics[0].partitions[0].error_code
    }

    /// What is committed of a partition, as a member of this epoch asks for it.
    fn committed(&mut self, partition: i32, epoch: i32) -> Result<i64, ErrorCode> {
        let topics = vec![OffsetFetchRequestTopics {
            name: "t".into(),
            partition_indexes: vec![PartitionIndex::new(partition)],
        }];
        let group = OffsetFetchRequestGroup {
            group_id: "g".into(),
            member_id: Some(self.id.clone()),
            member_epoch: epoch,
            topics: Some(topics),
        };
        let request = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
        let answer = self.peer.call(9, &request).groups.remove(0);
        if answer.error_code != ErrorCode::None {
            return Err(answer.error_code);
        }
        Ok(answer.topics[0].partitions[0].committed_offset.get())
    }
}

#[test]
fn s20_members_go_on_in_their_epochs_after_kill_9_and_a_move_that_was_under_way_goes_on_too() {
    let mut node = start_with(&[("groups.offsets-partitions", "1")]);
    let topic = Peer::connect(&node).create("t", 2, &[]);
    let mut a = Member::new(&node, "a", topic);
    a.beat();
    assert_eq!((a.epoch, &a.owned[..]), (1, &[0, 1][..]));
    assert_eq!(a.commit(0, 3), ErrorCode::None);
    let mut b = Member::new(&node, "b", topic);
    b.beat();
    assert_eq!((b.epoch, &b.owned[..]), (2, &[][..]));
    // Told to give one back; before it says that it has, the coordinator dies.
    a.beat();
    assert_eq!((a.epoch, &a.owned[..]), (1, &[0][..]));
    kill_and_start(&mut node);
    (a.peer, b.peer) = (Member::new(&node, "a", topic).peer, Member::new(&node, "b", topic).peer);
    b.beat();
    assert_eq!((b.epoch, &b.owned[..]), (2, &[][..]), "nobody has said that it is given back");
    assert_eq!(b.commit(1, 1), ErrorCode::StaleMemberEpoch, "it is another's yet");
    a.beat();
    assert_eq!((a.epoch, &a.owned[..]), (2, &[0][..]));
    b.beat();
    assert_eq!((b.epoch, &b.owned[..]), (2, &[1][..]));
    assert_eq!(a.committed(0, 2), Ok(3));
    assert_eq!(a.committed(0, 1), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(b.commit(1, 5), ErrorCode::None);
    kill_and_start(&mut node);
    let mut peer = Peer::connect(&node);
    find_coordinator(&mut peer, "g");
    let describe = ConsumerGroupDescribeRequest {
        group_ids: vec!["g".into()],
        ..ConsumerGroupDescribeRequest::default()
    };
    let described = peer.call(1, &describe).groups.remove(0);
    assert_eq!((described.group_state.as_str(), described.members.len()), ("Stable", 2));
    b.peer = peer;
    assert_eq!(b.committed(1, 2), Ok(5));
}
