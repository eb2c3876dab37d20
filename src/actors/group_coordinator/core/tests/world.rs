//! A coordinator with a log and a clock that stands still unless it is moved.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use super::super::{
    Answer, AskServed, Buried, Caller, Commit, CommitTopic, Committed, Coordinator, DeadLetter, Effect,
    FetchOffsets, Image, Now, Partitions, Place, Request, Ticket, TopicImage, stored::Stored,
};
use crate::{
    actors::{group_coordinator, partition::Served},
    clock::Clock,
    config::{group::GroupConfig, node::GroupSettings},
    model::{Offset, PartitionIndex, ProducerId, TimestampMs, TopicId},
    wire::{
        ErrorCode, Str,
        api::{
            consumer_group_describe,
            consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse},
            heartbeat::HeartbeatRequest,
            join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse},
            leave_group::{LeaveGroupRequest, MemberIdentity},
            offset_commit::OffsetCommitRequestPartition,
            sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse},
        },
    },
};

pub(super) const SESSION: Duration = Duration::from_secs(10);
/// In the server-side protocol; above the rebalance time-outs here, so that it is seen which of them has ended.
pub(super) const CONSUMER_SESSION: Duration = Duration::from_secs(45);
pub(super) const REBALANCE: Duration = Duration::from_secs(30);

/// A coordinator whose clock stands still unless it is moved, with a log that holds what it wrote.
pub(super) struct World {
    pub(super) coordinator: Coordinator,
    pub(super) image: Arc<Image>,
    settings: GroupSettings,
    pub(super) now: Duration,
    /// What tells the time instead, where it is one that may jump.
    pub(super) clock: Option<Arc<dyn Clock>>,
    next: u64,
    pub(super) log: Vec<Stored>,
    pub(super) answers: BTreeMap<Ticket, Answer>,
    pub(super) version: i16,
    /// What was served of each partition of the topic.
    pub(super) served: BTreeMap<PartitionIndex, Served>,
    pub(super) log_start: Offset,
    /// Questions to a leader that takes its time; `None`: it answers at once.
    pub(super) asked: Option<Vec<AskServed>>,
    /// Records that are to become dead letters.
    pub(super) letters: Vec<DeadLetter>,
    /// How many of them have been given a producer of their own.
    pub(super) marks: i64,
    /// Requests that were told to wait.
    pub(super) refused: Vec<Ticket>,
    /// What was said of dead letters: whether they stop.
    pub(super) said: Vec<bool>,
}

/// A join as a test says it.
#[derive(Clone)]
pub(super) struct Joining {
    pub(super) member: Str,
    pub(super) instance: Option<Str>,
    pub(super) protocols: Vec<(Str, Bytes)>,
}

pub(super) fn nobody() -> Joining {
    Joining {
        member: Str::default(),
        instance: None,
        protocols: vec![("range".into(), Bytes::from_static(b"sub"))],
    }
}

pub(super) fn as_member(member: &Str) -> Joining {
    Joining { member: member.clone(), ..nobody() }
}

