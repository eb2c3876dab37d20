//! Whether a history kept the promises of the log.
//!
//! A test that asserts on what it happens to read passes when it read too little. So the rules are
//! kept in one place, over a history that is complete by construction, and the report says how much
//! it looked at. The promises are those of `acks=all`, of idempotence and of the offsets; each is a
//! [`Rule`]. What follows from an unknown outcome is nothing but "once at most".
//!
//! # What is compared with what
//!
//! - A *scan* (`scan_began` ... `scan_ended`) is a complete read from log start to high watermark.
//!   Everything acknowledged or seen before it began must be in it; what came meanwhile need not.
//! - Order and duplicates are judged over everything that any reader saw, by offset.
//! - A producer that may send again without being idempotent may leave a record twice; the first
//!   place counts for its order.
//! - What a member of a group consumes is a read like any other, and judged by the group's rules besides.
//!
//! # Memory
//!
//! About 65 bytes for each record that is sent and read back, whatever the length of its value: 0.2 GB
//! for a history of ten million events. For each group 4 bytes more for a record, and about 100 for each
//! commit and each position that is told. Events are counted in 32 bits: those of a history behind the
//! first four billion are judged as if they came all at once.

mod groups;
mod judge;
mod paged;
#[cfg(test)]
mod random_tests;
mod report;
mod state;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, io::BufRead};

pub use self::report::{Counts, GroupCounts, Report, Rule, Violation};
use self::{
    groups::{Groups, Now},
    state::{Outcome, Partition, RecordRef, Scan, Stream},
};
use crate::{
    chaos::history::{
        Acknowledged, Entry, Event, HistoryError, HistoryReader, NodeChange, NodeEvent, ProducerName,
        ProducerProfile, Read, RecordId, ScanBegan, ScanEnded, Sent, TopicPartition,
    },
    model::Offset,
};

/// What the topics of a history promise beyond what every topic does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectations {
    /// Offsets follow each other without gap. Not so where markers of transactions or compaction
    /// take some.
    pub contiguous_offsets: bool,
    /// Records may go from the beginning, by retention or on request.
    pub log_start_may_move: bool,
}

impl Default for Expectations {
    /// A topic that nothing is deleted from.
    fn default() -> Self {
        Self { contiguous_offsets: true, log_start_may_move: false }
    }
}

/// Reads a history to its end and judges it.
pub fn check<R: BufRead>(
    history: HistoryReader<R>,
    expectations: Expectations,
) -> Result<Report, HistoryError> {
    let mut checker = Checker::new(expectations);
    for entry in history {
        checker.observe(&entry?);
    }
    Ok(checker.finish())
}

/// The rules, fed with one entry after the other.
#[derive(Debug)]
pub struct Checker {
    expectations: Expectations,
    report: Report,
    /// The number of the current event, from 1: 0 stands for "never" in the tables.
    now: u32,
    last_at_us: u64,
    /// Records sent and not yet answered.
    outstanding: u64,
    producers: HashMap<ProducerName, ProducerProfile>,
    partitions: Vec<Partition>,
    partition_numbers: HashMap<TopicPartition, usize>,
    streams: Vec<Stream>,
    stream_numbers: HashMap<(usize, ProducerName), u32>,
    scans: HashMap<(String, usize), Scan>,
    groups: Groups,
}

impl Checker {
    /// A checker that has seen nothing.
    pub fn new(expectations: Expectations) -> Self {
        Self {
            expectations,
            report: Report::default(),
            now: 0,
            last_at_us: 0,
            outstanding: 0,
            producers: HashMap::new(),
            partitions: Vec::new(),
            partition_numbers: HashMap::new(),
            streams: Vec::new(),
            stream_numbers: HashMap::new(),
            scans: HashMap::new(),
            groups: Groups::default(),
        }
    }

