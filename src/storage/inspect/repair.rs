//! Mends a folder that nobody has open.
//!
//! What can be made anew from the batches is removed, and whoever opens the log next makes it. A batch that is
//! lost comes from another copy of the folder where one is given; where there is none it can be given up for
//! good, and then an empty batch stands in its place, as compaction leaves them: readers go on behind it and
//! nobody is told of damage again. The bytes that stood there are kept beside the log.
//!
//! A segment is never changed in place. The mended one is written beside it and synced, what was made from the
//! old one goes, and then the new one takes the old one's name: a crash between any two steps leaves a log
//! that is no worse than before.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    verify::{Finding, Flaw, FolderReport, verify},
    walk::{Damage, Gaps, Piece, SegmentWalk},
};
use crate::{
    model::{LeaderEpoch, Offset, TimestampMs},
    record::{BatchHeader, empty_batch},
    storage::{
        checkpoint::{self, Checkpoint, CheckpointFile, Found},
        compaction::finish_all,
        fs::{File, Fs, Open, create_anew},
        leader_epochs::LeaderEpochs,
        log::{
            CorruptReason,
            checkpoint::{CHECKPOINT_FILE, EPOCHS_FILE},
        },
        segment::{FileKind, Folder, UNFINISHED_SUFFIX, with_suffix},
    },
};

/// How much is copied at once.
const CHUNK: usize = 1 << 20;

/// How to mend.
#[derive(Clone, Copy, Debug, Default)]
pub struct RepairOptions<'a> {
    /// The same partition's folder from a back-up or another node: lost batches are taken from there.
    pub from: Option<&'a Path>,
    /// Batches that are to be had nowhere are given up: empty ones take their place.
    pub drop_damaged: bool,
    /// Only find out what would be done.
    pub dry_run: bool,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mended {
    /// Lost offsets were taken from the copy.
    Restored {
        /// The segment's file.
        file: PathBuf,
        /// The first offset.
        first: Offset,
        /// The offset behind the last.
        next: Offset,
    },
    /// Lost offsets were given up.
    Dropped {
        /// The segment's file.
        file: PathBuf,
        /// The first offset.
        first: Offset,
        /// The offset behind the last.
        next: Offset,
        /// Where the bytes are kept that stood there, if there were any.
        kept: Option<PathBuf>,
    },
    /// A file that is made anew when the log is opened was removed.
    Removed {
        /// The file.
        file: PathBuf,
    },
    /// Nothing could be done about it.
    Left(Finding),
}

/// Why a folder could not be mended. What was mended before stays so.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The disk failed.
    #[error("{action} {path}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The disk's error.
        #[source]
        source: io::Error,
    },
    /// The copy has other records at the same offsets.
    #[error("{copy} is not a copy of this log: its batch at offset {offset} is another one")]
    NotACopy {
        /// The copy's folder.
        copy: PathBuf,
        /// Where it differs.
        offset: Offset,
    },
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RepairError {
    let path = path.to_path_buf();
    move |source| RepairError::Io { action, path, source }
}

/// Mends what [`verify`] finds in a folder, which nobody may have open; what was found, and what was done
/// about it. `on_bytes` is told of batches as they are read.
pub fn repair(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    options: RepairOptions<'_>,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<(FolderReport, Vec<Mended>), RepairError> {
    let folder = Folder::new(Arc::clone(fs), dir);
    if !options.dry_run {
        let entries = fs.list(dir).map_err(io_error("list", dir))?;
        finish_all(&folder, &entries).map_err(io_error("finish the compaction of", dir))?;
    }
    let report = verify(fs, dir, on_bytes).map_err(io_error("read", dir))?;
    // Missing or damaged they are taken from the batches by whoever opens the log next.
    let terms =
        LeaderEpochs::load(fs.as_ref(), &folder.named(EPOCHS_FILE)).ok().flatten().unwrap_or_default();
    let mut repairing = Repairing { folder, options, checkpoint: None, terms, mended: Vec::new() };
    repairing.run(&report)?;
    Ok((report, repairing.mended))
}

