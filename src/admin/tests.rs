//! The admin port over a real socket.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{client::AdminError, *};
use crate::{
    actors::{
        group_coordinator::Groups,
        listener::{self, BoundPort, ConnectionBounds, ListenerOptions},
        partition::table::TopicTable,
        supervise::{ActorInfo, Placement, SupervisorHandle, SupervisorOptions},
    },
    clock::SystemClock,
    model::TimestampMs,
};

struct Admin {
    address: String,
    is_ready: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    root: SupervisorHandle,
}

async fn admin(bounds: ConnectionBounds) -> Admin {
    admin_within(bounds, TIMES).await
}

async fn admin_within(bounds: ConnectionBounds, times: Times) -> Admin {
    let (metrics, is_ready) = (Metrics::new(TimestampMs::new(0)), Arc::new(AtomicBool::new(false)));
    let (tree, asked) = (Tree::new(SystemClock::shared()), is_ready.clone());
    let ready = Arc::new(move || {
        let waiting = (!asked.load(Ordering::SeqCst)).then(|| "log orders-0 is recovering".to_owned());
        Readiness::unless(waiting.into_iter().collect())
    });
    let port = Arc::new(BoundPort::bind("127.0.0.1:0".parse().unwrap()).unwrap());
    let address = port.address().to_string();
    let (groups, topics) = (Groups::default(), TopicTable::default());
    let lag = Arc::new(LagMeter::new(groups, topics, None, metrics.clone(), SystemClock::shared(), 100));
    let cluster = Arc::new(|_: Option<&str>| cluster::ClusterReport::default());
    let source = AdminSource { ready, metrics: metrics.clone(), lag, cluster, tree: tree.clone() };
    let options = ListenerOptions {
        port,
        bounds: bounds.into(),
        grace: Duration::from_secs(20),
        serve: serve_within(source, times),
        metrics: metrics.clone(),
        clock: SystemClock::shared(),
    };
    let root = SupervisorHandle::new(SupervisorOptions::default());
    root.start_root(&tree, &Placement::here(), "node").await.unwrap();
    root.add(listener::child_spec("admin", Placement::here(), options)).await.unwrap();
    Admin { address, is_ready, metrics, root }
}

const BOUNDS: ConnectionBounds = ConnectionBounds { total: 8, per_address: 8 };

impl Admin {
    async fn get(&self, path: &str) -> (u16, String) {
        let (status, body) = client::get(&self.address, path).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Sends `request` as it stands and gives back all that comes until the connection ends.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _reset_is_an_end = timeout(Duration::from_mins(1), read).await.expect("it is closed in time");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[tokio::test]
async fn health_is_ok_while_readiness_waits_and_says_for_what() {
    let admin = admin(BOUNDS).await;
    assert_eq!(admin.get("/health").await, (200, r#"{"status":"ok"}"#.to_owned()));
    let (status, body) = admin.get("/ready").await;
    assert_eq!(status, 503);
    assert_eq!(body, r#"{"ready":false,"reasons":["log orders-0 is recovering"]}"#);
    admin.is_ready.store(true, Ordering::SeqCst);
    assert_eq!(admin.get("/ready").await, (200, r#"{"ready":true,"reasons":[]}"#.to_owned()));
}

#[tokio::test]
async fn metrics_are_scraped_as_they_stand() {
    let admin = admin(BOUNDS).await;
    admin.metrics.corrupt_batches.inc_by(3);
    let (status, body) = admin.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(body.contains("\npolylogue_corrupt_batches_total 3\n"), "{body}");
    assert!(body.ends_with("# EOF\n"));
    assert!(admin.raw(b"GET /metrics HTTP/1.0\r\n\r\n").await.contains(metrics::CONTENT_TYPE));
}

#[tokio::test]
async fn the_tree_comes_as_json_or_drawn() {
    let admin = admin(BOUNDS).await;
    let (status, body) = admin.get("/tree").await;
    let actors: Vec<ActorInfo> = serde_json::from_str(&body).unwrap();
    let paths: Vec<&str> = actors.iter().map(|actor| actor.path.as_str()).collect();
    assert_eq!((status, paths.as_slice()), (200, ["node", "node/admin"].as_slice()));
    let (_, drawn) = admin.get("/tree?format=text").await;
    assert_eq!(drawn, "node  Supervisor  running\n└── admin  Listener  running\n");
}

#[tokio::test]
async fn what_is_not_served_is_answered_with_its_status_and_json() {
    let admin = admin(BOUNDS).await;
    assert_eq!(admin.get("/nothing").await, (404, r#"{"error":"no such path"}"#.to_owned()));
    let answer = admin.raw(b"DELETE /tree HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    let answer = admin.raw(b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "its body is not awaited: {answer}");
}

#[tokio::test]
async fn garbage_and_oversized_requests_end_the_connection_and_nothing_else() {
    let admin = admin(BOUNDS).await;
    let answer = admin.raw(b"\0\xff\x17 not http \r\n\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let mut request = b"GET /health HTTP/1.1\r\nX: ".to_vec();
    request.resize(BUFFER_BYTES_MAX * 4, b'x');
    let answer = admin.raw(&request).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(admin.get("/health").await.0, 200);
}

#[tokio::test]
async fn a_request_that_never_ends_is_dropped_and_holds_up_nobody() {
    let times = Times { headers: Duration::from_millis(200), ..TIMES };
    let admin = admin_within(ConnectionBounds { total: 2, per_address: 2 }, times).await;
    let answer = tokio::join!(admin.raw(b"GET /health HTTP/1.1\r\nHost:"), admin.get("/health"));
    assert!(!answer.0.starts_with("HTTP/1.1 200"), "{}", answer.0);
    assert_eq!(answer.1.0, 200);
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let long = Duration::from_mins(10);
    let admin = admin_within(BOUNDS, Times { headers: long, connection: long }).await;
    let _idle = TcpStream::connect(&admin.address).await.unwrap();
    assert_eq!(admin.get("/health").await.0, 200);
    timeout(Duration::from_secs(15), admin.root.remove("admin")).await.unwrap().unwrap();
    let error = client::get(&admin.address, "/health").await.unwrap_err();
    assert!(matches!(error, AdminError::Connect { .. }), "{error:?}");
}

#[tokio::test]
async fn the_client_gives_up_on_a_node_that_does_not_answer() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let after = Duration::from_millis(50);
    let error = client::get_within(&address, "/health", after).await.unwrap_err();
    assert!(matches!(error, AdminError::Timeout { after: said } if said == after), "{error:?}");
}
