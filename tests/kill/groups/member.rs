//! A consumer of a group that writes down what it holds, consumes and commits, by any of the protocols: what they have
//! in common, and the eager classic one.
//!
//! It speaks for itself rather than through a stock client, since it has to know its generation, and what became
//! of each commit. Otherwise it does what a stock client does: it joins, assigns where it leads, goes on in its
//! generation over a connection that broke, and stops to consume when it hears of a rebalance. It is one task, so
//! that ending the task ends it at whatever it waits for, without a word to anybody but the kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use polylogue::{
    actors::group_coordinator::consumer_protocol::{
        PartitionsByName, Subscription, assignment, encode_assignment, encode_subscription,
    },
    chaos::history::{
        Commit, CommitFailed, Consumed, ContentDigest, Event, HistoryWriter, Joined, Membership, Parted,
        Parting, PositionAsked, PositionTold, Read, RecordId,
    },
    model::{Offset, PartitionIndex, TopicId},
    record::{DEFAULT_MAX_UNPACKED_BYTES, RecordRef, batches, crc_is_right, unpack},
    wire::{
        ErrorCode, Str,
        api::{
            heartbeat::HeartbeatRequest,
            join_group::{
                JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
            },
            leave_group::{LeaveGroupRequest, MemberIdentity},
            offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic},
            sync_group::{SyncGroupRequest, SyncGroupRequestAssignment},
        },
    },
};
use tokio::time::{Instant, sleep};

use super::link::{Link, Trouble, checked};
use crate::workload::Topic;

/// How a member and its coordinator agree on who holds what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Classic: everybody lets go of everything at each rebalance.
    Eager,
    /// Classic: everybody keeps what stays theirs, and what moves is free for a generation (KIP-429).
    Cooperative,
    /// The coordinator assigns (KIP-848).
    ServerSide,
    /// The same, by our own consumer, which refuses records.
    Refusing,
}

/// Without a word for so long a member counts as dead.
pub(crate) const SESSION: Duration = Duration::from_secs(2);
/// Long enough that the others have gone on in another generation when a member wakes up.
pub(crate) const STALL: Duration = Duration::from_millis(3500);
/// How often it then wants to commit, while nobody says no.
const COMMITS_AFTER_STALL: usize = 20;
pub(super) const HEARTBEAT: Duration = Duration::from_millis(300);
/// How long the others may have to wait for a member that is alive.
pub(super) const REBALANCE: Duration = Duration::from_secs(10);
/// Before something is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// What all members of a group have in common.
pub(crate) struct Shared {
    pub(crate) bootstrap: String,
    pub(crate) group: String,
    /// What is left to chance about records.
    pub(crate) seed: u64,
    pub(crate) protocol: Protocol,
    pub(crate) topic: Topic,
    pub(crate) history: Arc<HistoryWriter>,
    /// Members are to leave.
    pub(crate) over: AtomicBool,
    /// They have left.
    pub(crate) left: AtomicBool,
    /// Commits that somebody waits for the answer of.
    pub(crate) committing: AtomicUsize,
    /// How far each partition was consumed, by whomever.
    pub(crate) consumed: Vec<AtomicI64>,
    /// How far each partition was committed, when somebody last looked.
    pub(crate) committed: Vec<AtomicI64>,
}

