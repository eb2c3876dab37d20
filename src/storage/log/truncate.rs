//! Cutting a log, when a new leader has not what its follower has.
//!
//! **What a cut has written is never written over.** The segment that is cut is sealed where it ends now, and the
//! log goes on in a new one: whoever still reads the old one comes to its end, and never to other batches in the
//! place of those that it looks for.
//!
//! **A crash leaves the log as it was, or cut, or cut less far.** Nothing claims any more that what goes is on disk
//! before it goes; then what goes does so from the end on, one file after the other, each step on disk before the
//! next (S15); and only when all of it is on disk is it reported as done (S8). What was under way before (flushes,
//! checkpoints, compaction) is of an older generation: it is waited for or does nothing, and its completion says
//! nothing.
//!
//! The producers' state is read again from the newest snapshot below the cut and the batches above that (S9).

use std::{
    io,
    sync::{Arc, RwLockWriteGuard},
};

use super::{
    Active, Log, Poisoned,
    append::{begin_segment, sequence_of},
    checkpoint::{EPOCHS_FILE, Snapshots},
    flush::{LogPosition, Unflushed, sync_segments},
    shared::{Ends, Shared},
    slow::{scanner, trusted_start},
};
use crate::{
    model::{LeaderEpoch, Offset, TimestampMs},
    storage::{
        checkpoint::Checkpoint,
        compaction,
        fs::Open,
        index::SegmentIndex,
        leader_epochs::LeaderEpochs,
        own_file::OwnFileError,
        producer_state::{ProducerLimits, ProducerState},
        segment::{FileKind, Folder, Segment, Step, Wait, lock, parse_name},
    },
};

/// What a truncation has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// The first offset that may be read.
    pub start: Offset,
    /// The offset that the next record will get. All below is on disk.
    pub end: Offset,
}

/// Where a log is to end, and to begin.
#[derive(Debug)]
struct Plan {
    /// The segments that stay as they are, ascending.
    kept: Vec<Arc<Segment>>,
    /// The one that is cut, and where.
    cut: Option<(Arc<Segment>, Cut)>,
    /// Those that go, ascending.
    gone: Vec<Arc<Segment>>,
    epochs: LeaderEpochs,
    /// Nothing of the log is to be left, whatever it holds.
    empties: bool,
    /// Where the log ends on the way there: what goes, goes down to here.
    floor: Offset,
    start: Offset,
    end: Offset,
}

/// A place in a segment at which a batch ends.
#[derive(Debug)]
struct Cut {
    position: u64,
    offset: Offset,
    /// The index up to there.
    index: SegmentIndex,
}

impl Log {
    /// Cuts the log where the batch begins that holds `offset`, or at its end where it has none. A log that begins
    /// above that is emptied, and begins there anew. Blocks: lend the log to a thread that may.
    ///
    /// It is on disk when this returns. After an error the log is of no more use: it is to be opened again.
    pub fn truncate_to(&mut self, offset: Offset, now: TimestampMs) -> io::Result<Truncated> {
        let shared = Arc::clone(&self.shared);
        let at_work = shared.next_generation();
        let plan = self.plan(offset.min(shared.log_end()))?;
        self.truncate(&at_work, plan, now)
    }

    /// Empties the log, which then begins and ends at `offset`: a leader's log begins above the end of this one, or
    /// has nothing in common with it. Blocks: lend the log to a thread that may.
    ///
    /// It is on disk when this returns. After an error the log is of no more use: it is to be opened again.
    pub fn truncate_fully_and_start_at(&mut self, offset: Offset, now: TimestampMs) -> io::Result<Truncated> {
        let shared = Arc::clone(&self.shared);
        let at_work = shared.next_generation();
        let plan = self.plan_to_empty(offset);
        self.truncate(&at_work, plan, now)
    }

    fn plan(&self, offset: Offset) -> io::Result<Plan> {
        let shared = &self.shared;
        let (segments, start) = (shared.segments(), shared.log_start());
        let Some(at) = Shared::segment_of(&segments, offset) else { return Ok(self.plan_to_empty(offset)) };
        let (kept, behind) = segments.split_at(at);
        let Some((segment, behind)) = behind.split_first() else { return Ok(self.plan_to_empty(offset)) };
        let cut = find_cut(shared, segment, offset, self.options.index_interval_bytes)?;
        if cut.offset < start {
            return Ok(self.plan_to_empty(cut.offset));
        }
        let end = cut.offset;
        let mut epochs = shared.terms().epochs.clone();
        epochs.truncate_from(end);
        let mut gone = behind.to_vec();
        let cut = if cut.position == 0 {
            gone.insert(0, Arc::clone(segment));
            None
        } else {
            Some((Arc::clone(segment), cut))
        };
        Ok(Plan { kept: kept.to_vec(), cut, gone, epochs, empties: false, floor: end, start, end })
    }

