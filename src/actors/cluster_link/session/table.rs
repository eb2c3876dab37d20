//! Which sessions there are.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::watch;

use crate::{
    actors::{
        cluster_link::{Peer, SessionId, To},
        supervise::ActorCell,
    },
    config::node::HostPort,
    model::{BootId, NodeId},
};

/// A connection that wants to become a session.
#[derive(Clone, Debug)]
pub(in crate::actors::cluster_link) struct NewSession {
    pub(in crate::actors::cluster_link) peer: Arc<Peer>,
    pub(in crate::actors::cluster_link) id: SessionId,
    /// Where we dialled, if we did.
    pub(in crate::actors::cluster_link) dialled: Option<HostPort>,
}

/// There is a session with this node already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actors::cluster_link) struct Taken {
    /// The number of its connection.
    pub(in crate::actors::cluster_link) link: u64,
    /// With which start of the node it is.
    pub(in crate::actors::cluster_link) boot: BootId,
}

/// A session that can be called on.
#[derive(Clone, Debug)]
pub(in crate::actors::cluster_link) struct Found {
    pub(in crate::actors::cluster_link) link: u64,
    pub(in crate::actors::cluster_link) peer: Arc<Peer>,
    pub(in crate::actors::cluster_link) id: SessionId,
    /// What `ractor_cluster` calls the peer.
    pub(in crate::actors::cluster_link) remote: u64,
    /// What waits to be written.
    pub(in crate::actors::cluster_link) unsent: Arc<Unsent>,
}

/// Bytes of calls that wait for the socket: `ractor_cluster`'s queue has no bound of its own, and a frozen peer takes none.
#[derive(Debug, Default)]
pub(in crate::actors::cluster_link) struct Unsent(AtomicUsize);

impl Unsent {
    /// Counts a call in, unless more than this would wait.
    pub(in crate::actors::cluster_link) fn add(&self, bytes: usize, max: usize) -> bool {
        let added = |waiting: usize| waiting.checked_add(bytes).filter(|waiting| *waiting <= max);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added).is_ok()
    }

    /// Whatever is written counts: what frames a call, answers and the session's own messages too, which were not counted
    /// in. So it errs towards less.
    pub(super) fn wrote(&self, bytes: usize) {
        let left = |waiting: usize| Some(waiting.saturating_sub(bytes));
        let _always_some = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
    }
}

#[derive(Debug)]
struct Session {
    new: NewSession,
    actor: Option<ActorCell>,
    /// `ractor_cluster`'s number for the peer, once calls can be made.
    remote: Option<u64>,
    unsent: Arc<Unsent>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    sessions: BTreeMap<u64, Session>,
}

impl State {
    fn taken(&self, node: NodeId) -> Option<Taken> {
        let (link, there) = self.sessions.iter().find(|(_, session)| session.new.peer.node == node)?;
        Some(Taken { link: *link, boot: there.new.peer.boot })
    }
}

/// The table.
#[derive(Debug)]
pub(in crate::actors::cluster_link) struct Sessions {
    state: Mutex<State>,
    /// The nodes with which there is a session that can be called on.
    connected: watch::Sender<Arc<BTreeMap<NodeId, Arc<Peer>>>>,
    /// Goes up with every change.
    changes: watch::Sender<u64>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            connected: watch::Sender::new(Arc::default()),
            changes: watch::Sender::new(0),
        }
    }
}

impl Sessions {
    /// Enters a connection and gives it its number, if there is none with that node.
    pub(in crate::actors::cluster_link) fn enter(&self, new: NewSession) -> Result<u64, Taken> {
        let mut state = self.state();
        if let Some(taken) = state.taken(new.peer.node) {
            return Err(taken);
        }
        state.next += 1;
        let link = state.next;
        state.sessions.insert(link, Session { new, actor: None, remote: None, unsent: Arc::default() });
        self.publish(&state);
        Ok(link)
    }

    /// The server has made an actor for the connection; false: it is not one of ours.
    pub(super) fn opened(&self, link: u64, actor: &ActorCell) -> bool {
        let mut state = self.state();
        let session = state.sessions.get_mut(&link);
        session.map(|session| session.actor = Some(actor.clone())).is_some()
    }

