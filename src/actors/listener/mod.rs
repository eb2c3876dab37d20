//! Accepts connections and keeps their number bounded; what serves one is passed in.
//!
//! A broker that lets anyone open connections without a limit runs out of file descriptors or memory,
//! and then fails its log as well. So connections are bounded in all and per address, and past a bound
//! the newest is closed at once, before a byte of it is read. The listener knows no protocol.
//!
//! **Invariants.** The port is bound before the actor exists and stays bound over its restarts, so
//! that a crash refuses nobody. Connections are tasks of the accept loop, and the accept loop is a task
//! of the actor: when the actor ends, for whatever reason, none of them is left. No error of `accept`
//! ends the loop; it waits and goes on. Told to stop, it closes the port, tells its connections, and
//! gives them a grace period before it cuts them off.

mod accept;
mod bounds;
mod socket;
#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpStream, sync::watch, task::JoinHandle};

use self::accept::AcceptLoop;
pub use self::{
    bounds::{ConnectionBounds, ConnectionGuard, CurrentBounds, Refusal},
    socket::BoundPort,
};
use crate::{
    actors::supervise::{
        Actor, ActorProcessingErr, ActorRef, BoxFuture, ChildSpec, Placement, Slot, SupervisionEvent,
    },
    clock::Clock,
    metrics::Metrics,
};

/// Serves one connection until it ends.
pub type Serve = Arc<dyn Fn(TcpStream, ConnectionContext) -> BoxFuture<()> + Send + Sync>;

/// What a connection is told about itself.
#[derive(Debug)]
pub struct ConnectionContext {
    /// Unique within the listener's actor, ever rising.
    pub id: u64,
    /// The other end.
    pub peer: SocketAddr,
    /// The listener's name, as in its path.
    pub listener: Arc<str>,
    /// Becomes true when the connection should end by itself: finish what is answered, take no more.
    /// Await it with [`told_to_stop`].
    pub shutdown: watch::Receiver<bool>,
    /// While this lives the connection counts towards the bounds.
    pub guard: ConnectionGuard,
}

/// Resolves when the connection should end, or when its listener is gone.
pub async fn told_to_stop(shutdown: &mut watch::Receiver<bool>) {
    let _told_or_gone = shutdown.wait_for(|stop| *stop).await.is_ok();
}

/// What a listener is given; shared by all its incarnations.
#[derive(Clone)]
pub struct ListenerOptions {
    /// The port, bound already.
    pub port: Arc<BoundPort>,
    /// How many connections are served at a time.
    pub bounds: CurrentBounds,
    /// How long connections may take to end when the listener stops.
    pub grace: Duration,
    /// What serves a connection.
    pub serve: Serve,
    /// Where connections are counted.
    pub metrics: Arc<Metrics>,
    /// Paces the log lines about refused connections.
    pub clock: Arc<dyn Clock>,
}

/// The listener called `name`, as the child of a supervisor. The actor, its accept loop and every
/// connection run on the runtime of `place`.
pub fn child_spec(name: &str, place: Placement, options: ListenerOptions) -> ChildSpec {
    let stop_time = options.grace + Duration::from_secs(5);
    let listener: Arc<str> = name.into();
    let make = move |_| (Listener, (Arc::clone(&listener), options.clone()));
    ChildSpec::actor(name, place, Slot::new(), make).with_stop_time(stop_time)
}

/// What a listener is told; by itself alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerMessage {
    /// From the accept loop's task, when it has ended although nobody told it to.
    AcceptLoopEnded,
}

crate::actors::supervise::local_message!(ListenerMessage);

#[derive(Debug, thiserror::Error)]
enum ListenerFault {
    #[error("listening on {address} failed")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("accept loop ended by itself")]
    AcceptLoopEnded,
}

/// The actor.
#[derive(Clone, Copy, Debug)]
pub struct Listener;

/// The running accept loop; cut off with all its connections when this is dropped.
pub struct ListenerState {
    port: Arc<BoundPort>,
    shutdown: watch::Sender<bool>,
    accept_loop: JoinHandle<()>,
}

impl Drop for ListenerState {
    fn drop(&mut self) {
        self.accept_loop.abort();
    }
}

impl Actor for Listener {
    type Msg = ListenerMessage;
    type State = ListenerState;
    type Arguments = (Arc<str>, ListenerOptions);

    async fn pre_start(
        &self,
        me: ActorRef<ListenerMessage>,
        (name, options): Self::Arguments,
    ) -> Result<ListenerState, ActorProcessingErr> {
        let port = Arc::clone(&options.port);
        let address = port.address();
        let socket = port.open().map_err(|source| ListenerFault::Listen { address, source })?;
        let (shutdown, told) = watch::channel(false);
        let accepting = AcceptLoop::new(name, options, told);
        let accept_loop = tokio::spawn(async move {
            let _tells = TellsEnd(me);
            accepting.run(socket).await;
        });
        Ok(ListenerState { port, shutdown, accept_loop })
    }

    async fn handle(
        &self,
        _me: ActorRef<ListenerMessage>,
        message: ListenerMessage,
        _state: &mut ListenerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ListenerMessage::AcceptLoopEnded => Err(ListenerFault::AcceptLoopEnded.into()),
        }
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<ListenerMessage>,
        _event: SupervisionEvent,
        _state: &mut ListenerState,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn post_stop(
        &self,
        _me: ActorRef<ListenerMessage>,
        state: &mut ListenerState,
    ) -> Result<(), ActorProcessingErr> {
        state.port.close();
        state.shutdown.send_replace(true);
        // The loop bounds its own end by the grace period; a panic of its has been logged.
        let _panicked = (&mut state.accept_loop).await;
        Ok(())
    }
}

/// Tells the actor when the accept loop's task ends, by a panic too.
struct TellsEnd(ActorRef<ListenerMessage>);

impl Drop for TellsEnd {
    fn drop(&mut self) {
        let _actor_gone = self.0.cast(ListenerMessage::AcceptLoopEnded);
    }
}
