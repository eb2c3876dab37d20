//! Which partitions are in a folder.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use crate::{
    model::{Offset, PartitionIndex, TopicName},
    storage::{
        checkpoint::{self, Found},
        fs::{Fs, Open, folder_of},
        inspect,
        log::checkpoint::CHECKPOINT_FILE,
    },
};

/// Where Kafka notes how far records were deleted, for all partitions of a folder.
const KAFKA_START_OFFSETS: &str = "log-start-offset-checkpoint";
/// No file of that kind is longer than this.
const START_OFFSETS_MAX: u64 = 64 << 20;

/// A partition that can be taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePartition {
    /// Which of its topic.
    pub index: PartitionIndex,
    /// Its folder.
    pub dir: PathBuf,
}

/// The partitions in `from`, by topic, each topic's ascending: `from` is the folder of one partition
/// (`orders-0`), or a folder that holds such folders: Kafka's `log.dirs`, our `logs`, or a back-up of either.
pub fn find(fs: &dyn Fs, from: &Path) -> io::Result<BTreeMap<TopicName, Vec<SourcePartition>>> {
    let mut found: BTreeMap<TopicName, Vec<SourcePartition>> = BTreeMap::new();
    let mut take = |dir: PathBuf| -> io::Result<()> {
        if let Some((topic, index)) = partition_of(&dir)
            && !inspect::segments(fs, &dir)?.is_empty()
        {
            found.entry(topic).or_default().push(SourcePartition { index, dir });
        }
        Ok(())
    };
    take(from.to_path_buf())?;
    for entry in fs.list(from)?.into_iter().filter(|entry| entry.is_dir) {
        take(from.join(entry.name))?;
    }
    for partitions in found.values_mut() {
        partitions.sort_unstable_by_key(|each| each.index);
    }
    Ok(found)
}

/// The topic and partition that a folder is named for.
fn partition_of(dir: &Path) -> Option<(TopicName, PartitionIndex)> {
    let (topic, index) = dir.file_name()?.to_str()?.rsplit_once('-')?;
    let index: u16 = index.parse().ok().filter(|number: &u16| number.to_string() == index)?;
    Some((TopicName::new(topic).ok()?, PartitionIndex::new(i32::from(index))))
}

/// The first offset that may be read there, where anything says so besides the first segment's name.
pub(super) fn start_of(fs: &dyn Fs, dir: &Path) -> io::Result<Option<Offset>> {
    if let Found::Newest(checkpoint) = checkpoint::look(fs, &dir.join(CHECKPOINT_FILE))? {
        return Ok(Some(checkpoint.log_start));
    }
    let path = folder_of(dir).join(KAFKA_START_OFFSETS);
    if !fs.exists(&path)? {
        return Ok(None);
    }
    let file = fs.open(&path, Open::Read)?;
    let mut bytes = vec![0; file.len()?.min(START_OFFSETS_MAX) as usize];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    let Some((topic, index)) = partition_of(dir) else { return Ok(None) };
    Ok(start_in(&String::from_utf8_lossy(&bytes), topic.as_str(), index))
}

/// Lines `topic partition offset` below a version and a count.
fn start_in(text: &str, topic: &str, index: PartitionIndex) -> Option<Offset> {
    let mut starts = text.lines().skip(2).filter_map(|line| {
        let mut words = line.split_whitespace();
        let (named, partition) = (words.next()?, words.next()?.parse().ok()?);
        let offset: i64 = words.next()?.parse().ok()?;
        (named == topic && PartitionIndex::new(partition) == index && offset >= 0)
            .then(|| Offset::new(offset))
    });
    starts.next()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{partition_of, start_in};
    use crate::model::{Offset, PartitionIndex};

    #[test]
    fn a_folder_is_a_partitions_if_it_is_named_like_one() {
        let named =
            |name: &str| partition_of(Path::new(name)).map(|(topic, at)| (topic.to_string(), at.get()));
        assert_eq!(named("/kafka/logs/orders-0"), Some(("orders".to_owned(), 0)));
        assert_eq!(named("orders-eu-12"), Some(("orders-eu".to_owned(), 12)));
        for other in ["orders", "orders-", "-1", "orders-01", "orders-0.9f-delete", "orders-99999", "/"] {
            assert_eq!(named(other), None, "{other}");
        }
    }

    #[test]
    fn kafkas_checkpoint_of_start_offsets_is_understood() {
        let text = "0\n2\norders 1 17\norders-eu 0 4\n";
        let start = |topic, index| start_in(text, topic, PartitionIndex::new(index));
        assert_eq!(start("orders", 1), Some(Offset::new(17)));
        assert_eq!(start("orders-eu", 0), Some(Offset::new(4)));
        assert_eq!(start("orders", 0), None);
        assert_eq!(start_in("garbage", "orders", PartitionIndex::new(0)), None);
    }
}
