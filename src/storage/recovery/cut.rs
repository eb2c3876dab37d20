//! Cuts what was never acknowledged off the end, and destroys no whole batch in doing so (S14).

use std::{io, path::PathBuf, sync::Arc};

use super::{Cut, Recovery};
use crate::{
    model::Offset,
    storage::{
        fs::Open,
        segment::{CorruptReason, EpochRule, Scanner, Segment, Source},
    },
};

/// How much is copied at once.
const CHUNK: usize = 256 * 1024;

impl Recovery<'_> {
    /// Cuts the log where it stops being whole.
    pub(super) fn cut_tail(&mut self) -> io::Result<()> {
        let Some((at, position, reason)) = self.replay.cut else { return Ok(()) };
        self.keep_what_is_whole(at, position, reason)?;
        for segment in self.segments.split_off(at + 1).iter().rev() {
            self.folder.fs.remove_file(&segment.path())?;
            self.remove_beside(segment)?;
        }
        if let Some(segment) = self.segments.get(at) {
            let file = self.folder.fs.open(&segment.path(), Open::ReadWrite)?;
            file.set_len(position)?;
            self.or_mark(file.sync_data())?;
            segment.cut(position);
        }
        self.folder.fs.sync_dir(&self.folder.dir)
    }

    /// Reports what is about to be cut, and copies those files of it that hold whole batches.
    pub(super) fn keep_what_is_whole(
        &mut self,
        at: usize,
        position: u64,
        reason: CorruptReason,
    ) -> io::Result<()> {
        let mut bytes = 0;
        for (behind, segment) in self.segments.clone().iter().skip(at).enumerate() {
            let from = if behind == 0 { position } else { 0 };
            bytes += segment.size() - from;
            let end = if behind == 0 { self.replay.end } else { segment.base() };
            if self.holds_whole_batch(segment, from)? {
                let aside = self.copy_aside(segment, from, end)?;
                tracing::error!(file = %aside.display(), "unacknowledged batches behind a hole are set aside");
                self.report.set_aside.push(aside);
            }
        }
        let file = self.segments.get(at).map(|segment| segment.path()).unwrap_or_default();
        self.report.cut = Some(Cut { offset: self.replay.end, file, position, bytes, reason });
        Ok(())
    }

    fn holds_whole_batch(&self, segment: &Arc<Segment>, from: u64) -> io::Result<bool> {
        let start = (from, Offset::new(-1));
        Scanner::new(self.source(segment)?, start, (segment.size(), None), EpochRule::any())
            .holds_whole_batch()
    }

    /// Copies a file's end into one that no opening takes for the log's.
    fn copy_aside(&self, segment: &Arc<Segment>, from: u64, end: Offset) -> io::Result<PathBuf> {
        let fs = &self.folder.fs;
        let path = self.folder.set_aside(end)?;
        let copy = fs.open(&path, Open::CreateNew)?;
        copy_range(&self.source(segment)?, from..segment.size(), &*copy, 0)?;
        copy.sync_data()?;
        fs.sync_dir(&self.folder.dir)?;
        Ok(path)
    }
}

/// Copies bytes to a position of another file and says how many there were.
pub(super) fn copy_range(
    from: &Source,
    range: std::ops::Range<u64>,
    to: &dyn crate::storage::fs::File,
    at: u64,
) -> io::Result<u64> {
    let mut buf = vec![0; CHUNK];
    let mut done = 0;
    while range.start + done < range.end {
        let want = usize::try_from(range.end - range.start - done).unwrap_or(CHUNK).min(CHUNK);
        let read = from.read_at(buf.get_mut(..want).unwrap_or_default(), range.start + done)?;
        if read == 0 {
            break;
        }
        to.write_all_at(buf.get(..read).unwrap_or_default(), at + done)?;
        done += read as u64;
    }
    Ok(done)
}
