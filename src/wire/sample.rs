//! Values that vary by a seed, within what a version can carry: for tests and as seeds of fuzzing.
#![allow(clippy::unwrap_used, reason = "a choice from a list that stands here is never empty")]

use bytes::Bytes;
use fastrand::Rng;
use uuid::Uuid;

use crate::{
    model::{
        BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence,
        TimestampMs, TopicId,
    },
    wire::{ErrorCode, Field, Layout, Str, api::fetch::Records},
};

/// A type that can make up values of itself.
pub(crate) trait Sample: Sized {
    /// Any value, null included.
    fn sample(rng: &mut Rng, layout: Layout) -> Self;
}

/// A value that is null only if it may be.
pub(crate) fn pick<T: Sample + Field>(rng: &mut Rng, layout: Layout, nullable: bool) -> T {
    loop {
        let value = T::sample(rng, layout);
        if nullable || !value.is_null() {
            return value;
        }
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(rng: &mut Rng, layout: Layout) -> Self {
        (rng.u8(..4) > 0).then(|| T::sample(rng, layout))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(rng: &mut Rng, layout: Layout) -> Self {
        (0..rng.usize(..4)).map(|_| T::sample(rng, layout)).collect()
    }
}

impl Sample for bool {
    fn sample(rng: &mut Rng, _: Layout) -> Self {
        rng.bool()
    }
}

macro_rules! sample_integers {
    ($($int:ident: $($model:ty),*;)*) => {$(
        impl Sample for $int {
            fn sample(rng: &mut Rng, _: Layout) -> Self {
                let edges = [$int::MIN, -1, 0, 1, $int::MAX];
                if rng.bool() { rng.choice(edges).unwrap() } else { rng.$int(..) }
            }
        }

        $(impl Sample for $model {
            fn sample(rng: &mut Rng, layout: Layout) -> Self {
                Self::new($int::sample(rng, layout))
            }
        })*
    )*};
}

sample_integers! {
    i8: ;
    i16: ProducerEpoch;
    i32: LeaderEpoch, NodeId, PartitionIndex, Sequence;
    i64: BrokerEpoch, Offset, ProducerId, TimestampMs;
}

impl Sample for ErrorCode {
    fn sample(rng: &mut Rng, _: Layout) -> Self {
        rng.choice(Self::ALL.iter().copied()).unwrap()
    }
}

impl Sample for Uuid {
    fn sample(rng: &mut Rng, _: Layout) -> Self {
        if rng.bool() { Self::nil() } else { Self::from_u128(rng.u128(..)) }
    }
}

impl Sample for TopicId {
    fn sample(rng: &mut Rng, layout: Layout) -> Self {
        Self::from_bytes(Uuid::sample(rng, layout).into_bytes())
    }
}

impl Sample for Str {
    fn sample(rng: &mut Rng, _: Layout) -> Self {
        let len = rng.choice([0, 1, 5, 126, 127, 128, 300]).unwrap();
        let text: String = (0..len).map(|_| rng.char(..)).collect();
        Self::from(text)
    }
}

impl Sample for Bytes {
    fn sample(rng: &mut Rng, _: Layout) -> Self {
        let len = rng.choice([0, 1, 61, 127, 128, 1023, 1024, 5000]).unwrap();
        std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
    }
}

impl Sample for Records {
    fn sample(rng: &mut Rng, layout: Layout) -> Self {
        Option::<Bytes>::sample(rng, layout).map_or(Self::Null, Self::from)
    }
}

/// Calls `$call!` with every message: `module::Request -> module::Response`.
macro_rules! every_message {
    ($call:ident) => {
        $call! {
            alter_configs: AlterConfigsRequest, AlterConfigsResponse;
            api_versions: ApiVersionsRequest, ApiVersionsResponse;
            consumer_group_describe: ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse;
            consumer_group_heartbeat: ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse;
            create_partitions: CreatePartitionsRequest, CreatePartitionsResponse;
            elect_leaders: ElectLeadersRequest, ElectLeadersResponse;
            create_topics: CreateTopicsRequest, CreateTopicsResponse;
            delete_groups: DeleteGroupsRequest, DeleteGroupsResponse;
            delete_records: DeleteRecordsRequest, DeleteRecordsResponse;
            delete_topics: DeleteTopicsRequest, DeleteTopicsResponse;
            describe_cluster: DescribeClusterRequest, DescribeClusterResponse;
            describe_configs: DescribeConfigsRequest, DescribeConfigsResponse;
            describe_groups: DescribeGroupsRequest, DescribeGroupsResponse;
            describe_log_dirs: DescribeLogDirsRequest, DescribeLogDirsResponse;
            describe_producers: DescribeProducersRequest, DescribeProducersResponse;
            describe_topic_partitions: DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
            fetch: FetchRequest, FetchResponse;
            find_coordinator: FindCoordinatorRequest, FindCoordinatorResponse;
            heartbeat: HeartbeatRequest, HeartbeatResponse;
            incremental_alter_configs: IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
            init_producer_id: InitProducerIdRequest, InitProducerIdResponse;
            join_group: JoinGroupRequest, JoinGroupResponse;
            leave_group: LeaveGroupRequest, LeaveGroupResponse;
            list_config_resources: ListConfigResourcesRequest, ListConfigResourcesResponse;
            list_groups: ListGroupsRequest, ListGroupsResponse;
            list_offsets: ListOffsetsRequest, ListOffsetsResponse;
            metadata: MetadataRequest, MetadataResponse;
            offset_commit: OffsetCommitRequest, OffsetCommitResponse;
            offset_delete: OffsetDeleteRequest, OffsetDeleteResponse;
            offset_fetch: OffsetFetchRequest, OffsetFetchResponse;
            offset_for_leader_epoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
            produce: ProduceRequest, ProduceResponse;
            sync_group: SyncGroupRequest, SyncGroupResponse;
        }
    };
}
pub(crate) use every_message;
