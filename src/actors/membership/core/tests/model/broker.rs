//! What a broker of the model has: logs, and what it believes about those that it leads.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    actors::membership::core::{MetadataImage, Registration},
    model::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionId},
};

/// A record: the epoch that it was written in, and which one it is.
pub(super) type Record = (LeaderEpoch, u64);

#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) records: Vec<Record>,
    pub(super) flushed: usize,
}

impl Log {
    pub(super) fn end(&self) -> (LeaderEpoch, Offset) {
        let epoch = self.records.last().map_or(LeaderEpoch::NONE, |(epoch, _)| *epoch);
        (epoch, Offset::new(self.records.len() as i64))
    }

    /// As the leader has it, and some more of that.
    pub(super) fn follow(&mut self, leader: &[Record], more: usize) {
        self.records.truncate(common(&self.records, leader));
        let from = self.records.len();
        self.records.extend(leader.iter().skip(from).take(more));
        self.flushed = self.flushed.min(self.records.len());
    }
}

pub(super) fn common(a: &[Record], b: &[Record]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A leader's own view of its term.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub(super) epoch: LeaderEpoch,
    /// Where its log ended when it began.
    pub(super) start: usize,
    pub(super) watermark: usize,
    pub(super) positions: BTreeMap<NodeId, (BrokerEpoch, usize)>,
    pub(super) committed: Vec<NodeId>,
    pub(super) partition_epoch: i32,
    pub(super) proposed: Vec<NodeId>,
}

pub(super) struct Broker {
    pub(super) up: bool,
    pub(super) clean: bool,
    pub(super) raft_id: u64,
    pub(super) start: Option<Registration>,
    pub(super) epoch: BrokerEpoch,
    pub(super) view: Arc<MetadataImage>,
    pub(super) logs: BTreeMap<PartitionId, Log>,
    pub(super) terms: BTreeMap<PartitionId, Term>,
    /// Openings that were asked for in this start and not answered yet.
    pub(super) openings: BTreeMap<PartitionId, u64>,
}

impl Broker {
    pub(super) fn end(&mut self, clean: bool) {
        (self.up, self.clean) = (false, clean && self.up);
        self.terms.clear();
        self.openings.clear();
    }
}
