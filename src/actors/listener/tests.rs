//! The listener over real sockets on loopback.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep},
};

use super::*;
use crate::{
    actors::supervise::{ActorPath, ActorState, Fault, SupervisorHandle, SupervisorOptions, Tree},
    clock::SystemClock,
    model::TimestampMs,
};

/// Ten times what is usual, and more, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

struct World {
    root: SupervisorHandle,
    tree: Tree,
    port: Arc<BoundPort>,
    metrics: Arc<Metrics>,
    served: Arc<AtomicU64>,
}

/// Says `hi`, then echoes until the peer or the listener ends it; says `bye` to the latter.
async fn echo(mut stream: TcpStream, mut context: ConnectionContext) {
    let _gone = stream.write_all(b"hi").await;
    let mut buffer = [0; 64];
    loop {
        tokio::select! {
            () = told_to_stop(&mut context.shutdown) => {
                let _gone = stream.write_all(b"bye").await;
                return;
            }
            read = stream.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(_) if buffer[0] == b'!' => panic!("asked to"),
                Ok(len) => stream.write_all(&buffer[..len]).await.unwrap(),
            }
        }
    }
}

async fn world(total: usize, per_address: usize, serve: Option<Serve>, grace: Duration) -> World {
    let metrics = Metrics::new(TimestampMs::new(0));
    let served = Arc::new(AtomicU64::new(0));
    let port = Arc::new(BoundPort::bind("127.0.0.1:0".parse().unwrap()).unwrap());
    let served_too = served.clone();
    let serve = serve.unwrap_or_else(|| {
        Arc::new(move |stream, context| {
            served_too.fetch_add(1, Ordering::SeqCst);
            Box::pin(echo(stream, context))
        })
    });
    let options = ListenerOptions {
        port: port.clone(),
        bounds: ConnectionBounds { total, per_address }.into(),
        grace,
        serve,
        metrics: metrics.clone(),
        clock: SystemClock::shared(),
    };
    let tree = Tree::new(SystemClock::shared());
    let root = SupervisorHandle::new(SupervisorOptions::default());
    root.start_root(&tree, &Placement::here(), "node").await.unwrap();
    root.add(child_spec("kafka", Placement::here(), options)).await.unwrap();
    World { root, tree, port, metrics, served }
}

impl World {
    /// A connection that is being served.
    async fn connect(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.port.address()).await.unwrap();
        assert_eq!(read(&mut stream, 2).await.unwrap(), b"hi");
        stream
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn open(&self) -> i64 {
        self.metrics.connections.of(["kafka"]).get()
    }
}

async fn read(stream: &mut TcpStream, len: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; len];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut buffer)).await.expect("an answer in time")?;
    Ok(buffer)
}

#[tokio::test]
async fn a_connection_is_served_counted_and_set_up() {
    let world = world(10, 10, None, DEADLINE).await;
    let mut stream = world.connect().await;
    stream.write_all(b"ping").await.unwrap();
    assert_eq!(read(&mut stream, 4).await.unwrap(), b"ping");
    assert_eq!((world.open(), world.metrics.connections_accepted.of(["kafka"]).get()), (1, 1));
    drop(stream);
    world.until("it no longer counts", |world| world.open() == 0).await;
}

#[tokio::test]
async fn accepted_sockets_do_not_delay_small_answers() {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let mut told = told;
    let serve: Serve = Arc::new(move |stream, _context| {
        let socket = socket2::SockRef::from(&stream);
        tell.send((stream.nodelay().unwrap(), socket.keepalive().unwrap())).unwrap();
        Box::pin(async {})
    });
    let world = world(10, 10, Some(serve), DEADLINE).await;
    let _stream = TcpStream::connect(world.port.address()).await.unwrap();
    assert_eq!(told.recv().await, Some((true, true)));
}

#[tokio::test]
async fn past_a_bound_the_newest_connection_is_closed_at_once() {
    for (total, per_address, label) in [(2, 10, "total"), (10, 2, "per_address")] {
        let world = world(total, per_address, None, DEADLINE).await;
        let first = world.connect().await;
        let mut second = world.connect().await;
        let mut third = TcpStream::connect(world.port.address()).await.unwrap();
        let error = read(&mut third, 2).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof), "{error}");
        assert_eq!(world.metrics.connections_refused.of(["kafka", label]).get(), 1);
        second.write_all(b"still").await.unwrap();
        assert_eq!(read(&mut second, 5).await.unwrap(), b"still");
        drop(first);
        world.until("one has left", |world| world.open() == 1).await;
        world.connect().await;
    }
}

