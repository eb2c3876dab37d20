//! A member of a group through a broker that answers as it is told.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use tokio::time::{sleep, timeout};

use super::{
    PATIENCE,
    broker::{Call, FakeBroker, Reply},
    config, topic,
    world::{TOPIC_ID, World},
};
use crate::{
    client::{Client, Delivery, GroupConfig, GroupConsumer, GroupError, Nacked},
    model::{NodeId, Offset, PartitionIndex, TimestampMs},
    record::{BatchBuilder, Compression, NewRecord, Producer as Mark},
    wire::{
        ApiKey, ErrorCode,
        api::{
            consumer_group_heartbeat::{
                Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
            },
            find_coordinator::{Coordinator, FindCoordinatorResponse},
            offset_commit::{
                self, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitResponse,
                OffsetCommitResponsePartition, OffsetCommitResponseTopic,
            },
            offset_fetch::{
                OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
                OffsetFetchResponseTopics,
            },
        },
    },
};

const FIRST: PartitionIndex = PartitionIndex::new(0);

/// What came to the coordinator.
#[derive(Clone, Default)]
struct Seen {
    commits: Arc<Mutex<Vec<(i32, OffsetCommitRequestPartition)>>>,
    /// The epoch of the member, or what its next heartbeat is refused with.
    epoch: Arc<AtomicI32>,
    fences: Arc<AtomicI32>,
    /// How often it has left, and joined.
    left: Arc<AtomicI32>,
    joined: Arc<AtomicI32>,
}

impl Seen {
    fn commits(&self) -> Vec<(i32, OffsetCommitRequestPartition)> {
        self.commits.lock().unwrap().clone()
    }

    fn heartbeat(&self, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        if request.member_epoch > 0 && self.fences.swap(0, Ordering::AcqRel) > 0 {
            let error_code = ErrorCode::FencedMemberEpoch;
            return ConsumerGroupHeartbeatResponse {
                error_code,
                ..ConsumerGroupHeartbeatResponse::default()
            };
        }
        if request.member_epoch < 0 {
            self.left.fetch_add(1, Ordering::AcqRel);
            let member_epoch = request.member_epoch;
            return ConsumerGroupHeartbeatResponse {
                member_epoch,
                ..ConsumerGroupHeartbeatResponse::default()
            };
        }
        self.joined.fetch_add(i32::from(request.member_epoch == 0), Ordering::AcqRel);
        let owned = TopicPartitions { topic_id: TOPIC_ID, partitions: vec![FIRST] };
        ConsumerGroupHeartbeatResponse {
            member_epoch: self.epoch.load(Ordering::Acquire),
            heartbeat_interval_ms: 10,
            assignment: Some(Assignment { topic_partitions: vec![owned] }),
            ..ConsumerGroupHeartbeatResponse::default()
        }
    }
}

/// A topic of one partition with records 0 to 9, and a coordinator whose answers to commits are those of `commit`.
async fn start(
    seen: &Seen,
    mut commit: impl FnMut(&OffsetCommitRequest) -> Option<OffsetCommitResponsePartition> + Send + 'static,
) -> (World, FakeBroker) {
    let world = World::new(1);
    let mut builder = BatchBuilder::new(usize::MAX);
    for number in 0..10 {
        let value = number.to_string();
        let (timestamp, value) = (TimestampMs::new(number), Some(value.as_bytes()));
        assert!(builder.append(&NewRecord { timestamp, value, ..NewRecord::default() }));
    }
    let batch = builder.finish(Compression::None, None, Mark::NONE).unwrap();
    world.lock().logs[0].append(&batch).unwrap();
    let seen = seen.clone();
    seen.epoch.store(1, Ordering::Release);
    let broker = world.node(move |_, call| {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the world answers all else")]
        match call.api() {
            ApiKey::FindCoordinator => Some(call.answer(&coordinator())),
            ApiKey::ConsumerGroupHeartbeat => Some(call.answer(&seen.heartbeat(&call.decode()))),
            ApiKey::OffsetFetch => Some(call.answer(&nothing_committed())),
            ApiKey::OffsetCommit => {
                let request: OffsetCommitRequest = call.decode();
                let one = request.topics[0].partitions[0].clone();
                seen.commits.lock().unwrap().push((request.generation_id_or_member_epoch, one));
                Some(commit(&request).map_or(Reply::Close, |answer| committed(call, answer)))
            }
            _ => None,
        }
    });
    let broker = broker.await;
    (world, broker)
}

