//! Offsets: found, moved, and fenced by the leader's term.

use super::{Client, Door, codes};
use crate::{
    clock::{Clock, SystemClock},
    model::{LeaderEpoch, Offset, PartitionIndex, TimestampMs},
    wire::api::{
        delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic},
        list_offsets::{
            ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic,
        },
        offset_for_leader_epoch::{
            OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
        },
    },
};

const THEN: i64 = 1_700_000_000_000;

async fn list(
    client: &mut Client,
    version: i16,
    timestamp: i64,
    index: i32,
    epoch: i32,
) -> ListOffsetsPartitionResponse {
    let partition = ListOffsetsPartition {
        partition_index: PartitionIndex::new(index),
        current_leader_epoch: LeaderEpoch::new(epoch),
        timestamp: TimestampMs::new(timestamp),
    };
    let topics = vec![ListOffsetsTopic { name: "t".into(), partitions: vec![partition] }];
    let request = ListOffsetsRequest { topics, ..ListOffsetsRequest::default() };
    client.ask(version, &request).await.topics.remove(0).partitions.remove(0)
}

async fn delete_below(client: &mut Client, offset: i64) -> (i16, i64) {
    let partition =
        DeleteRecordsPartition { partition_index: PartitionIndex::new(0), offset: Offset::new(offset) };
    let topics = vec![DeleteRecordsTopic { name: "t".into(), partitions: vec![partition] }];
    let answer = client.ask(2, &DeleteRecordsRequest { topics, timeout_ms: 30_000 }).await;
    let partition = &answer.topics[0].partitions[0];
    (partition.error_code.code(), partition.low_watermark.get())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_found_at_the_ends_and_by_time() {
    let (door, mut client) = Door::open().await;
    client.create(&["t"], 1).await;
    client.produce("t", 0, &[THEN, THEN + 10, THEN + 20]).await;
    client.produce("t", 0, &[THEN + 90, THEN + 30]).await;
    let mut found = Vec::new();
    for timestamp in [-1, -2, -4, -5, -3, 0, THEN + 11, THEN + 25, THEN + 91] {
        let answer = list(&mut client, 10, timestamp, 0, -1).await;
        assert!(answer.error_code.is_none(), "{answer:?}");
        let since = (answer.timestamp.get() >= 0).then(|| answer.timestamp.get() - THEN);
        found.push((answer.offset.get(), since));
    }
    let ends = [(5, None), (0, None), (0, None), (-1, None)];
    let by_time = [(3, Some(90)), (0, Some(0)), (2, Some(20)), (3, Some(90)), (-1, None)];
    assert_eq!(found, [&ends[..], &by_time[..]].concat());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_another_idea_of_the_term_is_told_so() {
    let (door, mut client) = Door::open().await;
    client.create(&["t"], 1).await;
    client.produce("t", 0, &[THEN]).await;
    let epoch = list(&mut client, 4, -1, 0, -1).await.leader_epoch.get();
    assert!(epoch >= 0);
    let answers = [
        list(&mut client, 4, -1, 0, epoch).await,
        list(&mut client, 4, -1, 0, epoch + 1).await,
        list(&mut client, 4, -1, 7, -1).await,
        list(&mut client, 6, -3, 0, -1).await,
    ];
    assert_eq!(codes(answers.iter().map(|answer| answer.error_code)), [0, 75, 3, 35]);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_deleted_up_to_the_high_watermark_and_not_beyond() {
    let (door, mut client) = Door::open().await;
    client.create(&["t"], 1).await;
    // What is older than retention.ms would go by itself: moving the start lets retention look.
    let now = SystemClock::new().wall().get();
    client.produce("t", 0, &[now; 10]).await;
    assert_eq!(delete_below(&mut client, 4).await, (0, 4));
    assert_eq!(list(&mut client, 1, -2, 0, -1).await.offset.get(), 4);
    assert_eq!(delete_below(&mut client, 11).await, (1, -1));
    assert_eq!(delete_below(&mut client, -2).await, (1, -1));
    assert_eq!(delete_below(&mut client, 2).await, (0, 4));
    assert_eq!(delete_below(&mut client, -1).await, (0, 10));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leaders_own_term_ends_where_the_log_does() {
    let (door, mut client) = Door::open().await;
    client.create(&["t"], 1).await;
    let mut ends = Vec::new();
    for produced in [0, 3] {
        if produced > 0 {
            client.produce("t", 0, &vec![THEN; produced]).await;
        }
        let epoch = list(&mut client, 4, -1, 0, -1).await.leader_epoch;
        for asked in [epoch, epoch.next()] {
            let partition = OffsetForLeaderPartition { leader_epoch: asked, ..Default::default() };
            let topics = vec![OffsetForLeaderTopic { topic: "t".into(), partitions: vec![partition] }];
            let request = OffsetForLeaderEpochRequest { topics, ..OffsetForLeaderEpochRequest::default() };
            let answer = client.ask(3, &request).await.topics.remove(0).partitions.remove(0);
            assert!(answer.error_code.is_none());
            ends.push(answer.end_offset.get());
        }
    }
    assert_eq!(ends, [0, -1, 3, -1]);
    door.close().await;
}