struct Repairing<'a> {
    folder: Folder,
    options: RepairOptions<'a>,
    checkpoint: Option<Checkpoint>,
    terms: LeaderEpochs,
    mended: Vec<Mended>,
}

impl Repairing<'_> {
    fn run(&mut self, report: &FolderReport) -> Result<(), RepairError> {
        let fs = Arc::clone(&self.folder.fs);
        let path = self.folder.named(CHECKPOINT_FILE);
        if let Found::Newest(checkpoint) =
            checkpoint::look(fs.as_ref(), &path).map_err(io_error("read", &path))?
        {
            self.checkpoint = Some(checkpoint);
        }
        let dir = self.folder.dir.clone();
        let segments = super::segments(fs.as_ref(), &dir).map_err(io_error("list", &dir))?;
        for finding in report.findings.iter().filter(|finding| !finding.flaw.is_note()) {
            self.small(finding)?;
        }
        for (at, segment) in segments.iter().enumerate() {
            let in_it = |finding: &&Finding| finding.file == segment.path && finding.flaw.loses_records();
            let lost: Vec<&Finding> = report.findings.iter().filter(in_it).collect();
            let is_last = at + 1 == segments.len();
            // Only the last one can be too short without a batch being hit.
            let flushed = self.checkpoint.map(|checkpoint| checkpoint.flushed).filter(|_| is_last);
            let is_short = flushed.is_some_and(|flushed| report.log_end < flushed);
            if lost.is_empty() && !is_short {
                continue;
            }
            if self.options.from.is_none() && !self.options.drop_damaged {
                self.mended.extend(lost.into_iter().cloned().map(Mended::Left));
                continue;
            }
            let end = segments.get(at + 1).map(|next| next.base);
            Rewrite::new(self, segment.base, segment.path.clone(), end, flushed).run()?;
        }
        Ok(())
    }

    /// What is made anew from the batches by whoever opens the log next.
    fn small(&mut self, finding: &Finding) -> Result<(), RepairError> {
        let file = &finding.file;
        let again = match &finding.flaw {
            Flaw::Index => vec![file.clone(), file.with_extension("timeindex")],
            Flaw::Checksums => vec![file.clone()],
            Flaw::OwnFile(_) if *file != self.folder.named(CHECKPOINT_FILE) => vec![file.clone()],
            // A checkpoint without a whole slot is understood as it is: all of the log is read.
            Flaw::OwnFile(_) => {
                self.mended.push(Mended::Left(finding.clone()));
                return Ok(());
            }
            Flaw::Short { .. } if self.options.from.is_none() && !self.options.drop_damaged => {
                self.mended.push(Mended::Left(finding.clone()));
                return Ok(());
            }
            Flaw::Damaged(_) if *file == self.folder.named(CHECKPOINT_FILE) => {
                self.mended.push(Mended::Left(finding.clone()));
                return Ok(());
            }
            Flaw::Damaged(_)
            | Flaw::Short { .. }
            | Flaw::TornEnd { .. }
            | Flaw::NotThere(_)
            | Flaw::Poisoned
            | Flaw::SetAside
            | Flaw::CutShort => return Ok(()),
        };
        for file in again {
            self.remove(&file)?;
        }
        Ok(())
    }

    fn remove(&mut self, file: &Path) -> Result<(), RepairError> {
        let fs = &self.folder.fs;
        if !fs.exists(file).map_err(io_error("look for", file))? {
            return Ok(());
        }
        self.mended.push(Mended::Removed { file: file.to_path_buf() });
        if self.options.dry_run {
            return Ok(());
        }
        fs.remove_file(file).map_err(io_error("remove", file))?;
        fs.sync_dir(&self.folder.dir).map_err(io_error("sync", &self.folder.dir))
    }
}

