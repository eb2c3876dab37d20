use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering},
    },
};

use super::damage::Damage;
use crate::{
    model::{LeaderEpoch, Offset, PartitionId},
    storage::{
        fs::Open,
        leader_epochs::LeaderEpochs,
        segment::{EpochRule, Folder, Segment, lock},
    },
};

/// The mark of a poisoned log: it outlives the process, as the falsely clean pages do (S13).
pub(crate) const POISONED_FILE: &str = "poisoned";

/// Leaves the mark, as durable as a failing disk allows.
pub(crate) fn mark_poisoned(folder: &Folder) -> io::Result<()> {
    let file = folder.fs.open(&folder.named(POISONED_FILE), Open::Create)?;
    // The folder first: a mark without content is a mark.
    let in_folder = folder.fs.sync_dir(&folder.dir);
    file.sync_data()?;
    in_folder
}

const OPEN: u8 = 0;
const POISONED: u8 = 1;
const CLOSED: u8 = 2;

/// What the writer, the readers and the jobs of one log share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) folder: Arc<Folder>,
    pub(crate) id: PartitionId,
    segments: RwLock<Arc<[Arc<Segment>]>>,
    epochs: RwLock<Arc<Terms>>,
    log_start: AtomicI64,
    log_end: AtomicI64,
    flushed: AtomicI64,
    /// The end of the newest stored state of the producers.
    snapshot_end: AtomicI64,
    state: AtomicU8,
    /// How often the log was truncated since it was opened (S8).
    generation: AtomicU64,
    /// Raised when a truncation begins to change what readers see, and when it has done so.
    cuts: AtomicU64,
    /// Held for reading by jobs that change files, for writing by a truncation.
    upkeep: RwLock<()>,
    /// Held while segments are synced.
    pub(crate) flushing: Mutex<()>,
    terms_unstored: AtomicBool,
    open_segments: Mutex<VecDeque<Arc<Segment>>>,
    open_segments_max: usize,
    pub(crate) damage: Damage,
    /// Up to where the newest record of each key is known.
    cleaned_to: AtomicI64,
}

/// The terms of the log in the two forms in which they are asked for.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) epochs: LeaderEpochs,
    pub(crate) starts: Arc<[(Offset, LeaderEpoch)]>,
}

impl Terms {
    pub(crate) fn new(epochs: LeaderEpochs) -> Self {
        let starts = epochs.entries().iter().map(|entry| (entry.start, entry.epoch)).collect();
        Self { epochs, starts }
    }
}

/// The three offsets of a log: start <= flushed <= end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) start: Offset,
    pub(crate) flushed: Offset,
    pub(crate) end: Offset,
}

impl Shared {
    pub(crate) fn new(
        folder: Arc<Folder>,
        id: PartitionId,
        segments: Vec<Arc<Segment>>,
        epochs: LeaderEpochs,
        ends: Ends,
        open_segments_max: usize,
    ) -> Self {
        Self {
            folder,
            id,
            segments: RwLock::new(segments.into()),
            epochs: RwLock::new(Arc::new(Terms::new(epochs))),
            log_start: AtomicI64::new(ends.start.get()),
            log_end: AtomicI64::new(ends.end.get()),
            flushed: AtomicI64::new(ends.flushed.get()),
            snapshot_end: AtomicI64::new(-1),
            state: AtomicU8::new(OPEN),
            generation: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            upkeep: RwLock::default(),
            flushing: Mutex::default(),
            terms_unstored: AtomicBool::new(true),
            open_segments: Mutex::default(),
            open_segments_max,
            damage: Damage::default(),
            cleaned_to: AtomicI64::new(0),
        }
    }

    /// Up to where the log was compacted.
    pub(crate) fn cleaned_to(&self) -> Offset {
        Offset::new(self.cleaned_to.load(Ordering::Acquire))
    }

    pub(crate) fn set_cleaned_to(&self, to: Offset) {
        self.cleaned_to.store(to.get(), Ordering::Release);
    }

    /// All segments, ascending; the last one is active.
    pub(crate) fn segments(&self) -> Arc<[Arc<Segment>]> {
        Arc::clone(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_segments(&self, segments: Vec<Arc<Segment>>) {
        *self.segments.write().unwrap_or_else(PoisonError::into_inner) = segments.into();
    }

    /// A new active segment behind all others.
    pub(crate) fn push_segment(&self, segment: Arc<Segment>) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        *segments = segments.iter().cloned().chain([segment]).collect();
    }

    /// One segment in the place of several, which stand one behind the other.
    pub(crate) fn replace_segments(&self, old: &[Arc<Segment>], new: Arc<Segment>) {
        let is_old = |segment: &Arc<Segment>| old.iter().any(|old| Arc::ptr_eq(old, segment));
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let before = segments.iter().take_while(|segment| !is_old(segment)).cloned();
        let behind =
            segments.iter().skip_while(|segment| !is_old(segment)).filter(|segment| !is_old(segment));
        let replaced: Arc<[_]> = before.chain([new]).chain(behind.cloned()).collect();
        *segments = replaced;
    }

    pub(crate) fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.epochs.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A term begins at `start`, unless it has begun before. One that is below the newest changes nothing.
    pub(crate) fn assign_epoch(&self, epoch: LeaderEpoch, start: Offset) {
        let terms = self.terms();
        if terms.epochs.latest().is_some_and(|latest| latest.epoch >= epoch) {
            return;
        }
        let mut epochs = terms.epochs.clone();
        if epochs.assign(epoch, start) == Ok(true) {
            self.set_epochs(epochs);
        }
    }

    /// Other terms from now on, which the file may not hold yet.
    pub(crate) fn set_epochs(&self, epochs: LeaderEpochs) {
        *self.epochs.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Terms::new(epochs));
        self.terms_not_stored();
    }

