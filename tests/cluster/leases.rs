//! A group's coordinator that stands still: when it goes on it answers nothing beside its successor.

use std::time::Duration;

use polylogue::{
    client::{
        Admin, ClientConfig, Connection,
        admin::groups::{CommittedOffset, OffsetToCommit},
    },
    local_cluster::LocalNode,
    model::{NodeId, Offset, PartitionIndex},
    wire::{
        ErrorCode,
        api::{
            offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic},
            offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic},
        },
    },
};
use tokio::runtime::Runtime;

use crate::{
    cluster::{Cluster, SOON, client, name},
    support::eventually,
};

const TOPIC: &str = "leases";
const GROUP: &str = "leased";
/// How long what was sent to the one that stands still may wait.
const LATE: Duration = Duration::from_mins(1);

fn admin(cluster: &Cluster, without: Option<NodeId>) -> Admin {
    let others = cluster.nodes.iter().filter(|node| Some(node.id()) != without);
    let bootstrap: Vec<String> = others.map(LocalNode::kafka_address).collect();
    Admin::new(&client(&bootstrap.join(",")))
}

/// Commits an offset as somebody without a membership does; whether it was taken.
async fn commit(admin: &Admin, offset: i64) -> bool {
    let to =
        OffsetToCommit { topic: name(TOPIC), partition: PartitionIndex::new(0), offset: Offset::new(offset) };
    let outcomes = admin.commit_offsets(GROUP, &[to]).await;
    outcomes.is_ok_and(|outcomes| outcomes.iter().all(|one| one.outcome.is_ok()))
}

async fn committed(admin: &Admin) -> Option<Offset> {
    let offsets = admin.committed_offsets(GROUP).await.ok()?;
    offsets.first().map(|CommittedOffset { offset, .. }| *offset)
}

fn late_commit() -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: PartitionIndex::new(0),
        committed_offset: Offset::new(7),
        ..OffsetCommitRequestPartition::default()
    };
    let topic = OffsetCommitRequestTopic { name: TOPIC.into(), partitions: vec![partition] };
    OffsetCommitRequest { group_id: GROUP.into(), topics: vec![topic], ..OffsetCommitRequest::default() }
}

fn late_question() -> OffsetFetchRequest {
    let topic =
        OffsetFetchRequestTopic { name: TOPIC.into(), partition_indexes: vec![PartitionIndex::new(0)] };
    OffsetFetchRequest { group_id: GROUP.into(), topics: Some(vec![topic]), ..OffsetFetchRequest::default() }
}

#[test]
fn s20_a_coordinator_that_stood_still_refuses_what_comes_late_and_its_successors_state_holds() {
    let mut cluster = Cluster::with_topic(TOPIC, 1, &[]);
    let runtime = Runtime::new().unwrap();
    let at_first = admin(&cluster, None);
    eventually("an offset is committed", SOON, || runtime.block_on(commit(&at_first, 5)).then_some(()));
    let former = runtime.block_on(at_first.coordinator(GROUP)).unwrap();
    let address = cluster.node(former).unwrap().kafka_address();
    let config = ClientConfig::new(&address);
    let open = || runtime.block_on(Connection::open(&address, &config)).unwrap();
    let (writing, asking) = (open(), open());

    cluster.node(former).unwrap().pause().unwrap();
    let others = admin(&cluster, Some(former));
    eventually("a successor takes a commit", SOON, || runtime.block_on(commit(&others, 9)).then_some(()));
    // These two lie in its sockets when it goes on.
    let (written, asked) = runtime.block_on(async {
        let written = writing.start(&late_commit(), 7, LATE).await.unwrap();
        (written, asking.start(&late_question(), 7, LATE).await.unwrap())
    });
    cluster.node(former).unwrap().resume().unwrap();
    let (written, asked) =
        runtime.block_on(async { (written.answer().await.unwrap(), asked.answer().await.unwrap()) });
    assert_eq!(written.topics[0].partitions[0].error_code, ErrorCode::NotCoordinator);
    assert_eq!(asked.error_code, ErrorCode::NotCoordinator, "{asked:?}");

    cluster.until_in_sync(TOPIC, SOON).unwrap();
    cluster.until_in_sync("__consumer_offsets", SOON).unwrap();
    let found = eventually("the offset is told", SOON, || runtime.block_on(committed(&others)));
    assert_eq!(found, Offset::new(9), "what its successor has taken holds");
}