    /// Takes the next entry.
    pub fn observe(&mut self, entry: &Entry) {
        self.now = self.now.saturating_add(1);
        self.report.counts.events += 1;
        if entry.at_us < self.last_at_us {
            self.unsound(None, format!("time goes back from {} to {} us", self.last_at_us, entry.at_us));
        }
        self.last_at_us = entry.at_us;
        match &entry.event {
            Event::Producer(profile) => self.on_producer(profile),
            Event::Sent(sent) => self.on_sent(sent),
            Event::Acknowledged(acknowledged) => self.on_acknowledged(acknowledged),
            Event::Failed(refused) => self.on_refused(&refused.record, Outcome::Failed),
            Event::Unknown(refused) => self.on_refused(&refused.record, Outcome::Unknown),
            Event::Read(read) => self.on_read(read),
            Event::ScanBegan(began) => self.on_scan_began(began),
            Event::ScanEnded(ended) => self.on_scan_ended(ended),
            Event::Node(event) => self.on_node(*event),
            Event::Note(_) => {}
            Event::Consumed(consumed) => {
                self.on_read(&consumed.read);
                self.groups.on_consumed(consumed, self.line(), &mut self.report);
            }
            Event::Group(_)
            | Event::Joined(_)
            | Event::Parted(_)
            | Event::CommitAsked(_)
            | Event::NackAsked(_)
            | Event::DeadLetter(_)
            | Event::DeadLettersRead(_)
            | Event::CommitAcknowledged(_)
            | Event::CommitRefused(_)
            | Event::CommitUnknown(_)
            | Event::PositionAsked(_)
            | Event::PositionTold(_) => self.observe_group(&entry.event),
        }
    }

    /// Takes what concerns nothing but a group.
    fn observe_group(&mut self, event: &Event) {
        let (now, groups, report) = (self.line(), &mut self.groups, &mut self.report);
        match event {
            Event::Group(profile) => groups.on_group(profile, report),
            Event::Joined(joined) => groups.on_joined(joined, now, report),
            Event::Parted(parted) => groups.on_parted(parted, now, report),
            Event::CommitAsked(commit) => groups.on_commit_asked(commit, now, report),
            Event::NackAsked(commit) => groups.on_nack_asked(commit, now, report),
            Event::DeadLetter(letter) => groups.on_dead_letter(letter, report),
            Event::DeadLettersRead(read) => groups.on_dead_letters_read(read, report),
            Event::CommitAcknowledged(commit) => groups.on_commit_acknowledged(commit, now, report),
            Event::CommitRefused(failed) => groups.on_commit_failed(&failed.commit, true, now, report),
            Event::CommitUnknown(failed) => groups.on_commit_failed(&failed.commit, false, now, report),
            Event::PositionAsked(asked) => groups.on_position_asked(asked, now, report),
            Event::PositionTold(told) => groups.on_position_told(told, now, report),
            Event::Producer(_)
            | Event::Sent(_)
            | Event::Acknowledged(_)
            | Event::Failed(_)
            | Event::Unknown(_)
            | Event::Read(_)
            | Event::ScanBegan(_)
            | Event::ScanEnded(_)
            | Event::Node(_)
            | Event::Consumed(_)
            | Event::Note(_) => {}
        }
    }

    /// Where the history is, as messages name it.
    fn line(&self) -> Now {
        Now { line: self.now.saturating_add(1), at_us: self.last_at_us }
    }

    fn on_producer(&mut self, profile: &ProducerProfile) {
        if self.producers.insert(profile.name.clone(), profile.clone()).is_some() {
            self.unsound(None, format!("producer {} is declared twice", profile.name));
        }
    }

    fn on_sent(&mut self, sent: &Sent) {
        let Some(number) = self.stream(&sent.record) else {
            let text = format!("{} was sent by a producer that is not declared", sent.record);
            return self.unsound(Some(&sent.record.partition), text);
        };
        let stream = &mut self.streams[number as usize];
        let expected = stream.sent;
        stream.sent = sent.record.sequence.saturating_add(1);
        let record = stream.records.at(sent.record.sequence.into());
        if sent.record.sequence != expected || record.outcome != Outcome::NeverSent {
            let text = format!("{} was sent where sequence {expected} is next", sent.record);
            return self.unsound(Some(&sent.record.partition), text);
        }
        record.outcome = Outcome::Outstanding;
        record.digest = sent.digest;
        self.outstanding += 1;
        self.report.counts.sent += 1;
        self.groups.on_sent(&sent.record.partition, self.line());
    }

    fn on_refused(&mut self, id: &RecordId, outcome: Outcome) {
        if self.on_outcome(id, outcome).is_some() {
            self.groups.on_not_there(&id.partition);
        }
    }

    /// Takes the one outcome that a record has; `None` where it cannot have it.
    fn on_outcome(&mut self, id: &RecordId, outcome: Outcome) -> Option<RecordRef> {
        let found = self.find(id);
        let before = found.map_or(Outcome::NeverSent, |record| self.record(record).outcome);
        let Some(record) = found.filter(|_| before == Outcome::Outstanding) else {
            self.unsound(Some(&id.partition), format!("{id} is {outcome} but was {before}"));
            return None;
        };
        self.record_mut(record).outcome = outcome;
        self.outstanding = self.outstanding.saturating_sub(1);
        Some(record)
    }

