//! Reading as a member of a consumer group (KIP-848): partitions are shared out by the coordinator, how far each is done
//! is committed, and a record that cannot be worked on is refused ([`GroupConsumer::nack`]).
//!
//! `member` decides what a member says and hears, `places` knows what it holds; both are pure. `keeper` is the task that
//! keeps the member in its group while the application works; `calls` asks the coordinator. The records come through a
//! [`Consumer`].
//!
//! **Promised:** each record of the topics is delivered at least once to some member of the group, in the order of its
//! partition; what was acknowledged is not delivered again once it is committed, which [`GroupConsumer::commit`] does, and
//! giving a partition back and closing, too. A partition is read by one member at a time as far as the coordinator
//! knows; one that stood still for longer than its session may still work on what another has been given, and is
//! refused when it says so.
//!
//! **Asked for:** that [`GroupConsumer::next`] is called again within [`GroupConfig::max_poll_interval`]. Heartbeats go on
//! while the application works, so that a record may take longer than a session; that it is there at all it shows by coming
//! back for the next one, and by nothing else: what is taken and given back is so only there. A member whose application stays
//! away for longer leaves its group, what it says of the records from before is refused, and it joins again with the next call.
//!
//! Everything that waits has a time-out. A member that is dropped without [`GroupConsumer::close`] is missed by the
//! group only when its session is over.

mod calls;
mod commits;
mod config;
mod error;
mod keeper;
mod member;
mod places;
mod polls;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{select, sync::watch, task::JoinHandle, time::Instant};
use uuid::Uuid;

use self::{
    calls::Calls,
    keeper::{Held, Keeper, Told},
    member::{Member, Partitions, Profile, Share},
    places::{Place, Places},
    polls::Polls,
};
pub use self::{commits::Nacked, config::GroupConfig, error::GroupError};
use super::{
    Assignment, Client, Consumer, Polled,
    consumer::{ConsumeError, ConsumedBatch},
};
use crate::{
    model::{PartitionIndex, TopicId, TopicName},
    record::Record,
    wire::{ErrorCode, Str},
};

/// How long topics that are assigned and not known are left before the cluster is asked again.
const UNKNOWN_TOPIC: Duration = Duration::from_millis(500);

/// A record that was delivered to this member.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The record.
    pub record: Record,
    /// How often its deliveries have failed before, as far as that is counted.
    pub attempts: u32,
    turn: u64,
}

impl Delivery {
    fn place(&self) -> Place {
        (self.topic.clone(), self.partition)
    }
}

/// A task that ends when it is dropped.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A member of a group.
#[derive(Debug)]
pub struct GroupConsumer {
    config: GroupConfig,
    profile: Profile,
    topics: Vec<TopicName>,
    calls: Calls,
    consumer: Consumer,
    told: watch::Receiver<Told>,
    held: watch::Sender<Held>,
    keeper: Task,
    polls: Arc<Polls>,
    /// The share that was last followed to the end; none: there is something left to do.
    followed: Option<Share>,
    /// Topics that are assigned and were not known are not asked for before this.
    names_due: Instant,
    places: Places,
    /// Records that were polled and not delivered.
    ready: VecDeque<Delivery>,
}

impl GroupConsumer {
    /// Joins the group to read these topics, and waits until the coordinator has let it in.
    ///
    /// It must be called within a tokio runtime.
    pub async fn join(
        client: &Client,
        config: GroupConfig,
        topics: &[TopicName],
    ) -> Result<Self, GroupError> {
        let profile = Profile {
            group: Str::from(config.group.as_str()),
            id: Str::from(Uuid::new_v4().to_string()),
            instance: config.instance.as_deref().map(Str::from),
            topics: topics.iter().map(Str::from).collect(),
            assignor: config.assignor.as_deref().map(Str::from),
            rebalance_timeout: config.max_poll_interval,
        };
        let calls = Calls::new(client, &config.group);
        let polls = Arc::new(Polls::new(config.max_poll_interval));
        let member = Member::new(profile.clone());
        let mut keeper = Keeper::new(member, calls.clone(), profile.group.clone(), Arc::clone(&polls));
        let share = keeper.join().await?;
        // Whatever that took, the application has its full time from now on.
        drop(polls.begin());
        let (telling, told) = watch::channel(Told { share, ..Told::default() });
        let (held, holding) = watch::channel(Held::default());
        let keeper = Task(tokio::spawn(keeper.run(telling, holding)));
        let mut consumer = Consumer::new(client, config.consumer.clone());
        consumer.assign(&[]);
        Ok(Self {
            config,
            profile,
            topics: topics.to_vec(),
            calls,
            consumer,
            told,
            held,
            keeper,
            polls,
            followed: None,
            names_due: Instant::now(),
            places: Places::default(),
            ready: VecDeque::new(),
        })
    }

