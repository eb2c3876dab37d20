//! Offsets committed by nobody in particular, as tools do, and when a coordinator takes them again.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context, Result, anyhow, bail, ensure};
use polylogue::{
    model::{Offset, PartitionIndex},
    wire::{
        ErrorCode, Str,
        api::{
            find_coordinator::{FindCoordinatorRequest, KEY_TYPE_GROUP},
            heartbeat::HeartbeatRequest,
            list_groups::ListGroupsRequest,
            offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        },
    },
};
use tokio::time::{sleep, timeout};

use super::{block_on, connection::Connection};

const FIND: i16 = 4;
const HEARTBEAT: i16 = 4;
const COMMIT: i16 = 8;
const LIST: i16 = 5;
/// Connections that commit at the same time before anything is measured.
const COMMITTERS: usize = 8;
const READY_WITHIN: Duration = Duration::from_mins(2);
/// Between two tries of a client that waits for its broker: short beside what is measured, and no load on it.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// So many groups commit the topic's first partitions.
pub(crate) fn commit_to_all(broker: SocketAddr, topic: &str, groups: usize, partitions: usize) -> Result<()> {
    block_on(coordinator_found(broker, &group(0)))?;
    let commits = |first: usize| {
        (first..groups).step_by(COMMITTERS).try_for_each(|number| {
            block_on(until_accepted(broker, &commit(group(number), topic.into(), partitions)))
        })
    };
    thread::scope(|scope| {
        let committers: Vec<_> = (0..COMMITTERS).map(|first| scope.spawn(move || commits(first))).collect();
        committers.into_iter().try_for_each(|committer| committer.join().map_err(|_| anyhow!("a panic"))?)
    })
}

/// Waits until the broker takes a commit of one of these groups.
pub(crate) fn first_commit(broker: SocketAddr, topic: &str, number: usize) -> Result<()> {
    block_on(until_accepted(broker, &commit(group(number), topic.into(), 1)))
}

/// Waits until the broker knows of so many groups.
pub(crate) fn all_listed(broker: SocketAddr, groups: usize) -> Result<()> {
    block_on(until_true(async || {
        let answer = Connection::open(broker).await?.call(LIST, &ListGroupsRequest::default()).await?;
        ensure!(answer.error_code.is_none(), "{}", answer.error_code.message());
        ensure!(answer.groups.len() >= groups, "{} groups", answer.groups.len());
        Ok(())
    }))
}

/// Waits until the coordinator of a group answers; the first to ask for one has the offsets' topic made.
pub(super) async fn coordinator_found(broker: SocketAddr, group: &Str) -> Result<()> {
    let find = FindCoordinatorRequest {
        key_type: KEY_TYPE_GROUP,
        coordinator_keys: vec![group.clone()],
        ..FindCoordinatorRequest::default()
    };
    let heartbeat = HeartbeatRequest {
        group_id: group.clone(),
        member_id: "nobody".into(),
        ..HeartbeatRequest::default()
    };
    until_true(async || {
        let mut connection = Connection::open(broker).await?;
        let found = connection.call(FIND, &find).await?.coordinators;
        let error = found.first().context("an answer without the group")?.error_code;
        ensure!(error.is_none(), "{}", error.message());
        let error = connection.call(HEARTBEAT, &heartbeat).await?.error_code;
        ensure!(error == ErrorCode::UnknownMemberId, "{}", error.message());
        Ok(())
    })
    .await
}

fn group(number: usize) -> Str {
    format!("group-{number}").into()
}

fn commit(group: Str, topic: Str, partitions: usize) -> OffsetCommitRequest {
    let partition = |index: usize| OffsetCommitRequestPartition {
        partition_index: PartitionIndex::new(index as i32),
        committed_offset: Offset::ZERO,
        ..OffsetCommitRequestPartition::default()
    };
    let partitions = (0..partitions).map(partition).collect();
    OffsetCommitRequest {
        group_id: group,
        topics: vec![OffsetCommitRequestTopic { name: topic, partitions }],
        ..OffsetCommitRequest::default()
    }
}

async fn until_accepted(broker: SocketAddr, request: &OffsetCommitRequest) -> Result<()> {
    until_true(async || {
        let answer = Connection::open(broker).await?.call(COMMIT, request).await?;
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions).peekable();
        ensure!(partitions.peek().is_some(), "an answer without partitions");
        let refused = partitions.find(|partition| !partition.error_code.is_none());
        refused.map_or(Ok(()), |partition| bail!("{}", partition.error_code.message()))
    })
    .await
}

/// Tries again and again, also to connect.
pub(super) async fn until_true(mut come_true: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let mut last = None;
    let trying = async {
        while let Err(error) = come_true().await {
            last = Some(error);
            sleep(TRY_AGAIN).await;
        }
    };
    if timeout(READY_WITHIN, trying).await.is_ok() {
        return Ok(());
    }
    let why = last.map_or_else(|| "no answer".to_owned(), |error| format!("{error:#}"));
    bail!("not within {READY_WITHIN:?}: {why}")
}