    fn plan_to_empty(&self, offset: Offset) -> Plan {
        Plan {
            kept: Vec::new(),
            cut: None,
            gone: self.shared.segments().to_vec(),
            epochs: LeaderEpochs::new(),
            empties: true,
            floor: self.shared.log_start(),
            start: offset,
            end: offset,
        }
    }

    fn truncate(
        &mut self,
        _at_work: &RwLockWriteGuard<'_, ()>,
        plan: Plan,
        now: TimestampMs,
    ) -> io::Result<Truncated> {
        let shared = Arc::clone(&self.shared);
        let _no_sync = lock(&shared.flushing);
        let _cutting = shared.begin_cut();
        if shared.is_poisoned() {
            return Err(io::Error::other(Poisoned));
        }
        refuse_unfinished(&shared.folder, plan.floor)?;
        let rebuilt = self.rebuild_producers(&plan, now)?;
        for segment in plan.gone.iter().chain(plan.cut.iter().map(|(segment, _)| segment)) {
            shared.make_room_for(segment);
            segment.retire()?;
        }
        let (start, end) = (plan.start, plan.end);
        match self.carry_out(plan, &rebuilt) {
            Ok(active) => {
                self.adopt(active, rebuilt);
                Ok(Truncated { start, end })
            }
            Err(error) => {
                shared.poison(&error);
                Err(error)
            }
        }
    }

    /// Every step is on disk before the next.
    fn carry_out(&mut self, plan: Plan, rebuilt: &Rebuilt) -> io::Result<Active> {
        let shared = Arc::clone(&self.shared);
        let folder = &shared.folder;
        let is_emptied = plan.empties;
        self.claim_less(&plan)?;
        remove_snapshots(folder, rebuilt.snapshot_end)?;
        // What a checkpoint claims to be on disk is judged by the terms in their file: a log that is emptied needs them
        // until its last batch has gone.
        if !is_emptied {
            plan.epochs.store(&*folder.fs, &folder.named(EPOCHS_FILE))?;
        }
        if self.cleaned_to > plan.end {
            compaction::store_cleaned_to(&*folder.fs, &folder.dir, plan.end)?;
            self.cleaned_to = plan.end;
        }
        // Readers first: what they still look for in the old segments is there, or is at its end.
        let flushed = if is_emptied { plan.end } else { plan.end.min(shared.flushed()) };
        shared.set_ends(Ends { start: plan.start, flushed, end: plan.end });
        shared.set_epochs(plan.epochs.clone());
        let shorter = plan.cut.as_ref().map(|(segment, cut)| (segment, cut.position, cut.offset));
        let shorter = shorter.map(|(segment, position, offset)| {
            Arc::new(Segment::unopened(Arc::clone(folder), segment.base(), position, offset))
        });
        shared.set_segments(plan.kept.iter().cloned().chain(shorter.clone()).collect());
        shared.forget_open(&plan.gone);
        self.remove_segments(&plan)?;
        if let (None, Some(last)) = (&plan.cut, plan.kept.last()) {
            // Where the cut is between two segments, too, all that stays is on disk when it is reported.
            sync_segments(folder, &self.unflushed.up_to(last.base()))?;
        }
        if let (Some((old, cut)), Some(segment)) = (plan.cut, shorter) {
            shared.forget_open(std::slice::from_ref(&old));
            self.shorten(&old, cut, &segment)?;
        }
        if is_emptied {
            plan.epochs.store(&*folder.fs, &folder.named(EPOCHS_FILE))?;
            let position = LogPosition { segment: plan.end, byte: 0 };
            self.set_back(plan.end, position, plan.start)?;
        }
        let active = begin_segment(Arc::clone(folder), plan.end)?;
        folder.fs.sync_dir(&folder.dir)?;
        active.segment.set_in_folder();
        Ok(active)
    }

    /// No checkpoint says any more that what goes is on disk. What one has said of the rest still holds.
    fn claim_less(&self, plan: &Plan) -> io::Result<()> {
        let position = match (&plan.cut, plan.kept.last()) {
            (Some((segment, cut)), _) => LogPosition { segment: segment.base(), byte: cut.position },
            (None, Some(last)) => LogPosition { segment: last.base(), byte: last.size() },
            (None, None) => LogPosition { segment: plan.floor, byte: 0 },
        };
        let written = lock(&self.keeper).written();
        let log_start = plan.floor.min(self.shared.log_start());
        match written {
            Some(written) if written.flushed <= plan.floor => {
                let position = LogPosition { segment: written.segment_base, byte: written.position };
                self.set_back(written.flushed, position, log_start)
            }
            Some(_) | None => self.set_back(plan.floor, position, log_start),
        }
    }