    /// The member's id, as `group describe` shows it.
    pub fn member_id(&self) -> &str {
        &self.profile.id
    }

    /// The partitions that it holds now.
    pub fn assigned(&self) -> Vec<(TopicName, PartitionIndex)> {
        self.places.iter().map(|(place, _)| place.clone()).collect()
    }

    /// The epoch in the group in which it took the last of them; 0: it is on its way in.
    pub fn member_epoch(&self) -> i32 {
        self.places.epoch
    }

    /// The next record, waiting up to `within`; none if nothing came. Loses nothing if it is dropped. It has to be called
    /// again within [`GroupConfig::max_poll_interval`]: partitions are taken and given back here, and whoever does not come
    /// back counts as hanging.
    pub async fn next(&mut self, within: Duration) -> Result<Option<Delivery>, GroupError> {
        let _polling = self.polls.begin();
        let deadline = Instant::now() + within;
        loop {
            self.follow().await?;
            self.settle().await?;
            if let Some(delivery) = self.ready.pop_front() {
                return Ok(Some(delivery));
            }
            let now = Instant::now();
            let wake = [self.places.due(), self.followed.is_none().then_some(self.names_due)];
            let until = wake.into_iter().flatten().fold(deadline, Instant::min);
            select! {
                polled = self.consumer.poll(until.saturating_duration_since(now)) => match polled? {
                    Some(Polled::Batch(batch)) => self.unpack(batch)?,
                    None if Instant::now() >= deadline => return Ok(None),
                    Some(Polled::EndOfPartition { .. }) | None => {}
                },
                // What it is told is looked at in the next turn; that there is nobody to tell it, too.
                _ = self.told.changed() => {}
            }
        }
    }

    fn unpack(&mut self, batch: ConsumedBatch) -> Result<(), GroupError> {
        let (topic, partition, next) = (batch.topic.clone(), batch.partition, batch.next_offset);
        let place = (topic.clone(), partition);
        let Some(owned) = self.places.get(&place) else { return Ok(()) };
        for record in batch.into_records() {
            let record = record.map_err(|source| {
                let (topic, offset) = (topic.clone(), next);
                ConsumeError::Corrupt { topic, partition, offset, source }
            })?;
            let attempts = owned.attempts(record.offset);
            let turn = owned.turn;
            self.ready.push_back(Delivery { topic: topic.clone(), partition, record, attempts, turn });
        }
        Ok(())
    }

    /// Gives back and takes what the coordinator says.
    async fn follow(&mut self) -> Result<(), GroupError> {
        let Some(share) = self.share_to_follow()? else { return Ok(()) };
        if share.round != self.places.round {
            for (topic, partition) in self.places.begin(share.round) {
                self.consumer.remove(&topic, partition);
            }
            self.ready.clear();
            self.say_what_is_held();
        }
        let (wanted, all_known) = self.named(&share.partitions).await?;
        let goes = self.places.to_give_back(&wanted);
        if !goes.is_empty() {
            // What cannot be committed is delivered again, to whoever has the partition then.
            if let Err(error) = self.commit_of(&goes).await {
                tracing::warn!(group = %self.config.group, %error, "what was done is not committed as its partitions go");
            }
            for place in goes {
                self.stop(&place);
                self.places.give_back(&place);
            }
        }
        self.places.take(wanted, Instant::now());
        self.places.epoch = share.epoch;
        self.say_what_is_held();
        self.names_due = Instant::now() + UNKNOWN_TOPIC;
        self.followed = all_known.then_some(share);
        Ok(())
    }

