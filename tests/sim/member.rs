//! A member of a group, as a client library plays it; here by the classic protocol, in [`crate::consumer`] where the
//! coordinator assigns: it joins, lets the leading one of them divide the
//! partitions, fetches where to go on, consumes, commits, and joins again when it is told to.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fastrand::Rng;
use polylogue::{
    actors::group_coordinator::{
        Refusal,
        consumer_protocol::{self, PartitionsByName, Subscription},
        core::{Answer, Commit, CommitTopic, FetchOffsets, Partitions, Request},
    },
    model::{Offset, PartitionIndex, TopicId},
    wire::{
        ErrorCode, Str,
        api::{
            heartbeat::HeartbeatRequest,
            join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse},
            leave_group::{LeaveGroupRequest, MemberIdentity},
            offset_commit::OffsetCommitRequestPartition,
            sync_group::{SyncGroupRequest, SyncGroupRequestAssignment},
        },
    },
};

use crate::script::Spec;

pub(crate) const TOPIC: &str = "orders";
/// How long an answer is waited for that does not wait for other members.
pub(crate) const PATIENCE_US: u64 = 4_000_000;
/// How long before what was refused is tried again.
pub(crate) const BACKOFF_US: u64 = 200_000;

/// What a member is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its process does not run.
    Gone,
    Joining,
    Syncing,
    Fetching,
    Consuming,
    Leaving,
    /// It was told that it cannot be in the group.
    Outcast,
}

/// A request that has not been answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outstanding {
    pub(crate) number: u64,
    pub(crate) until: u64,
}

/// Its own time, the topic and its partitions: what it can see of the world.
pub(crate) struct Around {
    pub(crate) now: u64,
    pub(crate) topic: TopicId,
    pub(crate) partitions: usize,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) spec: Spec,
    pub(crate) group: Str,
    /// Counts its processes.
    pub(crate) life: u64,
    /// Counts its connections.
    pub(crate) connection: u64,
    /// What is sent from now on does not arrive, which nobody knows yet.
    pub(crate) is_cut: bool,
    pub(crate) frozen_until: u64,
    pub(crate) id: Str,
    pub(crate) phase: Phase,
    pub(crate) generation: i32,
    pub(crate) assigned: BTreeSet<usize>,
    /// Where the coordinator assigns: the topic that it is of, and what it is to be.
    pub(crate) assigned_of: TopicId,
    pub(crate) target: (TopicId, BTreeSet<usize>),
    pub(crate) positions: BTreeMap<usize, i64>,
    joined: Option<JoinGroupResponse>,
    next_number: u64,
    pub(crate) control: Option<Outstanding>,
    pub(crate) beat: Option<Outstanding>,
    pub(crate) commit: Option<Outstanding>,
    /// An answer may be lost: where the coordinator assigns it says all of itself again, and is told all.
    pub(crate) tells_all: bool,
    not_before: u64,
    pub(crate) commit_at: u64,
    rng: Rng,
}

impl Member {
    pub(crate) fn new(spec: Spec, rng: Rng) -> Self {
        Self {
            group: Str::from(format!("g{}", spec.group)),
            spec,
            life: 0,
            connection: 0,
            is_cut: false,
            frozen_until: 0,
            id: Str::default(),
            phase: Phase::Gone,
            generation: -1,
            assigned: BTreeSet::new(),
            assigned_of: TopicId::from_bytes([0; 16]),
            target: (TopicId::from_bytes([0; 16]), BTreeSet::new()),
            positions: BTreeMap::new(),
            joined: None,
            next_number: 0,
            control: None,
            beat: None,
            commit: None,
            tells_all: true,
            not_before: 0,
            commit_at: 0,
            rng,
        }
    }

    pub(crate) fn start(&mut self) {
        self.life += 1;
        self.reconnect();
        self.id = Str::default();
        if self.spec.server_side {
            self.id = Str::from(format!("{}-{:x}", self.group, self.rng.u64(..)));
            self.positions = BTreeMap::new();
        }
        self.join_anew(0);
    }

