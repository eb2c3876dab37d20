//! Writes what was surveyed into a log of our own.

use std::{path::Path, sync::Arc};

use super::{ImportError, Survey, io_error};
use crate::{
    clock::Clock,
    model::{BootId, LeaderEpoch, Offset, PartitionId},
    record::{BatchHeader, TimestampType, detach},
    storage::{
        fs::Fs,
        inspect::{Gaps, Piece, SegmentWalk},
        log::{Appended, Log, LogOptions, append::begin_segment},
        segment::Folder,
    },
};

/// Bytes after which what was written is brought to disk.
const FLUSH_BYTES: u64 = 64 << 20;

/// The log that is made.
#[derive(Debug)]
pub struct Target<'a> {
    /// The file system of both.
    pub fs: Arc<dyn Fs>,
    /// The new folder, without any segment yet.
    pub dir: &'a Path,
    /// Whose it will be.
    pub id: PartitionId,
    /// The term of all that was written elsewhere: the first leader here opens a higher one (S6).
    pub epoch: LeaderEpoch,
    /// How it is kept.
    pub options: LogOptions,
    /// For the state of producers, of which there are none.
    pub clock: Arc<dyn Clock>,
}

/// Writes the batches of a survey into a new log and closes it in order: when this returns all of it is on
/// disk. `on_bytes` is told of batches as they are written.
pub fn write(survey: &Survey, target: &Target<'_>, on_bytes: &mut dyn FnMut(u64)) -> Result<(), ImportError> {
    // Where nothing is kept the new log begins where the old one ended.
    let begin = survey.begin.unwrap_or(survey.end);
    let folder = Arc::new(Folder::new(Arc::clone(&target.fs), target.dir));
    drop(begin_segment(folder, begin).map_err(io_error(target.dir))?);
    // The times of what is taken over stay as they are, whoever gives them from now on.
    let options = LogOptions { timestamp_type: TimestampType::CreateTime, ..target.options };
    let (log, _) = Log::open(
        Arc::clone(&target.fs),
        target.dir,
        target.id,
        target.epoch,
        options,
        Arc::clone(&target.clock),
    )?;
    let mut writer = Writer { log, target, held: None, unflushed: 0 };
    for (at, segment) in survey.segments.iter().enumerate() {
        let failed = || io_error(&segment.path);
        let ends = (segment.base, survey.end_of(at));
        let fs = target.fs.as_ref();
        let mut walk = SegmentWalk::open(fs, &segment.path, ends, Gaps::Allowed).map_err(failed())?;
        while let Some(piece) = walk.step().map_err(failed())? {
            let Piece::Batch { header, .. } = piece else { continue };
            if survey.reaches(header.next_offset()) && survey.transactions.keep(&header) {
                on_bytes(header.total_len() as u64);
                writer.take(&header, walk.batch())?;
            }
        }
    }
    writer.finish(survey)
}

struct Writer<'a> {
    log: Log,
    target: &'a Target<'a>,
    /// The last batch, until it is known how far it has to reach.
    held: Option<(BatchHeader, Vec<u8>)>,
    unflushed: u64,
}

impl Writer<'_> {
    fn take(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), ImportError> {
        self.release(header.base_offset)?;
        self.held = Some((*header, batch.to_vec()));
        Ok(())
    }

    /// Appends the batch that was held; the next one begins at `next`.
    fn release(&mut self, next: Offset) -> Result<(), ImportError> {
        let Some((header, mut batch)) = self.held.take() else { return Ok(()) };
        let missing = next.distance_from(header.next_offset());
        let reach = next.distance_from(header.base_offset) - 1;
        let reach = i32::try_from(reach)
            .map_err(|_| ImportError::GapTooWide { after: header.last_offset(), missing })?;
        detach(&mut batch, reach.max(header.last_offset_delta));
        let failed = |source| ImportError::Append { offset: header.base_offset, source };
        let detached =
            BatchHeader::parse(&batch).map_err(|_| failed(crate::storage::log::AppendError::Malformed))?;
        match self.log.append(&batch, &detached, self.target.clock.wall()).map_err(failed)? {
            Appended::New { base, .. } if base == header.base_offset => {}
            // Offsets follow each other because each batch reaches to the next.
            Appended::New { .. } | Appended::Duplicate { .. } => {
                return Err(failed(crate::storage::log::AppendError::Malformed));
            }
        }
        self.unflushed += batch.len() as u64;
        if self.unflushed >= FLUSH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ImportError> {
        self.unflushed = 0;
        let done = self.log.begin_flush().run();
        self.log.finish_flush(done)?;
        if let Some(job) = self.log.checkpoint_job() {
            job.run().map_err(io_error(self.target.dir))?;
        }
        while let Some(job) = self.log.seal_job() {
            job.run().map_err(io_error(self.target.dir))?;
        }
        Ok(())
    }

    fn finish(mut self, survey: &Survey) -> Result<(), ImportError> {
        self.release(survey.end)?;
        self.flush()?;
        let failed = || io_error(self.target.dir);
        if survey.start > self.log.log_start_offset()
            && let Some(job) = self.log.delete_records(survey.start)
        {
            job.run().map_err(failed())?;
        }
        self.log.close_clean(BootId::random()).map_err(failed())
    }
}
