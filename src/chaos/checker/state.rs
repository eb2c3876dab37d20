//! The tables that the rules are judged over.

use std::fmt;

use super::paged::Paged;
use crate::chaos::history::{Acks, ContentDigest, ProducerName, ProducerProfile, TopicPartition};

/// What became of a record, as its client knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Outcome {
    #[default]
    NeverSent,
    Outstanding,
    Acknowledged,
    Failed,
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NeverSent => "never sent",
            Self::Outstanding => "outstanding",
            Self::Acknowledged => "acknowledged",
            Self::Failed => "refused",
            Self::Unknown => "of unknown outcome",
        })
    }
}

/// A record by its place in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordRef {
    pub(super) stream: u32,
    pub(super) sequence: u32,
}

/// What is known of a record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    pub(super) digest: ContentDigest,
    pub(super) outcome: Outcome,
    /// Its acknowledgement said where it stands.
    pub(super) has_offset: bool,
    /// It was found at some offset; known at the end only.
    pub(super) placed: bool,
}

/// What one producer was promised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promises {
    pub(super) everywhere: bool,
    pub(super) at_most_once: bool,
    pub(super) ordered: bool,
}

/// What one producer sent to one partition, by sequence.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) producer: ProducerName,
    pub(super) partition: usize,
    pub(super) promises: Promises,
    pub(super) records: Paged<Record>,
    /// How many it has sent: the next sequence.
    pub(super) sent: u32,
    /// The highest sequence found so far, on the way along the offsets.
    pub(super) highest_placed: Option<u32>,
}

impl Stream {
    pub(super) fn new(profile: &ProducerProfile, partition: usize) -> Self {
        Self {
            producer: profile.name.clone(),
            partition,
            promises: Promises {
                everywhere: profile.acks == Acks::All,
                at_most_once: profile.at_most_once(),
                ordered: profile.ordered(),
            },
            records: Paged::new(),
            sent: 0,
            highest_placed: None,
        }
    }
}

/// What is known of one offset. Times are numbers of events; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    /// Digest of what was last read there.
    pub(super) digest: ContentDigest,
    /// What was last read there; `None` also where it was nothing that had been sent.
    pub(super) record: Option<RecordRef>,
    /// What was acknowledged there.
    pub(super) acknowledged: Option<RecordRef>,
    pub(super) acknowledged_at: u32,
    /// When it was first read.
    pub(super) seen_at: u32,
    /// It was found missing and reported; that is said once.
    pub(super) reported: bool,
}

/// One partition, by offset.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) id: TopicPartition,
    pub(super) slots: Paged<Slot>,
    pub(super) last_acknowledged_at: u32,
    pub(super) last_scan_began_at: u32,
}

impl Partition {
    pub(super) fn new(id: TopicPartition) -> Self {
        Self { id, slots: Paged::new(), last_acknowledged_at: 0, last_scan_began_at: 0 }
    }

    /// The offsets at which something stood when the scan began that the scan did not find there.
    pub(super) fn missing_from(&self, scan: &Scan) -> Vec<(u64, Slot)> {
        let missing = |index: u64, slot: &Slot| {
            let acknowledged = slot.acknowledged_at != 0 && slot.acknowledged_at < scan.began_at;
            let seen = slot.seen_at != 0 && slot.seen_at < scan.began_at;
            let found = scan.has(index);
            (seen && !found) || (acknowledged && !(found && slot.record == slot.acknowledged))
        };
        self.slots
            .iter()
            .filter(|(index, slot)| *index >= scan.from && !slot.reported && missing(*index, slot))
            .map(|(index, slot)| (index, *slot))
            .collect()
    }
}

/// A complete read under way.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) began_at: u32,
    pub(super) from: u64,
    pub(super) until: u64,
    /// The offset that comes next where offsets have no gap.
    pub(super) next: u64,
    /// One bit for each offset that was read.
    found: Paged<u64>,
}

impl Scan {
    pub(super) fn new(began_at: u32, from: u64, until: u64) -> Self {
        Self { began_at, from, until, next: from, found: Paged::new() }
    }

    pub(super) fn mark(&mut self, index: u64) {
        *self.found.at(index / 64) |= 1 << (index % 64);
    }

    pub(super) fn has(&self, index: u64) -> bool {
        self.found.get(index / 64) & (1 << (index % 64)) != 0
    }
}
