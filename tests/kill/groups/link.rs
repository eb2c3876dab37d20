//! A consumer's connections, one for its group and one for the records of each leader, and what it asks over them.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use polylogue::{
    client::{ClientConfig, Connection, ConnectionError},
    model::{Offset, PartitionIndex},
    wire::{
        ErrorCode, Request, Str,
        api::{
            fetch::{FetchPartition, FetchRequest, FetchTopic},
            find_coordinator::FindCoordinatorRequest,
            metadata::{MetadataRequest, MetadataRequestTopic},
            offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        },
    },
};
use tokio::time::sleep;

/// What a healthy node answers at once.
const SOON: Duration = Duration::from_secs(5);
/// How long a node may wait for records.
const FETCH_WAIT_MS: i32 = 20;
/// The last version that names topics.
const BY_NAME: i16 = 12;

/// Why a consumer cannot go on as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// Nobody answers, or not yet.
    #[error(transparent)]
    Away(#[from] ConnectionError),
    /// The node cannot serve it for now.
    #[error("{}", .0.message())]
    Later(ErrorCode),
    /// The group rebalances.
    #[error("the group rebalances")]
    Rebalance,
    /// The group has gone on without the member.
    #[error("the group has gone on without the member")]
    Fenced,
    /// The member is at another epoch than it thinks.
    #[error("the member is at another epoch than it thinks")]
    Behind,
    /// The group does not know the member.
    #[error("the group does not know the member")]
    Forgotten,
}

impl Trouble {
    /// Whether a request that has no answer because of it may have been carried out.
    pub(crate) fn outcome_is_unknown(&self) -> bool {
        match self {
            Self::Away(error) => error.outcome_is_unknown(),
            Self::Later(_) | Self::Rebalance | Self::Fenced | Self::Behind | Self::Forgotten => false,
        }
    }
}

/// What an answer's code means to a member. A code that a member cannot come by ends the test.
pub(crate) fn checked(code: ErrorCode) -> Result<(), Trouble> {
    if code.is_none() {
        return Ok(());
    }
    if code == ErrorCode::RebalanceInProgress {
        return Err(Trouble::Rebalance);
    }
    if code == ErrorCode::IllegalGeneration || code == ErrorCode::FencedMemberEpoch {
        return Err(Trouble::Fenced);
    }
    if code == ErrorCode::StaleMemberEpoch {
        return Err(Trouble::Behind);
    }
    if code == ErrorCode::UnknownMemberId {
        return Err(Trouble::Forgotten);
    }
    assert!(code.is_retriable(), "the node answers a member with {code:?}");
    Err(Trouble::Later(code))
}

/// The connections; they are made when they are needed. Dropping them is all that a killed process says.
#[derive(Debug)]
pub(crate) struct Link {
    config: ClientConfig,
    group: Str,
    coordinator: Option<Connection>,
    /// By address.
    records: BTreeMap<String, Connection>,
    /// The address of each partition's leader; empty where that is to be asked.
    leaders: BTreeMap<PartitionIndex, String>,
    /// Whom of the seeds to ask next what any node knows.
    turn: usize,
    /// How often records were asked for.
    fetches: usize,
}

impl Link {
    pub(crate) fn new(bootstrap: &str, group: &str, client_id: &str) -> Self {
        let config = ClientConfig {
            client_id: client_id.to_owned(),
            connect_timeout: SOON,
            request_timeout: SOON,
            ..ClientConfig::new(bootstrap)
        };
        let (records, leaders) = (BTreeMap::new(), BTreeMap::new());
        Self { config, group: group.into(), coordinator: None, records, leaders, turn: 0, fetches: 0 }
    }

    pub(crate) fn hang_up(&mut self) {
        self.coordinator = None;
        self.records.clear();
        self.leaders.clear();
    }

    /// A connection to the next of the seeds that can be reached: none of them is to be needed.
    async fn anyone(&mut self) -> Result<Connection, ConnectionError> {
        let seeds = self.config.bootstrap.len();
        self.turn += 1;
        for turn in self.turn..self.turn + seeds - 1 {
            if let Ok(open) = Connection::open(&self.config.bootstrap[turn % seeds], &self.config).await {
                return Ok(open);
            }
        }
        Connection::open(&self.config.bootstrap[(self.turn + seeds - 1) % seeds], &self.config).await
    }

    /// Asks the group's coordinator.
    pub(crate) async fn ask<R: Request>(
        &mut self,
        request: &R,
        beyond: Duration,
    ) -> Result<R::Response, Trouble> {
        if self.coordinator.as_ref().is_none_or(Connection::is_closed) {
            self.coordinator = Some(self.find_coordinator().await?);
        }
        let Some(connection) = &self.coordinator else { unreachable!("it was just made") };
        Ok(connection.start(request, i16::MAX, SOON + beyond).await?.answer().await?)
    }

