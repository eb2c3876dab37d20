//! A leader and a follower, each with a folder of its own, and the pipes between them.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    runtime::Handle,
    sync::oneshot,
    time::{sleep, timeout},
};

use super::super::{ByteStream, ConnectError, Connecting, Connector, Leaders, Streams, serve};
use crate::{
    actors::{
        membership::{MembershipHandle, Rules, registry::alone::of_one},
        partition::{
            Acks, AppendReply, BackgroundFlush, Bulk, ClusterMessage, DiskAlarm, HandedOver, InCluster,
            Inheritance, LeaderArgs, LeaderMessage, LeaderReplica, PartitionHandle, Proposer, RealFs,
            UpkeepThreads,
            cluster::Answer,
            core::{PartitionState, SetAnswer, SetChange},
            follower::{FollowerArgs, FollowerMessage, FollowerReplica, Led},
        },
        supervise::{ActorPath, Address, Ended, Placement, Tree, spawn_with},
    },
    clock::{Clock, SystemClock},
    config::{
        node::ConsumerGroupSettings,
        topic::{Durability, TopicConfig, TopicDefaults},
    },
    metrics::Metrics,
    model::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionId, PartitionIndex, TimestampMs, TopicId},
    record::{BatchBuilder, BatchHeader, Compression, NewRecord, Producer},
    storage::{
        fs::Fs,
        log::{Log, LogOptions, LogReader, ReadBuffer, ReadOutcome, ReadRequest},
    },
};

pub(super) const DEADLINE: Duration = Duration::from_mins(1);
pub(in crate::actors::partition::replication) const LEADER: NodeId = NodeId::new(1);
pub(in crate::actors::partition::replication) const FOLLOWER: NodeId = NodeId::new(2);

pub(super) fn partition(index: i32) -> PartitionId {
    PartitionId { topic: TopicId::from_bytes([5; 16]), index: PartitionIndex::new(index) }
}

/// The wires: who is reached through them, how often they were laid, and what they do to bytes.
#[derive(Default)]
pub(super) struct Wires {
    pub(super) nodes: Mutex<HashMap<NodeId, Arc<dyn Leaders>>>,
    pub(super) laid: AtomicU64,
    /// A bit of this byte that comes from a leader is flipped, once.
    pub(super) flips: Arc<Mutex<Option<u64>>>,
}

pub(super) struct WireOf(pub(super) NodeId, pub(super) Arc<Wires>, pub(super) Handle);

impl Connector for WireOf {
    fn connect(&self, leader: NodeId) -> Connecting {
        let found = self.1.nodes.lock().unwrap().get(&leader).map(Arc::clone);
        let (me, wires, io) = (self.0, Arc::clone(&self.1), self.2.clone());
        Box::pin(async move {
            let Some(leaders) = found else { return Err(ConnectError("nobody is there".into())) };
            wires.laid.fetch_add(1, Ordering::SeqCst);
            let (ours, theirs) = tokio::io::duplex(256 * 1024);
            tokio::spawn(async move { serve(theirs, me, leaders, io).await });
            let flips = Arc::clone(&wires.flips);
            Ok(Box::new(Flipping { stream: ours, passed: 0, flips }) as Box<dyn ByteStream>)
        })
    }
}

struct Flipping {
    stream: DuplexStream,
    passed: u64,
    flips: Arc<Mutex<Option<u64>>>,
}

impl AsyncRead for Flipping {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let read = (buf.filled().len() - before) as u64;
        let mut flips = self.flips.lock().unwrap();
        if let Some(at) = flips.filter(|at| (self.passed..self.passed + read).contains(at)) {
            buf.filled_mut()[before + (at - self.passed) as usize] ^= 1;
            *flips = None;
        }
        drop(flips);
        self.passed += read;
        polled
    }
}

impl AsyncWrite for Flipping {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A controller that never answers: the sets stay as they are.
#[derive(Debug)]
struct NoController;

impl Proposer for NoController {
    fn propose(&self, _partition: PartitionId, _change: SetChange, answer: Answer) {
        answer(SetAnswer::Unknown);
    }

    fn give_up(&self, _partition: PartitionId) {}
}

/// What all replicas of a test share.
pub(in crate::actors::partition::replication) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) wires: Arc<Wires>,
    tree: Tree,
    membership: MembershipHandle,
    pub(super) metrics: Arc<Metrics>,
    incarnations: Arc<AtomicU32>,
    pub(super) config: Arc<RwLock<Arc<TopicConfig>>>,
    pub(super) alarm: DiskAlarm,
    /// Where the replicas' folders are.
    pub(super) fs: Arc<dyn Fs>,
    pub(super) io: Handle,
    pub(super) bulk: Bulk,
    pub(super) upkeep: UpkeepThreads,
    /// By which replicas go.
    pub(super) clock: Arc<dyn Clock>,
}

