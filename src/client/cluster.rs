//! The client itself: a cluster, reached through whoever of it answers.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    select,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    ClientConfig, ClientError, Connection, ConnectionError,
    metadata::{Hint, Leader, Metadata, TopicMetadata},
    pool::Pool,
};
use crate::{
    model::{NodeId, PartitionIndex, TopicName},
    wire::{
        ApiKey, Request, Str,
        api::{
            metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse},
            produce::NodeEndpoint,
        },
    },
};

/// A client of a cluster: connections, and what is known of topics and leaders. Cheap to clone; clones
/// share both.
#[derive(Clone, Debug)]
pub struct Client {
    known: Arc<Known>,
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Known {
    config: ClientConfig,
    metadata: RwLock<Arc<Metadata>>,
    /// The topics to ask for with each refresh.
    topics: Mutex<BTreeSet<TopicName>>,
    /// Held while metadata is asked for, so that it is asked for once.
    refreshing: tokio::sync::Mutex<()>,
}

impl Client {
    /// A client that has not connected yet.
    pub fn new(config: ClientConfig) -> Self {
        let known = Known {
            config,
            metadata: RwLock::new(Arc::new(Metadata::unknown())),
            topics: Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
        };
        Self { known: Arc::new(known), pool: Arc::default() }
    }

    /// The same client with connections of its own, for whoever keeps a connection busy: behind a fetch
    /// that waits for records every other answer waits too.
    #[must_use]
    pub fn with_own_connections(&self) -> Self {
        Self { known: Arc::clone(&self.known), pool: Arc::default() }
    }

    /// How it connects and waits.
    pub fn config(&self) -> &ClientConfig {
        &self.known.config
    }

