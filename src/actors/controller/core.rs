//! What the controller does by itself: whom it takes for dead, and when leaders are given back.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    actors::membership::MetadataImage,
    model::{BootId, BrokerEpoch, NodeId},
};

/// A broker as the voter's leases have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It holds a lease.
    Alive,
    /// It held one, and does not any more.
    Dead,
    /// This voter has never heard of that start of it.
    Unheard,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct ControllerTiming {
    /// How long a broker that this voter has never heard of is waited for: a lease, from when it could have been heard.
    pub lease: Duration,
    /// How long leaders are left where they are after the last change.
    pub give_back_after: Duration,
    /// A command without an outcome is given again after this time.
    pub again_after: Duration,
}

/// What is to be done; commands of the membership registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It is not heard of any more.
    Down {
        /// Who.
        node: NodeId,
        /// By which registration.
        epoch: BrokerEpoch,
    },
    /// Give leaders back to the preferred replicas.
    GiveBack,
}

/// One controller, from its election to its deposition.
#[derive(Clone, Debug)]
pub struct ControllerCore {
    timing: ControllerTiming,
    /// When this voter could first have heard of anybody.
    since: Duration,
    /// What a new controller finds has been there for some time.
    is_first_look: bool,
    /// Since when each registration is known.
    seen: BTreeMap<(NodeId, BrokerEpoch), Duration>,
    given: BTreeMap<(NodeId, BrokerEpoch), Duration>,
    /// When the set of live brokers last changed, and what it was.
    live: Vec<(NodeId, BrokerEpoch)>,
    changed: Duration,
    gave_back: Duration,
}

impl ControllerCore {
    /// It begins now; `heard_since` is when this voter could first have heard of anybody.
    pub fn new(timing: ControllerTiming, now: Duration, heard_since: Duration) -> Self {
        let (seen, given) = (BTreeMap::new(), BTreeMap::new());
        Self {
            timing,
            since: heard_since,
            is_first_look: true,
            seen,
            given,
            live: Vec::new(),
            changed: now,
            gave_back: now,
        }
    }

    /// Looks at all brokers. Level-triggered: what is still so later is said again, in time.
    pub fn look(
        &mut self,
        now: Duration,
        image: &MetadataImage,
        sign: impl Fn(NodeId, BootId) -> Sign,
    ) -> Vec<Order> {
        let mut orders = Vec::new();
        let mut live = Vec::new();
        for (node, broker) in image.brokers() {
            if broker.fenced {
                continue;
            }
            let known_since = *self.seen.entry((*node, broker.epoch)).or_insert(if self.is_first_look {
                self.since
            } else {
                now
            });
            let is_gone = match sign(*node, broker.boot) {
                Sign::Alive => false,
                Sign::Dead => true,
                Sign::Unheard => now.saturating_sub(known_since) >= self.timing.lease,
            };
            if is_gone {
                self.give(now, (*node, broker.epoch), &mut orders);
            } else if broker.is_live() {
                live.push((*node, broker.epoch));
            }
        }
        let is_there = |(node, epoch): &(NodeId, BrokerEpoch)| {
            image.brokers().get(node).is_some_and(|broker| broker.epoch == *epoch && !broker.fenced)
        };
        self.given.retain(|who, _| is_there(who));
        self.seen.retain(|who, _| is_there(who));
        self.is_first_look = false;
        if self.live != live {
            (self.live, self.changed) = (live, now);
        }
        let pause = self.timing.give_back_after;
        if now.saturating_sub(self.changed.max(self.gave_back)) >= pause && has_leaders_astray(image) {
            self.gave_back = now;
            orders.push(Order::GiveBack);
        }
        orders
    }

    fn give(&mut self, now: Duration, who: (NodeId, BrokerEpoch), orders: &mut Vec<Order>) {
        let again = self.timing.again_after;
        if self.given.get(&who).is_some_and(|given| now.saturating_sub(*given) < again) {
            return;
        }
        self.given.insert(who, now);
        orders.push(Order::Down { node: who.0, epoch: who.1 });
    }
}

/// Whether some partition is not led by its first replica, which could.
fn has_leaders_astray(image: &MetadataImage) -> bool {
    image.partitions().any(|(_, _, partition)| {
        partition.replicas.first().is_some_and(|preferred| {
            partition.leader != *preferred
                && partition.in_sync.contains(preferred)
                && image.is_live(*preferred)
        })
    })
}
