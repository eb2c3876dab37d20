//! The voter's side: takes heartbeats, keeps the leases, and finds out whether a node that fell silent is gone.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    sync::watch,
    time::{sleep, timeout},
};

use super::{LeaseTable, Leases, Probe, VoterView, frames};
use crate::{
    actors::cluster_link::{LinkStream, Peer, session::Sessions, shared::StreamHandler, socket},
    clock::Clock,
    config::node::HostPort,
    model::{BootId, NodeId},
};

/// How long a dial may take that finds out whether a process is gone.
const PROBE_WITHIN: Duration = Duration::from_millis(200);
/// The waits before each of them, after its connection has ended.
const PROBES_AFTER_MS: [u64; 6] = [0, 5, 10, 20, 50, 100];
/// A node that takes no answers for so long is no longer served.
const WRITE_WITHIN: Duration = Duration::from_secs(5);

/// The leases as tasks share them.
pub(in crate::actors::cluster_link) struct Receiver {
    leases: Mutex<Leases>,
    table: watch::Sender<Arc<LeaseTable>>,
    view: watch::Receiver<Arc<VoterView>>,
    clock: Arc<dyn Clock>,
    streams: AtomicU64,
    length: Duration,
}

impl Receiver {
    pub(in crate::actors::cluster_link) fn new(
        length: Duration,
        view: watch::Receiver<Arc<VoterView>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            leases: Mutex::new(Leases::new(length)),
            table: watch::Sender::default(),
            view,
            clock,
            streams: AtomicU64::new(0),
            length,
        }
    }

    pub(in crate::actors::cluster_link) fn table(&self) -> watch::Receiver<Arc<LeaseTable>> {
        self.table.subscribe()
    }

    pub(in crate::actors::cluster_link) fn registered(&self, node: NodeId, boot: BootId) {
        self.change(|leases, now| leases.registered(now, node, boot));
    }

    /// What serves heartbeat streams.
    pub(in crate::actors::cluster_link) fn handler(self: &Arc<Self>) -> StreamHandler {
        let receiver = Arc::clone(self);
        Arc::new(move |peer, stream| {
            let receiver = Arc::clone(&receiver);
            Box::pin(async move { receiver.serve(&peer, stream).await })
        })
    }

    async fn serve(&self, peer: &Peer, mut stream: LinkStream) {
        let number = self.streams.fetch_add(1, Ordering::Relaxed);
        let ended = self.take_beats(peer, number, &mut stream).await;
        drop(stream);
        if let Err(error) = ended {
            tracing::info!(%peer, %error, "its heartbeats ended");
        }
        if self.change(|leases, _| leases.lost(peer.node, number)) {
            self.find_out(peer, number).await;
        }
    }

    /// Whether the process is gone. A dying one closes its sockets one by one, the listening one at times after the others.
    async fn find_out(&self, peer: &Peer, number: u64) {
        for after in PROBES_AFTER_MS.map(Duration::from_millis) {
            sleep(after).await;
            if !self.leases().is_lost(peer.node, number) {
                return;
            }
            let probe = probe(&peer.address).await;
            self.change(|leases, now| leases.probed(now, peer.node, number, probe));
            if probe == Probe::Refused {
                return tracing::warn!(%peer, "nothing listens there any more: the node is dead");
            }
        }
    }

    async fn take_beats(&self, peer: &Peer, number: u64, stream: &mut LinkStream) -> std::io::Result<()> {
        loop {
            let body = frames::read(stream).await?;
            let (sent, beat) = frames::beat_of(&body)?;
            self.change(|leases, now| leases.beat(now, peer.node, peer.boot, number, beat))
                .map_err(std::io::Error::other)?;
            let answer = frames::answer(sent, &self.view.borrow().clone(), peer.node);
            timeout(WRITE_WITHIN, write(stream, &answer)).await??;
        }
    }

    /// Changes the leases and shows them, if they look different then.
    fn change<T>(&self, change: impl FnOnce(&mut Leases, Duration) -> T) -> T {
        let mut leases = self.leases();
        let done = change(&mut leases, self.clock.monotonic());
        let table = leases.table();
        self.table.send_if_modified(|shown| {
            let differs = **shown != table;
            if differs {
                *shown = Arc::new(table);
            }
            differs
        });
        done
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long until somebody has to look again.
    fn until_look(&self) -> Duration {
        let often_enough = self.length / 10;
        let left = |end: Duration| end.saturating_sub(self.clock.monotonic());
        let next = self.leases().next_end().map_or(often_enough, left);
        next.clamp(Duration::from_millis(1), often_enough.max(Duration::from_millis(1)))
    }
}

/// Ends leases in time, and with them the sessions of those who are silent: calls that wait for them end at once instead of
/// with their time, and what is queued does not come to them when they wake up. Runs for as long as the link does.
pub(in crate::actors::cluster_link) async fn watch_leases(receiver: Arc<Receiver>, sessions: Arc<Sessions>) {
    loop {
        sleep(receiver.until_look()).await;
        for (node, boot) in receiver.change(Leases::look) {
            if sessions.end_of(node, boot) {
                tracing::warn!(%node, "the node is silent: its lease has ended, and the session with it");
            }
        }
    }
}

async fn write(stream: &mut LinkStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Whether the process at this address is gone: only a refused connection says so.
async fn probe(address: &HostPort) -> Probe {
    match timeout(PROBE_WITHIN, socket::connect(address, false)).await {
        Ok(Err(error)) if error.is_connection_refused() => Probe::Refused,
        Ok(_) | Err(_) => Probe::Inconclusive,
    }
}
