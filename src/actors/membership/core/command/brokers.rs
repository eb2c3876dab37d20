//! Brokers that come, are ready, stop, or are not heard of any more.
//!
//! What becomes of all partitions stands in one group with what became of the broker: no reader sees a leader that is
//! fenced.

use super::{CommandAnswer, Decided, Elections, Refusal, Registration};
use crate::{
    actors::membership::core::{
        FEATURE_LEVEL, TELLS_REPLICAS_MAX,
        election::{Brokers, Draft, Policies, Standing},
        image::{BrokerImage, MetadataImage},
        record::MetadataRecord,
        rules::Rules,
    },
    model::{BrokerEpoch, NodeId},
};

/// The broker, if it speaks for its last registration.
pub(super) fn check(
    image: &MetadataImage,
    node: NodeId,
    given: BrokerEpoch,
) -> Result<&BrokerImage, Refusal> {
    let broker = image.brokers().get(&node).ok_or(Refusal::NotRegistered(node))?;
    if broker.epoch != given {
        return Err(Refusal::StaleBrokerEpoch { node, given, registered: broker.epoch });
    }
    Ok(broker)
}

/// What a start means for what its node had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// It has not ended since, or has ended in order.
    Nothing,
    /// It was killed: what was in memory only may be gone (S11).
    Memory,
    /// It stands on another data folder (S17).
    Everything,
}

pub(super) fn register(
    image: &MetadataImage,
    rules: &Rules,
    start: &Registration,
) -> Result<Decided, Refusal> {
    let known = image.brokers().get(&start.node);
    check_registration(image, start, known)?;
    if let Some(known) = known.filter(|known| says_the_same(known, start)) {
        let (epoch, elections) = (known.epoch, Elections::default());
        return Ok((Vec::new(), CommandAnswer::Registered { epoch, elections }));
    }
    let epoch = next_epoch(image);
    let mut records = vec![MetadataRecord::BrokerRegisteredV2 {
        node: start.node,
        boot: start.boot,
        epoch,
        raft_id: start.raft_id,
        endpoints: start.endpoints.clone(),
        rack: start.rack.clone(),
        feature_level: start.feature_level,
    }];
    let lost = known.map_or(Lost::Nothing, |known| lost(known, start));
    let brokers = Brokers::with(image, start.node, Standing::Fenced);
    let elections = for_all_of(image, rules, start.node, &brokers, &mut records, |draft| match lost {
        Lost::Everything => draft.forget(start.node),
        Lost::Memory if draft.policy().in_memory => draft.doubt(start.node),
        Lost::Memory | Lost::Nothing => draft.leave(start.node),
    });
    Ok((records, CommandAnswer::Registered { epoch, elections }))
}

fn check_registration(
    image: &MetadataImage,
    start: &Registration,
    known: Option<&BrokerImage>,
) -> Result<(), Refusal> {
    if start.node.get() < 0 || start.raft_id.is_unknown() || start.boot.is_nil() {
        return Err(Refusal::InvalidRequest("a registration needs a node id, a raft id and a boot id"));
    }
    let cluster = image.feature_level();
    if start.feature_level < cluster {
        return Err(Refusal::FeatureLevel { node: start.node, broker: start.feature_level, cluster });
    }
    let others = image.brokers().iter().filter(|(node, _)| **node != start.node);
    if others.into_iter().any(|(_, broker)| broker.raft_id == start.raft_id) {
        return Err(Refusal::InvalidRequest("the data folder is registered for another node id"));
    }
    match known {
        Some(known) if known.boot == start.boot && known.raft_id.is_another_than(start.raft_id) => {
            Err(Refusal::InvalidRequest("one boot stands on two data folders"))
        }
        Some(known) if known.boot != start.boot && start.another_is_alive => {
            Err(Refusal::DuplicateBroker(start.node))
        }
        Some(_) | None => Ok(()),
    }
}

fn says_the_same(known: &BrokerImage, start: &Registration) -> bool {
    known.boot == start.boot
        && known.raft_id == start.raft_id
        && known.endpoints == start.endpoints
        && known.rack == start.rack
        && known.feature_level == start.feature_level
}

fn lost(known: &BrokerImage, start: &Registration) -> Lost {
    if known.raft_id.is_another_than(start.raft_id) {
        Lost::Everything
    } else if known.boot == start.boot || start.clean == Some(known.boot) {
        Lost::Nothing
    } else {
        Lost::Memory
    }
}

/// Above that of every registration there has been.
fn next_epoch(image: &MetadataImage) -> BrokerEpoch {
    let last = image.brokers().values().map(|broker| broker.epoch).max();
    BrokerEpoch::new(last.map_or(1, |last| last.get().saturating_add(1)))
}

