//! `DescribeLogDirs`: how large each replica is, and how much room its disk has (KIP-113, KIP-827).
//!
//! A node keeps all its logs in one folder. A replica whose log is not open has the size that its files have, and a lag
//! that is not known: the protocol has no error for a single replica.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{self, Path},
    sync::Arc,
};

use tokio::task::spawn_blocking;

use crate::{
    actors::{
        membership::LOGS_DIR,
        partition::{PartitionHandle, bytes_on_disk, table::Topic},
    },
    kafka::{Broker, connection::Session},
    model::{PartitionIndex, TopicName},
    sys,
    wire::{
        ApiKey, ErrorCode, Str,
        api::describe_log_dirs::{
            DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest,
            DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
        },
    },
};

/// What Kafka tells of a lag that it does not know.
const UNKNOWN_LAG: i64 = -1;

/// Which partitions are asked for; `None`: all.
type Wanted = Option<HashMap<Str, HashSet<PartitionIndex>>>;

/// Tells of the one folder.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: DescribeLogDirsRequest,
    _version: i16,
) -> DescribeLogDirsResponse {
    let folder = broker.settings.data_dir.join(LOGS_DIR);
    let (topics, wanted) = (broker.topics.all(), wanted(request.topics));
    // The file system is asked, which may take as long as its disk.
    let look = move || Ok((Room::of(&folder)?, sizes(&folder, topics, &wanted)));
    let result = match spawn_blocking(look).await.map_err(io::Error::other).flatten() {
        Ok((room, topics)) => DescribeLogDirsResult {
            log_dir: room.folder.into(),
            topics,
            total_bytes: room.total_bytes,
            usable_bytes: room.usable_bytes,
            ..DescribeLogDirsResult::default()
        },
        Err(error) => unknown(broker, &error),
    };
    DescribeLogDirsResponse { results: vec![result], ..DescribeLogDirsResponse::default() }
}

fn unknown(broker: &Broker, error: &io::Error) -> DescribeLogDirsResult {
    tracing::error!("folder of logs cannot be looked at: {error}");
    broker.meters.refused(ApiKey::DescribeLogDirs, ErrorCode::KafkaStorageError);
    DescribeLogDirsResult {
        error_code: ErrorCode::KafkaStorageError,
        log_dir: broker.settings.data_dir.join(LOGS_DIR).display().to_string().into(),
        ..DescribeLogDirsResult::default()
    }
}

/// A folder by its whole path, and its file system.
struct Room {
    folder: String,
    total_bytes: i64,
    usable_bytes: i64,
}

impl Room {
    fn of(folder: &Path) -> io::Result<Self> {
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        Ok(Self {
            folder: path::absolute(folder)?.display().to_string(),
            total_bytes: number(sys::total_bytes(folder)?),
            usable_bytes: number(sys::free_bytes(folder)?),
        })
    }
}

/// Each partition once, however often it is named.
fn wanted(asked: Option<Vec<DescribableLogDirTopic>>) -> Wanted {
    let mut by_name: HashMap<Str, HashSet<PartitionIndex>> = HashMap::new();
    for topic in asked? {
        by_name.entry(topic.topic).or_default().extend(topic.partitions);
    }
    Some(by_name)
}

/// What is there of what is wanted, by name; the rest is left out, as in Kafka.
fn sizes(logs: &Path, mut topics: Vec<Arc<Topic>>, wanted: &Wanted) -> Vec<DescribeLogDirsTopic> {
    topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let of_topic = |topic: &Arc<Topic>| {
        let name = Str::from(&topic.name);
        let indexes = match wanted {
            Some(by_name) => Some(by_name.get(&name)?),
            None => None,
        };
        let asked = |partition: &&PartitionHandle| {
            indexes.is_none_or(|indexes| indexes.contains(&partition.id().index))
        };
        let sizes = topic.partitions().iter().filter(asked);
        let partitions: Vec<_> = sizes.filter_map(|partition| size(logs, &topic.name, partition)).collect();
        (!partitions.is_empty()).then_some(DescribeLogDirsTopic { name, partitions })
    };
    topics.iter().filter_map(of_topic).collect()
}

fn size(logs: &Path, topic: &TopicName, partition: &PartitionHandle) -> Option<DescribeLogDirsPartition> {
    let index = partition.id().index;
    let bytes = match partition.leader() {
        Some(leader) => leader.reader.size_bytes(),
        None => size_of_files(logs, topic, index)?,
    };
    let offset_lag = partition.lag().map_or(UNKNOWN_LAG, |lag| i64::try_from(lag).unwrap_or(i64::MAX));
    Some(DescribeLogDirsPartition {
        partition_index: index,
        partition_size: i64::try_from(bytes).unwrap_or(i64::MAX),
        offset_lag,
        is_future_key: false,
    })
}

fn size_of_files(logs: &Path, topic: &TopicName, index: PartitionIndex) -> Option<u64> {
    let bytes = bytes_on_disk(logs, topic, index);
    let bytes =
        bytes.inspect_err(|error| tracing::error!("folder of {topic}-{index} cannot be looked at: {error}"));
    bytes.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::{Room, wanted};
    use crate::{model::PartitionIndex, wire::api::describe_log_dirs::DescribableLogDirTopic};

    #[test]
    fn a_partition_that_is_named_twice_is_wanted_once_and_null_wants_all() {
        let of = |topic: &str, partitions: &[i32]| DescribableLogDirTopic {
            topic: topic.into(),
            partitions: partitions.iter().copied().map(PartitionIndex::new).collect(),
        };
        let wanted_of = wanted(Some(vec![of("a", &[0, 1, 0]), of("b", &[]), of("a", &[1, 2])])).unwrap();
        assert_eq!((wanted_of[&"a".into()].len(), wanted_of[&"b".into()].len()), (3, 0));
        assert!(wanted(None).is_none());
    }

    #[test]
    fn a_folder_is_told_by_its_whole_path_with_the_room_that_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::of(folder.path()).unwrap();
        assert!(room.folder.starts_with('/'));
        assert!(room.usable_bytes > 0 && room.usable_bytes <= room.total_bytes);
        assert!(Room::of(&folder.path().join("no-such")).is_err());
    }
}
