//! Consumer groups on a node that is a process: what members are told, what is kept over `kill -9`.

use std::time::Duration;

use bytes::Bytes;
use polylogue::{
    clock::{Clock, SystemClock},
    local_cluster::LocalNode,
    model::{Offset, PartitionIndex},
    wire::{
        ErrorCode, Str,
        api::{
            create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic},
            describe_groups::{DescribeGroupsRequest, DescribedGroup},
            find_coordinator::FindCoordinatorRequest,
            heartbeat::HeartbeatRequest,
            join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse},
            list_groups::ListGroupsRequest,
            offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic},
            offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic},
            sync_group::{SyncGroupRequest, SyncGroupRequestAssignment},
        },
    },
};

use crate::{
    batches::batch_of,
    nodes::{kill_and_start, metric, restart, start_with, wait_for_metric},
    peer::Peer,
    support::{WITHIN, eventually},
};

const SESSION: Duration = Duration::from_secs(6);
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// A member that speaks for itself, byte by byte: it dies without a word when it is dropped.
struct Member {
    peer: Peer,
    group: Str,
    id: Str,
    generation: i32,
}

impl Member {
    fn new(node: &LocalNode, group: &str) -> Self {
        let mut peer = Peer::connect(node);
        find_coordinator(&mut peer, group);
        let member = Self { peer, group: group.into(), id: Str::default(), generation: -1 };
        member.invited()
    }

    fn invited(mut self) -> Self {
        let answer = self.peer.call(9, &self.join_request());
        assert_eq!(answer.error_code, ErrorCode::MemberIdRequired);
        self.id = answer.member_id;
        self
    }

    fn join_request(&self) -> JoinGroupRequest {
        let protocol =
            JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::from_static(b"wants t") };
        JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: SESSION.as_millis() as i32,
            rebalance_timeout_ms: 20_000,
            member_id: self.id.clone(),
            protocol_type: "test".into(),
            protocols: vec![protocol],
            ..JoinGroupRequest::default()
        }
    }

    fn send_join(&mut self) -> i32 {
        let request = self.join_request();
        self.peer.send(9, &request)
    }

    #[track_caller]
    fn joined(&mut self, id: i32) -> JoinGroupResponse {
        let answer = self.peer.receive::<JoinGroupRequest>(9, id);
        assert_eq!(answer.error_code, ErrorCode::None);
        self.generation = answer.generation_id;
        answer
    }

    fn send_sync(&mut self, shares: &[(&Str, &'static str)]) -> i32 {
        let share = |(member, share): &(&Str, &'static str)| SyncGroupRequestAssignment {
            member_id: (*member).clone(),
            assignment: Bytes::from_static(share.as_bytes()),
        };
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            assignments: shares.iter().map(share).collect(),
            ..SyncGroupRequest::default()
        };
        self.peer.send(5, &request)
    }

    #[track_caller]
    fn synced(&mut self, id: i32) -> Bytes {
        let answer = self.peer.receive::<SyncGroupRequest>(5, id);
        assert_eq!(answer.error_code, ErrorCode::None);
        answer.assignment
    }

    fn heartbeat(&mut self) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: None,
        };
        self.peer.call(4, &request).error_code
    }

    fn commit(&mut self, offset: i64) -> ErrorCode {
        let (group, id) = (self.group.clone(), self.id.clone());
        commit(&mut self.peer, &group, &id, self.generation, offset)
    }
}

pub(crate) fn find_coordinator(peer: &mut Peer, group: &str) {
    let request =
        FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..FindCoordinatorRequest::default() };
    let found = peer.call(6, &request).coordinators.remove(0);
    assert_eq!(found.error_code, ErrorCode::None, "{:?}", found.error_message);
    // The coordinator is there; it may still be reading.
    eventually("the coordinator has loaded", WITHIN, || {
        let answer =
            peer.call(4, &HeartbeatRequest { group_id: group.into(), ..HeartbeatRequest::default() });
        (answer.error_code != ErrorCode::CoordinatorLoadInProgress).then_some(())
    });
}