    fn on_acknowledged(&mut self, acknowledged: &Acknowledged) {
        let Some(record) = self.on_outcome(&acknowledged.record, Outcome::Acknowledged) else { return };
        let stream = &self.streams[record.stream as usize];
        if !stream.promises.everywhere {
            return;
        }
        let number = stream.partition;
        let now = self.now;
        let partition = &mut self.partitions[number];
        partition.last_acknowledged_at = now;
        let Some(offset) = acknowledged.offset else { return };
        let Ok(index) = u64::try_from(offset.get()) else {
            let text = format!("{} is acknowledged at offset {offset}", acknowledged.record);
            return self.unsound(Some(&acknowledged.record.partition), text);
        };
        let slot = partition.slots.at(index);
        let other = slot.acknowledged;
        // The first one was promised the place, and is looked for there.
        if other.is_none() {
            (slot.acknowledged, slot.acknowledged_at) = (Some(record), now);
        }
        self.record_mut(record).has_offset = true;
        if let Some(other) = other {
            let text = format!("{} and {}", self.name(other), acknowledged.record);
            self.violated(Rule::OneRecordPerOffset, number, index, text);
        }
    }

    fn on_read(&mut self, read: &Read) {
        self.report.counts.reads += 1;
        let number = self.partition(&read.partition);
        let Ok(index) = u64::try_from(read.offset.get()) else {
            return self.unsound(Some(&read.partition), format!("read at offset {}", read.offset));
        };
        self.read_in_scan(read, number, index);
        let record = self.read_record(read, number, index);
        let slot = self.partitions[number].slots.at(index);
        let (before, digest) = (slot.record, slot.digest);
        let again = slot.seen_at != 0;
        if !again {
            slot.seen_at = self.now;
        }
        (slot.record, slot.digest) = (record, read.digest);
        if again && (before, digest) != (record, read.digest) {
            let text = format!(
                "first {} ({digest}), then {} ({})",
                self.name_or_none(before),
                self.name_or_none(record),
                read.digest
            );
            self.violated(Rule::ReadsAgree, number, index, text);
        }
    }

    /// Which record was read, if it is one that was sent there.
    fn read_record(&mut self, read: &Read, partition: usize, index: u64) -> Option<RecordRef> {
        let named = read.record.as_ref().filter(|id| id.partition == read.partition);
        let found = named.and_then(|id| self.find(id));
        let sent = found.filter(|record| self.record(*record).outcome != Outcome::NeverSent);
        let Some(record) = sent else {
            let text = match &read.record {
                Some(id) => format!("{id} was not sent there before {} read it", read.reader),
                None => format!("a record without a name, read by {}", read.reader),
            };
            self.violated(Rule::NothingInvented, partition, index, text);
            return None;
        };
        let expected = self.record(record).digest;
        if expected != read.digest {
            let text = format!("{} was sent as {expected}, read as {}", self.name(record), read.digest);
            self.violated(Rule::ContentUnchanged, partition, index, text);
        }
        Some(record)
    }

    fn read_in_scan(&mut self, read: &Read, partition: usize, index: u64) {
        let contiguous = self.expectations.contiguous_offsets;
        let Some(scan) = self.scans.get_mut(&(read.reader.clone(), partition)) else { return };
        let expected = scan.next;
        scan.next = index.saturating_add(1).max(expected);
        scan.mark(index);
        if index < expected {
            let text = format!("{} was at offset {expected} already", read.reader);
            self.violated(Rule::ReadsAscend, partition, index, text);
        } else if contiguous && index > expected {
            self.violated(Rule::NoGap, partition, expected, format!("nothing until offset {index}"));
        }
    }

    fn on_scan_began(&mut self, began: &ScanBegan) {
        let number = self.partition(&began.partition);
        let bounds = (u64::try_from(began.from.get()), u64::try_from(began.until.get()));
        let (Ok(from), Ok(until)) = bounds else {
            let text = format!("a scan from {} until {}", began.from, began.until);
            return self.unsound(Some(&began.partition), text);
        };
        let from = if self.expectations.log_start_may_move { from } else { 0 };
        // One that is there already was given up by its reader, and proves nothing.
        self.scans.insert((began.reader.clone(), number), Scan::new(self.now, from, until));
    }

