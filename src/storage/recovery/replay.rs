//! Reads the end of the log: producers' state, terms, index, and where the log stops being whole.

use std::{io, sync::Arc};

use super::Recovery;
use crate::{
    model::{LeaderEpoch, Offset},
    record::{BATCH_HEADER_LEN, BatchHeader},
    storage::{
        fs::Open,
        index::SegmentIndex,
        log::append::sequence_of,
        segment::{CorruptReason, EpochRule, FileKind, Scanner, Segment, Source, Step},
    },
};

/// What reading the end of the log has found.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// Where the log stops being whole.
    pub(super) end: Offset,
    /// The segment and the byte where it does, and why, if there is anything behind.
    pub(super) cut: Option<(usize, u64, CorruptReason)>,
    /// Where the flushed position was come upon: segment and byte, and the offset that should stand there. Where that is
    /// right behind damage, and neither a checkpoint nor the name of the next segment says that it is there, the damage is
    /// told from what follows it, and this is where the damage begins.
    pub(super) flushed_at: Option<(usize, u64, Offset)>,
    pub(super) bytes_since_snapshot: u64,
    /// The highest timestamp of the first batch in the last segment.
    pub(super) first_timestamp: Option<i64>,
    /// The index of the last segment.
    pub(super) last_index: Option<SegmentIndex>,
}

/// What came of one segment.
enum Passed {
    Whole,
    CutHere,
    /// The index led to where no batch stands: either of them is wrong.
    Astray,
}