#[tokio::test]
async fn a_panic_in_one_connection_ends_no_other() {
    let world = world(10, 10, None, DEADLINE).await;
    let (mut good, mut bad) = (world.connect().await, world.connect().await);
    bad.write_all(b"!").await.unwrap();
    world.until("it no longer counts", |world| world.open() == 1).await;
    good.write_all(b"ping").await.unwrap();
    assert_eq!(read(&mut good, 4).await.unwrap(), b"ping");
    world
        .until("it is counted", |world| world.metrics.connections_dropped.of(["kafka", "panic"]).get() == 1)
        .await;
}

#[tokio::test]
async fn a_stopping_listener_closes_its_port_and_lets_connections_end() {
    let world = world(10, 10, None, DEADLINE).await;
    let mut stream = world.connect().await;
    world.root.remove("kafka").await.unwrap();
    assert_eq!(read(&mut stream, 3).await.unwrap(), b"bye");
    assert_eq!(world.open(), 0);
    let refused = TcpStream::connect(world.port.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn connections_that_outlast_the_grace_period_are_cut_off() {
    let serve: Serve = Arc::new(|stream, context| {
        Box::pin(async move {
            let _held = (stream, context);
            std::future::pending::<()>().await;
        })
    });
    let world = world(10, 10, Some(serve), Duration::from_millis(50)).await;
    let mut stream = TcpStream::connect(world.port.address()).await.unwrap();
    world.until("it is served", |world| world.open() == 1).await;
    world.root.remove("kafka").await.unwrap();
    assert_eq!(world.open(), 0);
    assert!(read(&mut stream, 1).await.is_err());
}

#[tokio::test]
async fn a_killed_listener_leaves_no_connection_and_is_back_on_its_port() {
    let world = world(10, 10, None, DEADLINE).await;
    let mut stream = world.connect().await;
    let path = ActorPath::root("node").child("kafka");
    assert!(world.tree.kill(&path));
    assert!(read(&mut stream, 1).await.is_err(), "cut off, not told");
    let _served_by_the_next = world.connect().await;
    let info = world.tree.get(&path).unwrap();
    assert_eq!((info.state, info.restarts), (ActorState::Running, 1));
    assert_eq!(world.served.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_made_while_the_listener_restarts_is_served_by_the_next() {
    let world = world(10, 10, None, DEADLINE).await;
    let path = ActorPath::root("node").child("kafka");
    world.tree.faults().arm("node/kafka", Fault::FailStart, 2);
    assert!(world.tree.kill(&path));
    world.until("it has failed", |world| world.tree.get(&path).unwrap().state != ActorState::Running).await;
    world.connect().await;
}

/// Fails as often as it is told to, then gives what the socket gives.
struct Failing(VecDeque<io::Error>, tokio::net::TcpListener);

impl accept::Accept for Failing {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        match self.0.pop_front() {
            Some(error) => Err(error),
            None => self.1.accept().await,
        }
    }
}

#[tokio::test]
async fn errors_of_accept_are_counted_and_do_not_end_the_loop() {
    let port = Arc::new(BoundPort::bind("127.0.0.1:0".parse().unwrap()).unwrap());
    let metrics = Metrics::new(TimestampMs::new(0));
    let options = ListenerOptions {
        port: port.clone(),
        bounds: ConnectionBounds { total: 1, per_address: 1 }.into(),
        grace: DEADLINE,
        serve: Arc::new(|stream, context| Box::pin(echo(stream, context))),
        metrics: metrics.clone(),
        clock: SystemClock::shared(),
    };
    let no_descriptors = rustix::io::Errno::MFILE.raw_os_error();
    let errors = [
        io::Error::from_raw_os_error(no_descriptors),
        ErrorKind::ConnectionAborted.into(),
        io::Error::from_raw_os_error(no_descriptors),
    ];
    let (stop, told) = watch::channel(false);
    let accepting = AcceptLoop::new("kafka".into(), options, told);
    let running = tokio::spawn(accepting.run(Failing(errors.into(), port.open().unwrap())));
    let mut stream = TcpStream::connect(port.address()).await.unwrap();
    assert_eq!(read(&mut stream, 2).await.unwrap(), b"hi");
    assert_eq!(metrics.accept_errors.of(["kafka"]).get(), 3);
    stop.send_replace(true);
    assert_eq!(read(&mut stream, 3).await.unwrap(), b"bye");
    running.await.unwrap();
}
