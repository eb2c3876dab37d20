//! The handlers as a client meets them: over a socket, on a node with real logs in a folder of its own.

mod admin;
mod bulk;
mod cluster;
mod configs;
mod offsets;
mod topics;
mod versions;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Handle,
    sync::watch,
    time::timeout,
};

use crate::{
    actors::{
        group_coordinator::{GroupRouter, Groups, Leaders, LeadersArgs, RouterArgs, tenure::NodeLeases},
        listener::{self, BoundPort, ConnectionBounds, ListenerOptions},
        membership::{
            Endpoint, LOGS_DIR, MembershipHandle, Rules,
            registry::alone::{begin, of_one},
        },
        partition::{
            BackgroundFlush, Bulk, Fs, RealFs, UpkeepThreads,
            partitions::{PartitionsArgs, Reconciler, Replication},
            scrubber::ScrubPace,
            table::TopicTable,
        },
        supervise::{ChildSpec, Ended, Placement, Slot, SupervisorHandle, SupervisorOptions, Tree},
    },
    clock::{Clock, SystemClock},
    config::{
        node::{ConsumerGroupSettings, HostPort, NodeConfig, NodeFlags, Surroundings},
        topic::TopicDefaults,
    },
    kafka::{AutoCreate, Broker, Budget, ConnectionLimits, Departed, LogLimit, RequestMeters},
    metrics::Metrics,
    model::{NodeId, PartitionIndex, TimestampMs},
    record::{BatchBuilder, Compression, NewRecord, Producer},
    telemetry::LogLevels,
    wire::{
        ErrorCode, Message, Reader, Request, Str,
        api::{
            create_topics::{CreatableTopic, CreateTopicsRequest},
            metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic},
            produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
        },
        frame,
    },
};

/// Ten times what is usual, and more.
const DEADLINE: Duration = Duration::from_mins(1);
const NODE: NodeId = NodeId::new(3);
const DEFAULT_PARTITIONS: i32 = 2;

/// A node's client door with everything behind it.
struct Door {
    address: SocketAddr,
    root: SupervisorHandle,
    ended: Ended,
    folder: tempfile::TempDir,
}

impl Door {
    async fn open() -> (Self, Client) {
        Self::open_with(true).await
    }

    async fn open_with(auto_create: bool) -> (Self, Client) {
        Self::open_in(tempfile::tempdir().unwrap(), auto_create).await
    }

    async fn open_in(folder: tempfile::TempDir, auto_create: bool) -> (Self, Client) {
        Self::open_beside(Bulk::new(Handle::current()), folder, auto_create).await
    }

    /// With these workers for who moves much.
    async fn open_beside(bulk: Bulk, folder: tempfile::TempDir, auto_create: bool) -> (Self, Client) {
        std::fs::create_dir(folder.path().join(LOGS_DIR)).unwrap();
        let clock = SystemClock::shared();
        let root = SupervisorHandle::new(SupervisorOptions::default());
        let tree = Tree::new(Arc::clone(&clock));
        let ended = root.start_root(&tree, &Placement::here(), "node").await.unwrap();
        let port = BoundPort::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = port.address();
        let broker = Arc::new(broker(&root, folder.path(), clock, address, (auto_create, bulk)).await);
        let options = ListenerOptions {
            port: Arc::new(port),
            bounds: ConnectionBounds { total: 10, per_address: 10 }.into(),
            grace: Duration::from_secs(1),
            metrics: Arc::clone(&broker.metrics),
            clock: Arc::clone(&broker.clock),
            serve: broker.serve(HostPort::new(address.ip().to_string(), address.port())),
        };
        root.add(listener::child_spec("kafka", Placement::here(), options)).await.unwrap();
        let door = Self { address, root, ended, folder };
        let client = door.client().await;
        (door, client)
    }

    async fn client(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap(), last: 0 }
    }

    async fn close(self) {
        self.root.stop();
        let _how = timeout(DEADLINE, self.ended).await.unwrap();
    }
}

