//! What a replica takes on disk while nobody has its log open.

use std::{io, path::Path};

use crate::{
    model::{PartitionIndex, TopicName},
    storage::{fs::real::RealFs, inspect, partition_folder},
};

/// Bytes of the segments of a partition's folder among these logs; `None` where it has no folder. Waits for the disk.
pub fn bytes_on_disk(logs: &Path, topic: &TopicName, index: PartitionIndex) -> io::Result<Option<u64>> {
    let folder = partition_folder::path_of(logs, topic, index);
    match inspect::segments(&RealFs, &folder) {
        Ok(segments) => Ok(Some(segments.iter().map(|segment| segment.len).sum())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