    pub(crate) fn crash(&mut self) {
        self.reconnect();
        self.phase = Phase::Gone;
        self.frozen_until = 0;
    }

    pub(crate) fn stop(&mut self) {
        let says_nothing = self.spec.instance.is_some() && !self.spec.server_side;
        if says_nothing || self.id.is_empty() {
            self.crash();
        } else if self.phase != Phase::Gone {
            (self.phase, self.control, self.beat) = (Phase::Leaving, None, None);
        }
    }

    /// The connection is given up, and with it all that was on its way.
    fn reconnect(&mut self) {
        self.connection += 1;
        self.is_cut = false;
        self.tells_all = true;
        (self.control, self.beat, self.commit) = (None, None, None);
    }

    pub(crate) fn join_anew(&mut self, not_before: u64) {
        (self.phase, self.control, self.not_before) = (Phase::Joining, None, not_before);
        self.assigned.clear();
    }

    /// The connection broke.
    pub(crate) fn broken(&mut self, now: u64) {
        self.reconnect();
        self.not_before = now + BACKOFF_US;
        match self.phase {
            // Whether it was heard is not known.
            Phase::Syncing | Phase::Fetching => self.join_anew(self.not_before),
            Phase::Leaving => self.crash(),
            Phase::Gone | Phase::Joining | Phase::Consuming | Phase::Outcast => {}
        }
    }

    /// What it has to say now, each with its number.
    pub(crate) fn wake(&mut self, around: &Around) -> Vec<(u64, Request)> {
        let now = around.now;
        let late = |waits: &Option<Outstanding>| waits.is_some_and(|waits| waits.until <= now);
        if late(&self.control) || late(&self.beat) || late(&self.commit) {
            self.broken(now);
        }
        let mut said = Vec::new();
        if now < self.not_before {
            return said;
        }
        if self.spec.server_side {
            return self.wake_consumer(around);
        }
        if self.control.is_none() {
            self.go_on(around, &mut said);
        }
        if self.phase == Phase::Consuming {
            self.consume(around, &mut said);
        }
        said
    }

    fn go_on(&mut self, around: &Around, said: &mut Vec<(u64, Request)>) {
        let patience = PATIENCE_US + 1000 * self.spec.rebalance_ms;
        let (request, patience) = match self.phase {
            Phase::Gone | Phase::Consuming | Phase::Outcast => return,
            Phase::Joining => (self.join(), patience),
            Phase::Syncing => (self.sync(around), patience),
            Phase::Fetching => (self.fetch(), PATIENCE_US),
            Phase::Leaving => (self.leave(), PATIENCE_US),
        };
        let number = self.number();
        self.control = Some(Outstanding { number, until: around.now + patience });
        said.push((number, request));
    }

    fn consume(&mut self, around: &Around, said: &mut Vec<(u64, Request)>) {
        let until = around.now + PATIENCE_US;
        if self.beat.is_none() {
            let number = self.number();
            self.beat = Some(Outstanding { number, until });
            said.push((number, self.heartbeat()));
        }
        if self.commit.is_none() && self.commit_at <= around.now && !self.assigned.is_empty() {
            self.commit_at = around.now + 1000 * self.spec.commit_ms;
            let number = self.number();
            self.commit = Some(Outstanding { number, until });
            let commit = self.commit_of_all(around.topic);
            said.push((number, commit));
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub(crate) fn instance(&self) -> Option<Str> {
        self.spec.instance.as_deref().map(Str::from)
    }

    fn join(&self) -> Request {
        let wants = Subscription { topics: vec![Str::from_static(TOPIC)], ..Subscription::default() };
        let metadata = consumer_protocol::encode_subscription(&wants).unwrap();
        let spoken = self.spec.protocols.iter();
        Request::Join(JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: self.spec.session_ms as i32,
            rebalance_timeout_ms: if self.spec.version == 0 { -1 } else { self.spec.rebalance_ms as i32 },
            member_id: self.id.clone(),
            group_instance_id: self.instance(),
            protocol_type: "consumer".into(),
            protocols: spoken
                .map(|name| JoinGroupRequestProtocol { name: (*name).into(), metadata: metadata.clone() })
                .collect(),
            ..JoinGroupRequest::default()
        })
    }

    fn sync(&self, around: &Around) -> Request {
        let joined = self.joined.clone().unwrap_or_default();
        let leads = joined.leader == self.id && !joined.skip_assignment;
        let share = |(at, member): (usize, &Str)| SyncGroupRequestAssignment {
            member_id: member.clone(),
            assignment: assignment((at..around.partitions).step_by(joined.members.len().max(1))),
        };
        let members: Vec<Str> = joined.members.iter().map(|member| member.member_id.clone()).collect();
        Request::Sync(SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: self.instance(),
            protocol_type: joined.protocol_type,
            protocol_name: joined.protocol_name,
            assignments: if leads { members.iter().enumerate().map(share).collect() } else { Vec::new() },
        })
    }

