//! From a folder to a leader: a new epoch, then the log, on a thread that may block.

use std::{io, sync::Arc, time::Duration};

use super::LeaderArgs;
use crate::{
    actors::membership::MembershipError,
    config::topic::TopicConfig,
    model::LeaderEpoch,
    storage::{
        log::{Log, OpenError},
        partition_folder::{self, FolderError, Prepared},
        recovery::RecoveryReport,
    },
};

/// The epoch of a partition's very first opening.
const FIRST_EPOCH: LeaderEpoch = LeaderEpoch::new(0);

/// What came of an opening.
#[derive(Debug)]
pub struct Opened {
    /// The epoch that was taken for it, where one was to be had.
    pub epoch: LeaderEpoch,
    /// How long the log's opening took, recovery and all.
    pub took: Duration,
    /// The log and what recovery did to it, or why there is none.
    pub result: Result<(Log, RecoveryReport), OpeningError>,
}

/// Why a replica cannot lead now. Its supervisor tries again.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    /// No new leader epoch was to be had, and without one no log is opened for writing (S6).
    #[error("no leader epoch")]
    Epoch(#[from] MembershipError),
    /// The partition has no folder to work in.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder's log cannot be opened.
    #[error("log cannot be opened")]
    Log(#[from] OpenError),
    /// The thread that was to open it is gone.
    #[error("opening thread ended")]
    Thread(#[source] io::Error),
}

/// Takes a leader epoch, which is durable before any byte is written under it (S6), then opens the log.
pub(super) async fn open(args: LeaderArgs) -> Opened {
    let epoch = match args.membership.open_epoch(args.partition.id()).await {
        Ok(epoch) => epoch,
        Err(error) => {
            return Opened { epoch: LeaderEpoch::NONE, took: Duration::ZERO, result: Err(error.into()) };
        }
    };
    let clock = Arc::clone(&args.clock);
    let began = clock.monotonic();
    let config = args.config();
    let io = args.io.clone();
    let opening = io.spawn_blocking(move || open_log(&args, epoch, &config));
    let result = match opening.await {
        Ok(opened) => opened,
        Err(join) => Err(OpeningError::Thread(io::Error::other(join))),
    };
    Opened { epoch, took: clock.monotonic().saturating_sub(began), result }
}

fn open_log(
    args: &LeaderArgs,
    epoch: LeaderEpoch,
    config: &TopicConfig,
) -> Result<(Log, RecoveryReport), OpeningError> {
    let (fs, id) = (Arc::clone(&args.fs), args.partition.id());
    let prepared = partition_folder::prepare(fs.as_ref(), &args.folder, id, args.clock.wall())?;
    if prepared == Prepared::Made && epoch > FIRST_EPOCH {
        tracing::error!(partition = %args.label, "its folder is gone; it starts empty under epoch {epoch}");
    }
    let options = super::options::log_options(config);
    Ok(Log::open(fs, &args.folder, id, epoch, options, Arc::clone(&args.clock))?)
}
