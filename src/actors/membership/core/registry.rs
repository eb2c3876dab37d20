//! Between commands and the log: what is proposed, what is being written, what is committed.
//!
//! Commands are checked against the state that *will* be, and answered by the state that *is*: a
//! proposal is applied to `pending` at once, so that the next command sees it, and becomes part of
//! `committed` only when its group is on disk. One group is written at a time; what is proposed
//! meanwhile is the next one, which is the whole of group commit.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{
    apply::ApplyError,
    command::{self, ConfigOwner, CreatedTopic, NewTopic, Refusal, TopicRef},
    image::MetadataImage,
    record::MetadataRecord,
};
use crate::{
    config::{
        node::ConsumerGroupSettings,
        topic::{ConfigChange, TopicDefaults},
    },
    model::{LeaderEpoch, NodeId, PartitionId, ProducerId, TopicId},
};

/// Producer ids in a block, as in Kafka (KIP-730).
pub const PRODUCER_ID_BLOCK: u32 = 1_000;

/// What commands are decided by, beside the state.
#[derive(Clone, Debug)]
pub struct Rules {
    /// This broker.
    pub node: NodeId,
    /// Of a topic that is created without a number.
    pub default_partitions: i32,
    /// Replicas of a topic that is created without a number; none: three, or as many as there are brokers.
    pub default_replication_factor: Option<u16>,
    /// The most partitions of all topics together: each takes memory and open files.
    pub partitions_max: usize,
    /// Topic configs that the node sets.
    pub topic_defaults: TopicDefaults,
    /// What the node sets for groups, and what they may set themselves.
    pub group_defaults: ConsumerGroupSettings,
}

/// Records that are written together.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) records: Vec<MetadataRecord>,
    /// The state after them.
    pub(crate) image: Arc<MetadataImage>,
}

/// Whether a command is carried out or only checked.
fn record_if(record: MetadataRecord, validate_only: bool) -> Option<MetadataRecord> {
    (!validate_only).then_some(record)
}

/// Decides; owns no I/O.
#[derive(Debug)]
pub(crate) struct Registry {
    rules: Rules,
    committed: Arc<MetadataImage>,
    pending: MetadataImage,
    /// The group being filled, and its number.
    queued: Vec<MetadataRecord>,
    number: u64,
    in_flight: Option<Arc<MetadataImage>>,
    /// Producer ids that are committed to this registry and not given out.
    ids: Range<i64>,
    /// A block that is proposed, and the number of its group.
    ids_proposed: Option<(Range<i64>, u64)>,
}

impl Registry {
    pub(crate) fn new(rules: Rules, committed: Arc<MetadataImage>) -> Self {
        let pending = MetadataImage::clone(&committed);
        Self {
            rules,
            committed,
            pending,
            queued: Vec::new(),
            number: 1,
            in_flight: None,
            ids: 0..0,
            ids_proposed: None,
        }
    }

    /// What is on disk.
    pub(crate) fn committed(&self) -> &Arc<MetadataImage> {
        &self.committed
    }

    /// Whether there are records in the group being filled.
    pub(crate) fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Whether a group is being written.
    pub(crate) fn is_writing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The group to write now, if there is one and no other is being written.
    pub(crate) fn next_group(&mut self) -> Option<Group> {
        if self.in_flight.is_some() || self.queued.is_empty() {
            return None;
        }
        let image = Arc::new(self.pending.clone());
        self.in_flight = Some(Arc::clone(&image));
        self.number += 1;
        Some(Group { records: std::mem::take(&mut self.queued), image })
    }

    /// The group that was being written is on disk.
    pub(crate) fn on_committed(&mut self) {
        let Some(image) = self.in_flight.take() else { return };
        self.committed = image;
        // The group that has been written is the one before that being filled.
        if let Some((ids, _)) = self.ids_proposed.take_if(|(_, number)| *number < self.number) {
            self.ids = ids;
        }
    }

    /// The group that was being written is not on disk, and what was proposed on top of it cannot be.
    pub(crate) fn on_not_written(&mut self) {
        self.in_flight = None;
        self.queued.clear();
        self.ids_proposed = None;
        self.pending = MetadataImage::clone(&self.committed);
    }

    pub(crate) fn create_topic(
        &mut self,
        new: &NewTopic,
        validate_only: bool,
    ) -> Result<CreatedTopic, ProposeError> {
        let (created, record) = command::create_topic(&self.pending, &self.rules, new, TopicId::random())?;
        self.propose(record_if(record, validate_only))?;
        Ok(created)
    }

    pub(crate) fn create_partitions(
        &mut self,
        name: &str,
        count: i32,
        validate_only: bool,
    ) -> Result<(), ProposeError> {
        let record = command::create_partitions(&self.pending, &self.rules, name, count)?;
        self.propose(record_if(record, validate_only))
    }

    pub(crate) fn delete_topic(&mut self, which: &TopicRef) -> Result<TopicId, ProposeError> {
        let (id, record) = command::delete_topic(&self.pending, which)?;
        self.propose(Some(record))?;
        Ok(id)
    }

    pub(crate) fn purge_topic(&mut self, topic: TopicId) -> Result<(), ProposeError> {
        let record = command::purge_topic(&self.pending, topic, self.rules.node);
        self.propose(record)
    }

    pub(crate) fn alter_configs(
        &mut self,
        owner: &ConfigOwner,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), ProposeError> {
        let (records, _) = command::alter_configs(&self.pending, &self.rules, owner, changes)?;
        self.propose(records.into_iter().filter(|_| !validate_only))
    }

    pub(crate) fn replace_configs(
        &mut self,
        owner: &ConfigOwner,
        configs: &BTreeMap<String, String>,
        validate_only: bool,
    ) -> Result<(), ProposeError> {
        let (records, _) = command::replace_configs(&self.pending, &self.rules, owner, configs)?;
        self.propose(records.into_iter().filter(|_| !validate_only))
    }

    pub(crate) fn open_epoch(&mut self, partition: PartitionId) -> Result<LeaderEpoch, ProposeError> {
        let (epoch, record) = command::open_epoch_here(&self.pending, &self.rules, partition)?;
        self.propose(Some(record))?;
        Ok(epoch)
    }

    /// An id that no one has had; `None` until a block is committed.
    pub(crate) fn take_producer_id(&mut self) -> Option<ProducerId> {
        self.ids.next().map(ProducerId::new)
    }

    /// Proposes another block, unless one is on its way.
    pub(crate) fn propose_producer_ids(&mut self) -> Result<(), ProposeError> {
        if self.ids_proposed.is_some() {
            return Ok(());
        }
        let first = self.pending.next_producer_id();
        let (node, count) = (self.rules.node, PRODUCER_ID_BLOCK);
        self.propose(Some(MetadataRecord::ProducerIdsAllocated { node, first, count }))?;
        let ids = first.get()..self.pending.next_producer_id().get();
        self.ids_proposed = Some((ids, self.number));
        Ok(())
    }

    fn propose(&mut self, records: impl IntoIterator<Item = MetadataRecord>) -> Result<(), ProposeError> {
        for record in records {
            self.pending.apply(&record)?;
            self.queued.push(record);
        }
        Ok(())
    }
}

/// Why a command became no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProposeError {
    /// The asker's fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Ours: a command was found good and its record does not fit.
    #[error(transparent)]
    Broken(#[from] ApplyError),
}
