use crate::model::{LeaderEpoch, Offset};

/// What the leader epoch of a batch, which its checksum does not cover, is checked against.
#[derive(Clone, Debug)]
pub(crate) enum EpochRule {
    /// The terms of the log are known: (first offset, term), ascending.
    Known(std::sync::Arc<[(Offset, LeaderEpoch)]>),
    /// They are what is being found out: never lower than the one before, never above the second.
    Rising(LeaderEpoch, LeaderEpoch),
}

impl EpochRule {
    /// Any term will do.
    pub(crate) fn any() -> Self {
        Self::Known(std::sync::Arc::new([]))
    }

    /// Whether a batch at this offset may carry this term.
    pub(crate) fn allows(&self, offset: Offset, epoch: LeaderEpoch) -> bool {
        match self {
            Self::Known(starts) => {
                let after = match starts.last() {
                    Some((start, _)) if *start <= offset => starts.len(),
                    _ => starts.partition_point(|(start, _)| *start <= offset),
                };
                // Before the first known term there is nothing to compare with.
                after.checked_sub(1).and_then(|at| starts.get(at)).is_none_or(|(_, known)| *known == epoch)
            }
            Self::Rising(least, most) => (*least..=*most).contains(&epoch),
        }
    }

    /// A batch of this term has been passed.
    pub(crate) fn passed(&mut self, epoch: LeaderEpoch) {
        if let Self::Rising(least, _) = self {
            *least = (*least).max(epoch);
        }
    }
}
