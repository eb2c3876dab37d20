//! A member of ours (`client::GroupConsumer`) that refuses some records: some once, and some each time that they are delivered.
//! Which ones the run's seed says, so whoever has the partition next refuses the same ones.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use polylogue::{
    chaos::history::{
        Commit, CommitFailed, Consumed, ContentDigest, Event, Joined, Membership, Parted, Parting, Read,
        RecordId,
    },
    client::{Client, ClientConfig, Delivery, GroupConfig, GroupConsumer, GroupError},
    model::{Offset, PartitionIndex, TopicName},
    record::Record,
};
use tokio::time::sleep;

use super::member::{STALL, Shared, UnderWay};

/// After so many failed deliveries a record is a dead letter.
pub(crate) const LIMIT: u32 = 3;
/// One that stalls is away for longer.
const MAX_POLL_INTERVAL: Duration = Duration::from_millis(2500);
/// What a healthy node answers at once.
const SOON: Duration = Duration::from_secs(5);
/// Before something is tried again, and while nothing comes.
const PAUSE: Duration = Duration::from_millis(20);
const WAIT: Duration = Duration::from_millis(200);
/// One record of so many is bad, and one of so many is refused once.
const BAD_OF: u64 = 40;
const ONCE_OF: u64 = 20;

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Accepted,
    /// Its first delivery is refused.
    RefusedOnce,
    Refused,
}

impl Fate {
    pub(crate) fn of(seed: u64, partition: PartitionIndex, offset: Offset) -> Self {
        let place = ((partition.get() as u64) << 48) | offset.get() as u64;
        let chance = fastrand::Rng::with_seed(seed ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15)).u64(..);
        if chance.is_multiple_of(BAD_OF) {
            Self::Refused
        } else if chance % ONCE_OF == 1 {
            Self::RefusedOnce
        } else {
            Self::Accepted
        }
    }
}

/// A client by this name.
pub(super) fn client(bootstrap: &str, name: &str) -> Client {
    Client::new(ClientConfig {
        client_id: name.to_owned(),
        connect_timeout: SOON,
        request_timeout: SOON,
        metadata_timeout: 2 * SOON,
        retry_backoff_max: Duration::from_millis(200),
        ..ClientConfig::new(bootstrap)
    })
}

pub(crate) struct Refusing {
    shared: Arc<Shared>,
    name: String,
    random: fastrand::Rng,
    /// What it holds, and the epoch in which it took that.
    held: (i32, Vec<PartitionIndex>),
    /// What is done and not committed for certain.
    pending: BTreeMap<PartitionIndex, Offset>,
    stalls: Arc<AtomicBool>,
}

