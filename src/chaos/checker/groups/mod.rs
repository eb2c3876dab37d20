//! Whether a group's consumers and its coordinator kept what a group promises.
//!
//! - Who holds a partition in a generation is what members were told, not what the coordinator thinks.
//! - A record counts as consumed when a member says so, whoever it was and whatever became of its commit.
//! - Where the position stands against records is judged at the end, when all records are known.

mod letters;
mod position;
mod progress;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, btree_map::Entry};

use self::{
    letters::Letters,
    position::{Fate, Position, Wrong},
    progress::{Progress, TooLong},
};
use super::{
    GroupCounts, Report, Rule, Violation,
    paged::Paged,
    state::{Partition, Slot},
};
use crate::{
    chaos::history::{
        Commit, Consumed, DeadLetter, DeadLettersRead, GroupProfile, Joined, Membership, NodeChange,
        NodeEvent, Parted, Parting, PositionAsked, PositionTold, TopicPartition,
    },
    model::{NodeId, Offset},
};

/// Where the history is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// The line of the file; the header is line 1.
    pub(super) line: u32,
    pub(super) at_us: u64,
}

/// All groups of a history.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_name: BTreeMap<String, Group>,
    /// When each node was killed last.
    nodes: BTreeMap<NodeId, Option<u32>>,
}

#[derive(Debug)]
struct Group {
    profile: GroupProfile,
    /// When the first member was told that it is in a generation.
    began: BTreeMap<i32, u32>,
    owners: HashMap<(i32, TopicPartition), Owner>,
    holding: HashMap<String, (i32, BTreeSet<TopicPartition>)>,
    killed: HashSet<String>,
    partitions: BTreeMap<TopicPartition, Consumption>,
}

#[derive(Clone, Debug)]
struct Owner {
    member: String,
    line: u32,
}

/// Who took a partition over from another, in which generation, and the line that says so.
#[derive(Clone, Debug)]
struct Holder {
    member: String,
    generation: i32,
    line: u32,
}

/// What a group did in one partition.
#[derive(Debug)]
struct Consumption {
    /// Who holds it by the last word of any member, and since when.
    holder: Option<Holder>,
    /// The line at which each offset was consumed first; 0 is never.
    consumed_at: Paged<u32>,
    position: Position,
    progress: Progress,
    letters: Letters,
}

impl Default for Consumption {
    fn default() -> Self {
        let (position, progress, letters) = (Position::default(), Progress::default(), Letters::default());
        Self { holder: None, consumed_at: Paged::new(), position, progress, letters }
    }
}

/// What is wrong, before it is known with whom.
type Found = Vec<(Rule, String)>;

impl Group {
    fn new(profile: GroupProfile) -> Self {
        Self {
            profile,
            began: BTreeMap::new(),
            owners: HashMap::new(),
            holding: HashMap::new(),
            killed: HashSet::new(),
            partitions: BTreeMap::new(),
        }
    }

    fn session_us(&self) -> u64 {
        u64::from(self.profile.session_timeout_ms) * 1000
    }

    fn reads(&self, partition: &TopicPartition) -> bool {
        self.profile.topics.contains(&partition.topic)
    }

    fn at(&mut self, partition: &TopicPartition) -> &mut Consumption {
        self.partitions.entry(partition.clone()).or_default()
    }

    /// A generation begins with the first member that is told so; in a group whose coordinator assigns, for each
    /// partition with the member that takes it over.
    fn generation_begins(&mut self, generation: i32, now: Now) -> bool {
        let Entry::Vacant(begins) = self.began.entry(generation) else { return false };
        begins.insert(now.line);
        for consumption in self.partitions.values_mut().filter(|_| !self.profile.server_side) {
            consumption.position.generation_began(generation, now);
        }
        true
    }

