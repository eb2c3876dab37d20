//! Reads record batches: for consumers, and for followers.
//!
//! The hot path outward: an answer is written as parts, so that its records are not copied
//! ([`Records`], [`crate::wire::frame::encode_response_parts`]). Topics go by name up to version 12
//! and by id from 13.

use bytes::Bytes;
use uuid::Uuid;

use super::produce::{LeaderIdAndEpoch, NodeEndpoint};
use crate::{
    model::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, TopicId},
    wire::{DecodeError, EncodeError, ErrorCode, Field, Layout, Nullable, Reader, Str, Writer},
};

/// The records of one partition's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Records {
    /// No records, as null.
    Null,
    /// No records, as an empty field: what Kafka answers, and what every client takes.
    #[default]
    Empty,
    /// Record batches in memory; what decoding gives, as a slice of the frame.
    Shared(Bytes),
    /// Record batches that the sender holds: the frame is written around them.
    Elsewhere {
        /// The sender's own name for them, which comes back in [`crate::wire::frame::Part::Records`].
        slot: usize,
        /// Their length in bytes.
        len: usize,
    },
}

impl Records {
    /// Length in bytes.
    pub const fn len(&self) -> usize {
        match self {
            Self::Null | Self::Empty => 0,
            Self::Shared(bytes) => bytes.len(),
            Self::Elsewhere { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of records in memory; of records elsewhere there are none here.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Null | Self::Empty | Self::Elsewhere { .. } => Bytes::new(),
        }
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Shared(bytes) }
    }
}

impl Field for Records {
    fn read(reader: &mut Reader, layout: Layout) -> Result<Self, DecodeError> {
        Ok(Bytes::read_nullable(reader, layout)?.map_or(Self::Null, Self::from))
    }

    fn write(&self, writer: &mut Writer<'_>, layout: Layout) -> Result<(), EncodeError> {
        match self {
            Self::Null => writer.put_bytes_len(None, layout),
            Self::Empty => writer.put_bytes_len(Some(0), layout),
            Self::Shared(bytes) => bytes.write(writer, layout),
            Self::Elsewhere { slot, len } => {
                writer.put_bytes_len(Some(*len), layout)?;
                writer.leave(*slot, *len)
            }
        }
    }
}

