//! Who leads a partition, and who counts for what it acknowledges.
//!
//! Each change of a partition is drafted here, from what it is to what its record says. Whatever has led to it: a
//! leader is taken from the in-sync set; where nobody of it is there, from the electable ones, who have all that was
//! acknowledged too (KIP-966, S10); and from others only where it is allowed to lose something, or where all that had
//! everything may have lost something (S11).
//!
//! **Invariant.** Somebody is electable only while the in-sync set is below its minimum: above it, records are
//! acknowledged that only the set has.

use std::collections::BTreeMap;

use super::{
    command::Elections,
    image::{MetadataImage, NOBODY, PartitionImage},
    record::{MetadataRecord, Uncertain},
    rules::Rules,
};
use crate::{
    config::{
        broker::DynamicConfigs,
        topic::{key, name},
    },
    model::{NodeId, PartitionId},
};

/// What elections go by, as a topic has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// Members without which nothing is acknowledged.
    pub(super) min_in_sync: usize,
    /// Whether what is acknowledged is in memory only.
    pub(super) in_memory: bool,
    /// Whether somebody who may lack what was acknowledged becomes leader where nobody else can.
    pub(super) unclean: bool,
}

/// What topics have that set nothing themselves.
#[derive(Debug)]
pub(super) struct Policies {
    defaults: BTreeMap<String, String>,
}

impl Policies {
    pub(super) fn new(image: &MetadataImage, rules: &Rules) -> Self {
        // One broker's own defaults are not looked at: a partition's leader may be any.
        let of_one = DynamicConfigs::NONE.of_one;
        let dynamic = DynamicConfigs { of_one, ..image.dynamic_configs(rules.node) };
        Self { defaults: rules.topic_defaults.with(dynamic).values() }
    }

    /// The default of a config for a partition with `factor` replicas.
    pub(super) fn default_of(&self, config: &'static str, factor: usize) -> &str {
        match self.defaults.get(config) {
            Some(set) => set,
            // One of three may be away, and what is acknowledged is in two places then.
            None if config == name::MIN_INSYNC_REPLICAS && factor >= 3 => "2",
            None => key(config).map_or("", |key| key.default),
        }
    }

    /// What holds for a partition with `factor` replicas of a topic with these configs.
    pub(super) fn of(&self, configs: &BTreeMap<String, String>, factor: usize) -> Policy {
        let value = |config: &'static str| {
            configs.get(config).map_or_else(|| self.default_of(config, factor), String::as_str)
        };
        let min_in_sync = value(name::MIN_INSYNC_REPLICAS).parse().unwrap_or(1_usize);
        Policy {
            min_in_sync: min_in_sync.min(factor).max(1),
            in_memory: value(name::DURABILITY) == "replicated",
            unclean: value(name::UNCLEAN_LEADER_ELECTION) == "true",
        }
    }
}

/// What a broker is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It can lead.
    Live,
    /// It can go on to lead.
    Stopping,
    /// It cannot.
    Fenced,
}

/// The brokers as they will be when the command's records are applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brokers<'a> {
    image: &'a MetadataImage,
    changed: Option<(NodeId, Standing)>,
}

impl<'a> Brokers<'a> {
    pub(super) fn of(image: &'a MetadataImage) -> Self {
        Self { image, changed: None }
    }

    pub(super) fn with(image: &'a MetadataImage, node: NodeId, standing: Standing) -> Self {
        Self { image, changed: Some((node, standing)) }
    }

    pub(super) fn standing(&self, node: NodeId) -> Standing {
        match (self.changed, self.image.brokers().get(&node)) {
            (Some((changed, standing)), _) if changed == node => standing,
            (_, Some(broker)) if broker.fenced => Standing::Fenced,
            (_, Some(broker)) if broker.stopping => Standing::Stopping,
            (_, Some(_)) => Standing::Live,
            (_, None) => Standing::Fenced,
        }
    }

    fn is_live(&self, node: NodeId) -> bool {
        self.standing(node) == Standing::Live
    }
}

/// How the leader has come to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    Clean,
    Unclean,
    Recovered,
}

/// A partition as it will be.
#[derive(Clone, Debug)]
pub(super) struct Draft<'a> {
    id: PartitionId,
    before: &'a PartitionImage,
    policy: Policy,
    leader: NodeId,
    in_sync: Vec<NodeId>,
    electable: Vec<NodeId>,
    uncertain: Vec<Uncertain>,
    opening: Option<u64>,
    changes: bool,
}

impl<'a> Draft<'a> {
    /// As it is.
    pub(super) fn new(id: PartitionId, before: &'a PartitionImage, policy: Policy) -> Self {
        Self {
            id,
            before,
            policy,
            leader: before.leader,
            in_sync: before.in_sync.to_vec(),
            electable: before.electable.to_vec(),
            uncertain: before.uncertain.to_vec(),
            opening: None,
            changes: false,
        }
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy
    }

    pub(super) fn in_sync(&self) -> &[NodeId] {
        &self.in_sync
    }

    /// A broker does not count any more, and still has all that was acknowledged. The last one stays.
    pub(super) fn leave(&mut self, node: NodeId) {
        if self.in_sync.len() > 1 && self.in_sync.contains(&node) {
            self.in_sync.retain(|member| *member != node);
            self.electable.push(node);
        }
    }

    /// A broker has lost all that it had (S17).
    pub(super) fn forget(&mut self, node: NodeId) {
        self.in_sync.retain(|member| *member != node);
        self.electable.retain(|member| *member != node);
        self.uncertain.retain(|uncertain| uncertain.node != node);
    }