impl Recovery<'_> {
    /// Reads from the newest snapshot on.
    pub(super) fn read_tail(&mut self, epoch: LeaderEpoch) -> io::Result<()> {
        let from = self.snapshot_end.max(self.contents.first_base());
        self.replay.end = from;
        let first = self.segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
        for at in first..self.segments.len() {
            let Some(segment) = self.segments.get(at).map(Arc::clone) else { break };
            let is_last = at + 1 == self.segments.len();
            let (index, start) = self.index_to_begin_with(&segment, from)?;
            let mut passed = self.read_segment(at, &segment, index, start, (epoch, is_last))?;
            if let Passed::Astray = passed {
                self.report.indexes_rebuilt.push(segment.base());
                let beginning = (0, segment.base());
                passed =
                    self.read_segment(at, &segment, SegmentIndex::empty(), beginning, (epoch, is_last))?;
            }
            if let Passed::CutHere = passed {
                break;
            }
        }
        Ok(())
    }

    /// The index of the segment as far as it is covered by the snapshot, and where to read on.
    fn index_to_begin_with(
        &mut self,
        segment: &Arc<Segment>,
        from: Offset,
    ) -> io::Result<(SegmentIndex, (u64, Offset))> {
        let beginning = (0, segment.base());
        if segment.base() >= from {
            return Ok((SegmentIndex::empty(), beginning));
        }
        let stored = segment.stored_index()?;
        let covered = segment.relative(from).unwrap_or(u32::MAX);
        let Some(mut index) = stored else {
            self.report.indexes_rebuilt.push(segment.base());
            return Ok((SegmentIndex::empty(), beginning));
        };
        index.truncate(covered);
        let last = index.floor(covered);
        let start = last.map_or(beginning, |last| {
            (u64::from(last.position), segment.base().plus(i64::from(last.relative)))
        });
        Ok((index, start))
    }

    pub(super) fn known_starts(&self) -> Arc<[(Offset, LeaderEpoch)]> {
        self.epochs.entries().iter().map(|entry| (entry.start, entry.epoch)).collect()
    }

    pub(super) fn source(&self, segment: &Arc<Segment>) -> io::Result<Source> {
        if self.contents.is_poisoned {
            return Ok(Source::Disk(Arc::clone(&self.folder.fs), segment.path()));
        }
        Ok(Source::Cached(segment.open_file()?))
    }

    fn read_segment(
        &mut self,
        at: usize,
        segment: &Arc<Segment>,
        mut index: SegmentIndex,
        start: (u64, Offset),
        (epoch, is_last): (LeaderEpoch, bool),
    ) -> io::Result<Passed> {
        let end = (!is_last).then(|| segment.end());
        let rule = EpochRule::known(self.known_starts());
        let scanner = Scanner::new(self.source(segment)?, start, (segment.size(), end), rule);
        let mut scanner = scanner.with_certain(self.flushed_in(segment));
        self.replay.first_timestamp = self.first_timestamp(segment, start)?;
        let mut in_tail = false;
        // What stands before that was flushed, whatever offsets a batch before it has counted to.
        let flushed_to = self.flushed_in(segment).map_or(0, |(position, _)| position.min(segment.size()));
        // Where what is damaged begins that has just been passed.
        let mut damaged_from = None;
        let passed = loop {
            let here = scanner.expected();
            if here >= self.checkpoint.flushed && scanner.position() >= flushed_to && !in_tail {
                in_tail = true;
                let certain = self.checkpoint.segment_base == segment.base()
                    && (self.checkpoint.position, self.checkpoint.flushed) == (scanner.position(), here);
                // By the name of the segment behind it damage ends where it does, wherever that is moved to.
                let told_by_batches = is_last && !certain && scanner.position() < segment.size();
                let begins = damaged_from.filter(|_| told_by_batches).unwrap_or((scanner.position(), here));
                self.replay.flushed_at.get_or_insert((at, begins.0, begins.1));
                scanner.set_rule(EpochRule::open_ended(self.known_starts(), epoch));
            }
            match scanner.look()? {
                Step::Batch(header) => {
                    self.take_batch(segment, &mut index, scanner.position(), &header);
                    if in_tail {
                        // The file of the terms holds all that a checkpoint covers, and maybe not the last.
                        let _ = self.epochs.assign(header.partition_leader_epoch, header.base_offset);
                    }
                    scanner.pass(&header);
                    damaged_from = None;
                }
                Step::Bad(_) if scanner.position() == start.0 && start.0 > 0 => return Ok(Passed::Astray),
                Step::Bad(reason) if in_tail => {
                    self.replay.cut = Some((at, scanner.position(), reason));
                    break Passed::CutHere;
                }
                Step::Bad(reason) => {
                    let hole = scanner.skip(reason)?;
                    // What was deleted is nobody's loss.
                    if hole.next > self.checkpoint.log_start {
                        self.report.corrupt.push(segment.note_corrupt(&hole));
                    }
                    damaged_from.get_or_insert((hole.position, hole.first));
                }
                Step::End => break Passed::Whole,
            }
        };
        if let Passed::Whole = passed {
            self.cut_remains(segment, scanner.position())?;
        }
        self.report.bytes_read += scanner.bytes_read();
        self.replay.end = scanner.expected();
        self.keep_index(segment, index, is_last || matches!(passed, Passed::CutHere));
        Ok(passed)
    }

    /// What an append left that found the disk full, behind a segment's last batch.
    fn cut_remains(&self, segment: &Segment, size: u64) -> io::Result<()> {
        if size >= segment.size() {
            return Ok(());
        }
        segment.cut(size);
        if self.contents.is_poisoned {
            return Ok(()); // Nothing of the old files is touched before the new one is there.
        }
        let file = self.folder.fs.open(&segment.path(), Open::ReadWrite)?;
        file.set_len(size)?;
        self.or_mark(file.sync_data())
    }

    /// The index of the segment that will be written goes on; the others' is complete.
    fn keep_index(&mut self, segment: &Arc<Segment>, mut index: SegmentIndex, goes_on: bool) {
        if goes_on {
            self.replay.last_index = Some(index);
        } else {
            index.seal();
            segment.adopt_index(index);
        }
    }

    /// Where in this segment that ends which is known to be on disk: nothing else is looked for behind rot, and nothing
    /// before it counts to further offsets.
    pub(super) fn flushed_in(&self, segment: &Segment) -> Option<(u64, Offset)> {
        let checkpoint = &self.checkpoint;
        let is_here = checkpoint.segment_base == segment.base();
        is_here.then_some((checkpoint.position, checkpoint.flushed))
    }

    fn take_batch(
        &mut self,
        segment: &Segment,
        index: &mut SegmentIndex,
        position: u64,
        header: &BatchHeader,
    ) {
        if let Some(relative) = segment.relative(header.base_offset) {
            let interval = self.options.index_interval_bytes;
            index.note(interval, relative, position as u32, header.max_timestamp.get());
        }
        if position == 0 {
            self.replay.first_timestamp = Some(header.max_timestamp.get());
        }
        if header.base_offset >= self.snapshot_end {
            self.replay.bytes_since_snapshot += header.total_len() as u64;
            if header.is_idempotent() {
                self.producers.record(&sequence_of(header), self.clock.wall());
            }
        }
    }

    /// The highest timestamp of a segment's first batch, where reading does not begin there.
    fn first_timestamp(&self, segment: &Arc<Segment>, start: (u64, Offset)) -> io::Result<Option<i64>> {
        if start.0 == 0 {
            return Ok(None);
        }
        let mut head = [0; BATCH_HEADER_LEN];
        self.source(segment)?.read_at(&mut head, 0)?;
        Ok(BatchHeader::parse(&head).ok().map(|header| header.max_timestamp.get()))
    }

    /// The files that belong to a segment besides its log.
    pub(super) fn remove_beside(&self, segment: &Segment) -> io::Result<()> {
        for kind in [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::Checksums] {
            let path = self.folder.file(segment.base(), kind);
            if self.folder.fs.exists(&path)? {
                self.folder.fs.remove_file(&path)?;
            }
        }
        Ok(())
    }
}
