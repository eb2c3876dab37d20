//! The controller as the replicas see it: one state, changed by one command at a time, and copies of it that come late.
//! What it decides is what `safety.md` asks of it; the program's own decisions have tests of their own.

use std::collections::{BTreeMap, BTreeSet};

use polylogue::{
    actors::partition::core::{PartitionState, SetAnswer, SetChange},
    config::topic::Durability,
    model::{LeaderEpoch, NodeId},
};

use super::{mistakes::Mistake, script::Node};

/// A copy of the metadata.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) index: u64,
    pub(super) leader: Option<Node>,
    pub(super) partition: PartitionState,
    pub(super) durability: Durability,
    pub(super) min_in_sync: usize,
}

#[derive(Clone, Debug)]
struct Broker {
    boot: u64,
    epoch: i64,
    fenced: bool,
    heard_at: u64,
}

/// A start of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registration {
    pub(super) node: Node,
    pub(super) boot: u64,
    /// The start before it that ended in good order.
    pub(super) clean: Option<u64>,
    /// The epoch and end of its log.
    pub(super) tail: (i32, i64),
}

#[derive(Debug)]
pub(super) struct Controller {
    pub(super) image: Image,
    pub(super) mistake: Option<Mistake>,
    brokers: BTreeMap<Node, Broker>,
    /// Who has left by an unclean start since there was a leader last, with what it has once it is there (S11).
    left: BTreeMap<Node, (i32, i64)>,
    /// Who has been made leader out of them: what they had lost together is lost.
    pub(super) chosen_of_the_left: Option<(Node, BTreeSet<Node>)>,
    opened: BTreeMap<(Node, u64), LeaderEpoch>,
}

const LEASE: u64 = 1_000_000;

pub(super) fn id(node: Node) -> NodeId {
    NodeId::new(node as i32)
}

impl Controller {
    pub(super) fn new(
        nodes: usize,
        durability: Durability,
        min_in_sync: usize,
        mistake: Option<Mistake>,
    ) -> Self {
        let all: Vec<NodeId> = (1..=nodes).map(id).collect();
        let partition = PartitionState {
            partition_epoch: 0,
            leader_epoch: LeaderEpoch::NONE,
            replicas: all.clone(),
            in_sync: all,
            electable: Vec::new(),
            on_disk: durability == Durability::Disk,
        };
        Self {
            image: Image { index: 0, leader: None, partition, durability, min_in_sync },
            mistake,
            brokers: BTreeMap::new(),
            left: BTreeMap::new(),
            chosen_of_the_left: None,
            opened: BTreeMap::new(),
        }
    }

    /// The start by which a node is registered.
    pub(super) fn boot_of(&self, node: Node) -> Option<u64> {
        self.brokers.get(&node).map(|broker| broker.boot)
    }

    fn is_alive(&self, node: NodeId) -> bool {
        self.brokers.get(&(node.get() as usize)).is_some_and(|broker| !broker.fenced)
    }

    /// One entry of the metadata: all of it or nothing.
    fn change(&mut self, what: impl FnOnce(&mut Self)) {
        let before = self.image.clone();
        what(self);
        self.elect();
        if self.image.partition != before.partition || self.image.leader != before.leader {
            self.image.partition.partition_epoch = before.partition.partition_epoch + 1;
        }
        self.image.index += 1;
    }

    /// Takes somebody out of the set who is still known to have all of it (KIP-966).
    fn leave(&mut self, node: NodeId) {
        let minimum = self.image.min_in_sync;
        let partition = &mut self.image.partition;
        if partition.in_sync.len() < 2 || !partition.in_sync.contains(&node) {
            return;
        }
        partition.in_sync.retain(|member| *member != node);
        if partition.in_sync.len() < minimum {
            partition.electable.push(node);
        }
    }

    fn settle_electable(&mut self) {
        let minimum = self.image.min_in_sync;
        let partition = &mut self.image.partition;
        if partition.in_sync.len() >= minimum {
            partition.electable.clear();
        }
        let in_sync = partition.in_sync.clone();
        partition.electable.retain(|node| !in_sync.contains(node));
    }

    fn fence(&mut self, node: Node) {
        if let Some(broker) = self.brokers.get_mut(&node) {
            broker.fenced = true;
        }
        self.leave(id(node));
        if self.image.leader == Some(node) {
            self.image.leader = None;
        }
    }

    fn elect(&mut self) {
        if self.image.leader.is_some_and(|leader| self.is_alive(id(leader))) {
            return;
        }
        let partition = &self.image.partition;
        let alive = |nodes: &[NodeId]| nodes.iter().copied().find(|node| self.is_alive(*node));
        if let Some(node) = alive(&partition.in_sync) {
            self.lead(node);
        } else if let Some(node) = alive(&partition.electable) {
            let partition = &mut self.image.partition;
            let before = std::mem::replace(&mut partition.in_sync, vec![node]);
            partition.electable.extend(before);
            self.settle_electable();
            self.lead(node);
        } else if partition.in_sync.is_empty() && self.left.keys().all(|node| self.is_alive(id(*node))) {
            self.choose_of_the_left();
        }
    }

    fn choose_of_the_left(&mut self) {
        let Some((node, _)) = self.left.iter().max_by_key(|(_, tail)| **tail) else { return };
        let node = *node;
        self.chosen_of_the_left = Some((node, self.left.keys().copied().collect()));
        self.image.partition.in_sync = vec![id(node)];
        self.image.partition.electable.clear();
        self.lead(id(node));
    }

    fn lead(&mut self, node: NodeId) {
        self.image.leader = Some(node.get() as usize);
        let epoch = &mut self.image.partition.leader_epoch;
        *epoch = epoch.next();
        self.left.clear();
    }

