//! Groups as brokers describe them, of either protocol.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    model::{NodeId, PartitionIndex},
    wire::{
        Str,
        api::{
            consumer_group_describe as by_server, describe_groups as by_members, list_groups::ListedGroup,
        },
        consumer_protocol::{self, PartitionsByName},
    },
};

/// Who assigns the partitions of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    /// One of its members.
    Classic,
    /// The coordinator (KIP-848).
    Consumer,
    /// Not told, or of a kind that this client does not know.
    Unknown,
}

impl GroupKind {
    /// In Kafka's words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
            Self::Unknown => "unknown",
        }
    }

    fn read(name: &str) -> Self {
        // Brokers that do not tell have no other.
        if name.is_empty() || name.eq_ignore_ascii_case(Self::Classic.name()) {
            Self::Classic
        } else if name.eq_ignore_ascii_case(Self::Consumer.name()) {
            Self::Consumer
        } else {
            Self::Unknown
        }
    }
}

/// A group as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its name.
    pub id: String,
    /// What its members speak among each other: `consumer`; empty where it has never had a member.
    pub protocol_type: String,
    /// Its state; empty where the broker is too old to tell.
    pub state: String,
    /// Its kind.
    pub kind: GroupKind,
    /// Who coordinates it.
    pub coordinator: NodeId,
}

impl GroupListing {
    pub(super) fn read(group: &ListedGroup, coordinator: NodeId) -> Self {
        Self {
            id: text(&group.group_id),
            protocol_type: text(&group.protocol_type),
            state: text(&group.group_state),
            kind: GroupKind::read(&group.group_type),
            coordinator,
        }
    }
}

/// Partitions by topic.
pub type OwnedPartitions = BTreeMap<String, Vec<PartitionIndex>>;

/// How often a group whose coordinator assigns has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupEpochs {
    /// Counts changes of members and of what they want.
    pub group: i32,
    /// The group epoch that the assignment was made for.
    pub assignment: i32,
}

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub id: String,
    /// Its kind.
    pub kind: GroupKind,
    /// Its state.
    pub state: String,
    /// What its members speak among each other.
    pub protocol_type: String,
    /// Who parts the partitions among the members: an assignor of theirs, or one of the coordinator. Empty while
    /// none is chosen.
    pub assignor: String,
    /// Who coordinates it.
    pub coordinator: NodeId,
    /// Its epochs; a classic group's generation is not told.
    pub epochs: Option<GroupEpochs>,
    /// Its members, by id.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// What a static member is known by.
    pub instance_id: Option<String>,
    /// The client's own name.
    pub client_id: String,
    /// Where it comes from, as the broker writes it: `/127.0.0.1`.
    pub host: String,
    /// Its epoch, where the coordinator assigns.
    pub epoch: Option<i32>,
    /// The topics it wants, as far as they are told.
    pub topics: Vec<String>,
    /// What it owns.
    pub owned: OwnedPartitions,
    /// What it is to own, where the coordinator assigns and that is another set.
    pub target: Option<OwnedPartitions>,
}

impl GroupDescription {
    pub(super) fn of_classic(group: &by_members::DescribedGroup, coordinator: NodeId) -> Self {
        let readable = group.protocol_type == *consumer_protocol::PROTOCOL_TYPE;
        let member = |member: &by_members::DescribedGroupMember| GroupMember {
            id: text(&member.member_id),
            instance_id: member.group_instance_id.as_ref().map(text),
            client_id: text(&member.client_id),
            host: text(&member.client_host),
            epoch: None,
            topics: if readable { subscribed(&member.member_metadata) } else { Vec::new() },
            owned: if readable { assigned(&member.member_assignment) } else { OwnedPartitions::new() },
            target: None,
        };
        Self {
            id: text(&group.group_id),
            kind: GroupKind::Classic,
            state: text(&group.group_state),
            protocol_type: text(&group.protocol_type),
            assignor: text(&group.protocol_data),
            coordinator,
            epochs: None,
            members: sorted(group.members.iter().map(member)),
        }
    }

    pub(super) fn of_consumer(group: &by_server::DescribedGroup, coordinator: NodeId) -> Self {
        let member = |member: &by_server::Member| {
            let (owned, target) = (by_topic(&member.assignment), by_topic(&member.target_assignment));
            GroupMember {
                id: text(&member.member_id),
                instance_id: member.instance_id.as_ref().map(text),
                client_id: text(&member.client_id),
                host: text(&member.client_host),
                epoch: Some(member.member_epoch),
                topics: member.subscribed_topic_names.iter().map(text).collect(),
                target: (target != owned).then_some(target),
                owned,
            }
        };
        Self {
            id: text(&group.group_id),
            kind: GroupKind::Consumer,
            state: text(&group.group_state),
            protocol_type: consumer_protocol::PROTOCOL_TYPE.to_owned(),
            assignor: text(&group.assignor_name),
            coordinator,
            epochs: Some(GroupEpochs { group: group.group_epoch, assignment: group.assignment_epoch }),
            members: sorted(group.members.iter().map(member)),
        }
    }
}

fn text(text: &Str) -> String {
    text.as_str().to_owned()
}

fn sorted(members: impl Iterator<Item = GroupMember>) -> Vec<GroupMember> {
    let mut members: Vec<_> = members.collect();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    members
}

/// Nothing, where a client speaks what we cannot read: that is its own affair.
fn subscribed(metadata: &Bytes) -> Vec<String> {
    consumer_protocol::subscription(metadata)
        .map_or_else(|_| Vec::new(), |subscription| subscription.topics.iter().map(text).collect())
}

fn assigned(assignment: &Bytes) -> OwnedPartitions {
    let partitions = consumer_protocol::assignment(assignment).map(|assignment| assignment.partitions());
    let one = |(topic, partitions): (Str, std::collections::BTreeSet<PartitionIndex>)| {
        (text(&topic), partitions.into_iter().collect())
    };
    partitions.unwrap_or_else(|_| PartitionsByName::new()).into_iter().map(one).collect()
}

fn by_topic(assignment: &by_server::Assignment) -> OwnedPartitions {
    let mut owned = OwnedPartitions::new();
    for topic in &assignment.topic_partitions {
        owned.entry(text(&topic.topic_name)).or_default().extend(&topic.partitions);
    }
    for partitions in owned.values_mut() {
        partitions.sort();
    }
    owned
}
