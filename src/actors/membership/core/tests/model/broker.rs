//! What a broker of the model has: logs, and what it believes about those that it leads.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    actors::membership::core::{MetadataImage, Registration},
    model::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionId},
};

/// A record: the epoch that it was written in, and which one it is.
pub(super) type Record = (LeaderEpoch, u64);

/// How far a log goes, and how far it is on disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    pub(super) appended: usize,
    pub(super) flushed: usize,
}

impl Position {
    /// What an acknowledgement counts (S4).
    pub(super) fn counted(self, in_memory: bool) -> usize {
        if in_memory { self.appended } else { self.flushed }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) records: Vec<Record>,
    pub(super) flushed: usize,
}

impl Log {
    pub(super) fn position(&self) -> Position {
        Position { appended: self.records.len(), flushed: self.flushed }
    }

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
    /// What each follower has, and what of it is on its disk.
    pub(super) positions: BTreeMap<NodeId, (BrokerEpoch, Position)>,
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

    /// Whether everybody who may lead, or may once these are the members, has on disk what any leader up to this one can have
    /// acknowledged. Who is outside of the set is known as of this broker's image: it has to be that of the partition's epoch.
    pub(super) fn has_all_on_disk(&self, us: NodeId, id: PartitionId, members: &[NodeId]) -> bool {
        let (Some(term), Some(partition)) = (self.terms.get(&id), self.view.partition(id)) else {
            return false;
        };
        let flushed = |node: &NodeId| match term.positions.get(node) {
            _ if *node == us => self.logs[&id].flushed,
            Some((_, position)) => position.flushed,
            None => 0,
        };
        let may_lead = members.iter().chain(&term.committed).chain(&*partition.electable);
        let needed = term.watermark.max(term.start);
        term.partition_epoch == partition.partition_epoch
            && may_lead.map(flushed).all(|flushed| flushed >= needed)
    }
}
