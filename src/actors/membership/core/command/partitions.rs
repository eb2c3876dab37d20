//! What leaders ask for, and elections that nobody has died for.

use std::collections::{BTreeMap, BTreeSet};

use super::{CommandAnswer, Decided, Elections, InSyncChange, PREFERRED_MAX, Refusal, brokers};
use crate::{
    actors::membership::core::{
        election::{Brokers, Draft, Policies, Standing},
        image::{MetadataImage, PartitionImage},
        record::{MetadataRecord, Uncertain},
        rules::Rules,
    },
    model::{LeaderEpoch, NodeId, Offset, PartitionId},
};

/// On one node, which leads all that it keeps.
pub(in crate::actors::membership) fn open_epoch_here(
    image: &MetadataImage,
    rules: &Rules,
    id: PartitionId,
) -> Result<(LeaderEpoch, MetadataRecord), Refusal> {
    let partition = image.partition(id).ok_or(Refusal::UnknownPartition(id))?;
    if !partition.replicas.contains(&rules.node) {
        return Err(Refusal::NotReplica { node: rules.node, partition: id });
    }
    let epoch = partition.leader_epoch.next();
    if epoch == partition.leader_epoch {
        return Err(Refusal::EpochsUsedUp(id));
    }
    Ok((epoch, MetadataRecord::EpochOpened { partition: id, leader: rules.node, epoch }))
}

/// The same opening is answered as the first time: an asker that has heard nothing asks again.
pub(super) fn open_epoch(
    image: &MetadataImage,
    rules: &Rules,
    id: PartitionId,
    node: NodeId,
    known: LeaderEpoch,
    opening: u64,
) -> Result<Decided, Refusal> {
    let partition = image.partition(id).ok_or(Refusal::UnknownPartition(id))?;
    if partition.leader != node {
        return Err(Refusal::NotLeader { node, partition: id });
    }
    if opening == 0 {
        return Err(Refusal::InvalidRequest("an opening needs an id"));
    }
    if partition.opening == opening {
        return Ok((Vec::new(), CommandAnswer::EpochOpened(partition.leader_epoch)));
    }
    if partition.leader_epoch != known {
        return Err(Refusal::OtherLeaderEpoch { partition: id, current: partition.leader_epoch });
    }
    let mut draft = draft(image, rules, id)?;
    draft.open(opening);
    let record = draft.record().ok_or(Refusal::EpochsUsedUp(id))?;
    Ok((vec![record], CommandAnswer::EpochOpened(known.next())))
}

pub(super) fn alter_in_sync(
    image: &MetadataImage,
    rules: &Rules,
    change: &InSyncChange,
) -> Result<Decided, Refusal> {
    let id = change.partition;
    let partition = image.partition(id).ok_or(Refusal::UnknownPartition(id))?;
    check_leader(partition, change)?;
    check_members(image, partition, change)?;
    let mut draft = draft(image, rules, id)?;
    let members: Vec<NodeId> = change.in_sync.iter().map(|(node, _)| *node).collect();
    draft.replace_in_sync(&members);
    // Even where the set stays as it is: only a later epoch tells the leader that what it proposed before, and heard
    // nothing of, can no longer be applied (S2).
    draft.raise_epoch();
    let in_sync = draft.in_sync().to_vec();
    let record = draft.record();
    let partition_epoch = partition.partition_epoch.saturating_add(i32::from(record.is_some()));
    Ok((record.into_iter().collect(), CommandAnswer::InSync { partition_epoch, in_sync }))
}

/// The partition's epoch is that in which the leader has looked, so the topic is as it was then: it has not become
/// `replicated` and `disk` again since.
pub(super) fn alter_in_sync_on_disk(
    image: &MetadataImage,
    rules: &Rules,
    change: &InSyncChange,
) -> Result<Decided, Refusal> {
    let (mut records, answer) = alter_in_sync(image, rules, change)?;
    let partition = change.partition;
    if image.disk_demanded.contains(&partition) {
        records.push(MetadataRecord::DiskReached { partition });
    }
    Ok((records, answer))
}

fn check_leader(partition: &PartitionImage, change: &InSyncChange) -> Result<(), Refusal> {
    let id = change.partition;
    if partition.leader_epoch != change.leader_epoch {
        return Err(Refusal::OtherLeaderEpoch { partition: id, current: partition.leader_epoch });
    }
    if partition.leader != change.leader {
        return Err(Refusal::NotLeader { node: change.leader, partition: id });
    }
    if partition.partition_epoch != change.partition_epoch {
        return Err(Refusal::OtherPartitionEpoch { partition: id, current: partition.partition_epoch });
    }
    Ok(())
}