    fn set_back(&self, flushed: Offset, position: LogPosition, log_start: Offset) -> io::Result<()> {
        let LogPosition { segment: segment_base, byte: position } = position;
        let checkpoint = Checkpoint { flushed, segment_base, position, log_start, clean: None };
        lock(&self.keeper).set_back(checkpoint)
    }

    /// What retention had yet to remove goes with them: its job does nothing any more.
    fn remove_segments(&self, plan: &Plan) -> io::Result<()> {
        let folder = &self.shared.folder;
        let first = plan.kept.first().or(plan.cut.as_ref().map(|(segment, _)| segment));
        let first = first.or(plan.gone.first()).map_or(plan.floor, |segment| segment.base());
        for base in segments_in(folder)?.into_iter().filter(|base| *base < first) {
            remove_segment(&Segment::unopened(Arc::clone(folder), base, 0, base))?;
        }
        plan.gone.iter().rev().try_for_each(|segment| remove_segment(segment))
    }

    /// Cuts a segment's file, which with all before it is on disk afterwards.
    fn shorten(&self, old: &Segment, cut: Cut, segment: &Segment) -> io::Result<()> {
        let folder = &self.shared.folder;
        for kind in [FileKind::Checksums, FileKind::OffsetIndex, FileKind::TimeIndex] {
            let path = folder.file(old.base(), kind);
            if folder.fs.exists(&path)? {
                folder.fs.remove_file(&path)?;
            }
        }
        folder.fs.sync_dir(&folder.dir)?;
        let file = folder.fs.open(&old.path(), Open::ReadWrite)?;
        file.set_len(cut.position)?;
        file.sync_data()?;
        let mut index = cut.index;
        index.seal();
        segment.adopt_index(index);
        segment.write_index(segment.end())?;
        // The files that were written, too: an error that the system has for them is reported there.
        sync_segments(folder, &self.unflushed.up_to(old.base()))?;
        folder.fs.sync_dir(&folder.dir)
    }

    fn adopt(&mut self, active: Active, rebuilt: Rebuilt) {
        let end = active.segment.base();
        self.unflushed = Unflushed::new(&active, end);
        self.shared.set_flushed(end);
        self.shared.push_segment(Arc::clone(&active.segment));
        self.active = active;
        self.producers = rebuilt.producers;
        self.snapshots = Snapshots::new(rebuilt.bytes_since);
        self.shared.set_snapshot_end(rebuilt.snapshot_end.unwrap_or(Offset::new(-1)));
        self.epoch = LeaderEpoch::NONE;
        self.take_snapshot();
    }

    /// The producers' state at the new end, as an opening there would find it.
    fn rebuild_producers(&self, plan: &Plan, now: TimestampMs) -> io::Result<Rebuilt> {
        let limits = self.options.producers;
        let blank = Rebuilt { producers: ProducerState::new(limits), snapshot_end: None, bytes_since: 0 };
        let left = plan.kept.iter().chain(plan.cut.as_ref().map(|(segment, _)| segment));
        let left: Vec<_> = left.collect();
        let Some(first) = left.first() else { return Ok(blank) };
        let usable = (first.base(), plan.end);
        let mut rebuilt = newest_snapshot(&self.shared.folder, usable, limits)?.unwrap_or(blank);
        let from = rebuilt.snapshot_end.unwrap_or(first.base());
        for segment in left.into_iter().filter(|segment| segment.end() > from) {
            replay(&self.shared, segment, (from, plan.end), now, &mut rebuilt)?;
        }
        Ok(rebuilt)
    }
}

/// The producers' state of a log that was cut.
#[derive(Debug)]
struct Rebuilt {
    producers: ProducerState,
    /// The snapshot that it was read from.
    snapshot_end: Option<Offset>,
    /// Bytes of the log above that.
    bytes_since: u64,
}

fn newest_snapshot(
    folder: &Folder,
    (lowest, highest): (Offset, Offset),
    limits: ProducerLimits,
) -> io::Result<Option<Rebuilt>> {
    let ends = named(folder, FileKind::Snapshot)?;
    for end in ends.into_iter().rev().filter(|end| (lowest..=highest).contains(end)) {
        match ProducerState::load(&*folder.fs, &folder.file(end, FileKind::Snapshot), limits) {
            Ok(Some((producers, stored))) if stored == end => {
                return Ok(Some(Rebuilt { producers, snapshot_end: Some(end), bytes_since: 0 }));
            }
            Ok(_) => {}
            Err(OwnFileError::Io(error)) => return Err(error),
            Err(OwnFileError::Format(flaw)) => {
                tracing::warn!(%end, %flaw, "producer state is damaged; an older one is used");
            }
        }
    }
    Ok(None)
}

