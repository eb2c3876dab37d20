//! The task that sends what is ready, and takes note of what comes back.
//!
//! It alone decides when a batch goes, so that the order of a partition is the order of its sends. It
//! never waits for one broker: connecting, asking for metadata and waiting for answers are tasks
//! that come back as events.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    select,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    Acks, Shared,
    batch::pack,
    queue::{Attempt, Identity, Next, Outgoing, PartitionQueue},
    request::{Item, Request, hints, read_answer},
};
use crate::{
    client::{Client, ClientError, Connection, ConnectionError, cluster::SILENCE, metadata::Leader},
    model::{NodeId, ProducerEpoch, ProducerId},
    wire::{
        ApiKey, ErrorCode,
        api::{init_producer_id::InitProducerIdRequest, produce::ProduceResponse},
    },
};

/// How long nothing is looked at if nothing happens.
const IDLE: Duration = Duration::from_secs(1);
/// How often brokers that owe an answer are looked at.
const LOOK_AT_SILENT: Duration = Duration::from_millis(250);

/// What a task of the sender came back with.
enum Event {
    Answered { items: Vec<Item>, result: Result<ProduceResponse, ConnectionError> },
    Connected { node: NodeId, result: Result<(), ClientError> },
    Refreshed { result: Result<(), ClientError> },
    Identified { result: Result<Identity, ClientError> },
}