    /// A member takes partitions over that another one held.
    fn hand_over(&mut self, joined: &Joined, now: Now) {
        let Joined { by, partitions } = joined;
        for partition in partitions {
            let consumption = self.at(partition);
            consumption.letters.held(by, now);
            if consumption.holder.as_ref().is_none_or(|holder| holder.member != by.member) {
                let (member, generation, line) = (by.member.clone(), by.generation, now.line);
                consumption.holder = Some(Holder { member, generation, line });
                consumption.position.generation_began(by.generation, now);
            }
        }
    }

    /// Why a commit that was asked for then is not to be taken any more, if it is so.
    fn fenced(&mut self, commit: &Commit, asked_at: u32) -> Option<String> {
        let Membership { member, generation, .. } = &commit.by;
        if self.profile.server_side {
            let holder = self.at(&commit.partition).holder.as_ref();
            let by = holder.filter(|by| by.member != *member && by.line < asked_at)?;
            let Holder { member, generation, line } = by;
            return Some(format!("{member} had taken it over in generation {generation} (line {line})"));
        }
        let later = self.began.range(generation.saturating_add(1)..).min_by_key(|(_, line)| **line);
        let (generation, line) = later.filter(|(_, line)| **line < asked_at)?;
        Some(format!("generation {generation} had begun (line {line})"))
    }

    fn holds(&self, by: &Membership, partition: &TopicPartition) -> bool {
        let held = self.holding.get(&by.member);
        held.is_some_and(|(generation, held)| *generation == by.generation && held.contains(partition))
    }
}

impl Groups {
    pub(super) fn on_group(&mut self, profile: &GroupProfile, report: &mut Report) {
        if self.by_name.contains_key(&profile.name) {
            return unsound(report, None, format!("group {} is declared twice", profile.name));
        }
        self.by_name.insert(profile.name.clone(), Group::new(profile.clone()));
    }

    /// The group of an event, if it was declared.
    fn group(&mut self, name: &str, report: &mut Report) -> Option<&mut Group> {
        let group = self.by_name.get_mut(name);
        if group.is_none() {
            unsound(report, None, format!("group {name} is not declared"));
        }
        group
    }

    pub(super) fn on_joined(&mut self, joined: &Joined, now: Now, report: &mut Report) {
        let Joined { by, partitions } = joined;
        let Some(group) = self.group(&by.group, report) else { return };
        if group.killed.contains(&by.member) {
            return unsound(report, None, format!("{} joins after it was killed", by.member));
        }
        if group.generation_begins(by.generation, now) {
            report.counts.groups.generations += 1;
        }
        if group.profile.server_side {
            group.hand_over(joined, now);
        }
        for partition in partitions {
            let owner = Owner { member: by.member.clone(), line: now.line };
            let first = group.owners.entry((by.generation, partition.clone())).or_insert(owner);
            if first.member != by.member {
                let text = format!(
                    "generation {} of {}: {} (line {}) and {} (line {})",
                    by.generation, by.group, first.member, first.line, by.member, now.line
                );
                violated(report, Rule::OneOwner, partition, None, text);
            }
        }
        let held = partitions.iter().cloned().collect();
        group.holding.insert(by.member.clone(), (by.generation, held));
    }

    pub(super) fn on_parted(&mut self, parted: &Parted, now: Now, report: &mut Report) {
        let Parted { by, how } = parted;
        let Some(group) = self.group(&by.group, report) else { return };
        group.holding.remove(&by.member);
        if *how == Parting::Killed {
            group.killed.insert(by.member.clone());
            let session_us = group.session_us();
            for (partition, consumption) in &mut group.partitions {
                let late = consumption.progress.killed(&by.member, session_us, now);
                too_long(report, partition, late);
            }
            report.counts.groups.members_killed += 1;
        }
    }

