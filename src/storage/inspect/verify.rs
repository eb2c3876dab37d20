//! Reads all of a folder and says what is not as it was written.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    SegmentFile,
    walk::{Damage, Gaps, Piece, SegmentWalk},
};
use crate::{
    model::Offset,
    record::BatchHeader,
    storage::{
        block_checksums::BlockChecksums,
        checkpoint::{self, Checkpoint, Found},
        fs::{Fs, Open},
        index::SegmentIndex,
        leader_epochs::LeaderEpochs,
        log::{
            checkpoint::{CHECKPOINT_FILE, EPOCHS_FILE},
            shared::POISONED_FILE,
        },
        own_file::OwnFileError,
        producer_state::{ProducerLimits, ProducerState},
        segment::{CorruptReason, FileKind, Folder, SET_ASIDE, Segment, parse_name},
    },
};

/// What is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Records are lost: bytes that are no whole batch.
    Damaged(Damage),
    /// The log ends at `end` although it was on disk up to `flushed`: records are lost.
    Short {
        /// Where it ends.
        end: Offset,
        /// Where it ended when it was flushed last.
        flushed: Offset,
    },
    /// An index that leads elsewhere than to the batches that it names.
    Index,
    /// Block checksums of other bytes than the segment's, all of whose batches are whole.
    Checksums,
    /// A small file of our own that is damaged.
    OwnFile(String),
    /// Bytes that were never acknowledged, behind the last batch of the log or from one on that is not whole: the next
    /// opening cuts them off.
    TornEnd {
        /// The first of them.
        position: u64,
        /// How many.
        bytes: u64,
        /// Whether there are whole batches among them, of which the next opening keeps a copy.
        holds_batches: bool,
    },
    /// An index or checksums that are not there: made anew when they are needed.
    NotThere(&'static str),
    /// A flush failed: the next opening reads the disk itself.
    Poisoned,
    /// Bytes that recovery has cut off and kept.
    SetAside,
    /// A compaction that a crash has cut short: the next opening finishes it.
    CutShort,
}

impl Flaw {
    /// Whether records are lost.
    pub fn loses_records(&self) -> bool {
        match self {
            Self::Damaged(damage) => damage.first < damage.next,
            Self::Short { .. } => true,
            Self::Index
            | Self::Checksums
            | Self::OwnFile(_)
            | Self::TornEnd { .. }
            | Self::NotThere(_)
            | Self::Poisoned
            | Self::SetAside
            | Self::CutShort => false,
        }
    }

    /// Whether it is only worth knowing: nothing is lost and nothing has to be done.
    pub const fn is_note(&self) -> bool {
        matches!(
            self,
            Self::TornEnd { .. } | Self::NotThere(_) | Self::Poisoned | Self::SetAside | Self::CutShort
        )
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(Damage { position, len, first, next, .. }) if first == next => {
                write!(f, "{len} bytes at {position} are no batch of their place; no offset is lost")
            }
            Self::Damaged(Damage { position, len, first, next, reason }) => {
                let last = next.plus(-1);
                write!(f, "offsets {first} to {last} lost, {len} bytes at {position}: {reason}")
            }
            Self::Short { end, flushed } => {
                write!(f, "the log ends at offset {end} and was on disk up to {flushed}")
            }
            Self::Index => f.write_str("index leads to where no such batch is"),
            Self::Checksums => f.write_str("block checksums are not those of the segment"),
            Self::OwnFile(what) => f.write_str(what),
            Self::TornEnd { position, bytes, holds_batches } => {
                write!(
                    f,
                    "{bytes} bytes at {position} were never acknowledged; the next start cuts them off"
                )?;
                f.write_str(if *holds_batches { " and keeps a copy of the batches among them" } else { "" })
            }
            Self::NotThere(what) => write!(f, "no {what}; made anew when needed"),
            Self::Poisoned => f.write_str("a flush failed; the next start reads the disk itself"),
            Self::CutShort => f.write_str("a compaction was cut short; the next start finishes it"),
            Self::SetAside => f.write_str("bytes that a recovery cut off and kept; not part of the log"),
        }
    }
}