wire_structs! {
    /// Asks for records.
    struct FetchRequest {
        /// The cluster that the client believes to speak to.
        cluster_id: Option<Str> [12..; null 12..; tag 0],
        /// The follower that asks; -1: a consumer.
        replica_id: NodeId [..=14] = NodeId::new(-1),
        /// The follower that asks.
        replica_state: ReplicaState [15..; tag 1],
        /// How long to wait for `min_bytes`.
        max_wait_ms: i32 [4..],
        /// How many bytes are worth an answer.
        min_bytes: i32 [4..],
        /// The most bytes to answer, but for the first batch.
        max_bytes: i32 [4..] = i32::MAX,
        /// 0: read uncommitted, 1: read committed.
        isolation_level: i8 [4..],
        /// The fetch session (KIP-227); 0: none.
        session_id: i32 [7..],
        /// The request's number in the session; -1: no session, 0: a new one.
        session_epoch: i32 [7..] = -1,
        /// The partitions to read, by topic.
        topics: Vec<FetchTopic> [4..],
        /// The partitions to drop from the session.
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        /// The consumer's rack.
        rack_id: Str [11..],
    }

    /// The follower that fetches.
    struct ReplicaState {
        /// Its id; -1: a consumer.
        replica_id: NodeId [15..] = NodeId::new(-1),
        /// Its registration; -1: unknown.
        replica_epoch: BrokerEpoch [15..] = BrokerEpoch::new(-1),
    }

    /// Partitions of one topic to read.
    struct FetchTopic {
        /// The topic's name.
        topic: Str [..=12],
        /// The topic's id.
        topic_id: TopicId [13..],
        /// The partitions.
        partitions: Vec<FetchPartition> [4..],
    }

    /// A partition to read.
    struct FetchPartition {
        /// The partition.
        partition: PartitionIndex [4..],
        /// The leader's term as the client knows it; -1: unknown.
        current_leader_epoch: LeaderEpoch [9..] = LeaderEpoch::NONE,
        /// The offset to read from.
        fetch_offset: Offset [4..],
        /// The term of the last record that the follower holds; -1: unknown.
        last_fetched_epoch: LeaderEpoch [12..] = LeaderEpoch::NONE,
        /// The follower's own log start; -1 from a consumer.
        log_start_offset: Offset [5..] = Offset::new(-1),
        /// The most bytes to answer for this partition, but for the first batch.
        partition_max_bytes: i32 [4..],
        /// The folder of the follower's log.
        replica_directory_id: Uuid [17..; tag 0],
        /// The high watermark as the follower knows it; -1: unknown, the highest: not told (KIP-1166).
        high_watermark: Offset [18..; tag 1] = Offset::MAX,
    }

    /// Partitions to drop from a fetch session.
    struct ForgottenTopic {
        /// The topic's name.
        topic: Str [..=12],
        /// The topic's id.
        topic_id: TopicId [13..],
        /// The partitions.
        partitions: Vec<PartitionIndex> [7..],
    }

    /// Records.
    struct FetchResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [4..],
        /// An error of the request as a whole.
        error_code: ErrorCode [7..],
        /// The fetch session; 0: none.
        session_id: i32 [7..],
        /// By topic.
        responses: Vec<FetchableTopicResponse> [4..],
        /// Where the leaders named below are (KIP-951).
        node_endpoints: Vec<NodeEndpoint> [16..; tag 0],
    }

    /// One topic's records.
    struct FetchableTopicResponse {
        /// The topic's name.
        topic: Str [..=12],
        /// The topic's id.
        topic_id: TopicId [13..],
        /// By partition.
        partitions: Vec<PartitionData> [4..],
    }

    /// One partition's records.
    struct PartitionData {
        /// The partition.
        partition_index: PartitionIndex [4..],
        /// Why there are none.
        error_code: ErrorCode [4..],
        /// The end of what consumers may read.
        high_watermark: Offset [4..],
        /// The end of what is decided; -1: unknown.
        last_stable_offset: Offset [4..] = Offset::new(-1),
        /// The first offset of the log; -1: unknown.
        log_start_offset: Offset [5..] = Offset::new(-1),
        /// Where the follower's log leaves the leader's (KIP-595).
        diverging_epoch: EpochEndOffset [12..; tag 0],
        /// The leader to turn to.
        current_leader: LeaderIdAndEpoch [12..; tag 1],
        /// The snapshot to read instead.
        snapshot_id: SnapshotId [12..; tag 2],
        /// Transactions in the range that were aborted; null: not asked for.
        aborted_transactions: Option<Vec<AbortedTransaction>> [4..; null 4..],
        /// The replica to read from instead; -1: this one.
        preferred_read_replica: NodeId [11..] = NodeId::new(-1),
        /// The record batches.
        records: Records [4..],
    }

    /// The last epoch that follower and leader share.
    struct EpochEndOffset {
        /// The epoch; -1: none.
        epoch: LeaderEpoch [12..] = LeaderEpoch::NONE,
        /// Where it ends; -1: unknown.
        end_offset: Offset [12..] = Offset::new(-1),
    }

    /// A snapshot of the log.
    struct SnapshotId {
        /// The offset after its last record; -1: none.
        end_offset: Offset [0..] = Offset::new(-1),
        /// The epoch of its last record; -1: none.
        epoch: LeaderEpoch [0..] = LeaderEpoch::NONE,
    }

    /// A transaction that was aborted.
    struct AbortedTransaction {
        /// Its producer.
        producer_id: ProducerId [4..],
        /// Its first offset in the partition.
        first_offset: Offset [4..],
    }
}

wire_api!(Fetch: FetchRequest -> FetchResponse);