/// One of those that are under way, until it is dropped: also with the task that waits for it.
pub(super) struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    pub(super) fn one_of(all: &'a AtomicUsize) -> Self {
        all.fetch_add(1, Ordering::SeqCst);
        Self(all)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    pub(super) fn record(&self, event: &Event) {
        self.history.record(event).unwrap();
    }

    /// Asks for positions, and writes down what is told to `reader`.
    pub(crate) async fn positions(
        &self,
        link: &mut Link,
        reader: &str,
        partitions: &[PartitionIndex],
    ) -> Result<Vec<(PartitionIndex, Option<Offset>)>, Trouble> {
        let (group, reader) = (|| self.group.clone(), || reader.to_owned());
        let at = |index: PartitionIndex| self.topic.partition(index.get());
        for index in partitions {
            let asked = PositionAsked { group: group(), reader: reader(), partition: at(*index) };
            self.record(&Event::PositionAsked(asked));
        }
        let told = link.positions(self.topic.name, partitions).await?;
        for (index, offset) in &told {
            let told =
                PositionTold { group: group(), reader: reader(), partition: at(*index), offset: *offset };
            self.record(&Event::PositionTold(told));
        }
        Ok(told)
    }
}

/// How far a member is in a partition that it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) next: Offset,
    pub(super) committed: Offset,
}

pub(crate) struct Member {
    pub(super) shared: Arc<Shared>,
    pub(super) name: String,
    pub(super) link: Link,
    pub(super) random: fastrand::Rng,
    /// Given by the coordinator, and empty where it knows none; or its own choice, where the coordinator assigns.
    pub(super) id: Str,
    pub(super) generation: i32,
    /// It holds something, or has been told that it holds nothing.
    pub(super) settled: bool,
    pub(super) held: BTreeMap<PartitionIndex, Held>,
    /// The generation in which it was told to hold that.
    pub(super) held_in: i32,
    /// What its coordinator wants it to hold, where that assigns, and the topic's id.
    pub(super) target: (TopicId, BTreeSet<PartitionIndex>),
    pub(super) heartbeat_due: Instant,
    /// It is to be of no use for a while, as a process that the machine has forgotten.
    stalls: Arc<AtomicBool>,
}

