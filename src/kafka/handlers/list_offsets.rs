//! `ListOffsets`: the ends of a log, and offsets by time.
//!
//! Without transactions the last stable offset is the high watermark, so both isolation levels get the
//! same answer. A look-up by time may have to read from the disk, so it runs on the blocking pool; all
//! of a request's look-ups share one thread, which bounds what a single client can occupy.

use std::{collections::HashSet, sync::Arc};

use tokio::task::spawn_blocking;

use crate::{
    actors::partition::{Leader, ReadError, table::Topic},
    kafka::{Broker, connection::Session, errors},
    model::{LeaderEpoch, Offset, PartitionIndex, TimestampMs},
    wire::{
        ApiKey, ErrorCode, Str,
        api::list_offsets::{
            EARLIEST, EARLIEST_LOCAL, LATEST, LATEST_TIERED, ListOffsetsPartition,
            ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
            ListOffsetsTopicResponse, MAX_TIMESTAMP,
        },
    },
};

use super::{leaders, once_each};

/// What a timestamp of a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sought {
    /// The high watermark.
    Latest,
    /// The log start offset.
    Earliest,
    /// The end of what is in tiered storage, which there is not.
    LatestTiered,
    /// The record with the highest timestamp.
    MaxTimestamp,
    /// The first record at or after a time.
    At(TimestampMs),
}

impl Sought {
    /// What a number means in a version; one that came later than the version is refused.
    fn of(timestamp: TimestampMs, version: i16) -> Result<Self, ErrorCode> {
        let (sought, since) = match timestamp {
            LATEST => (Self::Latest, 1),
            EARLIEST => (Self::Earliest, 1),
            MAX_TIMESTAMP => (Self::MaxTimestamp, 7),
            EARLIEST_LOCAL => (Self::Earliest, 8),
            LATEST_TIERED => (Self::LatestTiered, 9),
            time if time.get() >= 0 => (Self::At(time), 1),
            _ => return Err(ErrorCode::UnsupportedVersion),
        };
        if version >= since { Ok(sought) } else { Err(ErrorCode::UnsupportedVersion) }
    }
}

/// What was found: a timestamp (-1 for the ends), an offset and the term it was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    timestamp: TimestampMs,
    offset: Offset,
    leader_epoch: LeaderEpoch,
}

impl Found {
    /// No record is as late as that: not an error.
    const NOTHING: Self = Self::end(Offset::new(-1), LeaderEpoch::NONE);

    const fn end(offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        Self { timestamp: TimestampMs::NONE, offset, leader_epoch }
    }

    fn of(found: Option<(Offset, TimestampMs, LeaderEpoch)>) -> Self {
        found.map_or(Self::NOTHING, |(offset, timestamp, leader_epoch)| Self {
            timestamp,
            offset,
            leader_epoch,
        })
    }
}

/// How far a partition's answer is.
enum State {
    Done(Result<Found, ErrorCode>),
    /// The disk may have to be asked.
    Slow(Arc<Leader>, Sought),
}

/// A partition of the request, and its answer as far as it is known.
struct Asked {
    index: PartitionIndex,
    state: State,
}

/// Finds offsets.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    let twice = named_twice(&request.topics);
    let mut topics: Vec<(Str, Vec<Asked>)> = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let found = broker.topics.by_name(&topic.name);
        let begin = |partition: &ListOffsetsPartition| Asked {
            index: partition.partition_index,
            state: if twice.contains(&(topic.name.clone(), partition.partition_index)) {
                State::Done(Err(ErrorCode::InvalidRequest))
            } else {
                begin(found.as_deref(), partition, version).unwrap_or_else(|error| State::Done(Err(error)))
            },
        };
        let partitions = topic.partitions.iter().map(begin).collect();
        topics.push((topic.name, partitions));
    }
    if topics.iter().flat_map(|(_, partitions)| partitions).any(Asked::is_slow) {
        topics = spawn_blocking(move || look_up(topics, version)).await.unwrap_or_default();
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|asked| asked.answer(broker)).collect();
        ListOffsetsTopicResponse { name, partitions }
    });
    ListOffsetsResponse { topics: topics.collect(), ..ListOffsetsResponse::default() }
}

