//! Where a committed offset is to go: decided without asking anybody.

use std::fmt;

use crate::model::{Offset, TimestampMs};

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The first record there is.
    Earliest,
    /// The end.
    Latest,
    /// The first record of this time or later.
    Time(TimestampMs),
    /// This offset.
    Offset(Offset),
    /// So many records on, or back.
    Shift(i64),
}

/// What is known of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// What the group has committed.
    pub(super) committed: Option<Offset>,
    /// The first record's offset.
    pub(super) start: Offset,
    /// The offset of the next record that consumers will see.
    pub(super) end: Offset,
    /// The first record of the time that was asked for, where there is one.
    pub(super) at_time: Option<Offset>,
}

/// Where the offset goes, and what to say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// None: it stays as it is.
    pub(super) to: Option<Offset>,
    pub(super) note: Option<Note>,
}

/// What is not as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The log begins after the offset that was meant.
    BeforeStart(Offset),
    /// The log ends before it.
    PastEnd(Offset),
    /// No record is of that time or later.
    NothingSince,
    /// There is nothing to shift.
    NeverCommitted,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeforeStart(wanted) => write!(f, "{wanted} is before the log's start"),
            Self::PastEnd(wanted) => write!(f, "{wanted} is past the log's end"),
            Self::NothingSince => f.write_str("no record since then: the log's end"),
            Self::NeverCommitted => f.write_str("never committed: nothing to shift"),
        }
    }
}

/// Decides for one partition.
pub(super) fn plan(target: Target, known: &Known) -> Plan {
    let plainly = |to| Plan { to: Some(to), note: None };
    match target {
        Target::Earliest => plainly(known.start),
        Target::Latest => plainly(known.end),
        Target::Time(_) => match known.at_time {
            Some(offset) => within(known, offset),
            None => Plan { to: Some(known.end), note: Some(Note::NothingSince) },
        },
        Target::Offset(offset) => within(known, offset),
        Target::Shift(by) => match known.committed {
            Some(committed) => within(known, Offset::new(committed.get().saturating_add(by))),
            None => Plan { to: None, note: Some(Note::NeverCommitted) },
        },
    }
}

/// The offset, or that end of the log which is nearest to it.
fn within(known: &Known, wanted: Offset) -> Plan {
    let (to, note) = if wanted < known.start {
        (known.start, Some(Note::BeforeStart(wanted)))
    } else if wanted > known.end {
        (known.end, Some(Note::PastEnd(wanted)))
    } else {
        (wanted, None)
    };
    Plan { to: Some(to), note }
}

#[cfg(test)]
mod tests {
    use super::{Known, Note, Plan, Target, plan};
    use crate::model::{Offset, TimestampMs};

    /// A log of the offsets 10 to 19.
    fn known(committed: Option<i64>, at_time: Option<i64>) -> Known {
        Known {
            committed: committed.map(Offset::new),
            start: Offset::new(10),
            end: Offset::new(20),
            at_time: at_time.map(Offset::new),
        }
    }

    #[track_caller]
    fn goes(target: Target, known: Known, to: i64, note: Option<Note>) {
        assert_eq!(plan(target, &known), Plan { to: Some(Offset::new(to)), note });
    }

    #[test]
    fn the_ends_of_the_log_are_where_they_are_whatever_was_committed() {
        for committed in [None, Some(3), Some(15), Some(99)] {
            goes(Target::Earliest, known(committed, None), 10, None);
            goes(Target::Latest, known(committed, None), 20, None);
        }
    }

    #[test]
    fn a_time_leads_to_its_first_record_or_to_the_end() {
        let time = Target::Time(TimestampMs::new(5));
        goes(time, known(None, Some(12)), 12, None);
        goes(time, known(Some(15), None), 20, Some(Note::NothingSince));
        // Records were deleted between the two questions.
        goes(time, known(None, Some(8)), 10, Some(Note::BeforeStart(Offset::new(8))));
    }

    #[test]
    fn an_offset_outside_of_the_log_goes_to_the_nearest_end() {
        let to = |offset| Target::Offset(Offset::new(offset));
        for within in [10, 15, 20] {
            goes(to(within), known(None, None), within, None);
        }
        goes(to(9), known(None, None), 10, Some(Note::BeforeStart(Offset::new(9))));
        goes(to(21), known(Some(15), None), 20, Some(Note::PastEnd(Offset::new(21))));
    }

    #[test]
    fn a_shift_counts_from_what_was_committed_and_stays_within_the_log() {
        goes(Target::Shift(3), known(Some(12), None), 15, None);
        goes(Target::Shift(-2), known(Some(12), None), 10, None);
        goes(Target::Shift(0), known(Some(12), None), 12, None);
        goes(Target::Shift(-5), known(Some(12), None), 10, Some(Note::BeforeStart(Offset::new(7))));
        goes(Target::Shift(-15), known(Some(12), None), 10, Some(Note::BeforeStart(Offset::new(-3))));
        goes(Target::Shift(9), known(Some(12), None), 20, Some(Note::PastEnd(Offset::new(21))));
        let most = Some(Note::PastEnd(Offset::new(i64::MAX)));
        goes(Target::Shift(i64::MAX), known(Some(12), None), 20, most);
    }

    #[test]
    fn a_shift_of_what_was_never_committed_changes_nothing_and_says_so() {
        let stays = Plan { to: None, note: Some(Note::NeverCommitted) };
        assert_eq!(plan(Target::Shift(1), &known(None, None)), stays);
    }

    #[test]
    fn in_an_empty_log_every_way_leads_to_its_one_offset() {
        let empty = Known { start: Offset::new(7), end: Offset::new(7), ..known(Some(3), None) };
        for target in [Target::Earliest, Target::Latest, Target::Offset(Offset::new(7))] {
            goes(target, empty, 7, None);
        }
        goes(Target::Shift(1), empty, 7, Some(Note::BeforeStart(Offset::new(4))));
    }
}