    /// A broker may have lost the end of what it had (S11).
    pub(super) fn doubt(&mut self, node: NodeId) {
        let had_all = self.in_sync.contains(&node) || self.electable.contains(&node);
        if had_all || self.uncertain.iter().any(|uncertain| uncertain.node == node) {
            self.forget(node);
            self.uncertain.push(Uncertain { node, end: None });
        }
    }

    /// A broker that may have lost its end says where that is now.
    pub(super) fn found(&mut self, found: Uncertain) {
        self.uncertain.iter_mut().filter(|known| known.node == found.node).for_each(|known| *known = found);
    }

    /// The leader's own word on who counts. Who leaves has all that was acknowledged up to now.
    pub(super) fn replace_in_sync(&mut self, members: &[NodeId]) {
        self.set_in_sync(members);
        // The leader lives, and goes on from here.
        self.uncertain.clear();
    }

    fn set_in_sync(&mut self, members: &[NodeId]) {
        let had_all = self.in_sync.iter().chain(&self.electable).copied();
        self.electable = had_all.filter(|node| !members.contains(node)).collect();
        let replicas = self.before.replicas.iter().copied();
        self.in_sync = replicas.filter(|node| members.contains(node)).collect();
    }

    /// The leader opens its log once more.
    pub(super) fn open(&mut self, opening: u64) {
        self.opening = Some(opening);
        self.uncertain.clear();
    }

    /// The partition's epoch is raised although it stays as it is: what its leader asks for on what it knew before is
    /// refused.
    pub(super) fn raise_epoch(&mut self) {
        self.changes = true;
    }

    /// Another member leads, if it can.
    pub(super) fn hand_over_to(&mut self, node: NodeId, brokers: &Brokers<'_>) {
        if self.in_sync.contains(&node) && brokers.is_live(node) {
            self.leader = node;
        }
    }

    /// Gives up whatever only brokers have that are not there.
    pub(super) fn allow_unclean(&mut self) {
        self.policy.unclean = true;
    }

    /// Somebody leads who can, if there is anybody.
    pub(super) fn elect(&mut self, brokers: &Brokers<'_>, elections: &mut Elections) {
        let stays = self.in_sync.contains(&self.leader) && brokers.standing(self.leader) != Standing::Fenced;
        if !stays {
            self.leader = NOBODY;
            match self.choose(brokers) {
                Some(Chosen::Clean) => {}
                Some(Chosen::Unclean) => elections.unclean.push(self.id),
                Some(Chosen::Recovered) => elections.recovered.push(self.id),
                None => elections.leaderless += 1,
            }
        }
        elections.elected += u32::from(self.leader != NOBODY && self.leader != self.before.leader);
    }

    fn choose(&mut self, brokers: &Brokers<'_>) -> Option<Chosen> {
        let replicas = self.before.replicas.iter().copied().filter(|node| brokers.is_live(*node));
        let live: Vec<NodeId> = replicas.collect();
        if let Some(leader) = live.iter().find(|node| self.in_sync.contains(node)) {
            self.leader = *leader;
            return Some(Chosen::Clean);
        }
        if let Some(leader) = live.iter().find(|node| self.electable.contains(node)) {
            self.set_in_sync(&[*leader]);
            self.leader = *leader;
            return Some(Chosen::Clean);
        }
        if let Some(leader) = self.with_most(&live) {
            self.lead_alone(leader);
            return Some(Chosen::Recovered);
        }
        let had_most = |node: &&NodeId| self.uncertain.iter().any(|uncertain| uncertain.node == **node);
        let leader = *live.iter().find(had_most).or(live.first()).filter(|_| self.policy.unclean)?;
        self.lead_alone(leader);
        Some(Chosen::Unclean)
    }

    /// Who has the most of what all may have lost the end of, once all have looked (S11). The only replica need not look: nobody
    /// has more.
    fn with_most(&self, live: &[NodeId]) -> Option<NodeId> {
        if !(self.in_sync.is_empty() && self.electable.is_empty()) {
            return None;
        }
        if let ([only], [uncertain]) = (&*self.before.replicas, &*self.uncertain) {
            return live.first().copied().filter(|node| node == only && uncertain.node == *only);
        }
        let ends: Option<Vec<_>> =
            self.uncertain.iter().map(|uncertain| Some((uncertain.end?, uncertain.node))).collect();
        let ends = ends?;
        let most = ends.iter().map(|(end, _)| *end).max()?;
        live.iter().find(|node| ends.contains(&(most, **node))).copied()
    }

    /// What others have beyond it counts no more.
    fn lead_alone(&mut self, leader: NodeId) {
        self.leader = leader;
        self.in_sync = vec![leader];
        self.electable.clear();
        self.uncertain.clear();
    }

    /// The record of the change, if it is one and there is an epoch left for it.
    pub(super) fn record(mut self) -> Option<MetadataRecord> {
        if self.in_sync.len() >= self.policy.min_in_sync {
            self.electable.clear();
        }
        let before = self.before;
        let another = self.leader != before.leader;
        let same_members = *self.in_sync == *before.in_sync
            && *self.electable == *before.electable
            && *self.uncertain == *before.uncertain;
        if same_members && !another && !self.changes && self.opening.is_none() {
            return None;
        }
        let begins = another || self.opening.is_some();
        let leader_epoch = if begins { before.leader_epoch.next() } else { before.leader_epoch };
        if begins && leader_epoch == before.leader_epoch {
            return None;
        }
        Some(MetadataRecord::PartitionChanged {
            partition: self.id,
            leader: self.leader,
            leader_epoch,
            in_sync: self.in_sync,
            electable: self.electable,
            uncertain: self.uncertain,
            opening: if begins { self.opening.unwrap_or(0) } else { before.opening },
            partition_epoch: before.partition_epoch.saturating_add(1),
        })
    }
}