    fn on_scan_ended(&mut self, ended: &ScanEnded) {
        let number = self.partition(&ended.partition);
        let Some(scan) = self.scans.remove(&(ended.reader.clone(), number)) else {
            let text = format!("{} ends a scan that it did not begin", ended.reader);
            return self.unsound(Some(&ended.partition), text);
        };
        self.report.counts.scans += 1;
        if self.expectations.contiguous_offsets && scan.next < scan.until {
            let text = format!("nothing until the high watermark {}", scan.until);
            self.violated(Rule::NoGap, number, scan.next, text);
        }
        let partition = &mut self.partitions[number];
        partition.last_scan_began_at = partition.last_scan_began_at.max(scan.began_at);
        let missing = partition.missing_from(&scan);
        for (index, slot) in missing {
            self.report_missing(number, index, slot, &scan);
        }
    }

    fn report_missing(&mut self, partition: usize, index: u64, slot: state::Slot, scan: &Scan) {
        self.partitions[partition].slots.at(index).reported = true;
        if let Some(record) = slot.acknowledged.filter(|_| slot.acknowledged_at < scan.began_at) {
            let instead = match slot.record.filter(|_| scan.has(index)) {
                Some(other) => format!("{} is there instead", self.name(other)),
                None if scan.has(index) => "another record is there instead".to_owned(),
                None => format!("a complete read from {} until {} has nothing there", scan.from, scan.until),
            };
            let text = format!("{}: {instead}", self.name(record));
            self.violated(Rule::AcknowledgedIsPresent, partition, index, text);
        }
        if slot.seen_at != 0 && slot.seen_at < scan.began_at && !scan.has(index) {
            let text = format!("{} was read there before", self.name_or_none(slot.record));
            self.violated(Rule::SeenStaysSeen, partition, index, text);
        }
    }

    fn on_node(&mut self, event: NodeEvent) {
        if event.change == NodeChange::Killed {
            self.report.counts.kills += 1;
            self.report.counts.kills_under_load += u64::from(self.outstanding > 0);
        }
        self.groups.on_node(event, self.line(), &mut self.report);
    }

    fn partition(&mut self, id: &TopicPartition) -> usize {
        if let Some(number) = self.partition_numbers.get(id) {
            return *number;
        }
        let number = self.partitions.len();
        self.partitions.push(Partition::new(id.clone()));
        self.partition_numbers.insert(id.clone(), number);
        number
    }

    /// The stream that a record belongs to, made where it is new; `None` where its producer is not declared.
    fn stream(&mut self, id: &RecordId) -> Option<u32> {
        let partition = self.partition(&id.partition);
        let key = (partition, id.producer.clone());
        if let Some(number) = self.stream_numbers.get(&key) {
            return Some(*number);
        }
        let stream = Stream::new(self.producers.get(&id.producer)?, partition);
        let number = u32::try_from(self.streams.len()).ok()?;
        self.streams.push(stream);
        self.stream_numbers.insert(key, number);
        Some(number)
    }

    fn find(&self, id: &RecordId) -> Option<RecordRef> {
        let partition = *self.partition_numbers.get(&id.partition)?;
        let stream = *self.stream_numbers.get(&(partition, id.producer.clone()))?;
        Some(RecordRef { stream, sequence: id.sequence })
    }

    fn record(&self, record: RecordRef) -> state::Record {
        self.streams[record.stream as usize].records.get(record.sequence.into())
    }

    fn record_mut(&mut self, record: RecordRef) -> &mut state::Record {
        self.streams[record.stream as usize].records.at(record.sequence.into())
    }

    fn name(&self, record: RecordRef) -> RecordId {
        let stream = &self.streams[record.stream as usize];
        let partition = self.partitions[stream.partition].id.clone();
        RecordId { partition, producer: stream.producer.clone(), sequence: record.sequence }
    }

    fn name_or_none(&self, record: Option<RecordRef>) -> String {
        record
            .map_or_else(|| "a record that was never sent".to_owned(), |record| self.name(record).to_string())
    }

    fn violated(&mut self, rule: Rule, partition: usize, index: u64, text: String) {
        let partition = Some(self.partitions[partition].id.clone());
        let offset = Some(Offset::new(i64::try_from(index).unwrap_or(i64::MAX)));
        self.report.add(Violation { rule, partition, offset, text });
    }

    fn unsound(&mut self, partition: Option<&TopicPartition>, text: String) {
        let partition = partition.cloned();
        self.report.add(Violation { rule: Rule::HistoryIsSound, partition, offset: None, text });
    }
}