fn commit(peer: &mut Peer, group: &Str, member: &Str, generation: i32, offset: i64) -> ErrorCode {
    let partition = OffsetCommitRequestPartition {
        partition_index: PartitionIndex::new(0),
        committed_offset: Offset::new(offset),
        committed_metadata: Some(format!("note {offset}").into()),
        ..OffsetCommitRequestPartition::default()
    };
    let request = OffsetCommitRequest {
        group_id: group.clone(),
        generation_id_or_member_epoch: generation,
        member_id: member.clone(),
        topics: vec![OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition] }],
        ..OffsetCommitRequest::default()
    };
    peer.call(9, &request).topics.remove(0).partitions.remove(0).error_code
}

/// The group's offset and what was kept with it; `None` where there is none.
fn committed(peer: &mut Peer, group: &str) -> Option<(i64, String)> {
    let topic = OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![PartitionIndex::new(0)] };
    let request = OffsetFetchRequest {
        group_id: group.into(),
        topics: Some(vec![topic]),
        ..OffsetFetchRequest::default()
    };
    let answer = eventually("offsets are told", WITHIN, || {
        let answer = peer.call(7, &request);
        (answer.error_code != ErrorCode::CoordinatorLoadInProgress).then_some(answer)
    });
    assert_eq!(answer.error_code, ErrorCode::None);
    let partition = answer.topics[0].partitions[0].clone();
    let offset = partition.committed_offset.get();
    (offset >= 0).then(|| (offset, partition.metadata.unwrap().to_string()))
}

fn describe(peer: &mut Peer, group: &str) -> DescribedGroup {
    let request = DescribeGroupsRequest { groups: vec![group.into()], ..DescribeGroupsRequest::default() };
    peer.call(6, &request).groups.remove(0)
}

fn start() -> LocalNode {
    let node = start_with(&[("groups.initial-rebalance-delay", "0s"), ("groups.offsets-partitions", "4")]);
    let mut peer = Peer::connect(&node);
    peer.create("t", 1, &[]);
    peer.append("t", batch_of(10));
    node
}

/// Two members that are settled.
fn two_settled(node: &LocalNode) -> (Member, Member) {
    let (mut a, mut b) = (Member::new(node, "g"), Member::new(node, "g"));
    let (joining_a, joining_b) = (a.send_join(), b.send_join());
    let leader = a.joined(joining_a).leader;
    b.joined(joining_b);
    let (mut leader, mut other) = if leader == a.id { (a, b) } else { (b, a) };
    let waiting = other.send_sync(&[]);
    let (leader_id, other_id) = (leader.id.clone(), other.id.clone());
    let leading = leader.send_sync(&[(&leader_id, "one"), (&other_id, "two")]);
    assert_eq!((leader.synced(leading), other.synced(waiting)), ("one".into(), "two".into()));
    (leader, other)
}

#[test]
fn s20_members_and_offsets_are_there_after_kill_9_and_the_members_go_on() {
    let mut node = start();
    let (mut leader, mut other) = two_settled(&node);
    assert_eq!(leader.commit(3), ErrorCode::None);
    for round in 0..3 {
        kill_and_start(&mut node);
        for member in [&mut leader, &mut other] {
            member.peer = Peer::connect(&node);
            find_coordinator(&mut member.peer, "g");
            assert_eq!(member.heartbeat(), ErrorCode::None, "the same generation goes on");
        }
        let expected = 3 + round;
        assert_eq!(committed(&mut other.peer, "g"), Some((expected, format!("note {expected}"))));
        assert_eq!(other.commit(expected + 1), ErrorCode::None);
    }
    let again = other.send_sync(&[]);
    assert_eq!(other.synced(again), "two");
    restart(&mut node);
    assert_eq!(committed(&mut Peer::connect(&node), "g"), Some((6, "note 6".to_owned())));
}