pub(super) fn as_static(instance: &'static str) -> Joining {
    Joining { instance: Some(instance.into()), ..nobody() }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(GroupSettings { initial_rebalance_delay: Duration::ZERO, ..GroupSettings::default() })
    }

    pub(super) fn with(settings: GroupSettings) -> Self {
        Self {
            coordinator: Coordinator::new(settings.clone()),
            image: Arc::default(),
            settings,
            now: Duration::from_secs(1000),
            clock: None,
            next: 0,
            log: Vec::new(),
            answers: BTreeMap::new(),
            version: 9,
            served: BTreeMap::new(),
            log_start: Offset::new(0),
            asked: None,
            letters: Vec::new(),
            marks: 0,
            refused: Vec::new(),
            said: Vec::new(),
        }
    }

    pub(super) fn now(&self) -> Now {
        match &self.clock {
            Some(clock) => group_coordinator::now(&**clock),
            None => Now { monotonic: self.now, wall: TimestampMs::new(self.now.as_millis() as i64) },
        }
    }

    fn told_of_served(&mut self, ask: &AskServed) -> Vec<Effect> {
        let served = self.served.entry(ask.place.1).or_default();
        let (at, mut effects) = (ask.answer(served, self.log_start), Vec::new());
        self.coordinator.served(self.now(), ask, at, &mut effects);
        effects
    }

    /// The leader answers all that it was asked, or nobody can.
    pub(super) fn answer_asked(&mut self, answers: bool) {
        for ask in self.asked.replace(Vec::new()).unwrap_or_default() {
            let effects = if answers { self.told_of_served(&ask) } else { self.told_nothing(&ask) };
            self.carry_out(effects);
        }
    }

    fn told_nothing(&mut self, ask: &AskServed) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.coordinator.served(self.now(), ask, None, &mut effects);
        effects
    }

    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut effects = std::collections::VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Write(stored) => {
                    // As it would come back from the disk.
                    let record = stored.write().unwrap();
                    assert_eq!(Stored::read(record.key, record.value).unwrap(), stored);
                    self.log.push(stored);
                }
                Effect::Answer(ticket, answer) => {
                    assert!(self.answers.insert(ticket, answer).is_none(), "answered twice: {ticket:?}");
                }
                Effect::Refuse(ticket, _) => self.refused.push(ticket),
                Effect::AskServed(ask) => match &mut self.asked {
                    Some(asked) => asked.push(ask),
                    None => effects.extend(self.told_of_served(&ask)),
                },
                Effect::Mark(letter) => {
                    self.marks += 1;
                    let mut more = Vec::new();
                    self.coordinator.marked(&letter, ProducerId::new(self.marks), &mut more);
                    effects.extend(more);
                }
                Effect::Bury(letter) => {
                    assert_eq!(
                        self.mark_in_log(&letter.place),
                        letter.mark,
                        "it goes out before its mark is kept"
                    );
                    self.letters.push(letter);
                }
                Effect::Spare { group, place } => {
                    self.letters.retain(|letter| letter.group != group || letter.place != place);
                }
                Effect::DeadLettersStopped { .. } => self.said.push(true),
                Effect::DeadLettersGoOn { .. } => self.said.push(false),
            }
        }
    }

    /// The producer that a record of the partition is to be a dead letter of, as the log has it.
    fn mark_in_log(&self, (topic, partition): &Place) -> ProducerId {
        let of_place = |stored: &Stored| match stored {
            Stored::Attempts { key, value } if key.topic == *topic && key.partition == *partition => {
                Some(value.as_ref().map_or(ProducerId::NONE, |value| value.mark))
            }
            Stored::Attempts { .. }
            | Stored::Offset { .. }
            | Stored::ClassicGroup { .. }
            | Stored::Consumer(_) => None,
        };
        self.log.iter().rev().find_map(of_place).unwrap_or(ProducerId::NONE)
    }

    pub(super) fn ask(&mut self, request: Request) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        let caller = Caller {
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            version: self.version,
            fresh: Uuid::from_u128(u128::from(self.next)),
        };
        let mut effects = Vec::new();
        self.coordinator.step(self.now(), ticket, &caller, request, &mut effects);
        self.carry_out(effects);
        ticket
    }

    /// Lets time pass, as a timer would: stopping whenever something is due.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.coordinator.next_tick().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let mut effects = Vec::new();
            self.coordinator.tick(self.now(), &mut effects);
            self.carry_out(effects);
            assert!(
                self.coordinator.next_tick().is_none_or(|next| next > self.now),
                "a timer that never rests"
            );
        }
        self.now = end;
    }

    /// The coordinator dies; its successor knows what was written.
    pub(super) fn crash(&mut self) {
        self.coordinator = Coordinator::new(self.settings.clone());
        for stored in self.log.clone() {
            self.coordinator.load(stored);
        }
        self.coordinator.loaded(self.now());
        // What a process keeps in memory is gone.
        (self.served, self.letters) = (BTreeMap::new(), Vec::new());
        self.set_image(Image::clone(&self.image));
    }

    pub(super) fn set_image(&mut self, image: Image) {
        self.image = Arc::new(image);
        let mut effects = Vec::new();
        self.coordinator.set_image(self.now(), Arc::clone(&self.image), &mut effects);
        self.carry_out(effects);
    }

    /// These topics there are from now on, each with so many partitions.
    pub(super) fn set_topics(&mut self, topics: &[(&'static str, i32)]) {
        let topic = |(name, partitions): &(&'static str, i32)| {
            let (id, partitions) = (topic_named(name), *partitions);
            (Str::from(*name), TopicImage { id, partitions, ..TopicImage::default() })
        };
        let configs = GroupConfig { consumer_session_timeout: CONSUMER_SESSION, ..GroupConfig::default() };
        let image = Image::new(topics.iter().map(topic).collect());
        self.set_image(image.with_groups(BTreeMap::new(), configs));
    }

    /// The first of the dead letters is on disk, or its record is not there any more.
    #[track_caller]
    pub(super) fn buried(&mut self, buried: Buried) -> DeadLetter {
        let letter = self.letters.remove(0);
        let mut effects = Vec::new();
        self.coordinator.buried(self.now(), &letter, buried, &mut effects);
        self.carry_out(effects);
        letter
    }

    /// A heartbeat of a member whose partitions the coordinator assigns.
    #[track_caller]
    pub(super) fn beat(&mut self, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let request = ConsumerGroupHeartbeatRequest { group_id: "g".into(), ..request };
        let ticket = self.ask(Request::ConsumerHeartbeat(request));
        match self.answers.remove(&ticket) {
            Some(Answer::ConsumerHeartbeat(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn describe_consumer(&mut self) -> consumer_group_describe::DescribedGroup {
        let ticket = self.ask(Request::ConsumerDescribe { group: "g".into() });
        match self.answers.remove(&ticket) {
            Some(Answer::ConsumerDescribe(described)) => described,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn join(&mut self, joining: Joining) -> Ticket {
        self.ask(Request::Join(JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: SESSION.as_millis() as i32,
            rebalance_timeout_ms: REBALANCE.as_millis() as i32,
            member_id: joining.member,
            group_instance_id: joining.instance,
            protocol_type: "consumer".into(),
            protocols: joining
                .protocols
                .into_iter()
                .map(|(name, metadata)| JoinGroupRequestProtocol { name, metadata })
                .collect(),
            ..JoinGroupRequest::default()
        }))
    }

    #[track_caller]
    pub(super) fn joined(&mut self, ticket: Ticket) -> JoinGroupResponse {
        match self.answers.remove(&ticket) {
            Some(Answer::Join(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// The way in of a new dynamic member: an id first, then the join that waits.
    #[track_caller]
    pub(super) fn invite(&mut self) -> Str {
        let ticket = self.join(nobody());
        let answer = self.joined(ticket);
        assert_eq!(answer.error_code, ErrorCode::MemberIdRequired);
        answer.member_id
    }

    #[track_caller]
    pub(super) fn invite_with(&mut self, joining: Joining) -> Str {
        let ticket = self.join(joining);
        self.joined(ticket).member_id
    }

    pub(super) fn sync(&mut self, member: &Str, generation: i32, shares: &[(&Str, &'static str)]) -> Ticket {
        let share = |(member, share): &(&Str, &'static str)| {
            ((*member).clone(), Bytes::from_static(share.as_bytes()))
        };
        self.sync_with(member, generation, shares.iter().map(share).collect())
    }

    pub(super) fn sync_with(&mut self, member: &Str, generation: i32, shares: Vec<(Str, Bytes)>) -> Ticket {
        let share = |(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment };
        self.ask(Request::Sync(SyncGroupRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: member.clone(),
            assignments: shares.into_iter().map(share).collect(),
            ..SyncGroupRequest::default()
        }))
    }

    #[track_caller]
    pub(super) fn synced(&mut self, ticket: Ticket) -> SyncGroupResponse {
        match self.answers.remove(&ticket) {
            Some(Answer::Sync(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn heartbeat(&mut self, member: &Str, generation: i32) -> ErrorCode {
        let ticket = self.ask(Request::Heartbeat(HeartbeatRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: member.clone(),
            group_instance_id: None,
        }));
        match self.answers.remove(&ticket) {
            Some(Answer::Heartbeat(answer)) => answer.error_code,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn leave(&mut self, member: &Str, instance: Option<Str>) -> ErrorCode {
        self.leave_because(member, instance, None)
    }

    pub(super) fn leave_because(
        &mut self,
        member: &Str,
        instance: Option<Str>,
        reason: Option<&'static str>,
    ) -> ErrorCode {
        let ticket = self.ask(Request::Leave(LeaveGroupRequest {
            group_id: "g".into(),
            members: vec![MemberIdentity {
                member_id: member.clone(),
                group_instance_id: instance,
                reason: reason.map(Str::from_static),
            }],
            ..LeaveGroupRequest::default()
        }));
        match self.answers.remove(&ticket) {
            Some(Answer::Leave(answer)) => answer.members[0].error_code,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn commit(&mut self, member: &str, generation: i32, offset: i64) -> ErrorCode {
        self.commit_with(member, generation, offset, -1, "")
    }

    pub(super) fn commit_with(
        &mut self,
        member: &str,
        generation: i32,
        offset: i64,
        retention_ms: i64,
        note: &str,
    ) -> ErrorCode {
        let partition = OffsetCommitRequestPartition {
            partition_index: PartitionIndex::new(0),
            committed_offset: Offset::new(offset),
            committed_metadata: Some(note.into()),
            ..OffsetCommitRequestPartition::default()
        };
        let ticket = self.ask(Request::Commit(Commit {
            group: "g".into(),
            member_id: member.into(),
            generation,
            retention_ms,
            topics: vec![CommitTopic { name: "t".into(), id: topic(), partitions: vec![partition] }],
            ..Commit::default()
        }));
        match self.answers.remove(&ticket) {
            Some(Answer::Commit(codes)) => codes[0].1[0].1,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn committed_whole(&mut self) -> Option<Committed> {
        let topics = Some(vec![Partitions { topic: "t".into(), indexes: vec![PartitionIndex::new(0)] }]);
        let ticket =
            self.ask(Request::FetchOffsets(FetchOffsets { group: "g".into(), member: None, topics }));
        match self.answers.remove(&ticket) {
            Some(Answer::Offsets(Ok(mut offsets))) => offsets[0].1.remove(0).1,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn committed(&mut self) -> Option<i64> {
        self.committed_whole().map(|committed| committed.offset.get())
    }

    pub(super) fn state(&mut self) -> String {
        let ticket = self.ask(Request::Describe { group: "g".into() });
        match self.answers.remove(&ticket) {
            Some(Answer::Describe(described)) => described.group_state.to_string(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn delete(&mut self) -> ErrorCode {
        let ticket = self.ask(Request::Delete { group: "g".into() });
        match self.answers.remove(&ticket) {
            Some(Answer::Delete(code)) => code,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn sweep(&mut self) {
        let mut effects = Vec::new();
        self.coordinator.sweep(self.now(), &mut effects);
        self.carry_out(effects);
    }

    /// Two members that are settled, the first of which leads, in this generation.
    #[track_caller]
    pub(super) fn two_settled(&mut self) -> (Str, Str, i32) {
        let (a, b) = (self.invite(), self.invite());
        let (joining_a, joining_b) = (self.join(as_member(&a)), self.join(as_member(&b)));
        let generation = self.joined(joining_a).generation_id;
        let leader = self.joined(joining_b).leader;
        let (leader, other) = if leader == a { (a, b) } else { (b, a) };
        let waiting = self.sync(&other, generation, &[]);
        let leading = self.sync(&leader, generation, &[(&leader, "one"), (&other, "two")]);
        assert_eq!(self.synced(leading).assignment, "one");
        assert_eq!(self.synced(waiting).assignment, "two");
        (leader, other, generation)
    }
}

pub(super) fn topic() -> TopicId {
    TopicId::from_bytes([7; 16])
}

/// The id of a topic in these tests.
pub(super) fn topic_named(name: &str) -> TopicId {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    TopicId::from_bytes(bytes)
}
