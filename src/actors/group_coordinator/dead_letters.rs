//! The way of one record to the topic of dead letters.
//!
//! It is written there with where it comes from and why as headers, by the node that leads that topic (`leaders/`), and
//! waited for until it is on disk. What fails is tried again for as long as it takes, since
//! the group may not move past a record that is nowhere else. However often it is tried it is written once, also by a coordinator
//! that takes over from one that had it on its way: each try bears the same producer's mark, which is in the log of the groups
//! before the first one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    core::{Buried, DeadLetter},
    leaders::{Burial, Leaders, Outcome},
};
use crate::{
    actors::{
        membership::{MembershipError, MembershipHandle, NewTopic, Refusal},
        partition::table::{Topic, TopicTable},
    },
    metrics::Metrics,
    model::{PartitionId, ProducerId, TopicName},
};

/// What the names of our headers begin with.
pub const HEADER_PREFIX: &str = "polylogue.dead-letter.";

/// How long to wait at first, and at most, before what failed is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a topic that was made may take to be known here.
const PATIENCE: Duration = Duration::from_secs(10);

/// What it takes.
#[derive(Clone, Debug)]
pub(super) struct Undertaker {
    pub(super) topics: TopicTable,
    pub(super) membership: MembershipHandle,
    pub(super) leaders: Leaders,
    pub(super) metrics: Arc<Metrics>,
}

#[derive(Debug, thiserror::Error)]
enum BuryError {
    #[error("{0} cannot take the dead letters of this topic")]
    Unfit(String),
    #[error("topic of dead letters could not be made: {0}")]
    Make(MembershipError),
    #[error("no mark for the dead letter: {0}")]
    Mark(MembershipError),
    #[error("{0} is not known yet")]
    Unknown(String),
    #[error("{0}")]
    Failed(String),
}

impl Undertaker {
    /// The producer that the record is to be written by.
    pub(super) async fn mark(&self, letter: &DeadLetter) -> ProducerId {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.membership.next_producer_id().await {
                Ok(mark) => return mark,
                Err(error) => self.rest(letter, &BuryError::Mark(error), &mut pause).await,
            }
        }
    }

    /// Sees to it that the record is in the topic of dead letters, on disk.
    pub(super) async fn bury(&self, letter: &DeadLetter) -> Buried {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.try_bury(letter).await {
                Ok(buried) => return buried,
                Err(error) => self.rest(letter, &error, &mut pause).await,
            }
        }
    }

    /// Waits until the next try, each time longer.
    async fn rest(&self, letter: &DeadLetter, error: &BuryError, pause: &mut Duration) {
        self.metrics.dead_letter_failures.inc();
        let (topic, partition) = &letter.place;
        tracing::error!(
            group = %letter.group, %topic, %partition, offset = %letter.offset,
            "record is no dead letter yet, its group waits for that; next try in {pause:?}: {error}"
        );
        sleep(*pause).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
    }

    async fn try_bury(&self, letter: &DeadLetter) -> Result<Buried, BuryError> {
        let Some(origin) = self.topics.by_id(letter.topic) else { return Ok(Buried::Gone) };
        if origin.partition(letter.place.1).is_none() {
            return Ok(Buried::Gone);
        }
        let (name, to) = self.place_for(&origin, letter).await?;
        match self.leaders.bury(&Burial::new(letter, to)).await {
            Outcome::Written { at, record, leader_epoch } => {
                tracing::warn!(
                    group = %letter.group, topic = %origin.name, partition = %letter.place.1, offset = %record,
                    attempts = letter.attempts, cause = %letter.cause,
                    "record is a dead letter now, in {name}-{} at offset {at}", to.index
                );
                Ok(Buried::There { next: record.plus(1), leader_epoch })
            }
            Outcome::Gone => Ok(Buried::Gone),
            Outcome::Failed(why) => Err(BuryError::Failed(why)),
        }
    }

    /// Where the letter goes.
    async fn place_for(
        &self,
        origin: &Topic,
        letter: &DeadLetter,
    ) -> Result<(TopicName, PartitionId), BuryError> {
        let to = self.topic_for(origin).await?;
        let index = letter.place.1.get().unsigned_abs() as usize % to.partitions().len().max(1);
        let partition = to.partitions().get(index);
        let partition = partition.ok_or_else(|| BuryError::Unknown(to.name.as_str().to_owned()))?;
        Ok((to.name.clone(), partition.id()))
    }

    /// The topic of dead letters, made if it is not there.
    async fn topic_for(&self, origin: &Topic) -> Result<Arc<Topic>, BuryError> {
        let delivery = origin.config().delivery.clone();
        let name = delivery.dead_letters_of(origin.name.as_str());
        let fits = TopicName::new(&name).is_ok_and(|name| !name.is_internal() && name != origin.name);
        if !fits {
            return Err(BuryError::Unfit(name));
        }
        if let Some(topic) = self.topics.by_name(&name) {
            return Ok(topic);
        }
        let partitions = match delivery.dead_letter_partitions {
            0 => origin.partitions().len(),
            count => count as usize,
        };
        self.make(&name, i32::try_from(partitions).unwrap_or(1)).await.map_err(BuryError::Make)?;
        let deadline = Instant::now() + PATIENCE;
        let mut changes = self.topics.changes();
        loop {
            if let Some(topic) = self.topics.by_name(&name) {
                return Ok(topic);
            }
            if timeout_at(deadline, changes.next()).await.is_err() {
                return Err(BuryError::Unknown(name));
            }
        }
    }

    /// Dead letters stay until somebody has seen to them, on disk, and are given up for nobody.
    async fn make(&self, name: &str, partitions: i32) -> Result<(), MembershipError> {
        let configs = [
            ("cleanup.policy", "delete"),
            ("durability", "disk"),
            ("max.delivery.attempts", "0"),
            ("retention.bytes", "-1"),
            ("retention.ms", "-1"),
        ];
        let new = NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: -1,
            assignments: BTreeMap::new(),
            configs: configs.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        };
        match self.membership.create_topic(new, false).await {
            Ok(_) | Err(MembershipError::Refused(Refusal::TopicExists(_))) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
