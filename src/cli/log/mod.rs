//! `polylogue log`: looks into the files of a data folder, mends them, and brings topics in.
//!
//! All of it is done by this process: no node may run in the folder meanwhile, and its lock sees to that.

mod dump;
mod import;
mod mend;
mod progress;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::topic_name;
use crate::{
    model::{PartitionIndex, TopicName},
    node::offline::{OfflineData, OfflinePartition},
};

/// What to do with the files.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print what is in files: segments, indexes, checkpoints, the metadata log.
    ///
    /// A segment is printed batch by batch, with --records record by record. Files of Apache Kafka are read
    /// as well, but for its producer snapshots and checkpoints, which are of another format.
    Dump(dump::Flags),
    /// Read everything and say what is not as it was written. Exit code 1: something is lost or wrong.
    ///
    /// Each batch is checked by its checksum, its offset and its neighbours, each index entry and each block
    /// checksum against the batches. Changes nothing.
    Verify(verify::Flags),
    /// Mend what verify finds. Exit code 1: something is still lost.
    ///
    /// Files that are made from the batches are removed where they are wrong, and made anew by the next start.
    /// Batches that are lost come from another copy with --from; --drop-damaged gives them up, so that readers
    /// pass over them without being told again. Without either they stay as they are: never served, and counted
    /// by the running node. The bytes of what is given up are kept beside the log (`*.set-aside`).
    Repair(mend::Flags),
    /// Bring a topic in: a folder of partitions that Apache Kafka wrote, or a back-up of ours.
    ///
    /// Offsets, timestamps, keys, values and headers stay as they are. Transactions are brought to their end
    /// (committed records stay, others go), and idempotent producers begin anew. The source is only read; stop
    /// its broker first. The topic is there as a whole or not at all.
    Import(import::Flags),
}

pub(super) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Dump(flags) => dump::run(&flags),
        Command::Verify(flags) => verify::run(&flags),
        Command::Repair(flags) => mend::run(&flags),
        Command::Import(flags) => import::run(&flags),
    }
}

/// Which folders.
#[derive(Args, Clone, Debug)]
struct Where {
    /// The data folder of the node.
    #[arg(long, value_name = "DIR", default_value = "./polylogue-data")]
    data_dir: PathBuf,
    /// Only this topic [default: all]
    #[arg(long, value_name = "NAME", value_parser = topic_name)]
    topic: Option<TopicName>,
    /// Only this partition of each topic [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
}

impl Where {
    /// The partitions that are meant; it is an error if there are none although some were asked for.
    fn partitions(&self, data: &OfflineData) -> anyhow::Result<Vec<OfflinePartition>> {
        let mut partitions = data.partitions()?;
        let index = self.partition.map(PartitionIndex::new);
        partitions.retain(|each| {
            self.topic.as_ref().is_none_or(|topic| each.topic.as_ref() == Some(topic))
                && index.is_none_or(|index| each.index == Some(index))
        });
        if partitions.is_empty() && (self.topic.is_some() || index.is_some()) {
            anyhow::bail!("no such partition in {}", self.data_dir.display());
        }
        Ok(partitions)
    }
}

/// How a file is named to people.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
