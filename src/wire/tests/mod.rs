//! What the codec promises, against the oracle and against hostile bytes.

mod frame;
mod hostile;
mod oracle;
pub(crate) mod sample;
mod tables;

/// Calls `$call!` with every message: `module::Request -> module::Response`.
macro_rules! every_message {
    ($call:ident) => {
        $call! {
            alter_configs: AlterConfigsRequest, AlterConfigsResponse;
            api_versions: ApiVersionsRequest, ApiVersionsResponse;
            create_partitions: CreatePartitionsRequest, CreatePartitionsResponse;
            create_topics: CreateTopicsRequest, CreateTopicsResponse;
            delete_records: DeleteRecordsRequest, DeleteRecordsResponse;
            delete_topics: DeleteTopicsRequest, DeleteTopicsResponse;
            describe_cluster: DescribeClusterRequest, DescribeClusterResponse;
            describe_configs: DescribeConfigsRequest, DescribeConfigsResponse;
            describe_log_dirs: DescribeLogDirsRequest, DescribeLogDirsResponse;
            describe_producers: DescribeProducersRequest, DescribeProducersResponse;
            describe_topic_partitions: DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
            fetch: FetchRequest, FetchResponse;
            find_coordinator: FindCoordinatorRequest, FindCoordinatorResponse;
            incremental_alter_configs: IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
            init_producer_id: InitProducerIdRequest, InitProducerIdResponse;
            list_offsets: ListOffsetsRequest, ListOffsetsResponse;
            metadata: MetadataRequest, MetadataResponse;
            offset_for_leader_epoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
            produce: ProduceRequest, ProduceResponse;
        }
    };
}
use every_message;
