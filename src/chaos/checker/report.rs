use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{chaos::history::TopicPartition, model::Offset};

/// A promise that a history can show to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// What was acknowledged with `acks=all` is at the offset of its acknowledgement.
    AcknowledgedIsPresent,
    /// A record is read as it was sent.
    ContentUnchanged,
    /// No two records are acknowledged at one offset.
    OneRecordPerOffset,
    /// A record of an idempotent producer, or of one that never sends again, is there once at most.
    AtMostOnce,
    /// Records of an idempotent producer, or of one with one request in flight, stand as they were sent.
    OrderKept,
    /// Offsets of a partition follow each other without gap.
    NoGap,
    /// Only what was sent there before is read.
    NothingInvented,
    /// What was refused for certain is not there.
    RefusedIsAbsent,
    /// One offset holds the same record whenever it is read.
    ReadsAgree,
    /// What was read once is there whenever all is read later.
    SeenStaysSeen,
    /// A complete read gives offsets in ascending order.
    ReadsAscend,
    /// Every partition with acknowledgements was read completely after the last of them; without
    /// that the other rules would pass by having looked at nothing.
    ReadBack,
    /// The history itself makes sense: it was recorded by the rules of its format.
    HistoryIsSound,
}

impl Rule {
    /// What was broken, in a few words.
    pub const fn broken(self) -> &'static str {
        match self {
            Self::AcknowledgedIsPresent => "acknowledged and absent",
            Self::ContentUnchanged => "content changed",
            Self::OneRecordPerOffset => "two records acknowledged at one offset",
            Self::AtMostOnce => "duplicate",
            Self::OrderKept => "out of order",
            Self::NoGap => "gap in the offsets",
            Self::NothingInvented => "read and never sent",
            Self::RefusedIsAbsent => "refused and present",
            Self::ReadsAgree => "read twice with different content",
            Self::SeenStaysSeen => "seen and later gone",
            Self::ReadsAscend => "read out of order",
            Self::ReadBack => "acknowledged and never read back",
            Self::HistoryIsSound => "history makes no sense",
        }
    }
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// Where; `None` where it belongs to no partition.
    pub partition: Option<TopicPartition>,
    /// At which offset, where there is one.
    pub offset: Option<Offset>,
    /// What exactly.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rule.broken())?;
        if let Some(partition) = &self.partition {
            write!(f, ", {partition}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        write!(f, ": {}", self.text)
    }
}

/// How much a history holds. A check is worth what it looked at, so these are printed with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Lines behind the header.
    pub events: u64,
    /// Records sent.
    pub sent: u64,
    /// Of those, acknowledged.
    pub acknowledged: u64,
    /// Of those, refused for certain.
    pub failed: u64,
    /// Of those, without a known outcome: the client said so, or the history ends before it.
    pub unknown: u64,
    /// Of the unknown ones, found to be there.
    pub unknown_present: u64,
    /// Records found more often than once where that is allowed.
    pub duplicates_allowed: u64,
    /// Records read, each time counted.
    pub reads: u64,
    /// Complete reads of a partition that reached their end.
    pub scans: u64,
    /// Nodes killed.
    pub kills: u64,
    /// Of those, while a record was sent and not yet answered.
    pub kills_under_load: u64,
}

/// What the checker found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What it looked at.
    pub counts: Counts,
    /// How often each rule was broken; a rule that was kept is not listed.
    pub broken: BTreeMap<Rule, u64>,
    /// The first of each rule's violations, [`Report::KEPT_PER_RULE`] at most.
    pub violations: Vec<Violation>,
}

impl Report {
    /// How many violations of one rule are kept with their text; the others are only counted.
    pub const KEPT_PER_RULE: u64 = 20;

    /// Whether no promise was broken.
    pub fn is_clean(&self) -> bool {
        self.broken.is_empty()
    }

    pub(super) fn add(&mut self, violation: Violation) {
        let count = self.broken.entry(violation.rule).or_default();
        *count += 1;
        if *count <= Self::KEPT_PER_RULE {
            self.violations.push(violation);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        writeln!(
            f,
            "{} sent: {} acknowledged, {} refused, {} unknown ({} of them there), {} allowed duplicates",
            c.sent, c.acknowledged, c.failed, c.unknown, c.unknown_present, c.duplicates_allowed
        )?;
        write!(
            f,
            "{} read in {} complete reads; {} kills, {} under load",
            c.reads, c.scans, c.kills, c.kills_under_load
        )?;
        if self.is_clean() {
            return f.write_str("\nno violation");
        }
        for (rule, count) in &self.broken {
            write!(f, "\n{}: {count}", rule.broken())?;
        }
        self.violations.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}
