//! A consumer of a group that writes down what it holds, consumes and commits.
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
    model::{Offset, PartitionIndex},
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

/// Without a word for so long a member counts as dead.
pub(crate) const SESSION: Duration = Duration::from_secs(2);
/// Long enough that the others have gone on in another generation when a member wakes up.
pub(crate) const STALL: Duration = Duration::from_millis(3500);
const HEARTBEAT: Duration = Duration::from_millis(300);
/// How long the others may have to wait for a member that is alive.
const REBALANCE: Duration = Duration::from_secs(10);
/// Before something is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// What all members of a group have in common.
pub(crate) struct Shared {
    pub(crate) bootstrap: String,
    pub(crate) group: String,
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
struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn one_of(all: &'a AtomicUsize) -> Self {
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
    fn record(&self, event: &Event) {
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
struct Held {
    next: Offset,
    committed: Offset,
}

pub(crate) struct Member {
    shared: Arc<Shared>,
    name: String,
    link: Link,
    random: fastrand::Rng,
    /// Given by the coordinator; empty where it knows none.
    id: Str,
    generation: i32,
    /// It holds something, or has been told that it holds nothing.
    settled: bool,
    held: BTreeMap<PartitionIndex, Held>,
    heartbeat_due: Instant,
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
            id: Str::default(),
            generation: -1,
            settled: false,
            held: BTreeMap::new(),
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
        if !self.settled {
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

    async fn recover(&mut self, trouble: Trouble) {
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
                self.part(Parting::Revoked);
            }
            Trouble::Fenced => self.part(Parting::Revoked),
            Trouble::Forgotten => {
                self.part(Parting::Revoked);
                self.id = Str::default();
            }
        }
    }

    fn by(&self) -> Membership {
        let (group, member) = (self.shared.group.clone(), self.name.clone());
        Membership { group, member, generation: self.generation }
    }

    fn part(&mut self, how: Parting) {
        if self.settled {
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
        let wanted = Subscription { topics, ..Subscription::default() };
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

    /// Deals the partitions out in an order of chance, so that they change hands.
    fn assign(&mut self, joined: &JoinGroupResponse) -> Vec<SyncGroupRequestAssignment> {
        let mut partitions: Vec<i32> = (0..self.shared.topic.partitions).collect();
        self.random.shuffle(&mut partitions);
        let mut shares = vec![BTreeSet::new(); joined.members.len()];
        for (turn, partition) in partitions.into_iter().enumerate() {
            let share = turn % shares.len();
            shares[share].insert(PartitionIndex::new(partition));
        }
        let share = |(member, share): (&JoinGroupResponseMember, _)| {
            let share = PartitionsByName::from([(Str::from(self.shared.topic.name), share)]);
            let assignment = encode_assignment(&share, None).unwrap();
            SyncGroupRequestAssignment { member_id: member.member_id.clone(), assignment }
        };
        joined.members.iter().zip(shares).map(share).collect()
    }

    async fn take_over(&mut self, share: &Bytes) -> Result<(), Trouble> {
        let share = assignment(share).unwrap().partitions();
        let partitions: Vec<_> = share.into_values().flatten().collect();
        let held = partitions.iter().map(|index| self.shared.topic.partition(index.get())).collect();
        self.shared.record(&Event::Joined(Joined { by: self.by(), partitions: held }));
        self.settled = true;
        self.heartbeat_due = Instant::now() + HEARTBEAT;
        let positions = loop {
            match self.shared.positions(&mut self.link, &self.name, &partitions).await {
                // It has its share; only where to begin is not known yet.
                Err(trouble @ (Trouble::Away(_) | Trouble::Later(_))) => self.recover(trouble).await,
                other => break other?,
            }
        };
        let held = |(partition, offset): (_, Option<Offset>)| {
            let next = offset.unwrap_or(Offset::ZERO);
            (partition, Held { next, committed: next })
        };
        self.held = positions.into_iter().map(held).collect();
        Ok(())
    }

    /// Says that it is alive, when it is time to.
    async fn heartbeat(&mut self) -> Result<(), Trouble> {
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
        self.commit(partition).await
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

    async fn commit_all(&mut self) -> Result<(), Trouble> {
        let behind = self.held.iter().filter(|(_, held)| held.committed < held.next);
        let behind: Vec<_> = behind.map(|(partition, _)| *partition).collect();
        for partition in behind {
            self.commit(partition).await?;
        }
        Ok(())
    }

    /// Commits what was consumed of a partition, and writes down what is known of the outcome.
    async fn commit(&mut self, partition: PartitionIndex) -> Result<(), Trouble> {
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
        ErrorCode::UnknownMemberId,
        ErrorCode::RebalanceInProgress,
        ErrorCode::CoordinatorLoadInProgress,
    ];
    let failed = CommitFailed { commit, cause: code.message().to_owned() };
    if sure.contains(&code) { Event::CommitRefused(failed) } else { Event::CommitUnknown(failed) }
}
