//! From a folder to a leader: a new epoch, then the log, on a thread that may block.

use std::{io, sync::Arc, time::Duration};

use super::{HandedOver, LeaderArgs};
use crate::{
    actors::membership::MembershipError,
    config::topic::TopicConfig,
    metrics::Metrics,
    model::{LeaderEpoch, Offset},
    storage::{
        log::{EpochRefused, Log, OpenError},
        partition_folder::{self, FolderError, Prepared},
        recovery::RecoveryReport,
    },
};

/// The epoch of a partition's very first opening.
const FIRST_EPOCH: LeaderEpoch = LeaderEpoch::new(0);

/// A recovery that takes as long as this is worth a line.
const LONG_RECOVERY: Duration = Duration::from_secs(1);

/// What came of an opening.
#[derive(Debug)]
pub struct Opened {
    /// The epoch that was taken for it, where one was to be had.
    pub epoch: LeaderEpoch,
    /// How far the log is known to be committed, where it came from another role.
    pub high_watermark: Option<Offset>,
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
    /// The log that was handed over cannot lead under its epoch.
    #[error("log cannot be taken over")]
    TakeOver(#[from] EpochRefused),
    /// The folder's log cannot be opened.
    #[error("log cannot be opened")]
    Log(#[from] OpenError),
    /// The thread that was to open it is gone.
    #[error("opening thread ended")]
    Thread(#[source] io::Error),
}

/// Takes a leader epoch, which is durable before any byte is written under it (S6), then opens the log.
pub(super) async fn open(args: LeaderArgs) -> Opened {
    if let Some((handed, epoch)) = args.cluster.inheritance.take() {
        return take_over(handed, epoch);
    }
    let epoch = match args.membership.open_epoch(args.partition.id()).await {
        Ok(epoch) => epoch,
        Err(error) => {
            let (epoch, result) = (LeaderEpoch::NONE, Err(error.into()));
            return Opened { epoch, high_watermark: None, took: Duration::ZERO, result };
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
    Opened { epoch, high_watermark: None, took: clock.monotonic().saturating_sub(began), result }
}

/// The log that a follower had open: it leads from its end on, under the epoch that it was elected with.
fn take_over(handed: HandedOver, epoch: LeaderEpoch) -> Opened {
    let HandedOver { mut log, high_watermark } = handed;
    let result = match log.begin_epoch(epoch) {
        Ok(()) => {
            let log_end = log.log_end_offset();
            Ok((*log, RecoveryReport { log_end, ..RecoveryReport::default() }))
        }
        Err(refused) => Err(refused.into()),
    };
    Opened { epoch, high_watermark: Some(high_watermark), took: Duration::ZERO, result }
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

/// What recovery has found, whichever role the log was opened for.
pub(super) fn report_recovery(metrics: &Metrics, label: &str, report: &RecoveryReport, took: Duration) {
    metrics.recovery_bytes.inc_by(report.bytes_read);
    metrics.corrupt_batches.inc_by(report.corrupt.len() as u64);
    if report.clean.is_none() && report.log_end > Offset::ZERO {
        metrics.recoveries.inc();
        metrics.recovery_seconds.inc_by(took.as_secs_f64());
        // A node that keeps hundreds of partitions would say it hundreds of times.
        if report.is_ordinary() && took < LONG_RECOVERY {
            tracing::debug!(partition = %label, "recovered: {report}");
        } else {
            tracing::info!(partition = %label, ?took, "recovered: {report}");
        }
    }
    for batch in &report.corrupt {
        tracing::error!(partition = %label, "corrupt batch is skipped: {batch}");
    }
}
