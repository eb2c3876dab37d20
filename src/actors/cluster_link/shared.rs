//! What the parts of the link share, and what outlives their restarts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use ractor::rpc::CallResult;
use ractor_cluster::NodeServerMessage;
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};
use uuid::Uuid;

use super::{
    Handshake, Kind, LinkError, LinkStream, Peer, Refusal, RefusalCode, Security, Service, To,
    boots::Boots,
    gateway::{GatewayMessage, gateway_of},
    service::{BODY_BYTES_MAX, Offer, Offers, Status, open_answer, request},
    session::{Found, NewSession, SessionStream, Sessions, Taken},
};
use crate::{
    actors::supervise::{BoxFuture, Slot},
    clock::Clock,
    config::node::HostPort,
    model::{BootId, NodeId},
};

/// Connections that are in their handshake at a time.
const HANDSHAKES_MAX: usize = 512;
/// How long `ractor_cluster` may take to make a session of a connection.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// How long a session that is doubted may take to show that it lives.
const PROBE_WITHIN: Duration = Duration::from_millis(500);
/// Calls that wait for one session's socket; a peer that takes nothing is not worth more memory.
const UNSENT_BYTES_MAX: usize = 16 << 20;
/// How long we dial a node that asked us to and that nobody here wants.
const KNOCK_KEEPS: Duration = Duration::from_secs(30);

/// Serves a stream that a peer opened, until it ends.
pub type StreamHandler = Arc<dyn Fn(Arc<Peer>, LinkStream) -> BoxFuture<()> + Send + Sync>;
/// Answers a hello; it may come from a node of no cluster.
pub type HelloHandler = Arc<dyn Fn(Arc<Peer>, Bytes) -> BoxFuture<Bytes> + Send + Sync>;

/// Why a session with an address is kept up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Want {
    /// Somebody here wants it.
    ours: bool,
    /// A node with a higher id asked us to dial, at this time.
    knocked: Option<Duration>,
}

impl Want {
    /// When a node with a higher id last asked us to dial.
    pub(super) fn knocked(&self) -> Option<Duration> {
        self.knocked
    }
}

pub(super) type Wants = HashMap<HostPort, Want>;