fn coordinator() -> FindCoordinatorResponse {
    let one = Coordinator { key: "g".into(), node_id: NodeId::new(0), ..Coordinator::default() };
    FindCoordinatorResponse { coordinators: vec![one], ..FindCoordinatorResponse::default() }
}

fn nothing_committed() -> OffsetFetchResponse {
    let partition = OffsetFetchResponsePartitions {
        partition_index: FIRST,
        committed_offset: Offset::new(-1),
        ..OffsetFetchResponsePartitions::default()
    };
    let topic = OffsetFetchResponseTopics { name: (&topic()).into(), partitions: vec![partition] };
    let group = OffsetFetchResponseGroup {
        group_id: "g".into(),
        topics: vec![topic],
        ..OffsetFetchResponseGroup::default()
    };
    OffsetFetchResponse { groups: vec![group], ..OffsetFetchResponse::default() }
}

fn committed(call: &Call, answer: OffsetCommitResponsePartition) -> Reply {
    let topic = OffsetCommitResponseTopic { name: (&topic()).into(), partitions: vec![answer] };
    call.answer(&OffsetCommitResponse { topics: vec![topic], ..OffsetCommitResponse::default() })
}

async fn member(broker: &FakeBroker) -> GroupConsumer {
    member_that_may_stay_away(broker, Duration::from_mins(5)).await
}

async fn member_that_may_stay_away(broker: &FakeBroker, max_poll_interval: Duration) -> GroupConsumer {
    let client = Client::new(config(broker));
    let nack_backoff = Duration::from_millis(1);
    let config = GroupConfig { max_poll_interval, nack_backoff, ..GroupConfig::new("g") };
    GroupConsumer::join(&client, config, &[topic()]).await.unwrap()
}

async fn next(member: &mut GroupConsumer, offset: i64) -> Delivery {
    let delivery = member.next(PATIENCE).await.unwrap().expect("a record in time");
    assert_eq!(delivery.record.offset.get(), offset);
    delivery
}

#[tokio::test]
async fn a_nack_whose_answer_is_lost_is_sent_again_with_the_number_that_it_had() {
    let seen = Seen::default();
    let mut counted = 0;
    let mut loses = true;
    let (_world, broker) = start(&seen, move |request| {
        let nack = request.topics[0].partitions[0].nack.clone().unwrap();
        counted = counted.max(nack.attempt);
        if std::mem::take(&mut loses) {
            return None;
        }
        let nacked = offset_commit::Nacked { attempts: counted, ..offset_commit::Nacked::default() };
        Some(OffsetCommitResponsePartition {
            nacked: Some(nacked),
            ..OffsetCommitResponsePartition::default()
        })
    })
    .await;
    let mut member = member(&broker).await;
    for attempts in 1..=2 {
        let delivery = next(&mut member, 0).await;
        assert_eq!(delivery.attempts, attempts - 1);
        let nacked = member.nack(&delivery, "no").await.unwrap();
        assert_eq!(nacked, Nacked { attempts, given_up: false, dead_letters_stopped: false });
    }
    let sent: Vec<_> = seen.commits().iter().map(|(_, one)| one.nack.clone().unwrap().attempt).collect();
    assert_eq!(sent, [1, 1, 2]);
}

#[tokio::test]
async fn a_coordinator_that_does_not_know_nack_is_told_of_and_the_record_is_delivered_again() {
    let seen = Seen::default();
    let (_world, broker) = start(&seen, |_| Some(OffsetCommitResponsePartition::default())).await;
    let mut member = member(&broker).await;
    let first = next(&mut member, 0).await;
    member.ack(&first).unwrap();
    let refused = next(&mut member, 1).await;
    let unknown = member.nack(&refused, "no").await.unwrap_err();
    assert!(matches!(unknown, GroupError::NackUnknown), "{unknown}");
    let again = next(&mut member, 1).await;
    assert!(matches!(member.ack(&refused), Err(GroupError::Outdated { .. })), "the first delivery is void");
    member.ack(&again).unwrap();
    member.commit().await.unwrap();
    let offsets: Vec<_> = seen.commits().iter().map(|(_, one)| one.committed_offset.get()).collect();
    assert_eq!(offsets, [1, 2], "all before the record is done");
}