/// Partitions that a request names more than once are refused, as in Kafka: clients find an answer by its
/// partition.
fn named_twice(topics: &[ListOffsetsTopic]) -> HashSet<(Str, PartitionIndex)> {
    let named = topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| (topic.name.clone(), partition.partition_index))
    });
    once_each::named_twice(named)
}

fn begin(topic: Option<&Topic>, asked: &ListOffsetsPartition, version: i16) -> Result<State, ErrorCode> {
    let sought = Sought::of(asked.timestamp, version)?;
    let partition = leaders::partition(topic, asked.partition_index)?;
    let leader = leaders::leader(partition, asked.current_leader_epoch)?;
    Ok(State::Done(Ok(match sought {
        Sought::Latest => {
            let end = leader.settled_high_watermark().ok_or_else(|| unsettled(version))?;
            Found::end(end, leader.epoch)
        }
        Sought::Earliest => {
            let start = leader.reader.log_start_offset();
            Found::end(start, leader.reader.epoch_at(start).unwrap_or(LeaderEpoch::NONE))
        }
        Sought::LatestTiered => Found::NOTHING,
        Sought::MaxTimestamp | Sought::At(_) => return Ok(State::Slow(leader, sought)),
    })))
}

/// A leader that has just taken office does not know the end yet (S5, KIP-207).
fn unsettled(version: i16) -> ErrorCode {
    if version >= 5 { ErrorCode::OffsetNotAvailable } else { ErrorCode::LeaderNotAvailable }
}

fn look_up(topics: Vec<(Str, Vec<Asked>)>, version: i16) -> Vec<(Str, Vec<Asked>)> {
    let look_up = |(name, partitions): (Str, Vec<Asked>)| {
        (name, partitions.into_iter().map(|asked| asked.looked_up(version)).collect())
    };
    topics.into_iter().map(look_up).collect()
}

impl Asked {
    fn is_slow(&self) -> bool {
        matches!(self.state, State::Slow(..))
    }

    fn looked_up(self, version: i16) -> Self {
        let state = match self.state {
            State::Slow(leader, sought) => State::Done(in_log(&leader, sought, version)),
            done @ State::Done(_) => done,
        };
        Self { state, ..self }
    }

    fn answer(self, broker: &Broker) -> ListOffsetsPartitionResponse {
        let outcome = match self.state {
            State::Done(outcome) => outcome,
            State::Slow(..) => Err(ErrorCode::UnknownServerError),
        };
        if let Err(error_code) = outcome {
            broker.meters.refused(ApiKey::ListOffsets, error_code);
        }
        response(self.index, outcome)
    }
}

/// Waits for the disk.
fn in_log(leader: &Leader, sought: Sought, version: i16) -> Result<Found, ErrorCode> {
    let settled = leader.settled_high_watermark();
    let upto = settled.unwrap_or_else(|| leader.high_watermark());
    let found = match sought {
        Sought::MaxTimestamp => leader.reader.offset_of_max_timestamp(upto),
        Sought::At(time) => leader.reader.offset_for_time(time, upto),
        Sought::Latest | Sought::Earliest | Sought::LatestTiered => Ok(None),
    };
    let found = found.map(Found::of).map_err(|error| refused(leader, &error))?;
    if settled.is_none() && may_be_further(sought, found) { Err(unsettled(version)) } else { Ok(found) }
}

/// Whether a search that has not seen all that earlier leaders acknowledged may have missed what it is about (S5): the first
/// record of a time is the first one all the same.
fn may_be_further(sought: Sought, found: Found) -> bool {
    match sought {
        Sought::At(_) => found == Found::NOTHING,
        Sought::Latest | Sought::MaxTimestamp => true,
        Sought::Earliest | Sought::LatestTiered => false,
    }
}

fn refused(leader: &Leader, error: &ReadError) -> ErrorCode {
    let code = errors::of_read(error);
    if code == ErrorCode::KafkaStorageError {
        tracing::error!(partition = %leader.reader.partition(), "offset look-up by time failed: {error}");
    }
    code
}

