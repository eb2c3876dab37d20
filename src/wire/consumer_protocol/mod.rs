//! The bytes of the protocol type `consumer`: what a classic member subscribes to and is assigned.
//!
//! To the classic protocol they are opaque, and the members alone would have to understand them. The
//! coordinator reads them all the same: to know which topics a group reads, to let a group move between
//! the protocols, and to assign `exclusive` in the leading member's place.
//!
//! ```text
//! version i16 | the structure in that version, in the classic layout (never flexible)
//! ```
//!
//! A version above ours is read as ours and what follows the last known field is passed over, so that
//! newer clients are understood: later versions append only. Kafka's definitions
//! `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment` are the reference.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};

use crate::{
    model::PartitionIndex,
    wire::{DecodeError, EncodeError, Field, Layout, Reader, Str, Writer},
};

/// The protocol type of groups whose members speak this.
pub const PROTOCOL_TYPE: &str = "consumer";
/// The highest version known, of both structures.
const HIGHEST_VERSION: i16 = 3;
/// The version in which assignments are sent: all have the same fields, and every client reads this one.
const ASSIGNMENT_VERSION: i16 = 0;

wire_structs! {
    /// What a member wants. Texts and user data share the request's frame.
    struct Subscription {
        /// The topics' names.
        topics: Vec<Str> [0..],
        /// What the member's assignor tells the leading member's.
        user_data: Option<Bytes> [0..; null 0..],
        /// What it owns as it joins (KIP-429).
        owned_partitions: Vec<TopicPartitions> [1..],
        /// The generation in which it owned that; -1: it does not say (KIP-792).
        generation_id: i32 [2..] = -1,
        /// Its rack (KIP-881).
        rack_id: Option<Str> [3..; null 3..],
    }

    /// Some partitions of a topic.
    struct TopicPartitions {
        /// The topic's name.
        topic: Str [0..],
        /// The partitions, in no order; nothing keeps a client from naming one twice.
        partitions: Vec<PartitionIndex> [0..],
    }

    /// What a member is to read.
    struct Assignment {
        /// The partitions, in no order.
        assigned_partitions: Vec<TopicPartitions> [0..],
        /// What the assignor tells the member.
        user_data: Option<Bytes> [0..; null 0..],
    }
}

/// Partitions by the name of their topic.
pub type PartitionsByName = BTreeMap<Str, BTreeSet<PartitionIndex>>;

impl Subscription {
    /// What the member owns, each partition once.
    pub fn owned(&self) -> PartitionsByName {
        by_name(&self.owned_partitions)
    }
}

impl Assignment {
    /// What the member is to read, each partition once.
    pub fn partitions(&self) -> PartitionsByName {
        by_name(&self.assigned_partitions)
    }
}

/// Reads the metadata that a member joins with.
pub fn subscription(bytes: &Bytes) -> Result<Subscription, DecodeError> {
    decoded(bytes)
}

/// Reads the assignment that the leading member made for one member.
pub fn assignment(bytes: &Bytes) -> Result<Assignment, DecodeError> {
    decoded(bytes)
}

/// Writes a member's metadata, in the highest version.
pub fn encode_subscription(subscription: &Subscription) -> Result<Bytes, EncodeError> {
    encoded(subscription, HIGHEST_VERSION)
}

/// Writes one member's assignment. An error only for a name or a set that is too long for the protocol.
pub fn encode_assignment(
    partitions: &PartitionsByName,
    user_data: Option<Bytes>,
) -> Result<Bytes, EncodeError> {
    let topics = partitions.iter().map(|(topic, partitions)| TopicPartitions {
        topic: topic.clone(),
        partitions: partitions.iter().copied().collect(),
    });
    let assignment = Assignment { assigned_partitions: topics.collect(), user_data };
    encoded(&assignment, ASSIGNMENT_VERSION)
}

fn by_name(topics: &[TopicPartitions]) -> PartitionsByName {
    let mut partitions = PartitionsByName::new();
    for topic in topics {
        partitions.entry(topic.topic.clone()).or_default().extend(&topic.partitions);
    }
    partitions
}

fn decoded<T: Field>(bytes: &Bytes) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16()?;
    if version < 0 {
        return Err(DecodeError::NegativeVersion(version));
    }
    T::read(&mut reader, layout(version.min(HIGHEST_VERSION)))
}

fn encoded(value: &impl Field, version: i16) -> Result<Bytes, EncodeError> {
    let mut bytes = BytesMut::new();
    let mut writer = Writer::new(&mut bytes);
    writer.put(&version.to_be_bytes());
    value.write(&mut writer, layout(version))?;
    Ok(bytes.freeze())
}

const fn layout(version: i16) -> Layout {
    Layout { version, flexible: false }
}
