//! `range`: each topic is cut into contiguous ranges, dealt out in the members' order.
//!
//! Topics with the same subscribers and as many partitions are cut alike, so that whoever joins two
//! streams by key finds both halves at one member. That is why it looks at no former owner: a partition
//! that stayed behind would break the ranges of all topics (Kafka rewrote its own for the same reason,
//! KAFKA-16944). A static member keeps its place, and with it its ranges, over a restart.

use super::roster::{Class, Partition, Roster, Share};

pub(super) fn shares(roster: &Roster<'_>) -> Vec<Share> {
    let mut shares = vec![Share::new(); roster.members.len()];
    for class in &roster.classes {
        for topic in &class.topics {
            deal(class, *topic, roster.topics[*topic].partitions, &mut shares);
        }
    }
    shares
}

/// The first members get one partition more where it does not come out even.
fn deal(class: &Class, topic: usize, partitions: i32, shares: &mut [Share]) {
    let members = class.members.len() as i32;
    let (each, longer) = (partitions / members, partitions % members);
    let mut next = 0;
    for (place, member) in (0..).zip(&class.members) {
        let end = next + each + i32::from(place < longer);
        shares[*member].extend((next..end).map(|index| Partition { index, topic }));
        next = end;
    }
}