    pub(super) fn on_node(&mut self, event: NodeEvent, now: Now, report: &mut Report) {
        match event.change {
            NodeChange::Killed => {
                self.nodes.insert(event.node, Some(now.line));
                let name = format!("node {}", event.node);
                for group in self.by_name.values_mut() {
                    let session_us = group.session_us();
                    for (partition, consumption) in &mut group.partitions {
                        too_long(report, partition, consumption.progress.killed(&name, session_us, now));
                    }
                }
            }
            NodeChange::Started => {
                let killed_at = self.nodes.entry(event.node).or_default().take();
                // Where there are others, who knows at which of them a commit waits.
                let Some(killed_at) = killed_at.filter(|_| self.nodes.len() == 1) else { return };
                let groups = self.by_name.values_mut();
                for consumption in groups.flat_map(|group| group.partitions.values_mut()) {
                    consumption.position.killed_before(killed_at, now);
                }
            }
            NodeChange::Paused | NodeChange::Resumed | NodeChange::Stopped => {}
        }
    }

    /// A record is on its way into a partition.
    pub(super) fn on_sent(&mut self, partition: &TopicPartition, now: Now) {
        for group in self.by_name.values_mut().filter(|group| group.reads(partition)) {
            group.at(partition).progress.sent(now);
        }
    }

    /// A record that was sent need not be there.
    pub(super) fn on_not_there(&mut self, partition: &TopicPartition) {
        for group in self.by_name.values_mut().filter(|group| group.reads(partition)) {
            group.at(partition).progress.not_there();
        }
    }

    pub(super) fn on_consumed(&mut self, consumed: &Consumed, now: Now, report: &mut Report) {
        let (read, partition) = (&consumed.read, &consumed.read.partition);
        let Some(group) = self.group(&consumed.group, report) else { return };
        let (group_name, member) = (consumed.group.clone(), read.reader.clone());
        let by = Membership { group: group_name, member, generation: consumed.generation };
        if !group.holds(&by, partition) {
            return unsound(report, Some(partition), not_held(&by, "consumes from"));
        }
        // Negative ones are reported where reads are judged.
        let Ok(index) = u64::try_from(read.offset.get()) else { return };
        let session_us = group.session_us();
        let consumption = group.at(partition);
        let first = consumption.consumed_at.at(index);
        report.counts.groups.consumed += 1;
        if *first != 0 {
            report.counts.groups.consumed_again += 1;
            return;
        }
        *first = now.line;
        too_long(report, partition, consumption.progress.made(session_us, now));
    }

    pub(super) fn on_commit_asked(&mut self, commit: &Commit, now: Now, report: &mut Report) {
        let Some(group) = self.group(&commit.by.group, report) else { return };
        if !group.holds(&commit.by, &commit.partition) {
            return unsound(report, Some(&commit.partition), not_held(&commit.by, "commits for"));
        }
        group.at(&commit.partition).position.commit_asked(commit, now);
    }

    /// A record is refused: the group is to be at it, and behind it if that was once too often.
    pub(super) fn on_nack_asked(&mut self, nack: &Commit, now: Now, report: &mut Report) {
        self.on_commit_asked(nack, now, report);
        report.counts.groups.refused += 1;
        let Some(group) = self.group(&nack.by.group, report) else { return };
        if group.profile.max_delivery_attempts == 0 {
            let text = format!("{} refuses a record where that has no limit", nack.by.member);
            return unsound(report, Some(&nack.partition), text);
        }
        let consumption = group.at(&nack.partition);
        consumption.letters.refused(nack.offset);
        consumption.position.may_move_to(nack.offset.plus(1), now);
    }

    pub(super) fn on_dead_letter(&mut self, letter: &DeadLetter, report: &mut Report) {
        let Some(group) = self.group(&letter.group, report) else { return };
        let consumption = group.at(&letter.partition);
        let Ok(index) = u64::try_from(letter.offset.get()) else {
            let text = format!("a dead letter of offset {}", letter.offset);
            return unsound(report, Some(&letter.partition), text);
        };
        // Nobody owes it to be consumed any more.
        if consumption.letters.found(index, letter.attempts) && consumption.consumed_at.get(index) == 0 {
            consumption.progress.not_there();
        }
    }