impl Refusing {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        name: &str,
        random: fastrand::Rng,
        stalls: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            name: name.to_owned(),
            random,
            held: (0, Vec::new()),
            pending: BTreeMap::new(),
            stalls: Arc::clone(stalls),
        }
    }

    /// Consumes until it is told that it is over, and leaves.
    pub(crate) async fn run(mut self) {
        let mut consumer = self.join().await;
        while !self.shared.over.load(Ordering::SeqCst) {
            if let Err(error) = self.go_on(&mut consumer).await {
                assert!(!matches!(error, GroupError::Ended { .. } | GroupError::Passed { .. }), "{error}");
                sleep(PAUSE).await;
            }
        }
        consumer.close().await.unwrap();
        self.part(Parting::Left);
    }

    async fn join(&self) -> GroupConsumer {
        let client = client(&self.shared.bootstrap, &self.name);
        let topics = [TopicName::new(self.shared.topic.name).unwrap()];
        let mut config = GroupConfig {
            max_poll_interval: MAX_POLL_INTERVAL,
            nack_backoff: PAUSE,
            nack_backoff_max: 2 * PAUSE,
            ..GroupConfig::new(&self.shared.group)
        };
        // A record that is delivered again waits for a fetch of what is behind it.
        config.consumer.max_wait = PAUSE;
        loop {
            match GroupConsumer::join(&client, config.clone(), &topics).await {
                Ok(consumer) => return consumer,
                Err(error) => self.shared.record(&Event::Note(format!("{} joins not: {error}", self.name))),
            }
            sleep(PAUSE).await;
        }
    }

    async fn go_on(&mut self, consumer: &mut GroupConsumer) -> Result<(), GroupError> {
        let next = consumer.next(WAIT).await;
        self.note_share(consumer);
        match next? {
            Some(delivery) => self.work_on(consumer, &delivery).await,
            None => self.commit(consumer).await,
        }
    }

    fn note_share(&mut self, consumer: &GroupConsumer) {
        let partitions = consumer.assigned().into_iter().map(|(_, partition)| partition).collect();
        let share = (consumer.member_epoch(), partitions);
        if share == self.held {
            return;
        }
        // What was done before is committed with what is done next, or is another's by now.
        self.pending.clear();
        self.held = share;
        if self.held.0 == 0 {
            return self.part(Parting::Revoked);
        }
        let at = |partition: &PartitionIndex| self.shared.topic.partition(partition.get());
        let partitions = self.held.1.iter().map(at).collect();
        self.shared.record(&Event::Joined(Joined { by: self.by(), partitions }));
    }

    fn part(&self, how: Parting) {
        self.shared.record(&Event::Parted(Parted { by: self.by(), how }));
    }

    fn by(&self) -> Membership {
        Membership { group: self.shared.group.clone(), member: self.name.clone(), generation: self.held.0 }
    }

    async fn work_on(&mut self, consumer: &mut GroupConsumer, delivery: &Delivery) -> Result<(), GroupError> {
        let (partition, offset) = (delivery.partition, delivery.record.offset);
        let fate = Fate::of(self.shared.seed, partition, offset);
        let refuses = fate == Fate::Refused || (fate == Fate::RefusedOnce && delivery.attempts == 0);
        if !refuses {
            self.note_consumed(partition, &delivery.record);
        }
        if self.stalls.swap(false, Ordering::SeqCst) {
            self.shared.record(&Event::Note(format!("{} stalls", self.name)));
            sleep(STALL).await;
            self.shared.record(&Event::Note(format!("{} goes on", self.name)));
        } else if self.random.u8(0..40) == 0 {
            // Some records are more work.
            sleep(Duration::from_millis(self.random.u64(1..10))).await;
        }
        if refuses {
            return self.refuse(consumer, delivery).await;
        }
        consumer.ack(delivery)?;
        self.pending.insert(partition, offset.plus(1));
        self.commit(consumer).await
    }

    fn note_consumed(&self, partition: PartitionIndex, record: &Record) {
        let headers = record.headers.iter();
        let headers: Vec<_> = headers
            .map(|header| (std::str::from_utf8(&header.name).unwrap(), header.value.as_deref()))
            .collect();
        let read = Read {
            reader: self.name.clone(),
            partition: self.shared.topic.partition(partition.get()),
            offset: record.offset,
            record: record.value.as_deref().and_then(RecordId::of_value),
            digest: ContentDigest::of(record.key.as_deref(), record.value.as_deref(), &headers),
        };
        let (group, generation) = (self.shared.group.clone(), self.held.0);
        self.shared.record(&Event::Consumed(Consumed { group, generation, read }));
        self.shared.consumed[partition.get() as usize].fetch_max(record.offset.get(), Ordering::SeqCst);
    }

    /// Commits all that is done. What failed may have been carried out all the same: the consumer asks more than once.
    async fn commit(&mut self, consumer: &mut GroupConsumer) -> Result<(), GroupError> {
        let commits: Vec<_> = self.pending.iter().map(|(at, offset)| self.commit_of(*at, *offset)).collect();
        for commit in &commits {
            self.shared.record(&Event::CommitAsked(commit.clone()));
        }
        let under_way = (!commits.is_empty()).then(|| UnderWay::one_of(&self.shared.committing));
        let outcome = consumer.commit().await;
        drop(under_way);
        for commit in commits {
            self.note_outcome(commit, outcome.as_ref().err());
        }
        if outcome.is_ok() {
            self.pending.clear();
        }
        outcome
    }

    /// Refuses the record until it is known what came of that.
    async fn refuse(&mut self, consumer: &mut GroupConsumer, delivery: &Delivery) -> Result<(), GroupError> {
        let (partition, offset) = (delivery.partition, delivery.record.offset);
        loop {
            let nack = self.commit_of(partition, offset);
            self.shared.record(&Event::NackAsked(nack.clone()));
            let under_way = UnderWay::one_of(&self.shared.committing);
            let outcome = consumer.nack(delivery, "by chance").await;
            drop(under_way);
            self.note_outcome(nack, outcome.as_ref().err());
            match outcome {
                Ok(_) => {
                    // All before it is done.
                    self.pending.remove(&partition);
                    return Ok(());
                }
                // It will be delivered again, to this member or another.
                Err(error @ (GroupError::Outdated { .. } | GroupError::PollTimedOut { .. })) => {
                    return Err(error);
                }
                Err(error) => assert!(!matches!(error, GroupError::Passed { .. }), "{error}"),
            }
            sleep(PAUSE).await;
        }
    }

    fn commit_of(&self, partition: PartitionIndex, offset: Offset) -> Commit {
        Commit { by: self.by(), partition: self.shared.topic.partition(partition.get()), offset }
    }

    fn note_outcome(&self, commit: Commit, error: Option<&GroupError>) {
        let event = match error {
            None => Event::CommitAcknowledged(commit),
            Some(error) => Event::CommitUnknown(CommitFailed { commit, cause: error.to_string() }),
        };
        self.shared.record(&event);
    }
}