impl Member {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        name: &str,
        random: fastrand::Rng,
        stalls: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            stalls: Arc::clone(stalls),
            link: Link::new(&shared.bootstrap, &shared.group, name),
            shared: Arc::clone(shared),
            name: name.to_owned(),
            random,
            id: if shared.protocol == Protocol::ServerSide { name.into() } else { Str::default() },
            generation: if shared.protocol == Protocol::ServerSide { 0 } else { -1 },
            settled: false,
            held: BTreeMap::new(),
            held_in: -1,
            target: (TopicId::from_bytes([0; 16]), BTreeSet::new()),
            heartbeat_due: Instant::now(),
        }
    }

    /// Consumes until it is told that it is over, and leaves.
    pub(crate) async fn run(mut self) {
        while !self.shared.over.load(Ordering::SeqCst) {
            if let Err(trouble) = self.go_on().await {
                self.recover(trouble).await;
            }
        }
        self.leave().await;
    }

    async fn go_on(&mut self) -> Result<(), Trouble> {
        if !self.settled && self.shared.protocol != Protocol::ServerSide {
            self.join().await?;
        }
        self.heartbeat().await?;
        let from = self.held.iter().map(|(partition, held)| (*partition, held.next)).collect();
        let mut idle = true;
        for (partition, records) in self.link.fetch(self.shared.topic.name, from).await? {
            idle &= records.is_empty();
            self.consume(partition, records).await?;
        }
        if idle {
            self.commit_all().await?;
            sleep(PAUSE / 4).await;
        }
        Ok(())
    }

    pub(super) async fn recover(&mut self, trouble: Trouble) {
        match trouble {
            // It goes on in its generation, until it is told that it is over.
            Trouble::Away(_) | Trouble::Later(_) => {
                self.link.hang_up();
                sleep(PAUSE).await;
            }
            Trouble::Rebalance => {
                // Some clients commit what they have before they let go, some do not.
                if self.settled && self.random.bool() {
                    let _ = self.commit_all().await;
                }
                if self.shared.protocol == Protocol::Cooperative {
                    self.settled = false;
                } else {
                    self.part(Parting::Revoked);
                }
            }
            // The next heartbeat says at which epoch it is.
            Trouble::Behind => self.heartbeat_due = Instant::now(),
            Trouble::Fenced | Trouble::Forgotten if self.shared.protocol == Protocol::ServerSide => {
                self.part(Parting::Revoked);
                self.generation = 0;
            }
            Trouble::Fenced => self.part(Parting::Revoked),
            Trouble::Forgotten => {
                self.part(Parting::Revoked);
                self.id = Str::default();
            }
        }
    }

    pub(super) fn by(&self) -> Membership {
        let (group, member) = (self.shared.group.clone(), self.name.clone());
        Membership { group, member, generation: self.generation }
    }

    fn part(&mut self, how: Parting) {
        if self.settled || !self.held.is_empty() {
            self.shared.record(&Event::Parted(Parted { by: self.by(), how }));
        }
        self.settled = false;
        self.held.clear();
    }

    async fn join(&mut self) -> Result<(), Trouble> {
        let answer = loop {
            let answer = self.link.ask(&self.join_request(), REBALANCE).await?;
            if answer.error_code != ErrorCode::MemberIdRequired {
                break answer;
            }
            self.id = answer.member_id;
        };
        checked(answer.error_code)?;
        self.generation = answer.generation_id;
        let request = SyncGroupRequest {
            group_id: self.shared.group.as_str().into(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            assignments: if answer.leader == self.id { self.assign(&answer) } else { Vec::new() },
            ..SyncGroupRequest::default()
        };
        let answer = self.link.ask(&request, REBALANCE).await?;
        checked(answer.error_code)?;
        self.take_over(&answer.assignment).await
    }

    fn join_request(&self) -> JoinGroupRequest {
        let topics = vec![Str::from(self.shared.topic.name)];
        let wanted = Subscription { topics, ..self.claims() };
        let metadata = encode_subscription(&wanted).unwrap();
        JoinGroupRequest {
            group_id: self.shared.group.as_str().into(),
            session_timeout_ms: SESSION.as_millis() as i32,
            rebalance_timeout_ms: REBALANCE.as_millis() as i32,
            member_id: self.id.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol { name: "by-chance".into(), metadata }],
            ..JoinGroupRequest::default()
        }
    }

    fn assign(&mut self, joined: &JoinGroupResponse) -> Vec<SyncGroupRequestAssignment> {
        let shares = match self.shared.protocol {
            Protocol::Cooperative => self.sticky_shares(joined),
            Protocol::Eager | Protocol::ServerSide | Protocol::Refusing => self.shares_by_chance(joined),
        };
        let share = |(member, share): (&JoinGroupResponseMember, _)| {
            let share = PartitionsByName::from([(Str::from(self.shared.topic.name), share)]);
            let assignment = encode_assignment(&share, None).unwrap();
            SyncGroupRequestAssignment { member_id: member.member_id.clone(), assignment }
        };
        joined.members.iter().zip(shares).map(share).collect()
    }

    /// Deals the partitions out in an order of chance, so that they change hands.
    fn shares_by_chance(&mut self, joined: &JoinGroupResponse) -> Vec<BTreeSet<PartitionIndex>> {
        let mut partitions: Vec<i32> = (0..self.shared.topic.partitions).collect();
        self.random.shuffle(&mut partitions);
        let mut shares = vec![BTreeSet::new(); joined.members.len()];
        for (turn, partition) in partitions.into_iter().enumerate() {
            let share = turn % shares.len();
            shares[share].insert(PartitionIndex::new(partition));
        }
        shares
    }

    async fn take_over(&mut self, share: &Bytes) -> Result<(), Trouble> {
        let share: BTreeSet<_> = assignment(share).unwrap().partitions().into_values().flatten().collect();
        let gives_back = self.held.keys().any(|held| !share.contains(held));
        self.hold(&share).await?;
        // What it has given back is free once it has joined without that.
        self.settled = !gives_back;
        Ok(())
    }

    /// From now on it holds these: it goes on where it is in what it has held, and asks where the others begin.
    pub(super) async fn hold(&mut self, share: &BTreeSet<PartitionIndex>) -> Result<(), Trouble> {
        let partitions = share.iter().map(|index| self.shared.topic.partition(index.get())).collect();
        self.shared.record(&Event::Joined(Joined { by: self.by(), partitions }));
        (self.settled, self.held_in) = (true, self.generation);
        self.heartbeat_due = Instant::now() + HEARTBEAT;
        self.held.retain(|partition, _| share.contains(partition));
        let new: Vec<_> = share.iter().copied().filter(|index| !self.held.contains_key(index)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let positions = loop {
            match self.shared.positions(&mut self.link, &self.name, &new).await {
                // It has its share; only where to begin is not known yet.
                Err(Trouble::Away(_) | Trouble::Later(_)) => {
                    self.link.hang_up();
                    sleep(PAUSE).await;
                }
                other => break other?,
            }
        };
        for (partition, offset) in positions {
            let next = offset.unwrap_or(Offset::ZERO);
            self.held.insert(partition, Held { next, committed: next });
        }
        Ok(())
    }

    /// Says that it is alive, when it is time to.
    async fn heartbeat(&mut self) -> Result<(), Trouble> {
        if self.shared.protocol == Protocol::ServerSide {
            return self.reconcile().await;
        }
        if Instant::now() < self.heartbeat_due {
            return Ok(());
        }
        let request = HeartbeatRequest {
            group_id: self.shared.group.as_str().into(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: None,
        };
        let answer = self.link.ask(&request, Duration::ZERO).await?;
        checked(answer.error_code)?;
        self.heartbeat_due = Instant::now() + HEARTBEAT;
        Ok(())
    }

    /// Works on records one by one, in order; commits now and then.
    async fn consume(&mut self, partition: PartitionIndex, records: Bytes) -> Result<(), Trouble> {
        for batch in batches(records) {
            let (header, bytes) = batch.unwrap();
            assert!(crc_is_right(&bytes, &header), "a batch at {} fails its checksum", header.base_offset);
            let batch = unpack(&bytes, DEFAULT_MAX_UNPACKED_BYTES).unwrap();
            for record in &batch {
                let record = record.unwrap();
                let Some(held) = self.held.get_mut(&partition) else { return Ok(()) };
                // A batch is given whole, also where it begins before what was asked for.
                if record.offset < held.next {
                    continue;
                }
                // It has given the partition back meanwhile, and has it again: others may have been less far.
                if record.offset > held.next {
                    return Ok(());
                }
                held.next = Offset::new(record.offset.get() + 1);
                self.work_on(partition, &record);
                if self.stalls.swap(false, Ordering::SeqCst) {
                    self.stall(partition).await?;
                }
                if self.random.u8(0..40) == 0 {
                    // Some records are more work.
                    sleep(Duration::from_millis(self.random.u64(1..10))).await;
                }
                if self.random.u8(0..4) == 0 {
                    self.commit(partition).await?;
                }
                self.heartbeat().await?;
            }
        }
        Ok(())
    }

    /// Does nothing for longer than the others wait, and then goes on as if nothing had been.
    async fn stall(&mut self, partition: PartitionIndex) -> Result<(), Trouble> {
        self.shared.record(&Event::Note(format!("{} stalls", self.name)));
        sleep(STALL).await;
        self.shared.record(&Event::Note(format!("{} goes on", self.name)));
        for _ in 0..COMMITS_AFTER_STALL {
            match self.commit(partition).await {
                // The coordinator is elsewhere by now: it is the one that is to say no.
                Err(Trouble::Away(_) | Trouble::Later(_)) => self.link.hang_up(),
                outcome => return outcome,
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    fn work_on(&self, partition: PartitionIndex, record: &RecordRef<'_>) {
        let headers = record.headers.clone();
        let headers: Vec<_> =
            headers.map(|(name, value)| (std::str::from_utf8(name).unwrap(), value)).collect();
        let read = Read {
            reader: self.name.clone(),
            partition: self.shared.topic.partition(partition.get()),
            offset: record.offset,
            record: record.value.and_then(RecordId::of_value),
            digest: ContentDigest::of(record.key, record.value, &headers),
        };
        let (group, generation) = (self.shared.group.clone(), self.generation);
        self.shared.record(&Event::Consumed(Consumed { group, generation, read }));
        self.shared.consumed[partition.get() as usize].fetch_max(record.offset.get(), Ordering::SeqCst);
    }

    pub(super) async fn commit_all(&mut self) -> Result<(), Trouble> {
        let behind = self.held.iter().filter(|(_, held)| held.committed < held.next);
        let behind: Vec<_> = behind.map(|(partition, _)| *partition).collect();
        for partition in behind {
            self.commit(partition).await?;
        }
        Ok(())
    }

    /// Commits what was consumed of a partition, and writes down what is known of the outcome.
    pub(super) async fn commit(&mut self, partition: PartitionIndex) -> Result<(), Trouble> {
        let Some(held) = self.held.get(&partition).copied() else { return Ok(()) };
        let at = self.shared.topic.partition(partition.get());
        let commit = Commit { by: self.by(), partition: at, offset: held.next };
        let asked = OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: held.next,
            ..OffsetCommitRequestPartition::default()
        };
        let topic = OffsetCommitRequestTopic { name: self.shared.topic.name.into(), partitions: vec![asked] };
        let request = OffsetCommitRequest {
            group_id: self.shared.group.as_str().into(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.id.clone(),
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        };
        self.shared.record(&Event::CommitAsked(commit.clone()));
        let under_way = UnderWay::one_of(&self.shared.committing);
        let answer = self.link.ask(&request, Duration::ZERO).await;
        drop(under_way);
        let answer = match answer {
            Ok(mut answer) => answer.topics.remove(0).partitions.remove(0).error_code,
            Err(trouble) => {
                // What found no coordinator to go to has not left at all.
                let unknown = trouble.outcome_is_unknown();
                let failed = CommitFailed { commit, cause: trouble.to_string() };
                let event = if unknown { Event::CommitUnknown } else { Event::CommitRefused };
                self.shared.record(&event(failed));
                return Err(trouble);
            }
        };
        self.shared.record(&outcome(commit, answer));
        checked(answer)?;
        if let Some(held_now) = self.held.get_mut(&partition) {
            held_now.committed = held.next;
        }
        Ok(())
    }

    async fn leave(&mut self) {
        if self.shared.protocol == Protocol::ServerSide {
            self.say_goodbye().await;
            return self.part(Parting::Left);
        }
        let member = MemberIdentity { member_id: self.id.clone(), group_instance_id: None, reason: None };
        let request = LeaveGroupRequest {
            group_id: self.shared.group.as_str().into(),
            member_id: self.id.clone(),
            members: vec![member],
        };
        if !self.id.is_empty() {
            // Whether it is in the group at the moment is not its to know.
            self.link.ask(&request, Duration::ZERO).await.unwrap();
        }
        self.part(Parting::Left);
    }
}

/// What a coordinator's answer to a commit says for certain, and what it leaves open.
fn outcome(commit: Commit, code: ErrorCode) -> Event {
    if code.is_none() {
        return Event::CommitAcknowledged(commit);
    }
    let sure = [
        ErrorCode::IllegalGeneration,
        ErrorCode::StaleMemberEpoch,
        ErrorCode::UnknownMemberId,
        ErrorCode::RebalanceInProgress,
        ErrorCode::CoordinatorLoadInProgress,
    ];
    let failed = CommitFailed { commit, cause: code.message().to_owned() };
    if sure.contains(&code) { Event::CommitRefused(failed) } else { Event::CommitUnknown(failed) }
}
