//! What is told to whom when a batch is hit that another replica may have whole.
//!
//! Whoever comes upon damage (a reader, the scrub, a look-up by time, the sealing of a segment, recovery) notes it at its
//! segment. Where there are other replicas the log's owner has hung a bell: it is rung, and until the owner has mended the
//! batch or given it up, readers stop in front of it and do not go on behind it.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Log, LogReader, shared::Shared};
use crate::{
    model::Offset,
    storage::segment::{CorruptBatch, Hole, Segment, lock},
};

/// Called when something was found that might be mended, and not again before that was heard.
pub type DamageBell = Arc<dyn Fn() + Send + Sync>;

/// Whether damage is mended, and who is told.
#[derive(Default)]
pub(crate) struct Damage {
    /// Hung where there are others who may have it.
    bell: Mutex<Option<DamageBell>>,
    is_mended: AtomicBool,
    rings: AtomicBool,
    was_unclean: AtomicBool,
}

impl fmt::Debug for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Damage").field("is_mended", &self.is_mended).finish_non_exhaustive()
    }
}

impl Damage {
    pub(crate) fn set_was_unclean(&self, was_unclean: bool) {
        self.was_unclean.store(was_unclean, Ordering::Relaxed);
    }

    fn ring(&self) {
        if self.rings.swap(true, Ordering::AcqRel) {
            return;
        }
        let bell = lock(&self.bell).clone();
        if let Some(bell) = bell {
            bell();
        }
    }
}

impl Shared {
    /// Remembers a hole and says what is to be done about it. What lies above `upto` may not be served, so where nobody
    /// mends it nothing is said of that either; who mends has to know all of it.
    pub(crate) fn note_corrupt(&self, segment: &Segment, hole: &Hole, upto: Offset) -> CorruptBatch {
        if !self.damage.is_mended.load(Ordering::Acquire) {
            return segment.note_corrupt(&Hole { next: hole.next.min(upto), ..*hole });
        }
        let mut corrupt = segment.note_corrupt(hole);
        corrupt.is_held = corrupt.loses_offsets() && !corrupt.is_given_up;
        if corrupt.is_held {
            self.damage.ring();
        }
        corrupt
    }
}

impl Log {
    /// From now on damage is mended by whoever hangs this bell, or not (`None`). What was given up before is to be tried
    /// again: it rings at once where there is any.
    pub fn set_damage_bell(&self, bell: Option<DamageBell>) {
        let damage = &self.shared.damage;
        let is_mended = bell.is_some();
        *lock(&damage.bell) = bell;
        damage.rings.store(false, Ordering::Release);
        damage.is_mended.store(is_mended, Ordering::Release);
        self.hope_again();
    }

    /// What was given up is to be tried again: other replicas are there now.
    pub fn hope_again(&self) {
        if !self.shared.damage.is_mended.load(Ordering::Acquire) {
            return;
        }
        let mut any = false;
        for segment in self.shared.segments().iter() {
            segment.hope_again();
            any |= segment.known_corrupt().iter().any(CorruptBatch::loses_offsets);
        }
        if any {
            self.shared.damage.ring();
        }
    }

    /// The first that is neither mended nor given up; the bell may ring again from now on.
    pub fn next_damage(&self) -> Option<CorruptBatch> {
        self.shared.damage.rings.store(false, Ordering::Release);
        let start = self.shared.log_start();
        let segments = self.shared.segments();
        let known = segments.iter().flat_map(|segment| segment.known_corrupt());
        known.into_iter().find(|known| known.loses_offsets() && !known.is_given_up && known.next > start)
    }

    /// No other replica has it: readers go on behind it.
    pub fn give_up(&self, lost: &CorruptBatch) {
        self.shared.segments().iter().for_each(|segment| segment.give_up(lost));
    }
}

impl LogReader {
    /// Whether the log was not closed in order before it was opened.
    pub fn was_unclean(&self) -> bool {
        self.shared.damage.was_unclean.load(Ordering::Relaxed)
    }

    /// Whether both read the same opening of the same log.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Up to where the log was compacted.
    pub fn cleaned_to(&self) -> Offset {
        self.shared.cleaned_to()
    }
}
