//! From a folder, or from another role, to a follower's log, on a thread that may block.

use std::{io, sync::Arc, time::Duration};

use super::FollowerArgs;
use crate::{
    actors::partition::{HandedOver, options::log_options},
    model::{LeaderEpoch, Offset},
    storage::{
        log::{Log, OpenError},
        partition_folder::{self, FolderError},
        recovery::RecoveryReport,
    },
};

/// What came of an opening.
#[derive(Debug)]
pub struct Opened {
    /// How far the log is known to be committed; its start where nothing is known.
    pub high_watermark: Offset,
    /// How long the log's opening took, recovery and all.
    pub took: Duration,
    /// The log, and what recovery did to it unless it was open, or why there is none.
    pub result: Result<(Box<Log>, Option<RecoveryReport>), OpeningError>,
}

/// Why a replica cannot follow now. Its supervisor tries again.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
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

/// Takes the log that another role has open, or opens it.
pub(super) async fn open(args: FollowerArgs) -> Opened {
    if let Some((HandedOver { log, high_watermark }, _)) = args.inheritance.take() {
        return Opened { high_watermark, took: Duration::ZERO, result: Ok((log, None)) };
    }
    let (io, clock) = (args.io.clone(), Arc::clone(&args.clock));
    let began = clock.monotonic();
    let result = match io.spawn_blocking(move || open_log(&args)).await {
        Ok(opened) => opened,
        Err(join) => Err(OpeningError::Thread(io::Error::other(join))),
    };
    let took = clock.monotonic().saturating_sub(began);
    Opened { high_watermark: Offset::ZERO, took, result }
}

fn open_log(args: &FollowerArgs) -> Result<(Box<Log>, Option<RecoveryReport>), OpeningError> {
    let (fs, id) = (Arc::clone(&args.fs), args.partition.id());
    partition_folder::prepare(fs.as_ref(), &args.folder, id, args.clock.wall())?;
    // What is in the log was sent by leaders that the image knows of by now (S12).
    let latest = args.led().epoch.max(LeaderEpoch::new(0));
    let options = log_options(&args.config());
    let clock = Arc::clone(&args.clock);
    let (log, report) = Log::open_to_follow(fs, &args.folder, id, latest, options, clock)?;
    Ok((Box::new(log), Some(report)))
}
