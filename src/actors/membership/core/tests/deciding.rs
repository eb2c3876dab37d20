//! The controller of a node alone, whose decisions the tests write when they want to.

use std::{collections::BTreeMap, sync::Arc};

use super::{US, beginnings, image_of, rules};
use crate::{
    actors::membership::core::{
        Command, CommandAnswer, ConfigOwner, Controller, CreatedTopic, MetadataImage, MetadataRecord,
        NewTopic, Proposal, Refusal, Rules, TopicRef,
    },
    config::topic::ConfigChange,
    model::{LeaderEpoch, PartitionId, ProducerId, TopicId},
};

pub(super) struct Deciding {
    controller: Controller,
    committed: Arc<MetadataImage>,
    queued: Vec<MetadataRecord>,
    pub(super) rules: Rules,
    openings: u64,
}

impl Deciding {
    pub(super) fn new() -> Self {
        Self::on(image_of(&beginnings()))
    }

    pub(super) fn on(image: MetadataImage) -> Self {
        let controller = Controller::begin(&image);
        Self { controller, committed: Arc::new(image), queued: Vec::new(), rules: rules(), openings: 0 }
    }

    /// What readers see.
    pub(super) fn committed(&self) -> &Arc<MetadataImage> {
        &self.committed
    }

    /// Writes everything that was decided.
    pub(super) fn commit(&mut self) -> Vec<MetadataRecord> {
        let records = std::mem::take(&mut self.queued);
        let image = Arc::make_mut(&mut self.committed);
        for record in &records {
            image.apply(record).unwrap();
        }
        records
    }

    fn ask(&mut self, command: &Command) -> Result<CommandAnswer, Refusal> {
        let decision = self.controller.decide(&self.rules, command).unwrap();
        if let Some(Proposal::Records { records, .. }) = decision.proposal {
            self.queued.extend(records);
        }
        decision.outcome
    }

    pub(super) fn create_topic(
        &mut self,
        new: &NewTopic,
        validate_only: bool,
    ) -> Result<CreatedTopic, Refusal> {
        let command = Command::CreateTopic { new: new.clone(), id: TopicId::random(), validate_only };
        let answer = self.ask(&command)?;
        let CommandAnswer::TopicCreated(created) = answer else { panic!("{answer:?}") };
        Ok(created)
    }

    pub(super) fn create_partitions(
        &mut self,
        name: &str,
        count: i32,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        self.ask(&Command::CreatePartitions { name: name.to_owned(), count, validate_only }).map(drop)
    }

    pub(super) fn delete_topic(&mut self, which: &TopicRef) -> Result<TopicId, Refusal> {
        let answer = self.ask(&Command::DeleteTopic(which.clone()))?;
        let CommandAnswer::TopicDeleted(id) = answer else { panic!("{answer:?}") };
        Ok(id)
    }

    pub(super) fn purge_topic(&mut self, topic: TopicId) -> Result<(), Refusal> {
        self.ask(&Command::PurgeTopic { topic, node: US }).map(drop)
    }

    pub(super) fn alter_configs(
        &mut self,
        owner: &ConfigOwner,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let (owner, changes) = (owner.clone(), changes.to_vec());
        self.ask(&Command::AlterConfigs { owner, changes, validate_only }).map(drop)
    }

    pub(super) fn replace_configs(
        &mut self,
        owner: &ConfigOwner,
        configs: &BTreeMap<String, String>,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let (owner, configs) = (owner.clone(), configs.clone());
        self.ask(&Command::ReplaceConfigs { owner, configs, validate_only }).map(drop)
    }

    /// Asks as the leader does, each time for another opening.
    pub(super) fn open_epoch(&mut self, partition: PartitionId) -> Result<LeaderEpoch, Refusal> {
        self.openings += 1;
        let pending = self.controller.pending();
        let leader_epoch = pending.partition(partition).map_or(LeaderEpoch::NONE, |known| known.leader_epoch);
        let broker_epoch = pending.brokers()[&US].epoch;
        let opening = self.openings;
        let answer =
            self.ask(&Command::OpenEpoch { partition, node: US, broker_epoch, leader_epoch, opening })?;
        let CommandAnswer::EpochOpened(epoch) = answer else { panic!("{answer:?}") };
        Ok(epoch)
    }

    /// A block of producer ids.
    pub(super) fn producer_ids(&mut self) -> std::ops::Range<ProducerId> {
        let broker_epoch = self.committed.brokers()[&US].epoch;
        let answer = self.ask(&Command::AllocateProducerIds { node: US, broker_epoch }).unwrap();
        let CommandAnswer::ProducerIds { first, count } = answer else { panic!("{answer:?}") };
        first..ProducerId::new(first.get() + i64::from(count))
    }
}