pub(super) struct Sender {
    shared: Arc<Shared>,
    /// Queues that have something in them.
    active: Vec<Arc<PartitionQueue>>,
    events: JoinSet<Event>,
    /// Since when.
    connecting: HashMap<NodeId, Instant>,
    /// Connections that batches were sent on.
    sent_on: HashMap<NodeId, Arc<Connection>>,
    look_at_silent: Instant,
    refreshing: bool,
    refresh_wanted: bool,
    refresh_not_before: Instant,
    failed_refreshes: u32,
    identifying: bool,
    identity: Option<Identity>,
    identify_not_before: Instant,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            active: Vec::new(),
            events: JoinSet::new(),
            connecting: HashMap::new(),
            sent_on: HashMap::new(),
            look_at_silent: Instant::now(),
            refreshing: false,
            refresh_wanted: false,
            refresh_not_before: Instant::now(),
            failed_refreshes: 0,
            identifying: false,
            identity: None,
            identify_not_before: Instant::now(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.active.extend(self.shared.topics.take_listed());
            let wake_at = self.pass();
            self.active.retain(|queue| !queue.unlist());
            if self.active.is_empty() && self.shared.room.is_closed() {
                return;
            }
            select! {
                () = self.shared.wake.notified() => {}
                Some(event) = self.events.join_next() => self.on_joined(event),
                () = sleep_until(wake_at) => {}
            }
            while let Some(event) = self.events.try_join_next() {
                self.on_joined(event);
            }
        }
    }

    /// Sends all that can be sent now; when to look again if nothing happens.
    fn pass(&mut self) -> Instant {
        let now = Instant::now();
        let mut wake_at = now + IDLE;
        self.give_up_silent(now, &mut wake_at);
        self.refresh_if_due(now, &mut wake_at);
        let hurry = self.shared.hurrying.load(Ordering::Acquire) > 0;
        let mut requests: HashMap<NodeId, Request> = HashMap::new();
        for queue in std::mem::take(&mut self.active) {
            self.shared.tell(queue.give_up_unknown());
            self.shared.tell(queue.expire(now, self.shared.config.delivery_timeout));
            self.drain(&queue, now, hurry, &mut requests, &mut wake_at);
            self.active.push(queue);
        }
        for (node, request) in requests {
            self.send(node, request);
        }
        wake_at
    }

    /// A broker that is stopped or cut off answers nothing and refuses nothing. When one has owed an answer for a while
    /// others are asked who leads, as when it does not take a connection; once none of what waits is led by it, its answers
    /// are no longer waited for. Batches that were on their way to it go to the new leaders, who know those that were
    /// written.
    fn give_up_silent(&mut self, now: Instant, wake_at: &mut Instant) {
        self.sent_on.retain(|_, connection| !connection.is_closed());
        if self.sent_on.is_empty() && self.connecting.is_empty() {
            return;
        }
        if now < self.look_at_silent {
            *wake_at = self.look_at_silent.min(*wake_at);
            return;
        }
        self.look_at_silent = now + LOOK_AT_SILENT;
        *wake_at = self.look_at_silent.min(*wake_at);
        let metadata = self.shared.client.metadata();
        let leads = |node: NodeId| {
            let led_by = |queue: &Arc<PartitionQueue>| metadata.leader(&queue.topic, queue.partition);
            self.active.iter().any(|queue| led_by(queue).is_none_or(|leader| leader.node == node))
        };
        let is_slow = |begun: Instant| now.saturating_duration_since(begun) >= LOOK_AT_SILENT;
        self.refresh_wanted |= self.connecting.iter().any(|(node, begun)| is_slow(*begun) && leads(*node));
        for (node, connection) in &self.sent_on {
            if !connection.is_silent(SILENCE) {
                continue;
            }
            if leads(*node) {
                self.refresh_wanted = true;
            } else {
                tracing::debug!(%node, "owes answers and leads nothing any more");
                connection.close();
            }
        }
    }

    fn refresh_if_due(&mut self, now: Instant, wake_at: &mut Instant) {
        let metadata = self.shared.client.metadata();
        let wanted = self.refresh_wanted || self.shared.client.is_stale(&metadata);
        if !wanted || self.refreshing || self.active.is_empty() {
            return;
        }
        if now < self.refresh_not_before {
            *wake_at = self.refresh_not_before.min(*wake_at);
            return;
        }
        self.refreshing = true;
        self.refresh_wanted = false;
        let client = self.shared.client.clone();
        self.events.spawn(async move {
            let result = client.refresh(metadata.generation).await.map(drop);
            Event::Refreshed { result }
        });
    }

    /// Adds what a queue has ready to the request for its leader.
    fn drain(
        &mut self,
        queue: &Arc<PartitionQueue>,
        now: Instant,
        hurry: bool,
        requests: &mut HashMap<NodeId, Request>,
        wake_at: &mut Instant,
    ) {
        let metadata = self.shared.client.metadata();
        let Some(leader) = metadata.leader(&queue.topic, queue.partition) else {
            self.refresh_wanted = true;
            *wake_at = (*wake_at).min(self.refresh_not_before.max(now + Duration::from_millis(5)));
            return;
        };
        loop {
            let begun = usize::from(requests.contains_key(&leader.node));
            if !self.can_send(leader.node, begun) {
                return;
            }
            match queue.next(leader, now, hurry, &self.shared.config) {
                Next::Send(outgoing) => self.add(queue, leader, outgoing, requests),
                Next::WaitUntil(then) => {
                    *wake_at = then.min(*wake_at);
                    return;
                }
                Next::NeedsIdentity(retired) => {
                    if !self.identify(queue, retired, now, wake_at) {
                        return;
                    }
                }
                Next::WaitForAnswer | Next::Idle => return,
            }
        }
    }

    /// Whether a broker is connected and takes one more request than those begun; begins to connect otherwise.
    fn can_send(&mut self, node: NodeId, begun: usize) -> bool {
        if let Some(connection) = self.shared.client.live_connection(node) {
            return connection.room() > begun;
        }
        if let Entry::Vacant(begins) = self.connecting.entry(node) {
            begins.insert(Instant::now());
            let client = self.shared.client.clone();
            self.events.spawn(async move {
                let result = client.connection(node).await.map(drop);
                Event::Connected { node, result }
            });
        }
        false
    }

    fn add(
        &mut self,
        queue: &Arc<PartitionQueue>,
        leader: Leader,
        outgoing: Outgoing,
        requests: &mut HashMap<NodeId, Request>,
    ) {
        let Outgoing { batch, contents, mark } = outgoing;
        match pack(contents, mark, &self.shared.config) {
            Ok(bytes) => {
                queue.packed(batch, bytes.clone(), mark);
                let item = Item { queue: Arc::clone(queue), batch, topic_id: leader.topic_id };
                let request = requests.entry(leader.node).or_default();
                if !request.takes(&item, bytes.len(), self.shared.config.request_bytes) {
                    let full = std::mem::take(request);
                    self.send(leader.node, full);
                }
                requests.entry(leader.node).or_default().add(item, bytes);
            }
            Err(error) => self.finish(queue, batch, Attempt::Unpackable(error)),
        }
    }

    /// Gives a queue an identity; false while there is none to give.
    fn identify(
        &mut self,
        queue: &PartitionQueue,
        retired: Option<Identity>,
        now: Instant,
        wake_at: &mut Instant,
    ) -> bool {
        if let Some(identity) = self.identity.filter(|identity| retired != Some(*identity)) {
            queue.identify(identity);
            self.shared.tell(queue.give_up_unknown());
            return true;
        }
        if now < self.identify_not_before {
            *wake_at = self.identify_not_before.min(*wake_at);
        } else if !self.identifying {
            self.identifying = true;
            let client = self.shared.client.clone();
            self.events.spawn(async move { Event::Identified { result: ask_identity(&client).await } });
        }
        false
    }

    fn send(&mut self, node: NodeId, request: Request) {
        let shared = &self.shared;
        let Some(connection) = shared.client.live_connection(node) else {
            let address = format!("node {node}");
            return self.on_answered(request.items, Err(ConnectionError::NotSent { address }));
        };
        let (items, cap, message) = request.finish(&shared.config, shared.client.config().request_timeout);
        if shared.config.acks == Acks::None {
            let told = connection.tell(&message, cap);
            return self.on_told(items, &told);
        }
        match connection.start_now(&message, cap) {
            Ok(pending) => {
                self.sent_on.insert(node, connection);
                self.events.spawn(async move { Event::Answered { items, result: pending.answer().await } });
            }
            Err(error) => self.on_answered(items, Err(error)),
        }
    }

    fn on_told(&self, items: Vec<Item>, told: &Result<(), ConnectionError>) {
        for item in items {
            let attempt = match told {
                Ok(()) => Attempt::Written { base: None, log_append_time: None },
                Err(error) => Attempt::Failed(error.clone()),
            };
            self.finish(&item.queue, item.batch, attempt);
        }
    }

    fn on_joined(&mut self, event: Result<Event, tokio::task::JoinError>) {
        match event {
            Ok(event) => self.on_event(event),
            // Tasks are only aborted together with the sender.
            Err(error) => tracing::error!(%error, "a task of the producer failed"),
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Answered { items, result } => self.on_answered(items, result),
            Event::Connected { node, result } => {
                self.connecting.remove(&node);
                if let Err(error) = result {
                    tracing::debug!(%node, %error, "cannot connect");
                    self.refresh_wanted = true;
                }
            }
            Event::Refreshed { result } => self.on_refreshed(result),
            Event::Identified { result } => {
                self.identifying = false;
                match result {
                    Ok(identity) => self.identity = Some(identity),
                    Err(error) => {
                        tracing::warn!(%error, "no producer id yet");
                        self.identify_not_before = Instant::now() + self.shared.client.backoff(3);
                    }
                }
            }
        }
    }

    fn on_refreshed(&mut self, result: Result<(), ClientError>) {
        self.refreshing = false;
        match result {
            Ok(()) => {
                self.failed_refreshes = 0;
                self.shared.topics.follow(&self.shared.client.metadata());
            }
            Err(error) => {
                tracing::debug!(%error, "metadata cannot be had");
                self.failed_refreshes += 1;
                self.refresh_wanted = true;
            }
        }
        self.refresh_not_before = Instant::now() + self.shared.client.backoff(self.failed_refreshes + 1);
    }

    fn on_answered(&mut self, items: Vec<Item>, result: Result<ProduceResponse, ConnectionError>) {
        let learned = result.as_ref().is_ok_and(|response| {
            self.shared.client.learn(&hints(&items, response), &response.node_endpoints)
        });
        let attempts = read_answer(&items, result);
        for (item, attempt) in items.into_iter().zip(attempts) {
            let moved = learned && matches!(&attempt, Attempt::Refused { code, .. } if is_of_leader(*code));
            if moved {
                // It is known where to go, so there is nothing to wait for.
                let told = item.queue.on_attempt(item.batch, attempt, |_| Duration::ZERO);
                self.shared.tell(told);
                continue;
            }
            if !matches!(attempt, Attempt::Written { .. }) {
                tracing::debug!(topic = %item.queue.topic, partition = %item.queue.partition, ?attempt, "batch not written");
                self.refresh_wanted = true;
            }
            self.finish(&item.queue, item.batch, attempt);
        }
    }

    fn finish(&self, queue: &PartitionQueue, batch: u64, attempt: Attempt) {
        let told = queue.on_attempt(batch, attempt, |failures| self.shared.client.backoff(failures));
        self.shared.tell(told);
    }
}

/// Refusals after which another broker leads.
fn is_of_leader(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch)
}

async fn ask_identity(client: &Client) -> Result<Identity, ClientError> {
    let request = InitProducerIdRequest {
        transaction_timeout_ms: i32::MAX,
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch::NONE,
        ..InitProducerIdRequest::default()
    };
    let response = client.call_any(&request).await?;
    if response.error_code.is_none() {
        Ok(Identity { id: response.producer_id, epoch: response.producer_epoch })
    } else {
        Err(ClientError::refused(ApiKey::InitProducerId, response.error_code, None))
    }
}