/// A segment that is being written anew.
struct Rewrite<'a, 'b> {
    repairing: &'a mut Repairing<'b>,
    base: Offset,
    path: PathBuf,
    end: Option<Offset>,
    /// Of the last segment: up to where there must be batches.
    flushed: Option<Offset>,
    out: Option<Arc<dyn File>>,
    written: u64,
    /// Where the checkpoint's offset begins in the new file.
    flushed_at: Option<u64>,
    before: Option<BatchHeader>,
    mended: Vec<Mended>,
}

impl<'a, 'b> Rewrite<'a, 'b> {
    fn new(
        repairing: &'a mut Repairing<'b>,
        base: Offset,
        path: PathBuf,
        end: Option<Offset>,
        flushed: Option<Offset>,
    ) -> Self {
        let mended = Vec::new();
        let (out, written, flushed_at, before) = (None, 0, None, None);
        Self { repairing, base, path, end, flushed, out, written, flushed_at, before, mended }
    }

    fn fs(&self) -> Arc<dyn Fs> {
        Arc::clone(&self.repairing.folder.fs)
    }

    fn run(mut self) -> Result<(), RepairError> {
        let unfinished = with_suffix(&self.path, UNFINISHED_SUFFIX);
        if !self.repairing.options.dry_run {
            self.out = Some(self.begin(&unfinished)?);
        }
        self.write()?;
        let changed = self.mended.iter().any(|mended| !matches!(mended, Mended::Left(_)));
        if self.out.is_some() {
            if changed {
                self.replace(&unfinished)?;
            } else {
                self.fs().remove_file(&unfinished).map_err(io_error("remove", &unfinished))?;
            }
        }
        self.repairing.mended.append(&mut self.mended);
        Ok(())
    }

    fn begin(&self, unfinished: &Path) -> Result<Arc<dyn File>, RepairError> {
        create_anew(&*self.fs(), unfinished).map_err(io_error("make", unfinished))
    }

    /// Writes whole batches as they are and mends what is between them.
    fn write(&mut self) -> Result<(), RepairError> {
        let fs = self.fs();
        let path = self.path.clone();
        let failed = || io_error("read", &path);
        let walk =
            SegmentWalk::open(fs.as_ref(), &path, (self.base, self.end), Gaps::Damage).map_err(failed())?;
        let mut walk = walk.with_terms(&self.repairing.terms).with_certain(self.repairing.checkpoint);
        while let Some(piece) = walk.step().map_err(failed())? {
            match piece {
                Piece::Batch { header, .. } => {
                    self.put(walk.batch(), header.base_offset)?;
                    self.before = Some(header);
                }
                Piece::Gap { .. } => {}
                // Bytes where none should be: the log goes on behind them, and lacks nothing.
                Piece::Damage(damage)
                    if damage.first == damage.next && damage.position + damage.len < walk.len() =>
                {
                    self.copy_as_is(damage)?;
                }
                Piece::Damage(damage) => self.mend(damage)?,
            }
        }
        let (end, position) = (walk.next_offset(), walk.len());
        if let Some(torn_at) = walk.torn_at() {
            return self.keep_torn_end(end, torn_at, position);
        }
        if let Some(flushed) = self.flushed.filter(|flushed| end < *flushed) {
            let reason = CorruptReason::Missing;
            // Bytes that are no batch at the end have been looked at already, without knowing how far they went.
            if self.mended.is_empty() || self.before.is_some_and(|before| before.next_offset() < flushed) {
                let first = self.before.map_or(end, |before| before.next_offset()).max(end);
                self.mend(Damage { position, len: 0, first, next: flushed, reason })?;
            }
        }
        Ok(())
    }

    /// What was never acknowledged is the next opening's to cut off, which keeps what is whole of it.
    fn keep_torn_end(&mut self, end: Offset, position: u64, len: u64) -> Result<(), RepairError> {
        if self.repairing.checkpoint.is_some_and(|checkpoint| checkpoint.flushed == end) {
            self.flushed_at = Some(self.written);
        }
        let (len, reason) = (len.saturating_sub(position), CorruptReason::Cut);
        self.copy_as_is(Damage { position, len, first: end, next: end, reason })
    }