/// A flaw and the file it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What is in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderReport {
    /// Segments.
    pub segments: usize,
    /// Bytes of batches.
    pub bytes: u64,
    /// Whole batches.
    pub batches: u64,
    /// Records in them, as their headers say.
    pub records: u64,
    /// The first offset that may be read.
    pub log_start: Offset,
    /// The offset behind the last batch.
    pub log_end: Offset,
    /// Up to where the log was surely on disk, by its checkpoint; `None` where there is none to be believed.
    pub flushed: Option<Offset>,
    /// What is wrong or worth knowing, in the order of the files.
    pub findings: Vec<Finding>,
}

impl FolderReport {
    /// Whether there is nothing but notes.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.flaw.is_note())
    }

    /// Whether there is anything that is not as it was written, below what was surely on disk or above it.
    pub fn is_hit(&self) -> bool {
        let is_torn = |finding: &Finding| matches!(finding.flaw, Flaw::TornEnd { .. });
        !self.is_sound() || self.findings.iter().any(is_torn)
    }

    fn note(&mut self, file: PathBuf, flaw: Flaw) {
        self.findings.push(Finding { file, flaw });
    }
}

/// Reads a partition's folder. `on_bytes` is told of batches as they are read.
pub fn verify(fs: &Arc<dyn Fs>, dir: &Path, on_bytes: &mut dyn FnMut(u64)) -> io::Result<FolderReport> {
    let folder = Arc::new(Folder::new(Arc::clone(fs), dir));
    let (report, terms) = (FolderReport::default(), LeaderEpochs::new());
    let mut verifying = Verifying { folder, report, checkpoint: None, terms, is_torn: false };
    verifying.checkpoint = verifying.own_files()?;
    verifying.report.flushed = verifying.checkpoint.map(|checkpoint| checkpoint.flushed);
    let segments = super::segments(fs.as_ref(), dir)?;
    verifying.report.segments = segments.len();
    verifying.report.log_end = segments.first().map_or(Offset::ZERO, |first| first.base);
    for (at, segment) in segments.iter().enumerate() {
        let end = segments.get(at + 1).map(|next| next.base);
        if verifying.is_torn {
            verifying.behind_the_tear(segment)?;
        } else {
            verifying.segment(segment, end, on_bytes)?;
        }
    }
    verifying.ends(&segments);
    Ok(verifying.report)
}

struct Verifying {
    folder: Arc<Folder>,
    report: FolderReport,
    checkpoint: Option<Checkpoint>,
    terms: LeaderEpochs,
    /// Whether the log has been found to end before the segments do.
    is_torn: bool,
}

impl Verifying {
    /// The small files; the checkpoint, where there is one to be believed.
    fn own_files(&mut self) -> io::Result<Option<Checkpoint>> {
        let fs = Arc::clone(&self.folder.fs);
        for entry in fs.list(&self.folder.dir)?.into_iter().filter(|entry| !entry.is_dir) {
            let path = self.folder.named(&entry.name);
            if entry.name == POISONED_FILE {
                self.report.note(path, Flaw::Poisoned);
            } else if entry.name.contains(SET_ASIDE) {
                self.report.note(path, Flaw::SetAside);
            } else if let Some((end, FileKind::Snapshot)) = parse_name(&entry.name) {
                let loaded = ProducerState::load(fs.as_ref(), &path, ProducerLimits::default());
                if let Ok(Some((_, stored))) = &loaded
                    && *stored != end
                {
                    self.report.note(path.clone(), Flaw::OwnFile(format!("is the state at offset {stored}")));
                }
                self.own(&path, loaded)?;
            }
        }
        let epochs = self.folder.named(EPOCHS_FILE);
        let loaded = LeaderEpochs::load(fs.as_ref(), &epochs);
        self.terms = self.own(&epochs, loaded)?.unwrap_or_default();
        let path = self.folder.named(CHECKPOINT_FILE);
        match checkpoint::look(fs.as_ref(), &path)? {
            Found::Newest(checkpoint) => Ok(Some(checkpoint)),
            Found::Blank => Ok(None),
            Found::Damaged([flaw, _]) => {
                self.report.note(path, Flaw::OwnFile(format!("no slot is whole: {flaw}")));
                Ok(None)
            }
        }
    }