pub(in crate::actors::partition::replication) struct Leads {
    pub(in crate::actors::partition::replication) partition: PartitionHandle,
    pub(super) address: Address<LeaderMessage>,
    pub(super) ended: Ended,
}

pub(super) struct Follows {
    pub(super) partition: PartitionHandle,
    pub(super) address: Address<FollowerMessage>,
    pub(super) ended: Ended,
}

impl World {
    pub(in crate::actors::partition::replication) fn new(durability: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fs: Arc<dyn Fs> = RealFs::shared();
        let rules = Rules {
            node: LEADER,
            default_replication_factor: None,
            default_partitions: 1,
            partitions_max: 10,
            replicas_max: usize::MAX,
            topic_defaults: TopicDefaults::default(),
            group_defaults: ConsumerGroupSettings::default(),
        };
        // No replica here asks it for an epoch.
        let (membership, _spec) = of_one(fs, dir.path(), rules);
        let overrides = BTreeMap::from([
            ("durability".to_owned(), durability.to_owned()),
            ("min.insync.replicas".to_owned(), "1".to_owned()),
        ]);
        let config = TopicConfig::resolve(&overrides).unwrap();
        Self {
            dir,
            wires: Arc::default(),
            tree: Tree::new(SystemClock::shared()),
            membership,
            metrics: Metrics::new(TimestampMs::new(1)),
            incarnations: Arc::default(),
            config: Arc::new(RwLock::new(Arc::new(config))),
            alarm: DiskAlarm::default(),
            fs: RealFs::shared(),
            io: Handle::current(),
            bulk: Bulk::new(Handle::current()),
            upkeep: UpkeepThreads::all_by(&Handle::current()),
            clock: SystemClock::shared(),
        }
    }

    pub(in crate::actors::partition::replication) fn open(
        &self,
        node: NodeId,
        index: i32,
        epoch: i32,
    ) -> Box<Log> {
        let folder = self.folder(node, index);
        let (latest, options) = (LeaderEpoch::new(epoch), LogOptions::default());
        let clock = Arc::clone(&self.clock);
        Box::new(
            Log::open_to_follow(Arc::clone(&self.fs), &folder, partition(index), latest, options, clock)
                .unwrap()
                .0,
        )
    }

    pub(super) fn folder(&self, node: NodeId, index: i32) -> std::path::PathBuf {
        self.dir.path().join(node.to_string()).join(format!("t-{index}"))
    }

    fn flush_limits() -> BackgroundFlush {
        BackgroundFlush { bytes: 1 << 20, after: Duration::from_secs(1) }
    }

    /// Both nodes are in sync.
    fn state(&self, epoch: i32) -> Arc<RwLock<PartitionState>> {
        Arc::new(RwLock::new(PartitionState {
            partition_epoch: epoch,
            leader_epoch: LeaderEpoch::new(epoch),
            replicas: vec![LEADER, FOLLOWER],
            in_sync: vec![LEADER, FOLLOWER],
            electable: Vec::new(),
            on_disk: self.config.read().unwrap().durability == Durability::Disk,
        }))
    }

    /// A replica that leads with this log.
    pub(in crate::actors::partition::replication) async fn lead(
        &self,
        node: NodeId,
        index: i32,
        epoch: i32,
        log: HandedOver,
    ) -> Leads {
        self.lead_as(PartitionHandle::new(partition(index)), node, epoch, log).await
    }

    /// The same under a handle that others have already.
    pub(super) async fn lead_as(
        &self,
        partition: PartitionHandle,
        node: NodeId,
        epoch: i32,
        log: HandedOver,
    ) -> Leads {
        let index = partition.id().index.get();
        let cluster = InCluster {
            node,
            state: self.state(epoch),
            lag_time_max: Duration::from_mins(10),
            proposer: Arc::new(NoController),
            inheritance: Inheritance::to_lead(log, LeaderEpoch::new(epoch)),
            alarm: self.alarm.clone(),
            streams: self.streams(node),
        };
        let args = LeaderArgs {
            partition: partition.clone(),
            label: format!("t-{index}").into(),
            folder: self.folder(node, index),
            fs: Arc::clone(&self.fs),
            clock: Arc::clone(&self.clock),
            io: self.io.clone(),
            upkeep: self.upkeep.clone(),
            bulk: self.bulk.clone(),
            membership: self.membership.clone(),
            config: Arc::clone(&self.config),
            cluster,
            background_flush: Self::flush_limits(),
            metrics: Arc::clone(&self.metrics),
            vitals: None,
        };
        let path = ActorPath::root(&format!("leader-{node}-{index}-{epoch}"));
        let (address, ended) = spawn_with(&Placement::here(), &self.tree, path, None, |vitals| {
            (LeaderReplica, LeaderArgs { vitals: Some(vitals), ..args })
        })
        .await
        .unwrap();
        assert!(partition.leader_within(DEADLINE).await.is_some());
        Leads { partition, address, ended }
    }

