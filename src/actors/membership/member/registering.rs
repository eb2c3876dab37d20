//! The registrar's words in those of the registry.

use std::{sync::Arc, time::Duration};

use crate::{
    actors::{
        membership::{
            core::{
                Command, CommandAnswer, FEATURE_LEVEL, MetadataImage, Refusal, Registration,
                TELLS_REPLICAS_MAX,
            },
            error::MembershipError,
            joining::{
                Controller, NodeAnswer, NodeCommand, NodeCommandError, NodeRegistration, OurBroker, OurImage,
            },
            registry::RegistryHandle,
        },
        supervise::BoxFuture,
    },
    model::NodeId,
};

/// Sends a node's commands about itself to the controller.
pub(super) struct ToController {
    pub(super) registry: RegistryHandle,
    /// How many replicas this node can keep, where there is a limit.
    pub(super) replicas_max: Option<u32>,
}

impl Controller for ToController {
    fn command(
        &self,
        command: NodeCommand,
        within: Duration,
    ) -> BoxFuture<Result<NodeAnswer, NodeCommandError>> {
        let (registry, told) = (self.registry.clone(), self.to_be_told(&command));
        Box::pin(async move {
            // Before it may be given replicas.
            if let Some(told) = told {
                registry.command_at(told, within).await.map_err(why)?;
            }
            let (index, answer) = registry.command_at(in_full(command), within).await.map_err(why)?;
            Ok(if let CommandAnswer::Registered { epoch, .. } = answer {
                // Before anybody acts on it: a replica that speaks for an older registration is refused for good.
                registry.us().registered(epoch);
                NodeAnswer::Registered { broker_epoch: epoch, index }
            } else {
                NodeAnswer::Done { index }
            })
        })
    }
}

impl ToController {
    /// How many replicas a node that is ready can keep, unless that is known, or nodes do not tell each other yet.
    fn to_be_told(&self, command: &NodeCommand) -> Option<Command> {
        let NodeCommand::Ready { node, broker_epoch } = *command else { return None };
        let (max, image) = (self.replicas_max?, self.registry.image());
        let is_told = image.replicas_max(node) == Some(max) || image.feature_level() < TELLS_REPLICAS_MAX;
        (!is_told).then_some(Command::TellReplicasMax { node, broker_epoch, max })
    }
}

fn in_full(command: NodeCommand) -> Command {
    match command {
        NodeCommand::Register(us) => Command::RegisterBroker(registration(us)),
        NodeCommand::Ready { node, broker_epoch } => Command::BrokerReady { node, broker_epoch },
        NodeCommand::Stopping { node, broker_epoch } => Command::BrokerStopping { node, broker_epoch },
    }
}

fn registration(us: NodeRegistration) -> Registration {
    let NodeRegistration { node, raft_id, boot, endpoints, rack, stopped_cleanly } = us;
    Registration {
        node,
        boot,
        raft_id,
        endpoints,
        rack,
        feature_level: FEATURE_LEVEL,
        clean: stopped_cleanly,
        another_is_alive: false,
    }
}

fn why(error: MembershipError) -> NodeCommandError {
    match error {
        MembershipError::Refused(Refusal::DuplicateBroker(node)) => NodeCommandError::DuplicateNode(node),
        MembershipError::Refused(Refusal::NotRegistered(_) | Refusal::StaleBrokerEpoch { .. }) => {
            NodeCommandError::UnknownEpoch
        }
        MembershipError::Refused(refusal) => NodeCommandError::Refused(refusal.to_string()),
        MembershipError::StorageFull | MembershipError::NotTaken => {
            NodeCommandError::NotNow(error.to_string())
        }
        MembershipError::OutcomeUnknown => NodeCommandError::OutcomeUnknown,
    }
}

/// What an image says about a node.
pub(super) fn look(us: NodeId) -> Arc<dyn Fn(&MetadataImage) -> OurImage + Send + Sync> {
    Arc::new(move |image| OurImage {
        index: image.index(),
        broker: image.brokers().get(&us).map(|broker| OurBroker {
            boot: broker.boot,
            epoch: broker.epoch,
            fenced: broker.fenced,
            stopping: broker.stopping,
        }),
        movable_leaders: movable_leaders(image, us),
    })
}

fn movable_leaders(image: &MetadataImage, us: NodeId) -> usize {
    let led = image.partitions().filter(|(_, _, partition)| partition.leader == us);
    led.filter(|(_, _, partition)| partition.in_sync.iter().any(|node| *node != us && image.is_live(*node)))
        .count()
}