/// The coordinators of groups.
async fn groups(
    root: &SupervisorHandle,
    folder: &std::path::Path,
    topics: &TopicTable,
    membership: &MembershipHandle,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Groups {
    let groups = Groups::default();
    let coordinators = SupervisorHandle::new(SupervisorOptions::default());
    root.add(coordinators.child_spec("coordinators", Placement::here())).await.unwrap();
    let router = RouterArgs {
        supervisor: coordinators,
        node: NODE,
        groups: groups.clone(),
        topics: topics.clone(),
        leaders: Leaders::new(LeadersArgs {
            node: NODE,
            topics: topics.clone(),
            membership: membership.clone(),
            io: Handle::current(),
            clock: Arc::clone(clock),
            peers: None,
        }),
        membership: membership.clone(),
        data: Handle::current(),
        io: Handle::current(),
        clock: Arc::clone(clock),
        settings: settings(folder).groups,
        metrics: Arc::clone(metrics),
        leases: NodeLeases::alone(),
    };
    let make = move |_| (GroupRouter, router.clone());
    root.add(ChildSpec::actor("group-router", Placement::here(), Slot::new(), make)).await.unwrap();
    groups
}

fn rules(topic_defaults: TopicDefaults) -> Rules {
    Rules {
        node: NODE,
        default_partitions: DEFAULT_PARTITIONS,
        default_replication_factor: None,
        partitions_max: 1_000,
        replicas_max: usize::MAX,
        topic_defaults,
        group_defaults: ConsumerGroupSettings::default(),
    }
}

/// The registry, the replicas, and what connections share.
async fn broker(
    root: &SupervisorHandle,
    folder: &std::path::Path,
    clock: Arc<dyn Clock>,
    address: SocketAddr,
    (auto_create, bulk): (bool, Bulk),
) -> Broker {
    let (fs, metrics): (Arc<dyn Fs>, _) = (Arc::new(RealFs), Metrics::new(clock.wall()));
    let endpoint =
        Endpoint { listener: "kafka".to_owned(), host: address.ip().to_string(), port: address.port() };
    let defaults = TopicDefaults::default();
    let (handle, spec) = of_one(Arc::clone(&fs), folder, rules(defaults.clone()));
    root.add(spec).await.unwrap();
    begin(&handle, vec![endpoint], DEADLINE).await.unwrap();
    let topics = TopicTable::default();
    let supervisor = SupervisorHandle::new(SupervisorOptions::default());
    root.add(supervisor.child_spec("partitions", Placement::here())).await.unwrap();
    let partitions = PartitionsArgs {
        replication: Replication::with_nobody(),
        supervisor,
        topics: topics.clone(),
        logs: folder.join(LOGS_DIR),
        fs,
        clock: Arc::clone(&clock),
        data: Handle::current(),
        io: Handle::current(),
        upkeep: UpkeepThreads::all_by(&Handle::current()),
        membership: handle.clone(),
        node: NODE,
        defaults,
        background_flush: BackgroundFlush { bytes: 1 << 20, after: Duration::from_secs(1) },
        bulk: bulk.clone(),
        retention_every: Duration::from_mins(1),
        scrub: ScrubPace::new(0, Duration::from_mins(1)),
        metrics: Arc::clone(&metrics),
        agreed: Arc::new(watch::channel(0).0),
    };
    let make = move |_| (Reconciler, partitions.clone());
    root.add(ChildSpec::actor("reconciler", Placement::here(), Slot::new(), make)).await.unwrap();
    let groups = groups(root, folder, &topics, &handle, &clock, &metrics).await;
    Broker {
        node_id: NODE,
        membership: handle,
        topics,
        groups,
        others: None,
        settings: settings(folder),
        levels: LogLevels::starting_with("warn,polylogue=info", |_| ()).unwrap(),
        auto_create: AutoCreate { enabled: auto_create, partitions: DEFAULT_PARTITIONS },
        clock,
        departed: Departed::default(),
        meters: RequestMeters::new(&metrics),
        metrics,
        limits: ConnectionLimits {
            request_bytes: 1 << 20,
            frame_timeout: DEADLINE,
            idle_timeout: DEADLINE,
            write_timeout: DEADLINE,
        },
        in_flight: Budget::new(64 << 20),
        frames: Arc::default(),
        bulk,
        complaints: LogLimit::default(),
    }
}

fn settings(folder: &std::path::Path) -> NodeConfig {
    let flags = NodeFlags {
        node_id: Some(NODE.get()),
        data_dir: Some(folder.to_owned()),
        settings: vec![("default-partitions".to_owned(), DEFAULT_PARTITIONS.to_string())],
        ..NodeFlags::default()
    };
    NodeConfig::load(&flags, None, &Surroundings::default()).unwrap()
}

/// A connection that asks one thing after the other.
struct Client {
    stream: TcpStream,
    last: i32,
}

impl Client {
    async fn ask<M: Request>(&mut self, version: i16, request: &M) -> M::Response {
        self.last += 1;
        let mut frame = BytesMut::new();
        let client_id = Str::from_static("test");
        frame::encode_request(&mut frame, version, self.last, Some(&client_id), request).unwrap();
        self.stream.write_all(&frame).await.unwrap();
        let mut answer = Reader::new(self.next_frame().await);
        let id = frame::decode_response_header(&mut answer, M::API, version).unwrap();
        assert_eq!(id, self.last, "answers come in the order of the requests");
        let response = <M::Response as Message>::decode(&mut answer, version).unwrap();
        answer.finish().unwrap();
        response
    }

    async fn next_frame(&mut self) -> Bytes {
        let mut frame = BytesMut::new();
        loop {
            if let Some(whole) = frame::take(&mut frame, 16 << 20).unwrap() {
                return whole;
            }
            let read = timeout(DEADLINE, self.stream.read_buf(&mut frame)).await.unwrap().unwrap();
            assert!(read > 0, "the node closed the connection");
        }
    }

    /// Makes topics, all of which are to succeed.
    async fn create(&mut self, names: &[&str], partitions: i32) {
        let topics = names.iter().map(|name| creatable(name, partitions)).collect();
        let request = CreateTopicsRequest { topics, ..CreateTopicsRequest::default() };
        let answer = self.ask(7, &request).await;
        assert!(answer.topics.iter().all(|topic| topic.error_code.is_none()), "{answer:?}");
    }

    async fn metadata(&mut self, version: i16, names: Option<&[&str]>, create: bool) -> MetadataResponse {
        let topic = |name: &&str| MetadataRequestTopic { name: Some((*name).into()), ..Default::default() };
        let request = MetadataRequest {
            topics: names.map(|names| names.iter().map(topic).collect()),
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        };
        self.ask(version, &request).await
    }

    /// Produces records with these times to a partition, one batch, on disk when it returns.
    async fn produce(&mut self, topic: &str, index: i32, times: &[i64]) {
        self.produce_batch(topic, index, batch(times)).await;
    }

    /// The same with this batch; the offset of its first record.
    async fn produce_batch(&mut self, topic: &str, index: i32, records: Bytes) -> i64 {
        let data = PartitionProduceData { index: PartitionIndex::new(index), records: Some(records) };
        let topic = TopicProduceData {
            name: topic.into(),
            partition_data: vec![data],
            ..TopicProduceData::default()
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![topic],
            ..ProduceRequest::default()
        };
        let answer = self.ask(9, &request).await;
        let partition = &answer.responses[0].partition_responses[0];
        assert!(partition.error_code.is_none(), "{partition:?}");
        partition.base_offset.get()
    }
}

/// Records with these times.
fn batch(times: &[i64]) -> Bytes {
    let mut batch = BatchBuilder::new(1 << 16);
    for time in times {
        let timestamp = TimestampMs::new(*time);
        assert!(batch.append(&NewRecord { timestamp, value: Some(b"v"), ..NewRecord::default() }));
    }
    batch.finish(Compression::None, None, Producer::NONE).unwrap()
}

fn creatable(name: &str, num_partitions: i32) -> CreatableTopic {
    CreatableTopic { name: name.into(), num_partitions, replication_factor: -1, ..CreatableTopic::default() }
}

/// Whether a client could produce to each of the topic's partitions.
fn is_usable(topic: &MetadataResponseTopic, partitions: usize) -> bool {
    let led = |partition: &crate::wire::api::metadata::MetadataResponsePartition| {
        partition.error_code.is_none() && partition.leader_id == NODE && partition.leader_epoch.get() >= 0
    };
    topic.error_code.is_none() && topic.partitions.len() == partitions && topic.partitions.iter().all(led)
}

fn codes(codes: impl IntoIterator<Item = ErrorCode>) -> Vec<i16> {
    codes.into_iter().map(ErrorCode::code).collect()
}