    async fn find_coordinator(&mut self) -> Result<Connection, Trouble> {
        let anyone = self.anyone().await?;
        let request = FindCoordinatorRequest {
            coordinator_keys: vec![self.group.clone()],
            ..FindCoordinatorRequest::default()
        };
        let found = anyone.call(&request).await?.coordinators.remove(0);
        checked(found.error_code)?;
        Ok(Connection::open(&format!("{}:{}", found.host, found.port), &self.config).await?)
    }

    /// The committed position of each partition of a topic that is asked for.
    pub(crate) async fn positions(
        &mut self,
        topic: &str,
        partitions: &[PartitionIndex],
    ) -> Result<Vec<(PartitionIndex, Option<Offset>)>, Trouble> {
        let topic = OffsetFetchRequestTopics { name: topic.into(), partition_indexes: partitions.to_vec() };
        let group = OffsetFetchRequestGroup {
            group_id: self.group.clone(),
            topics: Some(vec![topic]),
            ..OffsetFetchRequestGroup::default()
        };
        let request = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
        let told = self.ask(&request, Duration::ZERO).await?.groups.remove(0);
        checked(told.error_code)?;
        let mut positions = Vec::new();
        for partition in told.topics.into_iter().flat_map(|topic| topic.partitions) {
            checked(partition.error_code)?;
            let offset = partition.committed_offset;
            positions.push((partition.partition_index, (offset.get() >= 0).then_some(offset)));
        }
        assert_eq!(positions.len(), partitions.len(), "an answer for each partition");
        Ok(positions)
    }

    async fn find_leaders(&mut self, topic: &str) -> Result<(), Trouble> {
        let topic = MetadataRequestTopic { name: Some(topic.into()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() };
        let answer = self.anyone().await?.call(&request).await?;
        let topic = answer.topics.first().unwrap();
        checked(topic.error_code)?;
        for partition in topic.partitions.iter().filter(|partition| partition.error_code.is_none()) {
            let leader = answer.brokers.iter().find(|broker| broker.node_id == partition.leader_id);
            let address = leader.map(|broker| format!("{}:{}", broker.host, broker.port));
            self.leaders.extend(address.map(|address| (partition.partition_index, address)));
        }
        Ok(())
    }

    /// What is asked of each leader.
    async fn by_leader(
        &mut self,
        topic: &str,
        from: Vec<(PartitionIndex, Offset)>,
    ) -> Result<BTreeMap<String, Vec<FetchPartition>>, Trouble> {
        if from.iter().any(|(partition, _)| !self.leaders.contains_key(partition)) {
            self.find_leaders(topic).await?;
        }
        let mut asked: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (partition, fetch_offset) in from {
            let leader = self.leaders.get(&partition).ok_or(Trouble::Later(ErrorCode::LeaderNotAvailable))?;
            asked.entry(leader.clone()).or_default().push(FetchPartition {
                partition,
                fetch_offset,
                partition_max_bytes: 16 << 10,
                ..FetchPartition::default()
            });
        }
        Ok(asked)
    }

    /// Records from these offsets on, as batches.
    pub(crate) async fn fetch(
        &mut self,
        topic: &str,
        mut from: Vec<(PartitionIndex, Offset)>,
    ) -> Result<Vec<(PartitionIndex, Bytes)>, Trouble> {
        if from.is_empty() {
            sleep(Duration::from_millis(FETCH_WAIT_MS as u64)).await;
            return Ok(Vec::new());
        }
        // A batch that is larger than its partition's share is given only where it is the answer's first (KIP-74): each is
        // to have its turn.
        self.fetches += 1;
        let partitions = from.len();
        from.rotate_left(self.fetches % partitions);
        let mut waiting = Vec::new();
        for (leader, partitions) in self.by_leader(topic, from).await? {
            let topic = FetchTopic { topic: topic.into(), partitions, ..FetchTopic::default() };
            let request = FetchRequest {
                max_wait_ms: FETCH_WAIT_MS,
                min_bytes: 1,
                topics: vec![topic],
                ..FetchRequest::default()
            };
            if self.records.get(&leader).is_none_or(Connection::is_closed) {
                let opened = Connection::open(&leader, &self.config).await?;
                self.records.insert(leader.clone(), opened);
            }
            let Some(connection) = self.records.get(&leader) else { unreachable!("it was just made") };
            waiting.push(connection.start(&request, BY_NAME, SOON).await?);
        }
        let mut found = Vec::new();
        for answer in waiting {
            let answer = answer.answer().await?;
            checked(answer.error_code)?;
            for partition in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
                checked(partition.error_code)?;
                found.push((partition.partition_index, partition.records.into_bytes()));
            }
        }
        Ok(found)
    }
}