    /// The share, where there is something to do about it.
    fn share_to_follow(&self) -> Result<Option<Share>, GroupError> {
        let told = self.told.borrow();
        if let Some(ended) = &told.ended {
            return Err(ended.clone());
        }
        if self.keeper.0.is_finished() {
            return Err(GroupError::Ended {
                group: self.config.group.clone(),
                code: ErrorCode::UnknownServerError,
                message: Some("the task that sends heartbeats has ended".to_owned()),
            });
        }
        let followed = self.followed.as_ref();
        // An epoch alone changes nothing of what is read.
        let is_same = |followed: &Share| {
            followed.round == told.share.round && followed.partitions == told.share.partitions
        };
        let is_due = followed.map_or_else(
            || self.places.round != told.share.round || Instant::now() >= self.names_due,
            |followed| !is_same(followed),
        );
        Ok(is_due.then(|| told.share.clone()))
    }

    /// The partitions by the names of their topics, and whether all topics are known.
    async fn named(&self, partitions: &Partitions) -> Result<(BTreeMap<Place, TopicId>, bool), GroupError> {
        let mut found = self.names_in(partitions);
        if found.len() < partitions.len() {
            for topic in &self.topics {
                self.calls.client().follow(topic);
            }
            let seen = self.calls.client().metadata().generation;
            self.calls.client().refresh_if_reachable(seen).await?;
            found = self.names_in(partitions);
        }
        let mut named = BTreeMap::new();
        for (id, name) in &found {
            let indexes = partitions.get(id).into_iter().flatten();
            named.extend(indexes.map(|index| ((name.clone(), *index), *id)));
        }
        Ok((named, found.len() == partitions.len()))
    }

    fn names_in(&self, partitions: &Partitions) -> BTreeMap<TopicId, TopicName> {
        let metadata = self.calls.client().metadata();
        let known = self.topics.iter().filter_map(|topic| metadata.topics.get(topic));
        let wanted = known.filter(|topic| partitions.contains_key(&topic.id));
        wanted.map(|topic| (topic.id, topic.name.clone())).collect()
    }

    /// What was polled of it and not delivered is forgotten.
    fn stop(&mut self, (topic, partition): &Place) {
        self.consumer.remove(topic, *partition);
        self.ready.retain(|delivery| delivery.topic != *topic || delivery.partition != *partition);
    }

    fn say_what_is_held(&mut self) {
        let held = Held { round: self.places.round, partitions: self.places.held() };
        self.held.send_if_modified(|known| {
            let is_news = *known != held;
            *known = held;
            is_news
        });
    }

    /// Asks where partitions begin, and begins to read those that are due.
    async fn settle(&mut self) -> Result<(), GroupError> {
        let asked = self.places.to_ask(Instant::now());
        if !asked.is_empty() {
            self.ask_positions(&asked).await?;
        }
        let begin = |((topic, partition), start)| Assignment { topic, partition, start };
        let begins: Vec<_> = self.places.begin_due(Instant::now()).into_iter().map(begin).collect();
        if !begins.is_empty() {
            self.consumer.add(&begins);
        }
        Ok(())
    }

    /// Commits what is acknowledged, and leaves the group.
    pub async fn close(mut self) -> Result<(), GroupError> {
        let committed = self.commit().await;
        let left = self.leave().await;
        committed.and(left)
    }

    /// Leaves the group and commits nothing.
    pub async fn leave(self) -> Result<(), GroupError> {
        self.keeper.0.abort();
        let code = self.calls.once(&Member::farewell(&self.profile)).await?.error_code;
        // Whoever was put out before has left as well.
        if code.is_none() || [ErrorCode::UnknownMemberId, ErrorCode::FencedMemberEpoch].contains(&code) {
            return Ok(());
        }
        Err(GroupError::Ended { group: self.config.group, code, message: None })
    }
}