    fn fetch(&self) -> Request {
        let indexes = self.assigned.iter().map(|at| PartitionIndex::new(*at as i32)).collect();
        let topics = Some(vec![Partitions { topic: Str::from_static(TOPIC), indexes }]);
        Request::FetchOffsets(FetchOffsets { group: self.group.clone(), member: None, topics })
    }

    fn leave(&self) -> Request {
        let me = MemberIdentity { member_id: self.id.clone(), ..MemberIdentity::default() };
        Request::Leave(LeaveGroupRequest {
            group_id: self.group.clone(),
            member_id: self.id.clone(),
            members: vec![me],
        })
    }

    fn heartbeat(&self) -> Request {
        Request::Heartbeat(HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: self.instance(),
        })
    }

    /// It has consumed a little of everything.
    pub(crate) fn commit_of_all(&mut self, topic: TopicId) -> Request {
        let mut partitions = Vec::new();
        // Where the coordinator assigns it may not know yet where to begin in some.
        let server_side = self.spec.server_side;
        let known =
            |at: &&usize, positions: &BTreeMap<usize, i64>| !server_side || positions.contains_key(*at);
        let assigned: Vec<_> =
            self.assigned.iter().filter(|at| known(at, &self.positions)).copied().collect();
        for at in &assigned {
            let position = self.positions.entry(*at).or_default();
            *position += self.rng.i64(1..10);
            partitions.push((*at, *position));
        }
        let mut commit = commit(&self.group, topic, &partitions);
        (commit.member_id, commit.generation) = (self.id.clone(), self.generation);
        commit.instance_id = self.instance();
        Request::Commit(commit)
    }

    /// An answer has come, over the connection that there is.
    pub(crate) fn hear(&mut self, now: u64, number: u64, outcome: Result<Answer, Refusal>) {
        let is = |waits: &Option<Outstanding>| waits.is_some_and(|waits| waits.number == number);
        if is(&self.control) {
            self.control = None;
        } else if is(&self.beat) {
            self.beat = None;
        } else if is(&self.commit) {
            self.commit = None;
        } else {
            return;
        }
        match outcome {
            Err(_) if self.phase == Phase::Leaving => self.crash(),
            Err(_) => self.not_before = now + BACKOFF_US,
            Ok(Answer::ConsumerHeartbeat(answer)) => self.hear_heartbeat(now, answer),
            Ok(Answer::Commit(codes)) if self.spec.server_side => {
                let refused = codes.iter().flat_map(|(_, codes)| codes).map(|(_, code)| *code);
                let refused = refused.into_iter().find(|code| *code != ErrorCode::None);
                if let Some(code) = refused.filter(|_| self.phase == Phase::Consuming) {
                    self.refused_consumer(now, code);
                }
            }
            Ok(Answer::Offsets(Ok(found))) if self.spec.server_side => {
                self.hear_positions(found, |committed| committed.offset.get());
            }
            Ok(Answer::Join(answer)) if answer.error_code == ErrorCode::None => {
                (self.id, self.generation) = (answer.member_id.clone(), answer.generation_id);
                self.joined = Some(answer);
                self.phase = Phase::Syncing;
            }
            Ok(Answer::Join(answer)) if answer.error_code == ErrorCode::MemberIdRequired => {
                self.id = answer.member_id;
            }
            Ok(Answer::Join(answer)) => self.refused(now, answer.error_code),
            Ok(Answer::Sync(answer)) if answer.error_code == ErrorCode::None => {
                self.assigned = partitions(&answer.assignment);
                (self.phase, self.positions) = (Phase::Fetching, BTreeMap::new());
            }
            Ok(Answer::Sync(answer)) => self.refused(now, answer.error_code),
            Ok(Answer::Heartbeat(_) | Answer::Commit(_)) if self.is_on_the_way() => {}
            Ok(Answer::Heartbeat(answer)) => self.refused(now, answer.error_code),
            Ok(Answer::Commit(codes)) => {
                codes.iter().flat_map(|(_, codes)| codes).for_each(|(_, code)| self.refused(now, *code));
            }
            Ok(Answer::Offsets(Ok(found))) => {
                for (index, committed) in found.into_iter().flat_map(|(_, found)| found) {
                    let offset = committed.map_or(0, |committed| committed.offset.get());
                    self.positions.insert(index.get() as usize, offset);
                }
                self.phase = Phase::Consuming;
            }
            Ok(Answer::Leave(_)) => self.crash(),
            Ok(_) => panic!("an answer to something else"),
        }
    }

    /// What it hears of its last share is of no interest while it is on the way to the next.
    fn is_on_the_way(&self) -> bool {
        !matches!(self.phase, Phase::Fetching | Phase::Consuming)
    }

    fn refused(&mut self, now: u64, code: ErrorCode) {
        if matches!(self.phase, Phase::Gone | Phase::Leaving | Phase::Outcast) {
            return;
        }
        match code {
            ErrorCode::None => {}
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => self.join_anew(0),
            ErrorCode::UnknownMemberId => {
                self.id = Str::default();
                self.join_anew(0);
            }
            ErrorCode::GroupMaxSizeReached | ErrorCode::InconsistentGroupProtocol => {
                self.join_anew(now + 10 * BACKOFF_US);
            }
            ErrorCode::FencedInstanceId => self.phase = Phase::Outcast,
            other => panic!("a member is told {other:?}"),
        }
    }
}