    pub(super) fn on_dead_letters_read(&mut self, read: &DeadLettersRead, report: &mut Report) {
        let Some(group) = self.group(&read.group, report) else { return };
        let Consumption { letters, consumed_at, .. } = group.at(&read.partition);
        for index in letters.looked(read.passed, consumed_at) {
            let offset = Offset::new(i64::try_from(index).unwrap_or(i64::MAX));
            let text = format!("{} was told to be at {}", read.group, read.passed);
            violated(report, Rule::GivenUpIsDeadLetter, &read.partition, Some(offset), text);
        }
    }

    pub(super) fn on_commit_acknowledged(&mut self, commit: &Commit, now: Now, report: &mut Report) {
        let Some(asked) = self.commit_ended(commit, Fate::Acknowledged, now, report) else { return };
        report.counts.groups.commits += 1;
        let Some(group) = self.group(&commit.by.group, report) else { return };
        if let Some(why) = group.fenced(commit, asked.asked_at) {
            let Membership { member, generation, .. } = &commit.by;
            let text = format!(
                "{member} committed it in generation {generation} (lines {} to {}), and {why}",
                asked.asked_at, now.line
            );
            violated(report, Rule::GenerationFenced, &commit.partition, Some(commit.offset), text);
        }
        let Some(group) = self.group(&commit.by.group, report) else { return };
        let right = group.at(&commit.partition).position.acknowledged(&asked, now);
        wrong(report, &commit.partition, Some(commit.offset), right);
    }

    pub(super) fn on_commit_failed(&mut self, commit: &Commit, sure: bool, now: Now, report: &mut Report) {
        let fate = if sure { Fate::Refused } else { Fate::Unknown };
        if self.commit_ended(commit, fate, now, report).is_some() {
            let counts = &mut report.counts.groups;
            *(if sure { &mut counts.commits_refused } else { &mut counts.commits_unknown }) += 1;
        }
    }

    fn commit_ended(
        &mut self,
        commit: &Commit,
        fate: Fate,
        now: Now,
        report: &mut Report,
    ) -> Option<position::Attempt> {
        let group = self.group(&commit.by.group, report)?;
        let asked = group.at(&commit.partition).position.commit_ended(commit, fate, now);
        if asked.is_none() {
            let text = format!("{} has an outcome of a commit that it did not ask for", commit.by.member);
            unsound(report, Some(&commit.partition), text);
        }
        asked
    }

    pub(super) fn on_position_asked(&mut self, asked: &PositionAsked, now: Now, report: &mut Report) {
        let Some(group) = self.group(&asked.group, report) else { return };
        group.at(&asked.partition).position.asked(&asked.reader, now);
    }

    pub(super) fn on_position_told(&mut self, told: &PositionTold, now: Now, report: &mut Report) {
        let Some(group) = self.group(&told.group, report) else { return };
        let right = group.at(&told.partition).position.told(&told.reader, told.offset, now);
        report.counts.groups.positions += 1;
        wrong(report, &told.partition, told.offset, right);
    }