pub(super) struct Shared {
    me: RwLock<Arc<Peer>>,
    pub(super) security: Security,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) server: Slot<NodeServerMessage>,
    pub(super) wants: watch::Sender<Wants>,
    pub(super) handshakes: Arc<Semaphore>,
    offers: Mutex<Offers>,
    streams: Mutex<BTreeMap<Kind, StreamHandler>>,
    hello: Mutex<Option<HelloHandler>>,
    boots: Mutex<Boots>,
    probing: Mutex<BTreeSet<u64>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(me: Peer, security: Security, clock: Arc<dyn Clock>) -> Self {
        Self {
            me: RwLock::new(Arc::new(me)),
            security,
            clock,
            sessions: Arc::default(),
            server: Slot::new(),
            wants: watch::Sender::default(),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            offers: Mutex::default(),
            streams: Mutex::default(),
            hello: Mutex::default(),
            boots: Mutex::default(),
            probing: Mutex::default(),
        }
    }

    /// Who we are.
    pub(super) fn me(&self) -> Arc<Peer> {
        Arc::clone(&self.me.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_cluster_id(&self, cluster_id: Uuid) {
        let mut me = self.me.write().unwrap_or_else(PoisonError::into_inner);
        *me = Arc::new(Peer { cluster_id: Some(cluster_id), ..(**me).clone() });
    }

    pub(super) fn offer(&self, service: Service) -> Option<Offer> {
        lock(&self.offers).get(&service).cloned()
    }

    pub(super) fn put_offer(&self, service: Service, offer: Offer) {
        lock(&self.offers).insert(service, offer);
    }

    pub(super) fn stream_handler(&self, kind: Kind) -> Option<StreamHandler> {
        lock(&self.streams).get(&kind).cloned()
    }

    pub(super) fn put_stream_handler(&self, kind: Kind, handler: StreamHandler) {
        lock(&self.streams).insert(kind, handler);
    }

    pub(super) fn hello_handler(&self) -> Option<HelloHandler> {
        lock(&self.hello).clone()
    }

    pub(super) fn put_hello_handler(&self, handler: HelloHandler) {
        *lock(&self.hello) = Some(handler);
    }

    pub(super) fn registered(&self, node: NodeId, boot: BootId) {
        lock(&self.boots).registered(node, boot);
        self.sessions.end_other_boots(node, boot);
    }

    /// Whether we take a connection of this kind from a peer that has proved itself.
    pub(super) fn admit(self: &Arc<Self>, peer: &Peer, kind: Kind) -> Result<(), Refusal> {
        if lock(&self.boots).is_stale(peer.node, peer.boot) {
            let reason = format!("this start of node {} has been succeeded by another", peer.node);
            return Err(Refusal::new(RefusalCode::StaleBoot, reason));
        }
        let served = match kind {
            Kind::Session => return self.admit_session(peer),
            Kind::Hello => self.hello_handler().is_some(),
            Kind::Heartbeat | Kind::Replication => self.stream_handler(kind).is_some(),
        };
        let reason = || format!("node {} takes no connections of the kind {kind:?} yet", self.me().node);
        if served { Ok(()) } else { Err(Refusal::new(RefusalCode::NotServed, reason())) }
    }

    fn admit_session(self: &Arc<Self>, peer: &Peer) -> Result<(), Refusal> {
        let me = self.me();
        if let Some(taken) = self.sessions.taken(peer.node) {
            self.doubt(peer.node, &taken);
            let reason = format!("node {} has a session with node {} already", me.node, peer.node);
            return Err(Refusal::new(RefusalCode::Connected, reason));
        }
        if me.node < peer.node {
            self.knock(&peer.address);
            let reason = format!("the lower node id dials: node {} dials {}", me.node, peer.address);
            return Err(Refusal::new(RefusalCode::LowerDials, reason));
        }
        Ok(())
    }

    pub(super) fn want(&self, address: HostPort) {
        self.wants.send_modify(|wants| wants.entry(address).or_default().ours = true);
    }

    pub(super) fn unwant(&self, address: &HostPort) {
        self.wants.send_if_modified(|wants| wants.remove(address).is_some());
    }

    /// A node with a higher id wants a session.
    fn knock(&self, address: &HostPort) {
        let now = self.clock.monotonic();
        self.wants.send_modify(|wants| wants.entry(address.clone()).or_default().knocked = Some(now));
    }

    /// When it last asked us to dial it.
    pub(super) fn knocked(&self, address: &HostPort) -> Option<Duration> {
        self.wants.borrow().get(address).and_then(Want::knocked)
    }

    /// Whether the address is still to be dialled; it is forgotten if not.
    pub(super) fn is_wanted(&self, address: &HostPort) -> bool {
        let now = self.clock.monotonic();
        let holds =
            |want: &Want| want.ours || want.knocked.is_some_and(|at| now.saturating_sub(at) < KNOCK_KEEPS);
        if self.wants.borrow().get(address).is_some_and(holds) {
            return true;
        }
        self.unwant(address);
        false
    }

    /// Makes a session of a connection that has proved itself; resolves to its number.
    pub(super) fn begin_session(
        self: &Arc<Self>,
        stream: LinkStream,
        handshake: Handshake,
        dialled: Option<HostPort>,
    ) -> Result<u64, Taken> {
        let is_server = dialled.is_none();
        let peer = Arc::new(handshake.peer);
        let node = peer.node;
        let new = NewSession { peer: Arc::clone(&peer), id: handshake.id, dialled };
        let entered = self.sessions.enter(new);
        let link = entered.inspect_err(|taken| self.doubt(node, taken))?;
        let stream = Box::new(SessionStream::new(stream, link, Arc::clone(&self.sessions)));
        // A message that nobody takes is dropped, and the session with it.
        let message = NodeServerMessage::ConnectionOpenedExternal { stream, is_server };
        if let Some(server) = self.server.get() {
            let _server_gone = server.cast(message);
        }
        tokio::spawn(Arc::clone(self).watch_session(link, peer));
        Ok(link)
    }

    /// Cuts a connection off that does not become a session in time, and says when one comes and goes.
    async fn watch_session(self: Arc<Self>, link: u64, peer: Arc<Peer>) {
        tracing::info!(%peer, "connected");
        if timeout(READY_WITHIN, self.session_ended(link)).await.is_err()
            && self.sessions.by_link(link).is_none()
        {
            self.sessions.end(link);
        }
        self.session_ended(link).await;
        tracing::info!(%peer, "disconnected");
    }

    /// Somebody dials although there is a session: it ends unless it shows that it lives.
    fn doubt(self: &Arc<Self>, node: NodeId, taken: &Taken) {
        let link = taken.link;
        if lock(&self.boots).is_stale(node, taken.boot) {
            return self.sessions.end(link);
        }
        let Some(found) = self.sessions.by_link(link) else { return };
        if !lock(&self.probing).insert(link) {
            return;
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let answer = shared.call_on(&found, Service::Link, &[], PROBE_WITHIN).await;
            if let Err(error) = answer {
                tracing::info!(peer = %found.peer, %error, "the session shows no sign of life and is cut off");
                shared.sessions.end(link);
            }
            lock(&shared.probing).remove(&link);
        });
    }

    pub(super) async fn call(
        &self,
        to: &To,
        service: Service,
        body: &[u8],
        within: Duration,
    ) -> Result<Bytes, LinkError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(LinkError::TooLarge { bytes: body.len(), max: BODY_BYTES_MAX });
        }
        let found = self.sessions.find(to).ok_or_else(|| LinkError::NotConnected { to: to.clone() })?;
        self.call_on(&found, service, body, within).await
    }

    async fn call_on(
        &self,
        on: &Found,
        service: Service,
        body: &[u8],
        within: Duration,
    ) -> Result<Bytes, LinkError> {
        let to = || To::Node(on.peer.node);
        let not_served = || LinkError::NotServed { to: to(), what: service.name().to_owned() };
        let gateway = gateway_of(service, on.peer.boot, on.remote).ok_or_else(not_served)?;
        let request = request(on.id, body);
        if !on.unsent.add(request.len(), UNSENT_BYTES_MAX) {
            return Err(LinkError::Backlog { to: to() });
        }
        let asked = gateway.call(|port| GatewayMessage::Call(request, port), Some(within));
        let answer = tokio::select! {
            asked = asked => match asked {
                Ok(CallResult::Success(answer)) => answer,
                Ok(CallResult::Timeout) => return Err(LinkError::Silent { to: to(), after: within }),
                // The far end lets go of a call's port when its time is over: at times it is first to say so.
                Ok(CallResult::SenderError) if self.sessions.has(on.link) => {
                    return Err(LinkError::Silent { to: to(), after: within });
                }
                Ok(CallResult::SenderError) => return Err(LinkError::Lost { to: to() }),
                Err(_) => return Err(LinkError::NotConnected { to: to() }),
            },
            () = self.session_ended(on.link) => return Err(LinkError::Lost { to: to() }),
        };
        let failed = |cause| LinkError::Failed { to: to(), cause };
        let (status, body) = open_answer(answer).ok_or_else(|| failed("its answer is none"))?;
        match status {
            Status::Answered => Ok(body),
            Status::Busy => Err(LinkError::Busy { to: to() }),
            Status::NotServed => Err(not_served()),
            Status::UnknownSession => Err(failed("it does not know the session")),
            Status::HandlerFailed => Err(failed("the handler panicked")),
            Status::AnswerTooLarge => Err(failed("its answer is larger than a call carries")),
        }
    }

    /// Resolves when the session is over.
    pub(super) async fn session_ended(&self, link: u64) {
        let mut changes = self.sessions.changes();
        while self.sessions.has(link) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}