/// Offsets to be committed by nobody in particular.
pub(crate) fn commit(group: &Str, topic: TopicId, partitions: &[(usize, i64)]) -> Commit {
    let partition = |(at, offset): &(usize, i64)| OffsetCommitRequestPartition {
        partition_index: PartitionIndex::new(*at as i32),
        committed_offset: Offset::new(*offset),
        ..OffsetCommitRequestPartition::default()
    };
    let partitions = partitions.iter().map(partition).collect();
    let topics = vec![CommitTopic { name: Str::from_static(TOPIC), id: topic, partitions }];
    Commit { group: group.clone(), generation: -1, retention_ms: -1, topics, ..Commit::default() }
}

fn assignment(partitions: impl Iterator<Item = usize>) -> Bytes {
    let partitions = partitions.map(|at| PartitionIndex::new(at as i32)).collect();
    let of_topic = PartitionsByName::from([(Str::from_static(TOPIC), partitions)]);
    consumer_protocol::encode_assignment(&of_topic, None).unwrap()
}

/// What an assignment names; nothing where the member was given none.
pub(crate) fn partitions(assignment: &Bytes) -> BTreeSet<usize> {
    if assignment.is_empty() {
        return BTreeSet::new();
    }
    let read = consumer_protocol::assignment(assignment).unwrap();
    read.partitions().into_values().flatten().map(|index| index.get() as usize).collect()
}