#[test]
fn a_member_that_dies_without_a_word_is_replaced_when_its_session_ends() {
    let node = start();
    let (mut leader, other) = two_settled(&node);
    let gone = SystemClock::new();
    drop(other);
    eventually("the other one hears of it", SESSION * 3, || {
        (leader.heartbeat() == ErrorCode::RebalanceInProgress).then_some(())
    });
    assert!(gone.monotonic() + Duration::from_millis(500) >= SESSION, "too early: {:?}", gone.monotonic());
    let joining = leader.send_join();
    assert_eq!(leader.joined(joining).members.len(), 1);
    wait_for_metric(&node, "polylogue_group_members_lost_total", |lost| lost == 1);
    assert_eq!(metric(&node, "polylogue_groups"), 1);
    assert_eq!(metric(&node, "polylogue_group_members"), 1);
}

#[test]
fn a_node_that_is_stopped_does_not_wait_for_members_that_wait() {
    let mut node = start();
    let (mut leader, mut other) = two_settled(&node);
    leader.send_join();
    eventually("the group rebalances", WITHIN, || {
        (other.heartbeat() == ErrorCode::RebalanceInProgress).then_some(())
    });
    let began = SystemClock::new();
    restart(&mut node);
    assert!(
        began.monotonic() < Duration::from_secs(10),
        "a join that waits held it up: {:?}",
        began.monotonic()
    );
    let mut peer = Peer::connect(&node);
    find_coordinator(&mut peer, "g");
    assert_eq!(describe(&mut peer, "g").members.len(), 2);
}

#[test]
fn an_offset_of_a_topic_that_is_gone_is_not_told_for_its_namesake() {
    let node = start();
    let mut peer = Peer::connect(&node);
    find_coordinator(&mut peer, "g");
    assert_eq!(commit(&mut peer, &"g".into(), &Str::default(), -1, 7), ErrorCode::None);
    assert_eq!(committed(&mut peer, "g").unwrap().0, 7);
    assert_eq!(peer.delete("t"), ErrorCode::None);
    peer.create("t", 1, &[]);
    assert_eq!(committed(&mut peer, "g"), None);
}

#[test]
fn the_topic_of_the_groups_is_the_nodes_own() {
    let node = start();
    let mut peer = Peer::connect(&node);
    let metadata = peer.metadata(&[OFFSETS_TOPIC], true);
    assert_eq!(metadata.topics[0].error_code, ErrorCode::UnknownTopicOrPartition, "nobody needs it yet");
    find_coordinator(&mut peer, "g");
    let topic = peer.metadata(&[OFFSETS_TOPIC], false).topics.remove(0);
    assert!(topic.is_internal);
    assert_eq!(topic.partitions.len(), 4);
    assert_eq!(peer.produce(OFFSETS_TOPIC, batch_of(1)).error_code, ErrorCode::InvalidTopic);
    let grown = CreatePartitionsTopic { name: OFFSETS_TOPIC.into(), count: 9, assignments: None };
    let grow = CreatePartitionsRequest { topics: vec![grown], timeout_ms: 1000, validate_only: false };
    assert_eq!(peer.call(3, &grow).results[0].error_code, ErrorCode::InvalidRequest);
}

#[test]
fn what_is_asked_of_a_group_that_is_not_there_is_answered_as_kafka_does() {
    let node = start();
    let mut peer = Peer::connect(&node);
    let heartbeat = HeartbeatRequest { group_id: "g".into(), ..HeartbeatRequest::default() };
    assert_eq!(
        peer.call(4, &heartbeat).error_code,
        ErrorCode::NotCoordinator,
        "there are no coordinators yet"
    );
    find_coordinator(&mut peer, "g");
    assert_eq!(peer.call(4, &heartbeat).error_code, ErrorCode::UnknownMemberId);
    assert_eq!(committed(&mut peer, "g"), None);
    let dead = describe(&mut peer, "g");
    assert_eq!((dead.error_code, dead.group_state.as_str()), (ErrorCode::GroupIdNotFound, "Dead"));
    let unnamed = HeartbeatRequest::default();
    assert_eq!(peer.call(4, &unnamed).error_code, ErrorCode::InvalidGroupId);
    assert!(peer.call(5, &ListGroupsRequest::default()).groups.is_empty());
    let unknown = commit(&mut peer, &"g".into(), &"nobody".into(), 3, 1);
    assert_eq!(unknown, ErrorCode::IllegalGeneration);
}