fn replay(
    shared: &Shared,
    segment: &Arc<Segment>,
    (from, end): (Offset, Offset),
    now: TimestampMs,
    into: &mut Rebuilt,
) -> io::Result<()> {
    let start = trusted_start(shared, segment, from.max(segment.base()))?;
    let mut scanner = scanner(shared, segment, start)?;
    loop {
        match scanner.look()? {
            Step::Batch(header) if header.next_offset() > end => return Ok(()),
            Step::Batch(header) => {
                if header.base_offset >= from {
                    into.bytes_since += header.total_len() as u64;
                    if header.is_idempotent() {
                        into.producers.record(&sequence_of(&header), now);
                    }
                }
                scanner.pass(&header);
            }
            Step::Bad(_) if scanner.expected() >= end => return Ok(()),
            Step::Bad(reason) => {
                scanner.skip(reason)?;
            }
            Step::End => return Ok(()),
        }
    }
}

/// Where the batch of `offset` begins, or the hole that it is in; the segment's end where it has neither.
fn find_cut(shared: &Shared, segment: &Arc<Segment>, offset: Offset, interval: u64) -> io::Result<Cut> {
    let relative = segment.relative(offset).unwrap_or(u32::MAX);
    let index = segment.ask(Wait::MayBlock, |index| index.beginning(relative))?;
    let index = index.unwrap_or_else(SegmentIndex::empty);
    let start = index.floor(relative);
    let start = start.map(|at| (u64::from(at.position), segment.base().plus(i64::from(at.relative))));
    if let Some(start) = start
        && let Some(cut) = walk_to(shared, segment, (start, index), offset, interval)?
    {
        return Ok(cut);
    }
    // From the beginning, where there is nothing to go astray by.
    let beginning = ((0, segment.base()), SegmentIndex::empty());
    let cut = walk_to(shared, segment, beginning, offset, interval)?;
    cut.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `None` where the index has led to where no batch stands.
fn walk_to(
    shared: &Shared,
    segment: &Arc<Segment>,
    (start, mut index): ((u64, Offset), SegmentIndex),
    offset: Offset,
    interval: u64,
) -> io::Result<Option<Cut>> {
    let mut scanner = scanner(shared, segment, start)?;
    loop {
        let (position, here) = (scanner.position(), scanner.expected());
        match scanner.look()? {
            Step::Batch(header) if header.next_offset() > offset => {
                return Ok(Some(Cut { position, offset: here, index }));
            }
            Step::Batch(header) => {
                if let Some(relative) = segment.relative(header.base_offset) {
                    index.note(interval, relative, position as u32, header.max_timestamp.get());
                }
                scanner.pass(&header);
            }
            Step::Bad(_) if position == start.0 && start.0 > 0 => return Ok(None),
            Step::Bad(reason) => {
                let hole = scanner.skip(reason)?;
                if hole.next > offset {
                    return Ok(Some(Cut { position, offset: here, index }));
                }
            }
            Step::End => return Ok(Some(Cut { position, offset: here, index })),
        }
    }
}

/// A compaction that died between its two renames is finished by the next opening: before that nothing is cut.
fn refuse_unfinished(folder: &Folder, floor: Offset) -> io::Result<()> {
    let entries = folder.fs.list(&folder.dir)?;
    if compaction::committed(&entries).any(|(_, next, _)| next > floor) {
        return Err(io::Error::other(
            "a pass of compaction is to be finished first: the log has to be opened again",
        ));
    }
    Ok(())
}

/// The offsets in the names of the files of a kind, ascending.
fn named(folder: &Folder, kind: FileKind) -> io::Result<Vec<Offset>> {
    let entries = folder.fs.list(&folder.dir)?;
    let all = entries.iter().filter_map(|entry| parse_name(&entry.name));
    let mut found: Vec<_> = all.filter(|(_, is)| *is == kind).map(|(offset, _)| offset).collect();
    found.sort_unstable();
    Ok(found)
}

fn segments_in(folder: &Folder) -> io::Result<Vec<Offset>> {
    named(folder, FileKind::Log)
}

/// Those above `last`, all where there is none: they tell of batches that go.
fn remove_snapshots(folder: &Folder, last: Option<Offset>) -> io::Result<()> {
    let ends = named(folder, FileKind::Snapshot)?;
    let gone = ends.into_iter().filter(|end| last.is_none_or(|last| *end > last));
    for end in gone {
        folder.fs.remove_file(&folder.file(end, FileKind::Snapshot))?;
    }
    folder.fs.sync_dir(&folder.dir)
}

fn remove_segment(segment: &Segment) -> io::Result<()> {
    segment.rename_deleted()?;
    let folder = segment.folder();
    folder.fs.sync_dir(&folder.dir)?;
    segment.remove_deleted()
}
