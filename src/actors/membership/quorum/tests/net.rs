//! A network in memory, with a will of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;

use super::super::{PeerError, Quorum, RaftNode, RaftPeers};
use crate::{actors::supervise::BoxFuture, model::RaftId};

/// What may happen to a call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    /// Of a call or its answer.
    pub(super) loss: f64,
    /// At most; each way.
    pub(super) delay_ms: u64,
}

#[derive(Default)]
struct Inner {
    members: BTreeMap<RaftId, Quorum>,
    /// Who hears nobody and is heard by nobody.
    parted: BTreeSet<RaftId>,
    weather: Weather,
    /// The longest body that was sent.
    longest: usize,
}

/// The network of all members.
#[derive(Clone)]
pub(super) struct Net {
    inner: Arc<Mutex<Inner>>,
    rng: Arc<Mutex<fastrand::Rng>>,
}

/// The network as one member sees it. Which one is known only once it has started.
pub(super) struct Wire {
    net: Net,
    us: Arc<Mutex<Option<RaftId>>>,
}

impl Net {
    pub(super) fn new(seed: u64) -> Self {
        Self { inner: Arc::default(), rng: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))) }
    }

    /// A way in, and where to say whose it is.
    pub(super) fn wire(&self) -> (Arc<Wire>, Arc<Mutex<Option<RaftId>>>) {
        let us = Arc::default();
        (Arc::new(Wire { net: self.clone(), us: Arc::clone(&us) }), us)
    }

    pub(super) fn plug(&self, quorum: &Quorum) {
        self.inner.lock().unwrap().members.insert(quorum.id(), quorum.clone());
    }

    pub(super) fn unplug(&self, id: RaftId) {
        self.inner.lock().unwrap().members.remove(&id);
    }

    pub(super) fn part(&self, id: RaftId) {
        self.inner.lock().unwrap().parted.insert(id);
    }

    pub(super) fn heal(&self) {
        self.inner.lock().unwrap().parted.clear();
    }

    pub(super) fn weather(&self, weather: Weather) {
        self.inner.lock().unwrap().weather = weather;
    }

    pub(super) fn longest(&self) -> usize {
        self.inner.lock().unwrap().longest
    }

    /// Whether a packet gets through now, and after how long.
    fn packet(&self, from: Option<RaftId>, to: RaftId) -> Option<Duration> {
        let inner = self.inner.lock().unwrap();
        let is_cut = from.is_some_and(|from| inner.parted.contains(&from)) || inner.parted.contains(&to);
        let mut rng = self.rng.lock().unwrap();
        let is_lost = is_cut || rng.f64() < inner.weather.loss;
        (!is_lost).then(|| Duration::from_millis(rng.u64(0..=inner.weather.delay_ms)))
    }

    fn member(&self, id: RaftId, len: usize) -> Option<Quorum> {
        let mut inner = self.inner.lock().unwrap();
        inner.longest = inner.longest.max(len);
        inner.members.get(&id).cloned()
    }

    async fn call(self, from: Option<RaftId>, to: RaftId, body: Bytes) -> Result<Bytes, PeerError> {
        let member =
            self.member(to, body.len()).ok_or_else(|| PeerError::Unreachable("it is down".to_owned()))?;
        let there = self.packet(from, to).ok_or(PeerError::Timeout)?;
        tokio::time::sleep(there).await;
        let answer = member.serve(body).await;
        let back = self.packet(from, to).ok_or(PeerError::Timeout)?;
        tokio::time::sleep(back).await;
        Ok(answer)
    }
}

impl RaftPeers for Wire {
    fn call(
        &self,
        to: RaftId,
        _node: &RaftNode,
        body: Bytes,
        within: Duration,
    ) -> BoxFuture<Result<Bytes, PeerError>> {
        let (net, us) = (self.net.clone(), *self.us.lock().unwrap());
        Box::pin(async move {
            let called = tokio::time::timeout(within, net.call(us, to, body)).await;
            called.unwrap_or(Err(PeerError::Timeout))
        })
    }
}