pub(super) fn tell_replicas_max(
    image: &MetadataImage,
    node: NodeId,
    epoch: BrokerEpoch,
    max: u32,
) -> Result<Decided, Refusal> {
    check(image, node, epoch)?;
    let is_new = image.replicas_max(node) != Some(max) && image.feature_level() >= TELLS_REPLICAS_MAX;
    let record = is_new.then_some(MetadataRecord::ReplicasMaxTold { node, epoch, max });
    Ok((record.into_iter().collect(), CommandAnswer::Done))
}

pub(super) fn ready(
    image: &MetadataImage,
    rules: &Rules,
    node: NodeId,
    epoch: BrokerEpoch,
) -> Result<Decided, Refusal> {
    let broker = check(image, node, epoch)?;
    if !broker.fenced {
        return Ok((Vec::new(), CommandAnswer::Elected(Elections::default())));
    }
    let standing = if broker.stopping { Standing::Stopping } else { Standing::Live };
    let mut records = vec![MetadataRecord::BrokerUnfenced { node, epoch }];
    let brokers = Brokers::with(image, node, standing);
    let elections = for_all_of(image, rules, node, &brokers, &mut records, |_| {});
    Ok((records, CommandAnswer::Elected(elections)))
}

pub(super) fn down(
    image: &MetadataImage,
    rules: &Rules,
    node: NodeId,
    epoch: BrokerEpoch,
) -> Result<Decided, Refusal> {
    if check(image, node, epoch)?.fenced {
        return Ok((Vec::new(), CommandAnswer::Elected(Elections::default())));
    }
    let mut records = vec![MetadataRecord::BrokerFenced { node, epoch }];
    let brokers = Brokers::with(image, node, Standing::Fenced);
    let elections = for_all_of(image, rules, node, &brokers, &mut records, |draft| draft.leave(node));
    Ok((records, CommandAnswer::Elected(elections)))
}

/// Leaves what others can go on with, and stays where it is the last.
pub(super) fn stopping(
    image: &MetadataImage,
    rules: &Rules,
    node: NodeId,
    epoch: BrokerEpoch,
) -> Result<Decided, Refusal> {
    let broker = check(image, node, epoch)?;
    let mut records = Vec::new();
    if !broker.stopping {
        records.push(MetadataRecord::BrokerStopping { node, epoch });
    }
    let standing = if broker.fenced { Standing::Fenced } else { Standing::Stopping };
    let brokers = Brokers::with(image, node, standing);
    let elections = for_all_of(image, rules, node, &brokers, &mut records, |draft| {
        let others = draft.in_sync().iter().filter(|member| **member != node);
        if others.into_iter().any(|member| brokers.standing(*member) == Standing::Live) {
            draft.leave(node);
        }
    });
    let led = image.partitions().filter(|(_, _, partition)| partition.leader == node).count();
    let handed_over = records.iter().filter(|record| takes_from(image, node, record)).count();
    let leads = u32::try_from(led.saturating_sub(handed_over)).unwrap_or(u32::MAX);
    Ok((records, CommandAnswer::Stopping { leads, elections }))
}

/// Whether the broker leads a partition before the record and not after it.
fn takes_from(image: &MetadataImage, node: NodeId, record: &MetadataRecord) -> bool {
    let MetadataRecord::PartitionChanged { partition, leader, .. } = record else { return false };
    *leader != node && image.partition(*partition).is_some_and(|before| before.leader == node)
}

pub(super) fn raise_feature_level(image: &MetadataImage, level: u16) -> Result<Decided, Refusal> {
    if level == image.feature_level() {
        return Ok((Vec::new(), CommandAnswer::Done));
    }
    if level < image.feature_level() || level > FEATURE_LEVEL {
        return Err(Refusal::InvalidRequest("the feature level is below the present one, or not known here"));
    }
    if let Some((node, broker)) = image.brokers().iter().find(|(_, broker)| broker.feature_level < level) {
        return Err(Refusal::FeatureLevel { node: *node, broker: broker.feature_level, cluster: level });
    }
    Ok((vec![MetadataRecord::FeatureLevelRaised { level }], CommandAnswer::Done))
}

/// Drafts every partition that the broker keeps, and elects where it has to be.
fn for_all_of(
    image: &MetadataImage,
    rules: &Rules,
    node: NodeId,
    brokers: &Brokers<'_>,
    records: &mut Vec<MetadataRecord>,
    change: impl Fn(&mut Draft<'_>),
) -> Elections {
    let policies = Policies::new(image, rules);
    let mut elections = Elections::default();
    for (id, topic, partition) in image.partitions() {
        if partition.replicas.contains(&node) {
            let mut policy = policies.of(&topic.configs, partition.replicas.len());
            policy.in_memory |= !image.is_on_disk(id);
            let mut draft = Draft::new(id, partition, policy);
            change(&mut draft);
            draft.elect(brokers, &mut elections);
            records.extend(draft.record());
        }
    }
    elections
}
