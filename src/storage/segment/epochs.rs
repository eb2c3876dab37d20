use std::sync::Arc;

use crate::model::{LeaderEpoch, Offset};

/// What the leader epoch of a batch, which its checksum does not cover, is checked against, and how far a batch may
/// reach.
#[derive(Clone, Debug)]
pub(crate) struct EpochRule {
    /// The first offset and the number of each known term, ascending.
    starts: Arc<[(Offset, LeaderEpoch)]>,
    /// While a log is recovered terms may follow the last known one: from the lowest to the highest that the
    /// next batch may have.
    beyond: Option<(LeaderEpoch, LeaderEpoch)>,
}

impl EpochRule {
    /// Any term will do.
    pub(crate) fn any() -> Self {
        Self::known(Arc::new([]))
    }

    /// These are all there are; before the first one there is nothing to compare with.
    pub(crate) const fn known(starts: Arc<[(Offset, LeaderEpoch)]>) -> Self {
        Self { starts, beyond: None }
    }

    /// After these there may be others, up to `highest`.
    pub(crate) fn open_ended(starts: Arc<[(Offset, LeaderEpoch)]>, highest: LeaderEpoch) -> Self {
        let lowest = starts.last().map_or(LeaderEpoch::new(0), |(_, epoch)| *epoch);
        Self { starts, beyond: Some((lowest, highest)) }
    }

    /// Whether a batch that begins at this offset may carry this term.
    pub(crate) fn allows(&self, offset: Offset, epoch: LeaderEpoch) -> bool {
        let after = self.after(offset);
        if let Some((lowest, highest)) = self.beyond.filter(|_| after == self.starts.len()) {
            return (lowest..=highest).contains(&epoch);
        }
        let known = after.checked_sub(1).and_then(|at| self.starts.get(at));
        known.is_none_or(|(_, known)| *known == epoch)
    }

    /// Whether a batch may begin at one offset and end before the other. None reaches over the start of a term: there
    /// one leader's batches end and another's begin. A leader's opening begins a term where the log ends then, so that
    /// what stood there when it was opened never reaches further, however long the log becomes.
    pub(crate) fn allows_reach(&self, base: Offset, next: Offset) -> bool {
        self.starts.get(self.after(base)).is_none_or(|(start, _)| next <= *start)
    }

    /// How many terms begin at or before this offset.
    fn after(&self, offset: Offset) -> usize {
        if self.starts.last().is_none_or(|(start, _)| *start <= offset) {
            return self.starts.len();
        }
        self.starts.partition_point(|(start, _)| *start <= offset)
    }

    /// A batch of this term has been passed: no lower one follows.
    pub(crate) fn passed(&mut self, epoch: LeaderEpoch) {
        if let Some((lowest, _)) = &mut self.beyond {
            *lowest = (*lowest).max(epoch);
        }
    }
}