fn response(
    partition_index: PartitionIndex,
    outcome: Result<Found, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    match outcome {
        Ok(Found { timestamp, offset, leader_epoch }) => ListOffsetsPartitionResponse {
            partition_index,
            error_code: ErrorCode::None,
            timestamp,
            offset,
            leader_epoch,
        },
        Err(error_code) => ListOffsetsPartitionResponse { partition_index, error_code, ..Default::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Found, ListOffsetsPartition, ListOffsetsTopic, Sought, may_be_further, named_twice, response,
        unsettled,
    };
    use crate::{
        model::{LeaderEpoch, Offset, PartitionIndex, TimestampMs},
        wire::ErrorCode,
    };

    #[test]
    fn each_negative_timestamp_has_its_meaning_from_the_version_that_brought_it() {
        let of = |timestamp, version| Sought::of(TimestampMs::new(timestamp), version);
        let unknown = Err(ErrorCode::UnsupportedVersion);
        assert_eq!((of(-1, 1), of(-2, 1)), (Ok(Sought::Latest), Ok(Sought::Earliest)));
        assert_eq!((of(-3, 6), of(-3, 7)), (unknown, Ok(Sought::MaxTimestamp)));
        assert_eq!((of(-4, 7), of(-4, 8)), (unknown, Ok(Sought::Earliest)));
        assert_eq!((of(-5, 8), of(-5, 9)), (unknown, Ok(Sought::LatestTiered)));
        assert_eq!(of(-6, 10), unknown);
        assert_eq!(of(0, 1), Ok(Sought::At(TimestampMs::new(0))));
    }

    #[test]
    fn s05_an_end_that_is_not_known_yet_is_asked_for_again_in_every_version() {
        assert_eq!((unsettled(4).code(), unsettled(5).code()), (5, 78));
        assert!(unsettled(4).is_retriable() && unsettled(5).is_retriable());
    }

    #[test]
    fn s05_a_search_below_an_unsettled_watermark_tells_only_what_cannot_be_further_on() {
        let (time, there) =
            (Sought::At(TimestampMs::new(7)), Found::end(Offset::new(9), LeaderEpoch::new(4)));
        assert!(may_be_further(time, Found::NOTHING), "it may lie between the watermark and the log's end");
        assert!(!may_be_further(time, there));
        assert!(may_be_further(Sought::MaxTimestamp, there) && !may_be_further(Sought::Earliest, there));
    }

    #[test]
    fn only_partitions_that_are_named_twice_are_refused() {
        let topic = |name: &str, indexes: &[i32]| ListOffsetsTopic {
            name: name.into(),
            partitions: indexes
                .iter()
                .map(|index| ListOffsetsPartition {
                    partition_index: PartitionIndex::new(*index),
                    ..ListOffsetsPartition::default()
                })
                .collect(),
        };
        let twice = named_twice(&[topic("a", &[0, 1]), topic("b", &[0, 2, 2]), topic("a", &[1])]);
        let mut twice: Vec<_> = twice.iter().map(|(name, index)| (name.as_str(), index.get())).collect();
        twice.sort_unstable();
        assert_eq!(twice, [("a", 1), ("b", 2)]);
    }

    #[test]
    fn nothing_that_late_is_no_error_and_an_error_has_no_offset() {
        let index = PartitionIndex::new(3);
        let none = response(index, Ok(Found::of(None)));
        assert_eq!((none.error_code.code(), none.offset.get(), none.timestamp.get()), (0, -1, -1));
        let refused = response(index, Err(ErrorCode::NotLeaderOrFollower));
        assert_eq!((refused.error_code.code(), refused.offset.get()), (6, -1));
        assert_eq!(refused.leader_epoch, LeaderEpoch::NONE);
        let end = response(index, Ok(Found::end(Offset::new(9), LeaderEpoch::new(4))));
        assert_eq!((end.offset.get(), end.timestamp.get(), end.leader_epoch.get()), (9, -1, 4));
    }
}
