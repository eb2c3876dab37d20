//! The controller's own initiative: brokers that are not heard of any more, and leaders that are given back.
//!
//! Every node runs it; it acts where the membership registry is the cluster's controller. What a command becomes is decided
//! there ([`membership`](super::membership)); this decides only that it is time. It remembers nothing that a successor needs:
//! leases are kept by every voter, so that a change of controller makes nobody look dead (S19).

mod core;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

pub use self::core::{ControllerCore, ControllerTiming, Order, Sign};
use super::{
    cluster_link::liveness::LeaseTable,
    membership::{
        Command, CommandAnswer, Elections, MembershipError, forward::Leadership, registry::RegistryHandle,
    },
};
use crate::{
    clock::Clock,
    model::{BootId, NodeId},
};

/// How often to look although nothing was told.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The same where nothing can come due: who does not decide, or is alone.
const LOOK_EVERY_IDLE: Duration = Duration::from_secs(5);
/// How long a command may take before it is given again.
const COMMAND_WITHIN: Duration = Duration::from_secs(5);

/// What it stands on.
#[derive(Clone)]
pub struct ControllerArgs {
    /// Whether this node is the controller, and the way to have commands decided.
    pub registry: RegistryHandle,
    /// The leases that this node keeps as a voter.
    pub leases: watch::Receiver<Arc<LeaseTable>>,
    /// This node: it does not take itself for dead.
    pub node: NodeId,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long things may take.
    pub timing: ControllerTiming,
}

/// Runs for as long as the node does.
pub async fn run(mut args: ControllerArgs) {
    let heard_since = args.clock.monotonic();
    let (mut leadership, mut images) = (args.registry.leadership(), args.registry.watch());
    let mut office: Option<ControllerCore> = None;
    loop {
        let leads = *leadership.borrow_and_update() == Leadership::Us;
        let now = args.clock.monotonic();
        if leads {
            let core = office.get_or_insert_with(|| ControllerCore::new(args.timing, now, heard_since));
            let leases = Arc::clone(&args.leases.borrow_and_update());
            let image = Arc::clone(&images.borrow_and_update());
            let orders = core.look(now, &image, |node, boot| sign(&leases, args.node, node, boot));
            for order in orders {
                give(&args.registry, order);
            }
        } else {
            office = None;
        }
        let changed = async {
            tokio::select! {
                _ = leadership.changed() => {}
                _ = args.leases.changed() => {}
                _ = images.changed() => {}
            }
        };
        let is_idle = office.is_none() || args.registry.image().brokers().len() <= 1;
        let _or_it_is_time = timeout(if is_idle { LOOK_EVERY_IDLE } else { LOOK_EVERY }, changed).await;
    }
}

fn sign(leases: &LeaseTable, us: NodeId, node: NodeId, boot: BootId) -> Sign {
    match leases.nodes.get(&node) {
        _ if node == us => Sign::Alive,
        Some(lease) if lease.boot == boot && lease.is_alive() => Sign::Alive,
        // Another start of it: that one is over, or it is about to be registered.
        Some(_) => Sign::Dead,
        None => Sign::Unheard,
    }
}

fn give(registry: &RegistryHandle, order: Order) {
    let command = match order {
        Order::Down { node, epoch } => {
            tracing::warn!(%node, "node is not heard of any more: others take over what it led");
            Command::BrokerDown { node, broker_epoch: epoch }
        }
        Order::GiveBack => Command::ElectPreferred,
    };
    let registry = registry.clone();
    tokio::spawn(async move {
        let outcome = registry.command(command, COMMAND_WITHIN).await;
        report(order, outcome);
    });
}

fn report(order: Order, outcome: Result<CommandAnswer, MembershipError>) {
    match outcome {
        // What was lost by them is said where they were decided.
        Ok(CommandAnswer::Elected(Elections { elected, leaderless, left, .. })) => {
            tracing::info!(?order, elected, leaderless, left, "leaders were elected");
        }
        Ok(_) => {}
        // It is given again while it is so.
        Err(error) => tracing::warn!(?order, %error, "the controller's order was not carried out"),
    }
}
