//! What stands between nodes and delays, stalls and breaks what they say to each other: a proxy before each node's cluster
//! port, which is what the others are told to connect to.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use polylogue::local_cluster::{NodeOptions, free_port};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

/// Chunks on their way in one direction of a connection.
const ON_THE_WAY: usize = 4096;
const CHUNK_BYTES: usize = 16 << 10;

/// The proxies of one cluster.
pub(crate) struct Proxies {
    // Dropped first: nothing is passed on any more.
    _runtime: Runtime,
    doors: Vec<Arc<Door>>,
}

/// The proxy of one node.
#[derive(Debug)]
struct Door {
    address: SocketAddr,
    node: SocketAddr,
    delay: Duration,
    is_stalled: watch::Sender<bool>,
    connections: Mutex<Vec<AbortHandle>>,
}

impl Door {
    fn connections(&self) -> MutexGuard<'_, Vec<AbortHandle>> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| !connection.is_finished());
        connections
    }
}

impl Proxies {
    /// Puts a proxy before each of these nodes, which delays what passes by so much in either direction. Gives how the nodes
    /// are started.
    pub(crate) fn before(nodes: Vec<NodeOptions>, delay: Duration) -> (Self, Vec<NodeOptions>) {
        let runtime = Runtime::new().unwrap();
        let doors: Vec<_> =
            nodes.iter().map(|node| runtime.block_on(open(node.cluster_address(), delay))).collect();
        let seeds: Vec<_> = doors.iter().map(|door| door.address).collect();
        let behind = |(node, door): (NodeOptions, &Arc<Door>)| {
            node.seeds(&seeds).argument("--cluster-advertise").argument(door.address.to_string())
        };
        let nodes = nodes.into_iter().zip(&doors).map(behind).collect();
        (Self { _runtime: runtime, doors }, nodes)
    }

    /// Whether what goes through the proxy of this node stands still.
    pub(crate) fn stall(&self, node: usize, is_stalled: bool) {
        self.doors[node].is_stalled.send_replace(is_stalled);
    }

    /// Ends one of the connections through the proxy of this node, if there is one.
    pub(crate) fn break_one(&self, node: usize, dice: &mut fastrand::Rng) -> bool {
        let connections = self.doors[node].connections();
        let broken = dice.choice(connections.iter());
        broken.into_iter().for_each(AbortHandle::abort);
        broken.is_some()
    }
}

async fn open(node: SocketAddr, delay: Duration) -> Arc<Door> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
    let listener = TcpListener::bind(address).await.unwrap();
    let (is_stalled, connections) = (watch::Sender::new(false), Mutex::default());
    let door = Arc::new(Door { address, node, delay, is_stalled, connections });
    tokio::spawn(accept(listener, Arc::clone(&door)));
    door
}

async fn accept(listener: TcpListener, door: Arc<Door>) {
    while let Ok((outer, _)) = listener.accept().await {
        let connection = tokio::spawn(connect(outer, Arc::clone(&door)));
        door.connections().push(connection.abort_handle());
    }
}

/// Until either side ends, or both are ended by force.
async fn connect(outer: TcpStream, door: Arc<Door>) {
    let Ok(inner) = TcpStream::connect(door.node).await else { return };
    outer.set_nodelay(true).unwrap();
    inner.set_nodelay(true).unwrap();
    let ((from_outer, to_outer), (from_inner, to_inner)) = (outer.into_split(), inner.into_split());
    tokio::select! {
        () = pass(from_outer, to_inner, &door) => {}
        () = pass(from_inner, to_outer, &door) => {}
    }
}

async fn pass(from: OwnedReadHalf, to: OwnedWriteHalf, door: &Door) {
    let (sender, receiver) = mpsc::channel(ON_THE_WAY);
    tokio::join!(read(from, sender, door.delay), write(to, receiver, door.is_stalled.subscribe()));
}

async fn read(mut from: OwnedReadHalf, to: mpsc::Sender<(Instant, Vec<u8>)>, delay: Duration) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(len @ 1..) = from.read(&mut chunk).await {
        if to.send((Instant::now() + delay, chunk[..len].to_vec())).await.is_err() {
            return;
        }
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut from: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut is_stalled: watch::Receiver<bool>,
) {
    while let Some((due, chunk)) = from.recv().await {
        sleep_until(due).await;
        if is_stalled.wait_for(|is_stalled| !is_stalled).await.is_err() || to.write_all(&chunk).await.is_err()
        {
            return;
        }
    }
}
