//! Reads all of a partition before any of it is taken over.

use std::path::{Path, PathBuf};

use super::{ImportError, io_error, source::start_of, transactions::Transactions};
use crate::{
    model::{Offset, TimestampMs},
    record::BatchHeader,
    storage::{
        fs::{Fs, Open},
        inspect::{self, Damage, Gaps, Piece, SegmentFile, SegmentWalk},
    },
};

/// What is in a partition that is to be taken over.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Its folder.
    pub dir: PathBuf,
    /// Bytes of all batches.
    pub bytes: u64,
    /// Batches that are kept.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Batches that are left out: of transactions that were aborted or never ended, and their markers.
    pub left_out: u64,
    /// Offsets that no batch has.
    pub missing: i64,
    /// The first offset that may be read.
    pub start: Offset,
    /// The offset behind the last.
    pub end: Offset,
    /// The first offset of the first batch that is kept.
    pub(super) begin: Option<Offset>,
    /// The highest timestamp of the first segment that has any: whether retention would remove it.
    pub oldest: Option<TimestampMs>,
    /// Bytes at the end that are no whole batch, as a crash leaves them; they are left out.
    pub torn: Option<(PathBuf, Damage)>,
    /// Where damage was passed over, if that was allowed.
    pub damaged: Vec<(PathBuf, Damage)>,
    pub(super) segments: Vec<SegmentFile>,
    pub(super) transactions: Transactions,
}

impl Survey {
    pub(super) fn end_of(&self, at: usize) -> Option<Offset> {
        self.segments.get(at + 1).map(|next| next.base)
    }

    /// Whether this batch belongs to the part that is read.
    pub(super) fn reaches(&self, next_offset: Offset) -> bool {
        next_offset > self.start
    }
}

/// Reads a partition. Damage other than a torn end is an error unless `skip_damaged`. `on_bytes` is told of
/// batches as they are read.
pub fn survey(
    fs: &dyn Fs,
    dir: &Path,
    skip_damaged: bool,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<Survey, ImportError> {
    let segments = inspect::segments(fs, dir).map_err(io_error(dir))?;
    let first = segments.first().map_or(Offset::ZERO, |first| first.base);
    let said = start_of(fs, dir).map_err(io_error(dir))?;
    let mut survey = Survey {
        dir: dir.to_path_buf(),
        bytes: 0,
        batches: 0,
        records: 0,
        left_out: 0,
        missing: 0,
        start: said.map_or(first, |said| said.max(first)),
        end: first,
        begin: None,
        oldest: None,
        torn: None,
        damaged: Vec::new(),
        segments,
        transactions: Transactions::default(),
    };
    for at in 0..survey.segments.len() {
        survey.read(fs, at, skip_damaged, on_bytes)?;
    }
    survey.start = survey.start.min(survey.end);
    if survey.left_out > 0 {
        survey.count_again(fs)?;
    }
    Ok(survey)
}

impl Survey {
    fn read(
        &mut self,
        fs: &dyn Fs,
        at: usize,
        skip_damaged: bool,
        on_bytes: &mut dyn FnMut(u64),
    ) -> Result<(), ImportError> {
        let Some(segment) = self.segments.get(at).cloned() else { return Ok(()) };
        let failed = || io_error(&segment.path);
        refuse_old_format(fs, &segment.path)?;
        let end = self.end_of(at);
        let mut walk =
            SegmentWalk::open(fs, &segment.path, (segment.base, end), Gaps::Allowed).map_err(failed())?;
        let mut newest = None;
        while let Some(piece) = walk.step().map_err(failed())? {
            match piece {
                Piece::Batch { header, .. } => {
                    self.bytes += header.total_len() as u64;
                    on_bytes(header.total_len() as u64);
                    newest = newest.max(Some(header.max_timestamp));
                    if header.is_control() {
                        self.transactions.note(&header, walk.batch());
                    }
                    self.count(&header, !header.is_control() && !header.is_transactional());
                }
                Piece::Gap { first, next } => self.missing += next.distance_from(first),
                Piece::Damage(damage) => {
                    let file = segment.path.clone();
                    if end.is_none() && damage.position + damage.len == walk.len() {
                        self.torn = Some((file, damage));
                    } else if skip_damaged {
                        self.missing += damage.next.distance_from(damage.first);
                        self.damaged.push((file, damage));
                    } else {
                        return Err(ImportError::Damaged { file, damage });
                    }
                }
            }
        }
        self.end = walk.next_offset().max(segment.base);
        self.oldest = self.oldest.or(newest);
        Ok(())
    }

    fn count(&mut self, header: &BatchHeader, is_kept: bool) {
        if !self.reaches(header.next_offset()) {
            return;
        }
        if is_kept {
            self.begin.get_or_insert(header.base_offset);
            self.batches += 1;
            self.records += u64::from(header.record_count.max(0).unsigned_abs());
        } else {
            self.left_out += 1;
        }
    }

    /// Which transactions are kept is known only once all markers have been seen.
    fn count_again(&mut self, fs: &dyn Fs) -> Result<(), ImportError> {
        (self.begin, self.batches, self.records, self.left_out) = (None, 0, 0, 0);
        for at in 0..self.segments.len() {
            let Some(segment) = self.segments.get(at).cloned() else { continue };
            let failed = || io_error(&segment.path);
            let end = self.end_of(at);
            let mut walk =
                SegmentWalk::open(fs, &segment.path, (segment.base, end), Gaps::Allowed).map_err(failed())?;
            while let Some(piece) = walk.step().map_err(failed())? {
                let Piece::Batch { header, .. } = piece else { continue };
                self.count(&header, self.transactions.keep(&header));
            }
        }
        Ok(())
    }
}

fn refuse_old_format(fs: &dyn Fs, path: &Path) -> Result<(), ImportError> {
    let mut head = [0; 17];
    let read = fs.open(path, Open::Read).and_then(|file| file.read_at(&mut head, 0));
    let whole = read.map_err(io_error(path))? == head.len();
    match head[16] {
        magic @ (0 | 1) if whole && head.iter().any(|byte| *byte != 0) => {
            Err(ImportError::OldFormat { file: path.to_path_buf(), magic })
        }
        _ => Ok(()),
    }
}
