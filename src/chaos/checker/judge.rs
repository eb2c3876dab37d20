//! What can only be judged once everything has been read.

use super::{
    Checker, Report, Rule, Violation,
    paged::Paged,
    state::{Outcome, RecordRef, Slot},
};

impl Checker {
    /// Judges what can only be judged at the end, and gives the report.
    pub fn finish(mut self) -> Report {
        self.judge_groups();
        for number in 0..self.partitions.len() {
            self.judge_places(number);
            self.judge_read_back(number);
        }
        for number in 0..self.streams.len() {
            self.judge_outcomes(number);
        }
        self.report
    }

    /// What groups owe to the records that are known.
    fn judge_groups(&mut self) {
        let now = self.line();
        let streams = &self.streams;
        let acknowledged = |slot: &Slot| {
            let outcome = |record: RecordRef| {
                streams[record.stream as usize].records.get(record.sequence.into()).outcome
            };
            slot.acknowledged.is_some() || slot.record.map(outcome) == Some(Outcome::Acknowledged)
        };
        let all = !self.expectations.log_start_may_move;
        self.groups.judge(&self.partitions, acknowledged, all, now, &mut self.report);
    }

    /// Duplicates and order, along the offsets of one partition.
    fn judge_places(&mut self, number: usize) {
        let slots = std::mem::replace(&mut self.partitions[number].slots, Paged::new());
        for (index, slot) in slots.iter() {
            let Some(record) = slot.record else { continue };
            let stream = &mut self.streams[record.stream as usize];
            let promises = stream.promises;
            let highest = stream.highest_placed;
            stream.highest_placed = highest.max(Some(record.sequence));
            let state = stream.records.at(record.sequence.into());
            let again = std::mem::replace(&mut state.placed, true);
            if again && promises.at_most_once {
                let text = format!("{} is there more than once", self.name(record));
                self.violated(Rule::AtMostOnce, number, index, text);
            } else if again {
                self.report.counts.duplicates_allowed += 1;
            } else if promises.ordered && highest > Some(record.sequence) {
                let text =
                    format!("{} stands behind sequence {}", self.name(record), highest.unwrap_or_default());
                self.violated(Rule::OrderKept, number, index, text);
            }
        }
    }

    fn judge_read_back(&mut self, number: usize) {
        let partition = &self.partitions[number];
        if partition.last_acknowledged_at > partition.last_scan_began_at {
            let text = "no complete read began after the last acknowledgement".to_owned();
            let partition = Some(partition.id.clone());
            self.report.add(Violation { rule: Rule::ReadBack, partition, offset: None, text });
        }
    }

    /// Outcomes against what was found, along the sequences of one producer in one partition.
    fn judge_outcomes(&mut self, number: usize) {
        let judge_unplaced = !self.expectations.log_start_may_move;
        let stream = &self.streams[number];
        let mut broken = Vec::new();
        for (sequence, record) in stream.records.iter() {
            let counts = &mut self.report.counts;
            match record.outcome {
                Outcome::NeverSent => {}
                Outcome::Acknowledged => {
                    counts.acknowledged += 1;
                    let everywhere = stream.promises.everywhere && judge_unplaced;
                    if everywhere && !record.has_offset && !record.placed {
                        broken.push((Rule::AcknowledgedIsPresent, sequence, "is nowhere"));
                    }
                }
                Outcome::Failed => {
                    counts.failed += 1;
                    if record.placed {
                        broken.push((Rule::RefusedIsAbsent, sequence, "was refused and is there"));
                    }
                }
                Outcome::Outstanding | Outcome::Unknown => {
                    counts.unknown += 1;
                    counts.unknown_present += u64::from(record.placed);
                }
            }
        }
        for (rule, sequence, what) in broken {
            let record = RecordRef { stream: number as u32, sequence: sequence as u32 };
            let text = format!("{} {what}", self.name(record));
            let partition = Some(self.partitions[self.streams[number].partition].id.clone());
            self.report.add(Violation { rule, partition, offset: None, text });
        }
    }
}