    /// The terms, if the file may not hold them yet; whoever takes them stores them.
    pub(crate) fn take_unstored_terms(&self) -> Option<Arc<Terms>> {
        self.terms_unstored.swap(false, Ordering::AcqRel).then(|| self.terms())
    }

    pub(crate) fn terms_not_stored(&self) {
        self.terms_unstored.store(true, Ordering::Release);
    }

    pub(crate) fn epoch_rule(&self) -> EpochRule {
        EpochRule::known(Arc::clone(&self.terms().starts))
    }

    pub(crate) fn log_start(&self) -> Offset {
        Offset::new(self.log_start.load(Ordering::Acquire))
    }

    /// What a truncation leaves: first what is lower, so that never more seems to be there than there is.
    pub(crate) fn set_ends(&self, ends: Ends) {
        self.flushed.store(ends.flushed.min(self.flushed()).get(), Ordering::Release);
        self.log_end.store(ends.end.get(), Ordering::Release);
        self.log_start.store(ends.start.get(), Ordering::Release);
        self.flushed.store(ends.flushed.get(), Ordering::Release);
    }

    pub(crate) fn raise_log_start(&self, to: Offset) {
        self.log_start.fetch_max(to.get(), Ordering::AcqRel);
    }

    pub(crate) fn log_end(&self) -> Offset {
        Offset::new(self.log_end.load(Ordering::Acquire))
    }

    pub(crate) fn set_log_end(&self, end: Offset) {
        self.log_end.store(end.get(), Ordering::Release);
    }

    pub(crate) fn flushed(&self) -> Offset {
        Offset::new(self.flushed.load(Ordering::Acquire))
    }

    pub(crate) fn set_flushed(&self, flushed: Offset) {
        self.flushed.store(flushed.get(), Ordering::Release);
    }

    /// The end of the newest stored state of the producers; below zero when there is none.
    pub(crate) fn snapshot_end(&self) -> Offset {
        Offset::new(self.snapshot_end.load(Ordering::Acquire))
    }

    pub(crate) fn raise_snapshot_end(&self, to: Offset) {
        self.snapshot_end.fetch_max(to.get(), Ordering::AcqRel);
    }

    pub(crate) fn set_snapshot_end(&self, to: Offset) {
        self.snapshot_end.store(to.get(), Ordering::Release);
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Lets a job change files that was made in this generation; `None` once the log was truncated after that.
    pub(crate) fn at_work(&self, generation: u64) -> Option<RwLockReadGuard<'_, ()>> {
        let guard = self.upkeep.read().unwrap_or_else(PoisonError::into_inner);
        (generation == self.generation()).then_some(guard)
    }

    /// Begins the next generation: jobs of those before end, are waited for, and do nothing any more.
    pub(crate) fn next_generation(&self) -> RwLockWriteGuard<'_, ()> {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.upkeep.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be compared by readers: what they found may be an effect of a truncation unless this is even and has stayed
    /// the same.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    /// Whether a truncation was under way since `cuts` was asked for.
    pub(crate) fn was_cut_since(&self, cuts: u64) -> bool {
        !cuts.is_multiple_of(2) || self.cuts() != cuts
    }

    /// From here on readers see a log that changes under them, until the guard is dropped.
    pub(crate) fn begin_cut(&self) -> Cutting<'_> {
        self.cuts.fetch_add(1, Ordering::AcqRel);
        Cutting(self)
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.state.load(Ordering::Acquire) == POISONED
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLOSED
    }

    pub(crate) fn close(&self) {
        let _ = self.state.compare_exchange(OPEN, CLOSED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// From now on nothing above the flushed position is served, in this process and after it: the mark is
    /// made as durable as a failing disk allows.
    pub(crate) fn poison(&self, cause: &io::Error) {
        if self.state.swap(POISONED, Ordering::AcqRel) == POISONED {
            return;
        }
        tracing::error!(partition = %self.id, dir = %self.folder.dir.display(), %cause, "log poisoned");
        if let Err(error) = mark_poisoned(&self.folder) {
            tracing::error!(partition = %self.id, %error, "mark of the poisoned log could not be written");
        }
    }

    /// The segment that holds `offset`, or would.
    pub(crate) fn segment_of(segments: &[Arc<Segment>], offset: Offset) -> Option<usize> {
        segments.partition_point(|segment| segment.base() <= offset).checked_sub(1)
    }

    /// A sealed segment is about to be opened: if that makes too many, the one opened first is closed.
    pub(crate) fn make_room_for(&self, segment: &Arc<Segment>) {
        if segment.is_sealed() && !segment.is_open() {
            self.count_as_open(segment);
        }
    }

    /// A sealed segment is open, or is about to be.
    pub(crate) fn count_as_open(&self, segment: &Arc<Segment>) {
        let mut open = lock(&self.open_segments);
        if !open.iter().any(|known| Arc::ptr_eq(known, segment)) {
            open.push_back(Arc::clone(segment));
        }
        while open.len() > self.open_segments_max.max(1) {
            if let Some(oldest) = open.pop_front() {
                oldest.close();
            }
        }
    }

    /// Segments that have left the log are no longer kept open.
    pub(crate) fn forget_open(&self, gone: &[Arc<Segment>]) {
        lock(&self.open_segments).retain(|open| !gone.iter().any(|gone| Arc::ptr_eq(gone, open)));
    }
}

/// A truncation under way.
pub(crate) struct Cutting<'a>(&'a Shared);

impl Drop for Cutting<'_> {
    fn drop(&mut self) {
        self.0.cuts.fetch_add(1, Ordering::AcqRel);
    }
}
