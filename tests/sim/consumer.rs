//! A member of a group whose coordinator assigns (KIP-848): it says by heartbeats what it owns, gives back before it
//! takes, fetches where to go on in what is new, consumes and commits.

use std::collections::{BTreeMap, BTreeSet};

use polylogue::{
    actors::group_coordinator::core::{FetchOffsets, Partitions, PerPartition, Request},
    model::{PartitionIndex, TopicId},
    wire::{
        ErrorCode, Str,
        api::consumer_group_heartbeat::{
            ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
        },
    },
};

use crate::member::{Around, BACKOFF_US, Member, Outstanding, PATIENCE_US, Phase, TOPIC};

/// What a member says instead of an epoch.
const JOINS: i32 = 0;
const LEAVES: i32 = -1;
/// What a static one says, which is to come back under another id.
const LEAVES_FOR_A_WHILE: i32 = -2;

impl Member {
    /// What it has to say now, each with its number.
    pub(crate) fn wake_consumer(&mut self, around: &Around) -> Vec<(u64, Request)> {
        let until = around.now + PATIENCE_US;
        let mut said = Vec::new();
        if matches!(self.phase, Phase::Gone | Phase::Outcast) {
            return said;
        }
        if self.beat.is_none() {
            let number = self.number();
            self.beat = Some(Outstanding { number, until });
            said.push((number, self.consumer_heartbeat()));
        }
        if self.phase != Phase::Consuming {
            return said;
        }
        let new: Vec<_> =
            self.assigned.iter().filter(|at| !self.positions.contains_key(*at)).copied().collect();
        if self.control.is_none() && !new.is_empty() {
            let number = self.number();
            self.control = Some(Outstanding { number, until });
            let indexes = new.into_iter().map(|at| PartitionIndex::new(at as i32)).collect();
            let topics = Some(vec![Partitions { topic: Str::from_static(TOPIC), indexes }]);
            let fetch = FetchOffsets { group: self.group.clone(), member: None, topics };
            said.push((number, Request::FetchOffsets(fetch)));
        }
        if self.commit.is_none() && self.commit_at <= around.now && !self.positions.is_empty() {
            self.commit_at = around.now + 1000 * self.spec.commit_ms;
            let number = self.number();
            self.commit = Some(Outstanding { number, until });
            let commit = self.commit_of_all(around.topic);
            said.push((number, commit));
        }
        said
    }

    fn consumer_heartbeat(&self) -> Request {
        let (joins, leaves) = (self.phase == Phase::Joining, self.phase == Phase::Leaving);
        let tells_all = joins || self.tells_all;
        let partitions: Vec<_> = self.assigned.iter().map(|at| PartitionIndex::new(*at as i32)).collect();
        let owned = if partitions.is_empty() {
            Vec::new()
        } else {
            vec![TopicPartitions { topic_id: self.assigned_of, partitions }]
        };
        Request::ConsumerHeartbeat(ConsumerGroupHeartbeatRequest {
            group_id: self.group.clone(),
            member_id: self.id.clone(),
            member_epoch: match self.phase {
                Phase::Leaving if self.spec.instance.is_some() => LEAVES_FOR_A_WHILE,
                Phase::Leaving => LEAVES,
                Phase::Joining => JOINS,
                _ => self.generation,
            },
            instance_id: self.instance(),
            rebalance_timeout_ms: if tells_all { self.spec.rebalance_ms as i32 } else { -1 },
            subscribed_topic_names: tells_all.then(|| vec![Str::from_static(TOPIC)]),
            topic_partitions: (!leaves).then_some(owned),
            ..ConsumerGroupHeartbeatRequest::default()
        })
    }

    pub(crate) fn hear_heartbeat(&mut self, now: u64, answer: ConsumerGroupHeartbeatResponse) {
        if self.phase == Phase::Leaving {
            return self.crash();
        }
        if answer.error_code != ErrorCode::None {
            return self.refused_consumer(now, answer.error_code);
        }
        (self.phase, self.generation, self.tells_all) = (Phase::Consuming, answer.member_epoch, false);
        if let Some(assignment) = answer.assignment {
            self.target = one_topic(&assignment.topic_partitions);
        }
        let (topic, target) = self.target.clone();
        let stays: BTreeSet<_> = self
            .assigned
            .iter()
            .filter(|_| topic == self.assigned_of)
            .copied()
            .filter(|at| target.contains(at))
            .collect();
        if stays.len() == self.assigned.len() {
            (self.assigned_of, self.assigned) = (topic, target);
        } else {
            // It gives back at once; what is new it takes when it has said so. Where to begin in what it may get again is asked
            // anew, since others may have been further meanwhile.
            (self.assigned, self.control) = (stays, None);
        }
        let assigned = &self.assigned;
        self.positions.retain(|at, _| assigned.contains(at));
    }

    /// Positions of partitions that it has not given back meanwhile.
    pub(crate) fn hear_positions<T>(&mut self, found: PerPartition<Option<T>>, offset: impl Fn(&T) -> i64) {
        for (index, committed) in found.into_iter().flat_map(|(_, found)| found) {
            let at = index.get() as usize;
            if self.assigned.contains(&at) {
                self.positions.entry(at).or_insert_with(|| committed.as_ref().map_or(0, &offset));
            }
        }
    }

    pub(crate) fn refused_consumer(&mut self, now: u64, code: ErrorCode) {
        match code {
            // The next heartbeat says at which epoch it is.
            ErrorCode::None | ErrorCode::StaleMemberEpoch => {}
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch => self.lose_everything(now),
            ErrorCode::UnreleasedInstanceId | ErrorCode::GroupMaxSizeReached => {
                self.lose_everything(now + BACKOFF_US);
            }
            ErrorCode::FencedInstanceId => self.phase = Phase::Outcast,
            other => panic!("a member is told {other:?}"),
        }
    }

    fn lose_everything(&mut self, not_before: u64) {
        self.join_anew(not_before);
        self.target = (self.assigned_of, BTreeSet::new());
        self.positions = BTreeMap::new();
    }
}

/// What an assignment has of the one topic.
fn one_topic(topics: &[TopicPartitions]) -> (TopicId, BTreeSet<usize>) {
    let id = topics.first().map_or(TopicId::from_bytes([0; 16]), |topic| topic.topic_id);
    (id, topics.iter().flat_map(|topic| &topic.partitions).map(|index| index.get() as usize).collect())
}
