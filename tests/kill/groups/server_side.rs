//! The protocol where the coordinator assigns (KIP-848): a member says with each heartbeat what it holds, gives back
//! before it takes, and takes what it is told to.

use std::{collections::BTreeSet, time::Duration};

use polylogue::{
    model::PartitionIndex,
    wire::{
        Str,
        api::consumer_group_heartbeat::{Assignment, ConsumerGroupHeartbeatRequest, TopicPartitions},
    },
};
use tokio::time::Instant;

use super::{
    link::{Trouble, checked},
    member::{HEARTBEAT, Member, REBALANCE},
};

/// What a member says instead of an epoch.
const JOINS: i32 = 0;
const LEAVES: i32 = -1;

impl Member {
    /// Says that it is alive when it is time to, and does what it is told: as often as it has given something back.
    pub(super) async fn reconcile(&mut self) -> Result<(), Trouble> {
        if self.settled && Instant::now() < self.heartbeat_due {
            return Ok(());
        }
        loop {
            let answer = self.link.ask(&self.said(), Duration::ZERO).await?;
            checked(answer.error_code)?;
            self.heartbeat_due = Instant::now() + HEARTBEAT;
            if let Some(assignment) = answer.assignment {
                self.told(assignment);
            }
            let gives_back: Vec<_> =
                self.held.keys().copied().filter(|held| !self.target.1.contains(held)).collect();
            let is_new = !self.settled || self.generation != answer.member_epoch;
            if gives_back.is_empty() {
                self.generation = answer.member_epoch;
                let target = self.target.1.clone();
                if is_new || self.held.len() != target.len() {
                    self.hold(&target).await?;
                }
                return Ok(());
            }
            // Some clients commit what they have before they let go, some do not.
            if !is_new && self.random.bool() {
                for partition in &gives_back {
                    self.commit(*partition).await?;
                }
            }
            self.generation = answer.member_epoch;
            let stays = self.held.keys().copied().filter(|held| !gives_back.contains(held)).collect();
            self.hold(&stays).await?;
        }
    }

    fn said(&self) -> ConsumerGroupHeartbeatRequest {
        let joins = self.generation == JOINS;
        let held =
            TopicPartitions { topic_id: self.target.0, partitions: self.held.keys().copied().collect() };
        ConsumerGroupHeartbeatRequest {
            group_id: self.shared.group.as_str().into(),
            member_id: self.id.clone(),
            member_epoch: self.generation,
            rebalance_timeout_ms: if joins { REBALANCE.as_millis() as i32 } else { -1 },
            subscribed_topic_names: joins.then(|| vec![Str::from(self.shared.topic.name)]),
            topic_partitions: Some(if self.held.is_empty() { Vec::new() } else { vec![held] }),
            ..ConsumerGroupHeartbeatRequest::default()
        }
    }

    fn told(&mut self, assignment: Assignment) {
        let mut partitions = BTreeSet::<PartitionIndex>::new();
        for topic in assignment.topic_partitions {
            self.target.0 = topic.topic_id;
            partitions.extend(topic.partitions);
        }
        self.target.1 = partitions;
    }

    /// Whether it is in the group at the moment is not its to know.
    pub(super) async fn say_goodbye(&mut self) {
        let goodbye = ConsumerGroupHeartbeatRequest {
            group_id: self.shared.group.as_str().into(),
            member_id: self.id.clone(),
            member_epoch: LEAVES,
            ..ConsumerGroupHeartbeatRequest::default()
        };
        self.link.ask(&goodbye, Duration::ZERO).await.unwrap();
    }
}
