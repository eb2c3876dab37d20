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
    /// What was acknowledged is consumed by every group that reads its topic.
    ConsumedAtLeastOnce,
    /// A group's position was put where it is by a commit that was not refused.
    PositionIsCommitted,
    /// A group's position does not go back, unless a commit that was under way can have put it there.
    PositionNeverBack,
    /// A group's position does not go past a record that no member had consumed.
    PositionBehindConsumption,
    /// A group's position does not go past a record that no member had consumed before it is a dead letter.
    GivenUpIsDeadLetter,
    /// A record becomes a dead letter only when as many deliveries have failed as its topic says.
    DeadLetterEarned,
    /// A record becomes a dead letter once, whoever dies meanwhile.
    DeadLetterOnce,
    /// No two members are given one partition in one generation.
    OneOwner,
    /// A commit of a generation that was over is not acknowledged.
    GenerationFenced,
    /// After each kill a group consumes something new in each partition within the session time-out and
    /// five seconds, from the kill or the next one on.
    ProgressAgain,
    /// Every position was asked for after the last commit that was acknowledged; without that the other
    /// rules would pass by having looked at nothing.
    PositionReadBack,
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
            Self::ConsumedAtLeastOnce => "acknowledged and never consumed",
            Self::PositionIsCommitted => "position that nobody committed",
            Self::PositionNeverBack => "position went back",
            Self::PositionBehindConsumption => "position past what was consumed",
            Self::GivenUpIsDeadLetter => "passed, not consumed and no dead letter",
            Self::DeadLetterEarned => "dead letter of a record that has not failed often enough",
            Self::DeadLetterOnce => "dead letter too often",
            Self::OneOwner => "two owners in one generation",
            Self::GenerationFenced => "commit taken of a generation that was over",
            Self::ProgressAgain => "no progress after a kill",
            Self::PositionReadBack => "committed and position never read back",
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
    /// What consumer groups did.
    #[serde(default)]
    pub groups: GroupCounts,
}

/// How much a history holds of consumer groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCounts {
    /// Generations in which some member was given its share.
    pub generations: u64,
    /// Members that vanished.
    pub members_killed: u64,
    /// Records consumed, each time counted.
    pub consumed: u64,
    /// Of those, not for the first time.
    pub consumed_again: u64,
    /// Commits that were acknowledged.
    pub commits: u64,
    /// Commits that were refused for certain.
    pub commits_refused: u64,
    /// Commits of which nobody knows whether they hold.
    pub commits_unknown: u64,
    /// Records refused, each time counted.
    #[serde(default)]
    pub refused: u64,
    /// Records that became dead letters.
    #[serde(default)]
    pub dead_letters: u64,
    /// Positions told.
    pub positions: u64,
    /// How often a position went back because of a commit that was under way.
    pub put_back: u64,
    /// Partitions in which something new was consumed after a kill and before the next one.
    pub progress_checked: u64,
    /// The longest that this took, in microseconds.
    pub slowest_progress_us: u64,
}

impl fmt::Display for GroupCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} generations, {} members killed; {} consumed ({} again); {} commits, {} refused, {} unknown",
            self.generations,
            self.members_killed,
            self.consumed,
            self.consumed_again,
            self.commits,
            self.commits_refused,
            self.commits_unknown
        )?;
        if self.refused + self.dead_letters > 0 {
            write!(f, "; {} refused, {} dead letters", self.refused, self.dead_letters)?;
        }
        write!(
            f,
            "; {} positions ({} put back); progress after kills {} times, at latest after {} ms",
            self.positions,
            self.put_back,
            self.progress_checked,
            self.slowest_progress_us / 1000
        )
    }
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
        if c.groups != GroupCounts::default() {
            write!(f, "\n{}", c.groups)?;
        }
        if self.is_clean() {
            return f.write_str("\nno violation");
        }
        for (rule, count) in &self.broken {
            write!(f, "\n{}: {count}", rule.broken())?;
        }
        self.violations.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}
