//! One segment from its first batch to its last, with what is missing and what is hit in between.

use std::{io, path::Path, sync::Arc};

use crate::{
    model::{LeaderEpoch, Offset},
    record::BatchHeader,
    storage::{
        checkpoint::Checkpoint,
        fs::{Fs, Open},
        leader_epochs::LeaderEpochs,
        segment::{CorruptReason, EpochRule, Hole, Scanner, Source, Step},
    },
};

/// Whether offsets may be missing between two whole batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// They may, as compaction in Apache Kafka leaves them.
    Allowed,
    /// They may not: our own logs have none.
    Damage,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A whole batch; its bytes are [`SegmentWalk::batch`] until the next step.
    Batch {
        /// Its first byte.
        position: u64,
        /// Its header.
        header: BatchHeader,
    },
    /// Offsets that no batch has, between two that are whole.
    Gap {
        /// The first of them.
        first: Offset,
        /// The first behind them.
        next: Offset,
    },
    /// Bytes that are no whole batch.
    Damage(Damage),
}

/// Bytes that are no whole batch, and the offsets that they took with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The first byte.
    pub position: u64,
    /// How many bytes; 0 where they are missing altogether.
    pub len: u64,
    /// The first offset that is lost.
    pub first: Offset,
    /// The offset at which the log goes on.
    pub next: Offset,
    /// What is wrong.
    pub reason: CorruptReason,
}

impl From<Hole> for Damage {
    fn from(hole: Hole) -> Self {
        let Hole { position, len, first, next, reason } = hole;
        Self { position, len, first, next, reason }
    }
}

/// A walk over one segment's file.
#[derive(Debug)]
pub struct SegmentWalk {
    scanner: Scanner,
    gaps: Gaps,
    /// The batch that was given last, not passed yet.
    given: Option<BatchHeader>,
    base: Offset,
    len: u64,
    /// What of the log is on disk for certain, where that is known.
    certain: Option<Checkpoint>,
    torn_at: Option<u64>,
}

impl SegmentWalk {
    /// Begins with the file's first batch, which should have offset `base`. The segment ends before `end`,
    /// where that is known.
    pub fn open(
        fs: &dyn Fs,
        path: &Path,
        (base, end): (Offset, Option<Offset>),
        gaps: Gaps,
    ) -> io::Result<Self> {
        let file = fs.open(path, Open::Read)?;
        let len = file.len()?;
        let scanner =
            Scanner::new(Source::Cached(Arc::clone(&file)), (0, base), (len, end), EpochRule::any());
        let scanner = scanner.over_bad_sectors();
        Ok(Self { scanner, gaps, given: None, base, len, certain: None, torn_at: None })
    }

    /// Judges the leader epochs of batches, which their checksums do not cover, by these terms.
    #[must_use]
    pub(super) fn with_terms(mut self, epochs: &LeaderEpochs) -> Self {
        let starts = epochs.entries().iter().map(|entry| (entry.start, entry.epoch)).collect();
        // The file holds all that a checkpoint covers; later terms may follow.
        self.scanner.set_rule(EpochRule::open_ended(starts, LeaderEpoch::new(i32::MAX)));
        self
    }

    /// Ends where recovery would cut the log: at the first batch above what is on disk for certain that is not whole.
    /// Nothing that lies there is looked for behind damage below.
    #[must_use]
    pub(super) fn with_certain(mut self, checkpoint: Option<Checkpoint>) -> Self {
        self.certain = checkpoint;
        let here = checkpoint.filter(|certain| certain.segment_base == self.base);
        self.scanner = self.scanner.with_certain(here.map(|certain| (certain.position, certain.flushed)));
        self
    }

    /// Where the log was found to be torn above what is on disk for certain.
    pub(super) const fn torn_at(&self) -> Option<u64> {
        self.torn_at
    }

    /// Whether any batch from here on is whole, wherever it may belong. Nothing can be walked after that.
    pub(super) fn holds_whole_batch(mut self) -> io::Result<bool> {
        self.scanner.set_rule(EpochRule::any());
        self.scanner.holds_whole_batch()
    }

    /// The file's length in bytes when it was opened.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file had no bytes when it was opened.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The offset that follows what has been given.
    pub fn next_offset(&self) -> Offset {
        self.given.map_or_else(|| self.scanner.expected(), |given| given.next_offset())
    }

    /// The bytes of the batch that was given last.
    pub fn batch(&self) -> &[u8] {
        self.given.as_ref().map(|header| self.scanner.batch(header)).unwrap_or_default()
    }

    /// The next piece; `None` at the end.
    pub fn step(&mut self) -> io::Result<Option<Piece>> {
        if let Some(given) = self.given.take() {
            self.scanner.pass(&given);
        }
        match self.scanner.look()? {
            Step::End => Ok(None),
            Step::Batch(header) => Ok(Some(self.give(header))),
            Step::Bad(_) if self.certain.is_some_and(|certain| self.is_behind(&certain)) => {
                self.torn_at = Some(self.scanner.position());
                Ok(None)
            }
            Step::Bad(reason) => self.behind(reason).map(Some),
        }
    }

    /// Whether what is on disk for certain ends before this place.
    fn is_behind(&self, certain: &Checkpoint) -> bool {
        let to = if certain.segment_base == self.base { certain.position.min(self.len) } else { 0 };
        self.scanner.expected() >= certain.flushed && self.scanner.position() >= to
    }

    fn give(&mut self, header: BatchHeader) -> Piece {
        self.given = Some(header);
        Piece::Batch { position: self.scanner.position(), header }
    }

    fn behind(&mut self, reason: CorruptReason) -> io::Result<Piece> {
        if self.gaps == Gaps::Allowed
            && let Some(gap) = self.gap_before_whole(reason)?
        {
            return Ok(gap);
        }
        let hole = self.scanner.skip(reason)?;
        if hole.len == 0 && self.gaps == Gaps::Allowed {
            return Ok(Piece::Gap { first: hole.first, next: hole.next });
        }
        Ok(Piece::Damage(hole.into()))
    }

    /// A gap, if a whole batch with a higher offset stands here and what follows confirms that offset, which
    /// its own checksum does not cover.
    fn gap_before_whole(&mut self, reason: CorruptReason) -> io::Result<Option<Piece>> {
        if reason != CorruptReason::BaseOffset {
            return Ok(None);
        }
        let (position, first) = (self.scanner.position(), self.scanner.expected());
        let Step::Batch(here) = self.scanner.look_at_any()? else { return Ok(None) };
        if here.base_offset <= first {
            return Ok(None);
        }
        self.scanner.go_to(position + here.total_len() as u64, here.next_offset());
        let follows = match self.scanner.look_at_any()? {
            Step::Batch(next) => next.base_offset >= here.next_offset(),
            // Nothing is left, or something that says nothing about the one before.
            Step::End | Step::Bad(_) => true,
        };
        self.scanner.go_to(position, if follows { here.base_offset } else { first });
        Ok(follows.then_some(Piece::Gap { first, next: here.base_offset }))
    }
}