    fn put(&mut self, bytes: &[u8], base: Offset) -> Result<(), RepairError> {
        if self.repairing.checkpoint.is_some_and(|checkpoint| checkpoint.flushed == base) {
            self.flushed_at = Some(self.written);
        }
        if let Some(out) = &self.out {
            out.write_all_at(bytes, self.written).map_err(io_error("write to", &self.path))?;
        }
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn mend(&mut self, damage: Damage) -> Result<(), RepairError> {
        let Damage { first, mut next, .. } = damage;
        if next <= first {
            // At the end of the last segment nothing says how many offsets there were, but for the checkpoint.
            next = self.flushed.unwrap_or(first);
        }
        if next <= first {
            return Ok(()); // Never acknowledged.
        }
        let file = self.path.clone();
        if let Some(from) = self.repairing.options.from
            && self.restore(from, first, next)?
        {
            self.mended.push(Mended::Restored { file, first, next });
            return Ok(());
        }
        if !self.repairing.options.drop_damaged {
            let lost = Damage { next, ..damage };
            self.mended.push(Mended::Left(Finding { file, flaw: Flaw::Damaged(lost) }));
            return self.copy_as_is(damage);
        }
        let kept = self.set_aside(damage)?;
        let before = self.before.map(|before| before.partition_leader_epoch);
        let epoch = self.repairing.terms.epoch_at(first).or(before).unwrap_or(LeaderEpoch::new(0));
        let mut at = first;
        while at < next {
            let count = i32::try_from(next.distance_from(at)).unwrap_or(i32::MAX);
            let newest = self.before.map_or(TimestampMs::NONE, |before| before.max_timestamp);
            let batch = empty_batch(at, count, epoch, newest);
            self.put(&batch, at)?;
            self.before = BatchHeader::parse(&batch).ok();
            at = at.plus(i64::from(count));
        }
        self.mended.push(Mended::Dropped { file, first, next, kept });
        Ok(())
    }

    /// Takes the offsets from the copy; `false`, with nothing written, where it does not have all of them.
    fn restore(&mut self, from: &Path, first: Offset, next: Offset) -> Result<bool, RepairError> {
        let fs = self.fs();
        let began_at = self.written;
        let mut at = first;
        let segments = super::segments(fs.as_ref(), from).map_err(io_error("list", from))?;
        let begin = segments.partition_point(|segment| segment.base <= first).saturating_sub(1);
        for (index, segment) in segments.iter().enumerate().skip(begin) {
            if segment.base >= next {
                break;
            }
            let end = segments.get(index + 1).map(|next| next.base);
            let read = || io_error("read", &segment.path);
            let mut walk = SegmentWalk::open(fs.as_ref(), &segment.path, (segment.base, end), Gaps::Allowed)
                .map_err(read())?;
            while let Some(piece) = walk.step().map_err(read())? {
                let Piece::Batch { header, .. } = piece else { continue };
                self.refuse_another_log(from, &header)?;
                if header.base_offset == at && header.next_offset() <= next {
                    self.put(walk.batch(), at)?;
                    at = header.next_offset();
                    self.before = Some(header);
                }
                if header.base_offset >= next {
                    break;
                }
            }
        }
        if at == next {
            return Ok(true);
        }
        self.written = began_at;
        if let Some(out) = &self.out {
            out.set_len(began_at).map_err(io_error("cut", &self.path))?;
        }
        Ok(false)
    }

    /// The batch before the hole must be the same in both.
    fn refuse_another_log(&self, copy: &Path, theirs: &BatchHeader) -> Result<(), RepairError> {
        let Some(ours) = self.before.filter(|ours| ours.base_offset == theirs.base_offset) else {
            return Ok(());
        };
        if ours.crc == theirs.crc && ours.batch_length == theirs.batch_length {
            return Ok(());
        }
        Err(RepairError::NotACopy { copy: copy.to_path_buf(), offset: theirs.base_offset })
    }

    fn copy_as_is(&mut self, damage: Damage) -> Result<(), RepairError> {
        let Some(out) = self.out.clone() else { return Ok(()) };
        let copied = self.copy(damage, out.as_ref(), self.written)?;
        self.written += copied;
        Ok(())
    }

    fn copy(&self, damage: Damage, to: &dyn File, at: u64) -> Result<u64, RepairError> {
        let fs = self.fs();
        let file = fs.open(&self.path, Open::Read).map_err(io_error("open", &self.path))?;
        let mut chunk = vec![0; CHUNK];
        let mut done = 0;
        while done < damage.len {
            let want = usize::try_from(damage.len - done).unwrap_or(CHUNK).min(CHUNK);
            let piece = chunk.get_mut(..want).unwrap_or_default();
            // A sector that cannot be read is kept as zeros.
            let read = file.read_at(piece, damage.position + done).unwrap_or(want).min(want);
            if read == 0 {
                break;
            }
            to.write_all_at(piece.get(..read).unwrap_or_default(), at + done)
                .map_err(io_error("write to", &self.path))?;
            done += read as u64;
        }
        Ok(done)
    }

    /// Keeps what stood there, beside the log.
    fn set_aside(&self, damage: Damage) -> Result<Option<PathBuf>, RepairError> {
        if damage.len == 0 || self.repairing.options.dry_run {
            return Ok(None);
        }
        let fs = self.fs();
        let folder = &self.repairing.folder;
        let path = folder.set_aside(damage.first).map_err(io_error("look into", &folder.dir))?;
        let aside = fs.open(&path, Open::CreateNew).map_err(io_error("make", &path))?;
        self.copy(damage, aside.as_ref(), 0)?;
        aside.sync_data().map_err(io_error("sync", &path))?;
        Ok(Some(path))
    }

    /// The new file takes the old one's place.
    fn replace(&mut self, unfinished: &Path) -> Result<(), RepairError> {
        let fs = self.fs();
        let dir = self.repairing.folder.dir.clone();
        if let Some(out) = &self.out {
            out.sync_data().map_err(io_error("sync", unfinished))?;
        }
        // What is set aside is certain before the only other place of it goes.
        fs.sync_dir(&dir).map_err(io_error("sync", &dir))?;
        let checkpoint = self.repairing.checkpoint.filter(|checkpoint| checkpoint.segment_base == self.base);
        // The position of the old file leads nowhere in the new one: in between there is none.
        self.note_position(checkpoint, 0)?;
        for kind in [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::Checksums] {
            let file = self.repairing.folder.file(self.base, kind);
            if fs.exists(&file).map_err(io_error("look for", &file))? {
                fs.remove_file(&file).map_err(io_error("remove", &file))?;
            }
        }
        fs.sync_dir(&dir).map_err(io_error("sync", &dir))?;
        fs.rename(unfinished, &self.path).map_err(io_error("rename", unfinished))?;
        fs.sync_dir(&dir).map_err(io_error("sync", &dir))?;
        // Within a batch that reaches over it, it has no position.
        let at_the_end = checkpoint
            .zip(self.before)
            .is_some_and(|(checkpoint, before)| before.next_offset() == checkpoint.flushed);
        let position = self.flushed_at.unwrap_or(if at_the_end { self.written } else { 0 });
        self.note_position(checkpoint, position)
    }

    fn note_position(&self, checkpoint: Option<Checkpoint>, position: u64) -> Result<(), RepairError> {
        let Some(checkpoint) = checkpoint else { return Ok(()) };
        let path = self.repairing.folder.named(CHECKPOINT_FILE);
        let written = CheckpointFile::open(self.fs().as_ref(), &path)
            .and_then(|(mut file, _)| file.write(&Checkpoint { position, ..checkpoint }));
        written.map_err(io_error("write", &path))
    }
}