    fn own<T>(&mut self, path: &Path, loaded: Result<Option<T>, OwnFileError>) -> io::Result<Option<T>> {
        match loaded {
            Ok(loaded) => Ok(loaded),
            Err(OwnFileError::Io(error)) => Err(error),
            Err(OwnFileError::Format(flaw)) => {
                self.report.note(path.to_path_buf(), Flaw::OwnFile(flaw.to_string()));
                Ok(None)
            }
        }
    }

    fn segment(
        &mut self,
        file: &SegmentFile,
        end: Option<Offset>,
        on_bytes: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let fs = Arc::clone(&self.folder.fs);
        let walk = SegmentWalk::open(fs.as_ref(), &file.path, (file.base, end), Gaps::Damage)?;
        let mut walk = walk.with_terms(&self.terms).with_certain(self.checkpoint);
        if !file.is_settled {
            self.report.note(file.path.clone(), Flaw::CutShort);
        }
        let (index, is_there) = self.index_of(file)?;
        let mut check = IndexCheck::new(file.base, index);
        let mut whole = true;
        while let Some(piece) = walk.step()? {
            match piece {
                Piece::Batch { position, header } => {
                    self.report.batches += 1;
                    self.report.records += u64::from(header.record_count.max(0).unsigned_abs());
                    check.batch(position, &header);
                    on_bytes(header.total_len() as u64);
                }
                // A log of our own has none: what is missing is damage.
                Piece::Gap { .. } => {}
                Piece::Damage(damage) => {
                    whole = false;
                    // Without a checkpoint only what reaches to the end may be taken for what was never acknowledged.
                    let is_unsure = end.is_none() && self.checkpoint.is_none();
                    if is_unsure && damage.position + damage.len == walk.len() {
                        self.report.log_end = damage.first;
                        self.index_verdict(file, &mut check, (is_there, end.is_some()));
                        return self.torn(file, damage.position, walk);
                    }
                    check.damaged();
                    // What was deleted is nobody's loss.
                    if self.checkpoint.is_none_or(|checkpoint| damage.next > checkpoint.log_start) {
                        self.report.note(file.path.clone(), Flaw::Damaged(damage));
                    }
                }
            }
        }
        self.report.log_end = walk.next_offset();
        if let Some(position) = walk.torn_at() {
            check.damaged();
            self.index_verdict(file, &mut check, (is_there, end.is_some()));
            return self.torn(file, position, walk);
        }
        self.report.bytes += walk.len();
        self.index_verdict(file, &mut check, (is_there, end.is_some()));
        if end.is_some() {
            self.checksums(file, whole)?;
        }
        Ok(())
    }

    /// The log ends at this position, whatever follows.
    fn torn(&mut self, file: &SegmentFile, position: u64, walk: SegmentWalk) -> io::Result<()> {
        let bytes = walk.len().saturating_sub(position);
        let holds_batches = walk.holds_whole_batch()?;
        self.is_torn = true;
        self.report.bytes += position;
        self.report.note(file.path.clone(), Flaw::TornEnd { position, bytes, holds_batches });
        Ok(())
    }

    /// A segment that begins where the log is torn already.
    fn behind_the_tear(&mut self, file: &SegmentFile) -> io::Result<()> {
        let fs = Arc::clone(&self.folder.fs);
        let walk = SegmentWalk::open(fs.as_ref(), &file.path, (file.base, None), Gaps::Damage)?;
        self.torn(file, 0, walk)
    }

    /// The index as stored; whether there are files at all.
    fn index_of(&self, file: &SegmentFile) -> io::Result<(Option<SegmentIndex>, bool)> {
        let path = self.folder.file(file.base, FileKind::OffsetIndex);
        if !file.is_settled || !self.folder.fs.exists(&path)? {
            return Ok((None, false));
        }
        let segment = Segment::unopened(Arc::clone(&self.folder), file.base, file.len, Offset::MAX);
        Ok((segment.stored_index()?, true))
    }