#[tokio::test]
async fn s21_a_commit_in_an_epoch_of_before_is_sent_again_in_the_one_of_now() {
    let seen = Seen::default();
    let (asked, epoch) = (seen.clone(), Arc::clone(&seen.epoch));
    let (_world, broker) = start(&seen, move |request| {
        // It has been raised just now.
        let now = if asked.commits().len() == 1 { 2 } else { epoch.load(Ordering::Acquire) };
        epoch.store(now, Ordering::Release);
        let fits = request.generation_id_or_member_epoch == now;
        let error_code = if fits { ErrorCode::None } else { ErrorCode::StaleMemberEpoch };
        Some(OffsetCommitResponsePartition { error_code, ..OffsetCommitResponsePartition::default() })
    })
    .await;
    let mut member = member(&broker).await;
    let delivery = next(&mut member, 0).await;
    member.ack(&delivery).unwrap();
    member.commit().await.unwrap();
    let epochs: Vec<_> = seen.commits().iter().map(|(epoch, _)| *epoch).collect();
    assert_eq!(epochs, [1, 2]);
}

#[tokio::test]
async fn s21_a_member_that_was_fenced_has_nothing_more_to_say_and_begins_anew() {
    let seen = Seen::default();
    let (_world, broker) = start(&seen, |_| Some(OffsetCommitResponsePartition::default())).await;
    let mut member = member(&broker).await;
    let before = next(&mut member, 0).await;
    member.ack(&before).unwrap();
    seen.fences.store(1, Ordering::Release);
    // What it did not commit is delivered again.
    let again = loop {
        let delivery = member.next(PATIENCE).await.unwrap().expect("a record in time");
        if delivery.record.offset.get() == 0 {
            break delivery;
        }
    };
    for outdated in [member.ack(&before), member.nack(&before, "no").await.map(|_| ())] {
        assert!(matches!(outdated, Err(GroupError::Outdated { .. })), "{outdated:?}");
    }
    assert!(seen.commits().is_empty());
    member.ack(&again).unwrap();
    member.close().await.unwrap();
    assert_eq!(seen.commits().len(), 1);
}

#[tokio::test]
async fn s21_a_member_that_nobody_polls_leaves_is_refused_and_is_back_with_the_next_poll() {
    let seen = Seen::default();
    let (_world, broker) = start(&seen, |_| Some(OffsetCommitResponsePartition::default())).await;
    let limit = Duration::from_secs(1);
    let mut member = member_that_may_stay_away(&broker, limit).await;
    let (done, hangs) = (next(&mut member, 0).await, next(&mut member, 1).await);
    member.ack(&done).unwrap();
    let has_left = async {
        while seen.left.load(Ordering::Acquire) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, has_left).await.expect("it leaves in time");
    for refused in [member.ack(&hangs), member.nack(&hangs, "no").await.map(|_| ()), member.commit().await] {
        let is_told = matches!(&refused, Err(GroupError::PollTimedOut { limit: told, .. }) if *told == limit);
        assert!(is_told, "{refused:?}");
    }
    assert_eq!(seen.joined.load(Ordering::Acquire), 1, "nobody has polled");
    // What it did not commit is delivered again, and what it was given before counts no more.
    let again = next(&mut member, 0).await;
    assert_eq!(seen.joined.load(Ordering::Acquire), 2);
    assert!(matches!(member.ack(&hangs), Err(GroupError::Outdated { .. })));
    assert!(seen.commits().is_empty());
    member.ack(&again).unwrap();
    member.close().await.unwrap();
    let committed: Vec<_> = seen.commits().iter().map(|(_, one)| one.committed_offset.get()).collect();
    assert_eq!(committed, [1]);
}

#[tokio::test]
async fn a_member_that_waits_for_records_for_longer_than_it_may_stay_away_is_not_away() {
    let seen = Seen::default();
    let (_world, broker) = start(&seen, |_| Some(OffsetCommitResponsePartition::default())).await;
    let limit = Duration::from_secs(2);
    let mut member = member_that_may_stay_away(&broker, limit).await;
    let mut last = None;
    for offset in 0..10 {
        last = Some(next(&mut member, offset).await);
    }
    assert!(member.next(limit * 3 / 2).await.unwrap().is_none());
    member.ack(&last.unwrap()).unwrap();
    member.commit().await.unwrap();
    assert_eq!((seen.left.load(Ordering::Acquire), seen.joined.load(Ordering::Acquire)), (0, 1));
}