    /// What is known now.
    pub fn metadata(&self) -> Arc<Metadata> {
        Arc::clone(&self.known.metadata.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for metadata anew, unless that has happened since `seen`.
    pub async fn refresh(&self, seen: u64) -> Result<Arc<Metadata>, ClientError> {
        let _one = self.known.refreshing.lock().await;
        let now = self.metadata();
        if now.generation > seen {
            return Ok(now);
        }
        let topics = self.topics().iter().cloned().collect::<Vec<_>>();
        let response = self.ask_metadata(Some(&topics)).await?;
        let mut known = self.known.metadata.write().unwrap_or_else(PoisonError::into_inner);
        let mut read = Metadata::read(&response, known.generation + 1);
        read.keep_newer(&known);
        *known = Arc::new(read);
        Ok(Arc::clone(&known))
    }

    /// Takes note of leaders that a refusal named; whether any of them is news.
    pub(super) fn learn(&self, hints: &[Hint], endpoints: &[NodeEndpoint]) -> bool {
        if hints.is_empty() {
            return false;
        }
        let mut known = self.known.metadata.write().unwrap_or_else(PoisonError::into_inner);
        let Some(next) = known.with_hints(hints, endpoints) else { return false };
        *known = Arc::new(next);
        true
    }

    /// The same within a loop that has a deadline of its own: who cannot be reached now may be later.
    pub(super) async fn refresh_if_reachable(&self, seen: u64) -> Result<(), ClientError> {
        match self.refresh(seen).await {
            Err(error) if !error.is_retriable() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn topics(&self) -> std::sync::MutexGuard<'_, BTreeSet<TopicName>> {
        self.known.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for these topics, or for all there are, past what is known.
    pub(super) async fn ask_metadata(
        &self,
        topics: Option<&[TopicName]>,
    ) -> Result<MetadataResponse, ClientError> {
        let named = |topic: &TopicName| MetadataRequestTopic {
            name: Some(Str::from(topic.as_str())),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: topics.map(|topics| topics.iter().map(named).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let response = self.call_any(&request).await?;
        if response.error_code.is_none() {
            Ok(response)
        } else {
            Err(ClientError::refused(ApiKey::Metadata, response.error_code, None))
        }
    }

    /// Whether what is known should be asked for anew although nothing failed.
    pub(super) fn is_stale(&self, metadata: &Metadata) -> bool {
        metadata.generation == 0 || metadata.read_at.elapsed() >= self.config().metadata_max_age
    }

    /// Makes a topic one of those that each refresh asks for.
    pub(super) fn follow(&self, topic: &TopicName) {
        let mut topics = self.topics();
        if !topics.contains(topic) {
            topics.insert(topic.clone());
        }
    }

    /// A topic, from what is known or by asking; [`ClientError::UnknownTopic`] where it does not exist.
    pub async fn topic(&self, topic: &TopicName) -> Result<Arc<TopicMetadata>, ClientError> {
        self.follow(topic);
        let known = self.metadata();
        if let Some(found) = known.topics.get(topic).filter(|_| !self.is_stale(&known)) {
            return Ok(Arc::clone(found));
        }
        let metadata = self.refresh(known.generation).await?;
        metadata.topics.get(topic).cloned().ok_or_else(|| ClientError::UnknownTopic(topic.clone()))
    }

    /// Who leads a partition, waiting up to the metadata time-out until someone does.
    pub async fn leader(&self, topic: &TopicName, partition: PartitionIndex) -> Result<Leader, ClientError> {
        let after = self.config().metadata_timeout;
        let deadline = Instant::now() + after;
        let mut failures = 0;
        loop {
            let found = self.topic(topic).await?;
            if found.partition(partition).is_none() {
                return Err(ClientError::UnknownPartition { topic: topic.clone(), partition });
            }
            let metadata = self.metadata();
            if let Some(leader) = metadata.leader(topic, partition) {
                return Ok(leader);
            }
            failures += 1;
            let wait = self.config().backoff(failures);
            if Instant::now() + wait >= deadline {
                return Err(ClientError::NoLeader { topic: topic.clone(), partition, after });
            }
            sleep(wait).await;
            self.refresh_if_reachable(metadata.generation).await?;
        }
    }

    /// The connection to a broker, made if need be.
    pub async fn connection(&self, node: NodeId) -> Result<Arc<Connection>, ClientError> {
        let address = self.address(node).ok_or(ClientError::UnknownNode(node))?;
        Ok(self.pool.get(&address, self.config()).await?)
    }

    /// The connection to a broker, if there is one that works.
    pub(super) fn live_connection(&self, node: NodeId) -> Option<Arc<Connection>> {
        self.pool.live(&self.address(node)?)
    }

    fn address(&self, node: NodeId) -> Option<String> {
        Some(self.metadata().brokers.get(&node)?.address.clone())
    }

    /// A connection to any broker: one that is there, else a known broker, else a bootstrap address. Whoever does not
    /// take the call at once is not waited for: the next is called as well, and the first that answers is the one.
    async fn any(&self, but: Option<&str>) -> Result<Arc<Connection>, ClientError> {
        let addresses: Vec<_> =
            self.addresses().into_iter().filter(|address| but != Some(address.as_str())).collect();
        let live = |address: &String| self.pool.live(address);
        if let Some(live) = addresses.iter().filter_map(live).find(|live| !live.is_silent(SILENCE)) {
            return Ok(live);
        }
        let mut calls = JoinSet::new();
        let mut left = addresses.iter();
        let mut last = None;
        loop {
            if let Some(address) = left.next() {
                let (pool, known, address) =
                    (Arc::clone(&self.pool), Arc::clone(&self.known), address.clone());
                calls.spawn(async move { pool.get(&address, &known.config).await });
            } else if calls.is_empty() {
                return Err(last.map_or(ClientError::NoBootstrap, |last| ClientError::Unreachable {
                    addresses: addresses.clone(),
                    last,
                }));
            }
            let patience = if left.len() > 0 { NEXT_CALL } else { Duration::MAX };
            match timeout(patience, calls.join_next()).await {
                Ok(Some(Ok(Ok(connection)))) => return Ok(connection),
                Ok(Some(Ok(Err(error)))) => last = Some(error),
                // Its time is up, or a task was aborted, which only the end of the runtime does.
                Ok(Some(Err(_)) | None) | Err(_) => {}
            }
        }
    }

    /// Known brokers in any order, then those to begin with; those behind that owe an answer.
    fn addresses(&self) -> Vec<String> {
        let mut addresses: Vec<String> =
            self.metadata().brokers.values().map(|broker| broker.address.clone()).collect();
        fastrand::shuffle(&mut addresses);
        let bootstrap = self.config().bootstrap.iter();
        addresses
            .extend(bootstrap.filter(|address| !addresses.contains(address)).cloned().collect::<Vec<_>>());
        addresses.sort_by_key(|address| self.pool.live(address).is_some_and(|live| live.is_silent(SILENCE)));
        addresses
    }

    /// Asks whichever broker answers a question that may be asked twice.
    pub(super) async fn call_any<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let failed = match self.ask_any(request).await {
                Ok(response) => return Ok(response),
                Err(ClientError::Connection(error)) if error.is_retriable() && attempts < ATTEMPTS => error,
                Err(error) => return Err(error),
            };
            tracing::debug!(api = ?R::API, error = %failed, "asking again");
            sleep(self.config().backoff(attempts)).await;
        }
    }

    /// Asks one broker, and a second one if the first is silent: it may be stopped or cut off.
    async fn ask_any<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        let first = self.any(None).await?;
        let asked = first.call(request);
        tokio::pin!(asked);
        let second = async {
            sleep(SILENCE).await;
            let second = self.any(Some(first.address())).await;
            match second {
                Ok(second) => second.call(request).await.ok(),
                Err(_) => None,
            }
        };
        tokio::pin!(second);
        select! {
            answer = &mut asked => Ok(answer?),
            answer = &mut second => match answer {
                Some(answer) => Ok(answer),
                None => Ok(asked.await?),
            },
        }
    }

    /// Asks whichever broker answers for a change, once: [`ClientError::OutcomeUnknown`] where the answer
    /// is lost.
    pub(super) async fn change_any<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        self.any(None).await?.call(request).await.map_err(unknown_outcome)
    }

    /// Asks one broker for a change, once.
    pub(super) async fn change_at<R: Request>(
        &self,
        node: NodeId,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        self.connection(node).await?.call(request).await.map_err(unknown_outcome)
    }

    /// How long to wait after so many failures in a row.
    pub(super) fn backoff(&self, failures: u32) -> Duration {
        self.config().backoff(failures)
    }
}

/// How often a question is asked before its last failure is the answer.
const ATTEMPTS: u32 = 5;
/// How long a broker may owe an answer before another one is asked as well.
pub(super) const SILENCE: Duration = Duration::from_secs(1);
/// How long a broker may take to accept a connection before another one is called as well.
const NEXT_CALL: Duration = Duration::from_millis(250);

fn unknown_outcome(error: ConnectionError) -> ClientError {
    if error.outcome_is_unknown() { ClientError::OutcomeUnknown(error) } else { error.into() }
}

/// The topics of an answer that exist.
pub(super) fn topics_of(response: &MetadataResponse) -> Vec<TopicMetadata> {
    let topics = Metadata::read(response, 0).topics;
    topics.into_values().map(Arc::unwrap_or_clone).collect()
}