/// A member is registered as it was when the leader found it in sync (KIP-903), and not about to leave (KIP-841).
fn check_members(
    image: &MetadataImage,
    partition: &PartitionImage,
    change: &InSyncChange,
) -> Result<(), Refusal> {
    let members = &change.in_sync;
    for (at, (node, epoch)) in members.iter().enumerate() {
        if !partition.replicas.contains(node) || members.iter().take(at).any(|(earlier, _)| earlier == node) {
            return Err(Refusal::InvalidRequest("a member is no replica, or named twice"));
        }
        let broker = brokers::check(image, *node, *epoch)?;
        if !broker.is_live() && *node != change.leader {
            return Err(Refusal::Ineligible(*node));
        }
    }
    if !members.iter().any(|(node, _)| *node == change.leader) {
        return Err(Refusal::InvalidRequest("the leader is not among the members"));
    }
    Ok(())
}

/// Of those that are asked for.
pub(super) fn elect_preferred(
    image: &MetadataImage,
    rules: &Rules,
    asked_for: impl Fn(PartitionId) -> bool,
) -> Decided {
    let policies = Policies::new(image, rules);
    let brokers = Brokers::of(image);
    let (mut records, mut elections) = (Vec::new(), Elections::default());
    for (id, topic, partition) in image.partitions().filter(|(id, ..)| asked_for(*id)) {
        let preferred = partition.replicas.first().filter(|first| **first != partition.leader);
        let (Some(preferred), Some(_)) = (preferred, partition.leader()) else { continue };
        let mut draft = Draft::new(id, partition, policies.of(&topic.configs, partition.replicas.len()));
        draft.hand_over_to(*preferred, &brokers);
        let Some(record) = draft.record() else { continue };
        if records.len() < PREFERRED_MAX {
            records.push(record);
            elections.elected += 1;
        } else {
            elections.left += 1;
        }
    }
    (records, CommandAnswer::Elected(elections))
}

pub(super) fn elect_unclean(
    image: &MetadataImage,
    rules: &Rules,
    which: &[PartitionId],
) -> Result<Decided, Refusal> {
    let brokers = Brokers::of(image);
    let (mut records, mut elections) = (Vec::new(), Elections::default());
    // Each once.
    for id in which.iter().collect::<BTreeSet<_>>() {
        let mut draft = draft(image, rules, *id)?;
        draft.allow_unclean();
        draft.elect(&brokers, &mut elections);
        records.extend(draft.record());
    }
    Ok((records, CommandAnswer::Elected(elections)))
}

/// Partitions that are not in doubt, or not any more, are passed over.
pub(super) fn report_ends(
    image: &MetadataImage,
    rules: &Rules,
    node: NodeId,
    ends: &[(PartitionId, LeaderEpoch, Offset)],
) -> Decided {
    let brokers = Brokers::of(image);
    let (mut records, mut elections) = (Vec::new(), Elections::default());
    let ends: BTreeMap<PartitionId, _> = ends.iter().map(|(id, epoch, end)| (*id, (*epoch, *end))).collect();
    for (id, end) in ends {
        let Ok(mut draft) = draft(image, rules, id) else { continue };
        draft.found(Uncertain { node, end: Some(end) });
        draft.elect(&brokers, &mut elections);
        records.extend(draft.record());
    }
    (records, CommandAnswer::Elected(elections))
}

/// Nothing changes where too few others would be left to go on.
pub(super) fn give_up(
    image: &MetadataImage,
    rules: &Rules,
    id: PartitionId,
    node: NodeId,
) -> Result<Decided, Refusal> {
    let (brokers, mut elections) = (Brokers::of(image), Elections::default());
    let mut draft = draft(image, rules, id)?;
    let others = draft.in_sync().iter().filter(|member| **member != node);
    let going_on = others.filter(|member| brokers.standing(**member) == Standing::Live).count();
    if going_on < draft.policy().min_in_sync {
        return Ok((Vec::new(), CommandAnswer::Elected(elections)));
    }
    draft.leave(node);
    draft.elect(&brokers, &mut elections);
    Ok((draft.record().into_iter().collect(), CommandAnswer::Elected(elections)))
}

fn draft<'a>(image: &'a MetadataImage, rules: &Rules, id: PartitionId) -> Result<Draft<'a>, Refusal> {
    let topic = image.topic(id.topic).ok_or(Refusal::UnknownPartition(id))?;
    let partition = topic.partition(id.index).ok_or(Refusal::UnknownPartition(id))?;
    let policy = Policies::new(image, rules).of(&topic.configs, partition.replicas.len());
    Ok(Draft::new(id, partition, policy))
}