    fn index_verdict(
        &mut self,
        file: &SegmentFile,
        check: &mut IndexCheck,
        (is_there, sealed): (bool, bool),
    ) {
        let path = self.folder.file(file.base, FileKind::OffsetIndex);
        if !is_there {
            // That of the active segment lives in memory first.
            if sealed && file.len > 0 {
                self.report.note(path, Flaw::NotThere("index"));
            }
        } else if !check.holds() {
            self.report.note(path, Flaw::Index);
        }
    }

    fn checksums(&mut self, file: &SegmentFile, whole: bool) -> io::Result<()> {
        let fs = Arc::clone(&self.folder.fs);
        let path = self.folder.file(file.base, FileKind::Checksums);
        if !file.is_settled || !fs.exists(&path)? {
            self.report.note(path, Flaw::NotThere("block checksums"));
            return Ok(());
        }
        let Some(checksums) = self.own(&path, BlockChecksums::load(fs.as_ref(), &path))? else {
            return Ok(());
        };
        let segment = fs.open(&file.path, Open::Read)?;
        let same_length = checksums.file_len() == file.len;
        // Of a segment with damage they say what is known already.
        if whole && !(same_length && checksums.mismatches(segment.as_ref(), 0..file.len)?.is_empty()) {
            self.report.note(path, Flaw::Checksums);
        }
        Ok(())
    }

    fn ends(&mut self, segments: &[SegmentFile]) {
        let first = segments.first().map_or(Offset::ZERO, |first| first.base);
        let (checkpoint, report) = (self.checkpoint, &mut self.report);
        report.log_start = checkpoint.map_or(first, |checkpoint| checkpoint.log_start.max(first));
        let Some(checkpoint) = checkpoint else { return };
        let path = self.folder.named(CHECKPOINT_FILE);
        if checkpoint.log_start < first && !segments.is_empty() {
            let reason = CorruptReason::Missing;
            let damage = Damage { position: 0, len: 0, first: checkpoint.log_start, next: first, reason };
            report.note(path.clone(), Flaw::Damaged(damage));
        }
        if report.log_end < checkpoint.flushed {
            let (end, flushed) = (report.log_end, checkpoint.flushed);
            report.note(path, Flaw::Short { end, flushed });
        }
    }
}

/// Holds the entries of an index against the batches as they pass by.
struct IndexCheck {
    base: Offset,
    index: Option<SegmentIndex>,
    offsets_seen: usize,
    times_seen: usize,
    newest: i64,
    holds: bool,
    /// Behind damage an entry may name what is lost.
    over_damage: bool,
}

impl IndexCheck {
    fn new(base: Offset, index: Option<SegmentIndex>) -> Self {
        let holds = index.is_some();
        Self { base, index, offsets_seen: 0, times_seen: 0, newest: i64::MIN, holds, over_damage: false }
    }

    fn damaged(&mut self) {
        self.over_damage = true;
    }

    fn batch(&mut self, position: u64, header: &BatchHeader) {
        self.newest = self.newest.max(header.max_timestamp.get());
        let newest = self.newest;
        let Some(index) = &mut self.index else { return };
        let Ok(relative) = u32::try_from(header.base_offset.distance_from(self.base)) else { return };
        while let Some(entry) = index.offsets().get(self.offsets_seen) {
            if entry.relative > relative {
                break;
            }
            let right = entry.relative == relative && u64::from(entry.position) == position;
            self.holds &= right || (self.over_damage && entry.relative < relative);
            self.offsets_seen += 1;
        }
        while let Some(entry) = index.times().get(self.times_seen) {
            if entry.relative > relative {
                break;
            }
            let right = entry.relative == relative && entry.timestamp == newest;
            self.holds &= right || self.over_damage;
            self.times_seen += 1;
        }
    }

    /// Whether every entry has been met and was right.
    fn holds(&mut self) -> bool {
        let (offsets_seen, times_seen, over_damage) = (self.offsets_seen, self.times_seen, self.over_damage);
        let all_met = self.index.as_mut().is_some_and(|index| {
            over_damage || (index.offsets().len() == offsets_seen && index.times().len() == times_seen)
        });
        self.holds && all_met
    }
}