    /// Calls can be made from now on.
    pub(super) fn ready(&self, link: u64, remote: u64) {
        let mut state = self.state();
        if let Some(session) = state.sessions.get_mut(&link) {
            session.remote = Some(remote);
        }
        self.publish(&state);
    }

    /// The session is over; whatever is left of it is cut off.
    pub(in crate::actors::cluster_link) fn end(&self, link: u64) {
        let mut state = self.state();
        let ended = state.sessions.remove(&link);
        self.publish(&state);
        drop(state);
        if let Some(actor) = ended.and_then(|session| session.actor) {
            // Not killed: as it stops it takes itself off the lists of those who watch this process's actors.
            actor.stop(Some("the session is over".to_owned()));
        }
    }

    /// Ends the session with another start of this node.
    pub(in crate::actors::cluster_link) fn end_other_boots(&self, node: NodeId, boot: BootId) {
        let stale = |session: &Session| session.new.peer.node == node && session.new.peer.boot != boot;
        let found = self.state().sessions.iter().find(|(_, session)| stale(session)).map(|(link, _)| *link);
        if let Some(link) = found {
            self.end(link);
        }
    }

    /// Ends the session with this start of a node; whether there was one.
    pub(in crate::actors::cluster_link) fn end_of(&self, node: NodeId, boot: BootId) -> bool {
        let taken = self.taken(node).filter(|taken| taken.boot == boot);
        taken.inspect(|taken| self.end(taken.link)).is_some()
    }

    /// Who has a session of this name, which may not be ready on our side yet.
    pub(in crate::actors::cluster_link) fn peer_of(&self, id: SessionId) -> Option<Arc<Peer>> {
        let state = self.state();
        state
            .sessions
            .values()
            .find(|session| session.new.id == id)
            .map(|session| Arc::clone(&session.new.peer))
    }

    /// The session with somebody, if calls can be made.
    pub(in crate::actors::cluster_link) fn find(&self, to: &To) -> Option<Found> {
        self.found(|_, session| to.is(&session.new.peer, session.new.dialled.as_ref()))
    }

    /// A session by its number, if calls can be made.
    pub(in crate::actors::cluster_link) fn by_link(&self, link: u64) -> Option<Found> {
        self.found(|number, _| number == link)
    }

    /// Whether the connection of this number is a session, ready or on its way.
    pub(in crate::actors::cluster_link) fn has(&self, link: u64) -> bool {
        self.state().sessions.contains_key(&link)
    }

    /// What waits to be written on a connection.
    pub(super) fn unsent(&self, link: u64) -> Arc<Unsent> {
        self.state().sessions.get(&link).map(|session| Arc::clone(&session.unsent)).unwrap_or_default()
    }

    /// What stands in the way of a new session with this node.
    pub(in crate::actors::cluster_link) fn taken(&self, node: NodeId) -> Option<Taken> {
        self.state().taken(node)
    }

    /// Whether there is a session, ready or on its way.
    pub(in crate::actors::cluster_link) fn exists(&self, to: &To) -> bool {
        let state = self.state();
        state.sessions.values().any(|session| to.is(&session.new.peer, session.new.dialled.as_ref()))
    }

    fn found(&self, wanted: impl Fn(u64, &Session) -> bool) -> Option<Found> {
        let state = self.state();
        let (link, session) = state.sessions.iter().find(|(link, session)| wanted(**link, session))?;
        let NewSession { peer, id, .. } = &session.new;
        let (peer, unsent) = (Arc::clone(peer), Arc::clone(&session.unsent));
        Some(Found { link: *link, peer, id: *id, remote: session.remote?, unsent })
    }

    /// The nodes that can be called.
    pub(in crate::actors::cluster_link) fn connected(
        &self,
    ) -> watch::Receiver<Arc<BTreeMap<NodeId, Arc<Peer>>>> {
        self.connected.subscribe()
    }

    /// Changes with every change of the table.
    pub(in crate::actors::cluster_link) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn publish(&self, state: &State) {
        let ready = state.sessions.values().filter(|session| session.remote.is_some());
        let ready: BTreeMap<_, _> =
            ready.map(|session| (session.new.peer.node, Arc::clone(&session.new.peer))).collect();
        self.connected.send_if_modified(|connected| {
            let changed = **connected != ready;
            if changed {
                *connected = Arc::new(ready);
            }
            changed
        });
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