    /// What can be said at the end only. `acknowledged` says of a place whether what is there was acknowledged.
    pub(super) fn judge(
        &self,
        partitions: &[Partition],
        acknowledged: impl Fn(&Slot) -> bool,
        all_must_be_consumed: bool,
        now: Now,
        report: &mut Report,
    ) {
        for group in self.by_name.values() {
            let nothing = Consumption::default();
            for partition in partitions.iter().filter(|partition| group.reads(&partition.id)) {
                let consumption = group.partitions.get(&partition.id).unwrap_or(&nothing);
                let places = partition.slots.iter();
                let places = places.filter(|(_, slot)| slot.seen_at != 0 || slot.acknowledged.is_some());
                for (index, slot) in places {
                    let must = all_must_be_consumed && acknowledged(slot);
                    for (rule, text) in consumption.judge_place(&group.profile.name, index, must) {
                        let offset = Offset::new(i64::try_from(index).unwrap_or(i64::MAX));
                        violated(report, rule, &partition.id, Some(offset), text);
                    }
                }
            }
            for (partition, consumption) in &group.partitions {
                too_long(report, partition, consumption.progress.ended(group.session_us(), now));
                let (limit, consumed_at) = (group.profile.max_delivery_attempts, &consumption.consumed_at);
                for (index, wrong) in consumption.letters.judge(limit, consumed_at) {
                    let (rule, text) = match wrong {
                        letters::Wrong::Unearned(text) => (Rule::DeadLetterEarned, text),
                        letters::Wrong::Repeated(text) => (Rule::DeadLetterOnce, text),
                    };
                    let offset = Offset::new(i64::try_from(index).unwrap_or(i64::MAX));
                    violated(report, rule, partition, Some(offset), text);
                }
                let position = &consumption.position;
                if position.last_acknowledged_at > position.last_read_at {
                    let text = format!("nobody asked after line {}", position.last_acknowledged_at);
                    violated(report, Rule::PositionReadBack, partition, None, text);
                }
                consumption.count(&mut report.counts.groups);
            }
        }
    }
}

impl Consumption {
    /// A place where a record is, against when it was consumed and when the position went past it.
    fn judge_place(&self, group: &str, index: u64, must_be_consumed: bool) -> Found {
        let consumed_at = self.consumed_at.get(index);
        let mut found = Found::new();
        if self.letters.has(index) {
            return found;
        }
        if must_be_consumed && consumed_at == 0 {
            found.push((Rule::ConsumedAtLeastOnce, format!("no member of {group} has consumed it")));
        }
        let raised = &self.position.raised;
        let passed = raised.partition_point(|raised| raised.until.get().cast_unsigned() <= index);
        let Some(passed) = raised.get(passed) else { return found };
        if consumed_at == 0 || consumed_at > passed.asked_at {
            let when = if consumed_at == 0 { "never".to_owned() } else { format!("at line {consumed_at}") };
            let text = format!(
                "{group} committed {} (asked for at line {}), it consumed this one {when}",
                passed.until, passed.asked_at
            );
            found.push((Rule::PositionBehindConsumption, text));
        }
        found
    }

    fn count(&self, counts: &mut GroupCounts) {
        counts.put_back += self.position.put_back;
        counts.commits_unknown += self.position.unanswered();
        counts.dead_letters += self.letters.count();
        counts.progress_checked += self.progress.checked;
        counts.slowest_progress_us = counts.slowest_progress_us.max(self.progress.slowest_us);
    }
}

fn not_held(by: &Membership, does: &str) -> String {
    format!("{} {does} what it does not hold in generation {}", by.member, by.generation)
}

fn violated(report: &mut Report, rule: Rule, at: &TopicPartition, offset: Option<Offset>, text: String) {
    report.add(Violation { rule, partition: Some(at.clone()), offset, text });
}

fn unsound(report: &mut Report, partition: Option<&TopicPartition>, text: String) {
    let partition = partition.cloned();
    report.add(Violation { rule: Rule::HistoryIsSound, partition, offset: None, text });
}

fn too_long(report: &mut Report, partition: &TopicPartition, outcome: Result<(), TooLong>) {
    if let Err(TooLong(text)) = outcome {
        violated(report, Rule::ProgressAgain, partition, None, text);
    }
}

fn wrong(
    report: &mut Report,
    partition: &TopicPartition,
    offset: Option<Offset>,
    outcome: Result<(), Wrong>,
) {
    let (rule, text) = match outcome {
        Ok(()) => return,
        Err(Wrong::Back(text)) => (Rule::PositionNeverBack, text),
        Err(Wrong::FromNowhere(text)) => (Rule::PositionIsCommitted, text),
        Err(Wrong::Unsound(text)) => (Rule::HistoryIsSound, text),
    };
    violated(report, rule, partition, offset, text);
}