    /// Where others find these leaders.
    pub(super) fn show(&self, node: NodeId, leaders: Vec<PartitionHandle>) {
        let found: HashMap<_, _> = leaders.into_iter().map(|leader| (leader.id(), leader)).collect();
        let leaders: Arc<dyn Leaders> = Arc::new(move |id: PartitionId| found.get(&id).cloned());
        self.wires.nodes.lock().unwrap().insert(node, leaders);
    }

    pub(super) fn streams(&self, node: NodeId) -> Streams {
        let connector = WireOf(node, Arc::clone(&self.wires), Handle::current());
        Streams::new(Arc::new(connector), Handle::current())
    }

    pub(super) async fn follow(
        &self,
        (node, index): (NodeId, i32),
        (leader, epoch): (NodeId, i32),
        streams: &Streams,
        log: Option<HandedOver>,
    ) -> Follows {
        let led = Led { by: Some(leader), epoch: LeaderEpoch::new(epoch) };
        let partition = PartitionHandle::new(partition(index));
        let args = FollowerArgs {
            partition: partition.clone(),
            label: format!("t-{index}").into(),
            folder: self.folder(node, index),
            fs: Arc::clone(&self.fs),
            clock: Arc::clone(&self.clock),
            io: self.io.clone(),
            upkeep: self.upkeep.clone(),
            config: Arc::clone(&self.config),
            background_flush: Self::flush_limits(),
            metrics: Arc::clone(&self.metrics),
            vitals: None,
            node,
            broker_epoch: BrokerEpoch::new(1),
            incarnations: Arc::clone(&self.incarnations),
            led: Arc::new(RwLock::new(led)),
            state: self.state(epoch),
            streams: streams.clone(),
            proposer: Arc::new(NoController),
            inheritance: log.map(Inheritance::of).unwrap_or_default(),
            alarm: self.alarm.clone(),
        };
        let count = self.incarnations.load(Ordering::SeqCst);
        let path = ActorPath::root(&format!("follower-{node}-{index}-{count}"));
        let (address, ended) = spawn_with(&Placement::here(), &self.tree, path, None, |vitals| {
            (FollowerReplica, FollowerArgs { vitals: Some(vitals), ..args })
        })
        .await
        .unwrap();
        Follows { partition, address, ended }
    }
}

pub(super) fn records(count: usize, value: usize) -> Bytes {
    let mut builder = BatchBuilder::new(4 << 20);
    let value = vec![b'x'; value];
    for _ in 0..count {
        let record =
            NewRecord { timestamp: TimestampMs::new(1), key: None, value: Some(&value), headers: &[] };
        assert!(builder.append(&record));
    }
    builder.finish(Compression::None, None, Producer::NONE).unwrap()
}

impl Leads {
    pub(super) async fn append(&self, batch: Bytes, acks: Acks) -> oneshot::Receiver<AppendReply> {
        let header = BatchHeader::parse(&batch).unwrap();
        self.partition.append(batch, header, acks, None).await.unwrap()
    }

    pub(super) async fn acknowledged(&self, batch: Bytes, acks: Acks) {
        let answer = self.append(batch, acks).await;
        timeout(DEADLINE, answer).await.expect("no answer in time").unwrap().unwrap();
    }

    pub(super) fn reader(&self) -> LogReader {
        self.partition.leader().unwrap().reader.clone()
    }

    pub(super) async fn resign(self) -> HandedOver {
        let (reply, log) = oneshot::channel();
        self.address.cast(LeaderMessage::Cluster(ClusterMessage::Resign { reply })).unwrap();
        timeout(DEADLINE, log).await.unwrap().unwrap()
    }
}

impl Follows {
    pub(super) async fn hand_over(self) -> HandedOver {
        let (reply, log) = oneshot::channel();
        self.address.cast(FollowerMessage::HandOver { reply }).unwrap();
        timeout(DEADLINE, log).await.unwrap().unwrap()
    }

    pub(super) fn doing(&self) -> String {
        self.address.vitals().detail().unwrap_or_default()
    }

    /// Ends as a killed process ends: at once, wherever it is.
    pub(super) async fn kill(self) {
        self.address.cell().kill();
        let _how = timeout(DEADLINE, self.ended).await.unwrap();
    }
}

/// All bytes of a log, checked.
pub(super) fn bytes_of(reader: &LogReader) -> Vec<u8> {
    let mut out = ReadBuffer::new();
    let mut from = reader.log_start_offset();
    while from < reader.log_end_offset() {
        let request = ReadRequest { from, ..ReadRequest::default() };
        let ReadOutcome::Read { next, skipped, .. } = reader.read(&request, &mut out).unwrap() else {
            panic!()
        };
        assert!(skipped.is_empty());
        from = next;
    }
    out.as_slice().to_vec()
}

/// Waits for a condition.
pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(DEADLINE, waiting).await.is_ok(), "{what}");
}

pub(in crate::actors::partition::replication) fn blank(log: Box<Log>) -> HandedOver {
    HandedOver { log, high_watermark: Offset::ZERO }
}