    pub(super) fn register(&mut self, asks: &Registration, now: u64) -> i64 {
        if let Some(broker) = self.brokers.get(&asks.node).filter(|broker| broker.boot == asks.boot) {
            return broker.epoch;
        }
        let last = self.boot_of(asks.node);
        let is_first = last.is_none();
        let is_clean = asks.clean.is_some() && asks.clean == last;
        self.change(|this| {
            this.fence(asks.node);
            let epoch = this.image.index as i64 + 1;
            let broker = Broker { boot: asks.boot, epoch, fenced: true, heard_at: now };
            this.brokers.insert(asks.node, broker);
            let keeps = match this.mistake {
                Some(Mistake::OnDiskByConfig) => this.image.durability == Durability::Disk,
                _ => this.image.partition.on_disk,
            };
            if !is_first && !is_clean && !keeps {
                this.leave_unclean(asks);
            }
        });
        self.brokers[&asks.node].epoch
    }

    fn leave_unclean(&mut self, asks: &Registration) {
        let node = id(asks.node);
        let partition = &mut self.image.partition;
        let was = partition.in_sync.contains(&node) || partition.electable.contains(&node);
        if was || self.left.contains_key(&asks.node) {
            self.left.insert(asks.node, asks.tail);
        }
        partition.in_sync.retain(|member| *member != node);
        partition.electable.retain(|member| *member != node);
    }

    /// A sign of life; whether anything has changed by it.
    pub(super) fn heard(&mut self, node: Node, epoch: i64, index: u64, now: u64) -> bool {
        let Some(broker) = self.brokers.get_mut(&node).filter(|broker| broker.epoch == epoch) else {
            return false;
        };
        broker.heard_at = now;
        if !broker.fenced || index < epoch as u64 {
            return false;
        }
        self.change(|this| {
            if let Some(broker) = this.brokers.get_mut(&node) {
                broker.fenced = false;
            }
        });
        true
    }

    /// Fences whoever has been silent for too long.
    pub(super) fn look_around(&mut self, now: u64) -> bool {
        let is_late = |broker: &Broker| !broker.fenced && now.saturating_sub(broker.heard_at) > LEASE;
        let late = self.brokers.iter().filter(|(_, broker)| is_late(broker)).map(|(node, _)| *node);
        let late: Vec<Node> = late.collect();
        for node in &late {
            self.change(|this| this.fence(*node));
        }
        !late.is_empty()
    }

    pub(super) fn alter(
        &mut self,
        node: Node,
        epoch: LeaderEpoch,
        broker_epoch: i64,
        asks: &SetChange,
    ) -> SetAnswer {
        let image = &self.image;
        let is_leader = image.leader == Some(node) && image.partition.leader_epoch == epoch;
        let as_registered = |node: &NodeId, broker_epoch: i64| {
            let broker = self.brokers.get(&(node.get() as usize));
            broker
                .is_some_and(|broker| !broker.fenced && (broker_epoch == -1 || broker_epoch == broker.epoch))
        };
        let is_fit = as_registered(&id(node), broker_epoch)
            && asks.in_sync.iter().all(|member| as_registered(&member.node, member.broker_epoch.get()));
        if !is_leader || !is_fit || asks.expected_partition_epoch != image.partition.partition_epoch {
            return SetAnswer::Refused(Some(image.partition.clone()));
        }
        let wanted: Vec<NodeId> = asks.in_sync.iter().map(|member| member.node).collect();
        let before = image.partition.partition_epoch;
        self.change(|this| {
            let gone: Vec<_> =
                this.image.partition.in_sync.iter().filter(|node| !wanted.contains(node)).copied().collect();
            this.image.partition.in_sync.extend(
                wanted.iter().filter(|node| !image_has(&this.image, **node)).copied().collect::<Vec<_>>(),
            );
            for node in gone {
                this.leave(node);
            }
            this.settle_electable();
            this.image.partition.on_disk |= asks.on_disk && this.image.durability == Durability::Disk;
        });
        // Even a change of nothing settles what was proposed before.
        self.image.partition.partition_epoch = before + 1;
        SetAnswer::Done(self.image.partition.clone())
    }

    /// A replica opens its log again within its term (S6). The same opening gets the same epoch.
    pub(super) fn open_epoch(&mut self, node: Node, broker_epoch: i64, opening: u64) -> Option<LeaderEpoch> {
        if let Some(epoch) = self.opened.get(&(node, opening)) {
            return Some(*epoch);
        }
        let is_known =
            self.brokers.get(&node).is_some_and(|broker| broker.epoch == broker_epoch && !broker.fenced);
        if self.image.leader != Some(node) || !is_known {
            return None;
        }
        self.change(|this| this.lead(id(node)));
        let epoch = self.image.partition.leader_epoch;
        self.opened.insert((node, opening), epoch);
        Some(epoch)
    }

    pub(super) fn set_durability(&mut self, durability: Durability) {
        self.change(|this| {
            this.image.durability = durability;
            this.image.partition.on_disk &= durability == Durability::Disk;
            // What a leader has found before says nothing about what is acknowledged from here on.
            this.image.partition.partition_epoch += 1;
        });
    }

    pub(super) fn set_min_in_sync(&mut self, min_in_sync: usize) {
        self.change(|this| {
            this.image.min_in_sync = min_in_sync;
            this.settle_electable();
        });
    }

    pub(super) fn move_leader(&mut self, to: Node) {
        if self.image.partition.in_sync.contains(&id(to))
            && self.is_alive(id(to))
            && self.image.leader != Some(to)
        {
            self.change(|this| this.lead(id(to)));
        }
    }
}

fn image_has(image: &Image, node: NodeId) -> bool {
    image.partition.in_sync.contains(&node)
}
