//! The composition root: from a valid configuration to a running node, and down again.
//!
//! Nothing is decided here. Ports are bound first, so that a wrong one is found before any file is
//! touched; then the data folder is locked, the metadata is read, the replicas recover, and only then
//! does a client get an answer. On the way down it is the other way round, and the last thing that is
//! written is that all of it was.

mod doors;
mod error;
pub mod offline;
mod runtimes;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

pub use self::error::NodeError;
use self::{
    doors::{Door, bind, bounds},
    runtimes::Runtimes,
};
use crate::{
    actors::{
        group_coordinator::{GroupRouter, Groups, LagMeter, OFFSETS_TOPIC, RouterArgs},
        listener::{self, BoundPort, ConnectionBounds, CurrentBounds, ListenerOptions, Serve},
        membership::{
            Endpoint, LOGS_DIR, MembershipArgs, MembershipHandle, MetadataImage, Registration, Rules,
            membership,
        },
        partition::{
            BackgroundFlush, Waiter,
            partitions::{PartitionsArgs, Reconciler},
            scrubber::ScrubPace,
            table::TopicTable,
        },
        supervise::{
            ChildSpec, Ended, Exit, Placement, Shutdown, Slot, SupervisorHandle, SupervisorOptions, Tree,
        },
    },
    admin::{
        self, AdminSource, Readiness,
        cluster::{ADMIN_LISTENER, ClusterSource, Standing, cluster_source},
    },
    clock::{Clock, SystemClock},
    config::node::{HostPort, NodeConfig},
    kafka::{AutoCreate, Broker, Budget, ConnectionLimits, LogLimit, RequestMeters},
    metrics::Metrics,
    model::{BootId, TimestampMs},
    storage::{
        fs::{Fs, Lock, LockWait, real::RealFs},
        partition_folder,
    },
    telemetry::LogLevels,
};

/// The lock of a data folder: one process at a time (S7).
const LOCK_FILE: &str = "lock";
/// How long replicas may take to be started before clients are let in anyway.
const OPENING_TIME: Duration = Duration::from_secs(30);
/// Clients are let in when no further replica has opened for this long: most open within milliseconds, and
/// one that is stuck or has much to recover keeps nobody else's clients waiting.
const OPENING_PAUSE: Duration = Duration::from_millis(250);

/// Runs a node until it is told to stop, and stops it in order. `levels` are those of the process's log
/// lines.
pub fn run(config: &NodeConfig, levels: LogLevels) -> Result<(), NodeError> {
    let runtimes = Runtimes::start()?;
    let outcome = runtimes.control().block_on(async {
        let mut stop = Stop::new()?;
        let node = Node::start(config, &runtimes, levels).await?;
        node.run_until(&mut stop).await
    });
    runtimes.end();
    outcome
}

/// The signals that end a node.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self, NodeError> {
        let of = |kind| signal(kind).map_err(NodeError::Signals);
        Ok(Self { terminate: of(SignalKind::terminate())?, interrupt: of(SignalKind::interrupt())? })
    }

    async fn asked_for(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// A node that runs.
struct Node {
    config: NodeConfig,
    boot: BootId,
    root: SupervisorHandle,
    root_ended: Ended,
    listeners: SupervisorHandle,
    /// Of the listeners for clients.
    names: Vec<String>,
    topics: TopicTable,
    ready: watch::Sender<bool>,
    _data_folder: Box<dyn Lock>,
}

/// What the parts of a node share while they are put together.
struct Parts<'a> {
    config: &'a NodeConfig,
    runtimes: &'a Runtimes,
    boot: BootId,
    fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    tree: Tree,
    root: SupervisorHandle,
    topics: TopicTable,
    groups: Groups,
    levels: LogLevels,
}

impl Node {
    async fn start(config: &NodeConfig, runtimes: &Runtimes, levels: LogLevels) -> Result<Self, NodeError> {
        config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let clock = SystemClock::shared();
        let started = clock.wall();
        let kafka_doors =
            config.kafka_listeners().into_iter().map(Door::bind).collect::<Result<Vec<_>, _>>()?;
        let admin_port = bind("admin-listen", &config.admin_listen)?;
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let data_folder = lock_data_folder(fs.as_ref(), &config.data_dir)?;
        let metrics = Metrics::new(started);
        let restarts = Arc::clone(&metrics);
        let tree = Tree::observed(Arc::clone(&clock), move |kind| {
            restarts.actor_restarts.of([kind]).inc();
        });
        let options = SupervisorOptions { shutdown: Shutdown::Reverse, ..SupervisorOptions::default() };
        let root = SupervisorHandle::new(options);
        let here = Placement::on(runtimes.control().clone());
        let root_ended = root.start_root(&tree, &here, "node").await?;
        let parts = Parts {
            config,
            runtimes,
            boot: BootId::random(),
            fs,
            clock,
            metrics,
            tree,
            root,
            topics: TopicTable::default(),
            groups: Groups::default(),
            levels,
        };
        parts.start_all(kafka_doors, admin_port, root_ended, data_folder).await
    }

    /// Waits for a signal, or for the root of the tree to fail.
    async fn run_until(mut self, stop: &mut Stop) -> Result<(), NodeError> {
        tokio::select! {
            which = stop.asked_for() => tracing::info!("{which}: stopping"),
            exit = &mut self.root_ended => return Err(NodeError::Root(exit)),
        }
        self.stop().await
    }

    /// Clients first, then the logs, then everything else.
    async fn stop(self) -> Result<(), NodeError> {
        self.ready.send_replace(false);
        let deadline = Instant::now() + self.config.shutdown_grace;
        let removals = self.names.iter().map(|name| {
            let (listeners, name) = (self.listeners.clone(), name.clone());
            tokio::spawn(async move { listeners.remove(&name).await })
        });
        let mut late = false;
        for removal in removals.collect::<Vec<_>>() {
            late |= timeout_at(deadline, removal).await.is_err();
        }
        if late {
            tracing::warn!("connections were still open when the grace period ended");
        }
        let unclean = self.close_logs(deadline).await;
        self.root.stop();
        let ended = timeout(self.config.shutdown_grace, self.root_ended).await;
        match (unclean, ended) {
            (0, Ok(Exit::Stopped)) => {
                tracing::info!("stopped");
                Ok(())
            }
            (0, Ok(exit)) => Err(NodeError::Root(exit)),
            (0, Err(_)) => Err(NodeError::StopTimedOut(self.config.shutdown_grace)),
            (partitions, _) => Err(NodeError::Unclean { partitions }),
        }
    }

    /// Flushes every log and marks it as closed; how many could not be.
    async fn close_logs(&self, deadline: Instant) -> usize {
        let topics = self.topics.all();
        let partitions: Vec<_> = topics.iter().flat_map(|topic| topic.partitions().to_vec()).collect();
        let closing: Vec<_> = partitions.iter().map(|partition| partition.close_clean(self.boot)).collect();
        let mut unclean = 0;
        for closed in closing {
            if !timeout_at(deadline, closed).await.unwrap_or(false) {
                unclean += 1;
            }
        }
        unclean
    }
}

impl Parts<'_> {
    async fn start_all(
        self,
        doors: Vec<Door>,
        admin_port: BoundPort,
        root_ended: Ended,
        data_folder: Box<dyn Lock>,
    ) -> Result<Node, NodeError> {
        let began = self.clock.monotonic();
        let (ready, is_ready) = watch::channel(false);
        let listeners = SupervisorHandle::new(SupervisorOptions::default());
        let control = || Placement::on(self.runtimes.control().clone());
        let membership = self.start_membership(&doors, self.admin_endpoint(&admin_port)).await?;
        let image = membership.image();
        self.sweep(&image).await?;
        let agreed = self.start_partitions(&membership).await?;
        self.root.add(listeners.child_spec("listeners", control())).await?;
        let admin_address = admin_port.address();
        let admin = self.admin_source(is_ready, membership.clone());
        let admin = self.listener("admin", control(), admin_port, admin::serve(admin), self.bounds().into());
        listeners.add(admin).await?;
        self.wait_for_leaders(&image, agreed).await;
        self.start_groups(membership.clone(), &image).await?;
        let told: Vec<_> = doors.iter().map(Door::to_string).collect();
        let names: Vec<_> = doors.iter().map(|door| door.settings.name.clone()).collect();
        let broker = Arc::new(self.broker(&doors, membership.clone()));
        for door in doors {
            let data = Placement::on(self.runtimes.data().clone());
            let serve = Arc::clone(&broker).serve(door.advertised());
            let bounds = self.bounds_of_clients(door.bounds(), &membership);
            listeners.add(self.listener(&door.settings.name, data, door.port, serve, bounds)).await?;
        }
        ready.send_replace(true);
        tracing::info!(
            node = %self.config.node_id,
            listeners = %told.join(", "),
            admin = %admin_address,
            data_dir = %self.config.data_dir.display(),
            topics = image.topics().len(),
            partitions = image.partition_count(),
            "ready after {:?}",
            self.clock.monotonic().saturating_sub(began)
        );
        Ok(Node {
            config: self.config.clone(),
            boot: self.boot,
            root: self.root,
            root_ended,
            listeners,
            names,
            topics: self.topics,
            ready,
            _data_folder: data_folder,
        })
    }

    async fn start_membership(&self, doors: &[Door], admin: Endpoint) -> Result<MembershipHandle, NodeError> {
        let endpoint = |door: &Door| {
            let HostPort { host, port } = door.advertised();
            Endpoint { listener: door.settings.name.clone(), host, port }
        };
        let endpoints = doors.iter().map(endpoint).chain([admin]).collect();
        let registration = Registration { node: self.config.node_id, boot: self.boot, endpoints };
        let rules = Rules {
            node: self.config.node_id,
            default_partitions: self.config.default_partitions,
            default_replication_factor: self.config.default_replication_factor,
            partitions_max: self.config.limits.partitions as usize,
            topic_defaults: self.config.topic_defaults.clone(),
            group_defaults: self.config.groups.consumer.clone(),
        };
        let args = MembershipArgs {
            fs: Arc::clone(&self.fs),
            data_dir: self.config.data_dir.clone(),
            registration,
            rules,
        };
        let control = || Placement::on(self.runtimes.control().clone());
        let supervisor = SupervisorHandle::new(SupervisorOptions::default());
        self.root.add(supervisor.child_spec("membership", control())).await?;
        let (handle, spec) = membership("registry", control(), args);
        supervisor.add(spec).await?;
        Ok(handle)
    }

    /// Where tools that look at all nodes find this one's admin port. One that is bound to every address is told by
    /// the name that clients know the node by.
    fn admin_endpoint(&self, port: &BoundPort) -> Endpoint {
        let address = port.address();
        let named = &self.config.kafka_advertise.host;
        let host = if address.ip().is_unspecified() { named } else { &self.config.admin_listen.host };
        Endpoint { listener: ADMIN_LISTENER.to_owned(), host: host.clone(), port: address.port() }
    }

    /// Puts aside what belongs to nobody, before anybody opens anything (S12).
    async fn sweep(&self, image: &MetadataImage) -> Result<(), NodeError> {
        let logs = self.logs();
        let known = known_folders(&logs, image);
        let (fs, now) = (Arc::clone(&self.fs), self.clock.wall());
        let sweeping = self.runtimes.io().spawn_blocking(move || sweep(fs.as_ref(), &logs, &known, now));
        sweeping.await.map_err(NodeError::thread)?
    }

    /// Starts the reconciler; what it has agreed with last is told by the watch.
    async fn start_partitions(
        &self,
        membership: &MembershipHandle,
    ) -> Result<watch::Receiver<u64>, NodeError> {
        let control = || Placement::on(self.runtimes.control().clone());
        let supervisor = SupervisorHandle::new(SupervisorOptions::default());
        self.root.add(supervisor.child_spec("partitions", control())).await?;
        let (agreed, on_agreed) = watch::channel(0);
        let storage = &self.config.storage;
        let args = PartitionsArgs {
            supervisor,
            topics: self.topics.clone(),
            logs: self.logs(),
            fs: Arc::clone(&self.fs),
            clock: Arc::clone(&self.clock),
            data: self.runtimes.data().clone(),
            io: self.runtimes.io().clone(),
            membership: membership.clone(),
            node: self.config.node_id,
            defaults: self.config.topic_defaults.clone(),
            background_flush: BackgroundFlush {
                bytes: storage.replicated_flush_bytes,
                after: storage.replicated_flush_interval,
            },
            retention_every: storage.retention_check_interval,
            scrub: ScrubPace::new(storage.scrub_bytes_per_second, storage.scrub_interval),
            metrics: Arc::clone(&self.metrics),
            agreed: Arc::new(agreed),
        };
        let make = move |_| (Reconciler, args.clone());
        self.root.add(ChildSpec::actor("reconciler", control(), Slot::new(), make)).await?;
        Ok(on_agreed)
    }

    /// Starts who keeps the coordinators of groups at work.
    async fn start_groups(
        &self,
        membership: MembershipHandle,
        image: &MetadataImage,
    ) -> Result<(), NodeError> {
        let control = || Placement::on(self.runtimes.control().clone());
        let supervisor = SupervisorHandle::new(SupervisorOptions::default());
        self.root.add(supervisor.child_spec("coordinators", control())).await?;
        let args = RouterArgs {
            supervisor,
            node: self.config.node_id,
            groups: self.groups.clone(),
            topics: self.topics.clone(),
            membership,
            data: self.runtimes.data().clone(),
            io: self.runtimes.io().clone(),
            clock: Arc::clone(&self.clock),
            settings: self.config.groups.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let make = move |_| (GroupRouter, args.clone());
        self.root.add(ChildSpec::actor("group-router", control(), Slot::new(), make)).await?;
        // So that members of a node that comes back find their coordinators, be they loading.
        let there = image.topic_named(OFFSETS_TOPIC).is_some();
        if there && self.groups.until_there(OPENING_TIME).await.is_err() {
            tracing::error!("coordinators of groups were not started within {OPENING_TIME:?}");
        }
        Ok(())
    }

    /// Waits while replicas open, so that the clients of a node that comes back find leaders.
    async fn wait_for_leaders(&self, image: &MetadataImage, mut agreed: watch::Receiver<u64>) {
        let deadline = Instant::now() + OPENING_TIME;
        let index = image.index();
        let reconciled = timeout_at(deadline, agreed.wait_for(|agreed| *agreed >= index)).await;
        if !matches!(reconciled, Ok(Ok(_))) {
            tracing::error!("not all partitions were started within {OPENING_TIME:?}");
        }
        let topics = self.topics.all();
        let mut opening: Vec<_> = topics.iter().flat_map(|topic| topic.partitions()).collect();
        let waiter = Waiter::default();
        let _signed_in: Vec<_> = opening.iter().map(|partition| partition.sign_in(&waiter)).collect();
        let (mut left, mut pause_ends) = (usize::MAX, Instant::now());
        loop {
            opening.retain(|partition| partition.leader().is_none());
            if opening.is_empty() {
                return;
            }
            if opening.len() < left {
                (left, pause_ends) = (opening.len(), Instant::now() + OPENING_PAUSE);
            }
            if timeout_at(pause_ends.min(deadline), waiter.notified()).await.is_err() {
                break;
            }
        }
        tracing::warn!("{left} partitions have no leader yet; serving the others");
    }

    fn broker(&self, doors: &[Door], membership: MembershipHandle) -> Broker {
        let limits = &self.config.limits;
        let settings = self.config.with_kafka_listeners(doors.iter().map(Door::as_bound));
        Broker {
            node_id: self.config.node_id,
            membership,
            topics: self.topics.clone(),
            groups: self.groups.clone(),
            settings,
            levels: self.levels.clone(),
            auto_create: AutoCreate {
                enabled: self.config.auto_create_topics,
                partitions: self.config.default_partitions,
            },
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            meters: RequestMeters::new(&self.metrics),
            limits: ConnectionLimits {
                request_bytes: usize::try_from(limits.request_bytes).unwrap_or(usize::MAX),
                frame_timeout: limits.frame_timeout,
                idle_timeout: limits.idle_timeout,
                write_timeout: limits.write_timeout,
            },
            in_flight: Budget::new(usize::try_from(limits.in_flight_bytes).unwrap_or(usize::MAX)),
            frames: Arc::default(),
            complaints: LogLimit::default(),
        }
    }

    fn bounds(&self) -> ConnectionBounds {
        let limits = &self.config.limits;
        bounds(limits.connections, limits.connections_per_address)
    }

    /// `of_file`, unless others were set while the node runs: for clients. Whoever asks how the node is
    /// must get through in any case.
    fn bounds_of_clients(&self, of_file: ConnectionBounds, membership: &MembershipHandle) -> CurrentBounds {
        let (node, membership) = (self.config.node_id, membership.clone());
        CurrentBounds::looked_up(move || {
            let image = membership.image();
            let dynamic = image.dynamic_configs(node);
            ConnectionBounds {
                total: dynamic.number("max.connections").unwrap_or(of_file.total),
                per_address: dynamic.number("max.connections.per.ip").unwrap_or(of_file.per_address),
            }
        })
    }

    fn listener(
        &self,
        name: &str,
        place: Placement,
        port: BoundPort,
        serve: Serve,
        bounds: CurrentBounds,
    ) -> ChildSpec {
        let options = ListenerOptions {
            port: Arc::new(port),
            bounds,
            grace: self.config.shutdown_grace / 2,
            serve,
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.clock),
        };
        listener::child_spec(name, place, options)
    }

    fn admin_source(&self, is_ready: watch::Receiver<bool>, membership: MembershipHandle) -> AdminSource {
        let topics = self.topics.clone();
        let ready = move || {
            let mut reasons = Vec::new();
            if !*is_ready.borrow() {
                reasons.push("the node is starting or stopping".to_owned());
            }
            let leaderless = |topic: &Arc<crate::actors::partition::table::Topic>| {
                topic.partitions().iter().filter(|partition| partition.leader().is_none()).count()
            };
            let without: usize = topics.all().iter().map(leaderless).sum();
            if without > 0 {
                reasons.push(format!("{without} partitions have no leader"));
            }
            Readiness::unless(reasons)
        };
        AdminSource {
            ready: Arc::new(ready),
            metrics: Arc::clone(&self.metrics),
            lag: Arc::new(self.lag_meter()),
            cluster: self.cluster_source(membership),
            tree: self.tree.clone(),
        }
    }

    /// A node alone decides by itself.
    fn cluster_source(&self, membership: MembershipHandle) -> ClusterSource {
        let node = self.config.node_id;
        let standing = Standing { controller: Some(node), voters: vec![node] };
        let image = move || membership.image();
        cluster_source(node, self.topics.clone(), image, move || standing.clone())
    }

    fn lag_meter(&self) -> LagMeter {
        LagMeter::new(
            self.groups.clone(),
            self.topics.clone(),
            Arc::clone(&self.metrics),
            Arc::clone(&self.clock),
            self.config.groups.lag_metrics_max as usize,
        )
    }

    fn logs(&self) -> PathBuf {
        self.config.data_dir.join(LOGS_DIR)
    }
}

/// The folders of all partitions there are, and of those whose deletion is not finished.
fn known_folders(logs: &Path, image: &MetadataImage) -> BTreeSet<PathBuf> {
    let living = image.topics().values().flat_map(|topic| {
        topic.partition_ids().map(|id| partition_folder::path_of(logs, &topic.name, id.index))
    });
    let deleted = image.deleted_topics().values().flat_map(|topic| {
        (0..topic.partitions).map(|index| {
            partition_folder::path_of(logs, &topic.name, crate::model::PartitionIndex::new(index))
        })
    });
    living.chain(deleted).collect()
}

fn sweep(fs: &dyn Fs, logs: &Path, known: &BTreeSet<PathBuf>, now: TimestampMs) -> Result<(), NodeError> {
    let failed = |source| NodeError::DataDir { path: logs.to_owned(), source };
    fs.create_dir_all(logs).map_err(failed)?;
    fs.sync_dir(&crate::storage::fs::folder_of(logs)).map_err(failed)?;
    partition_folder::sweep(fs, logs, known, now).map_err(failed)?;
    Ok(())
}

fn lock_data_folder(fs: &dyn Fs, path: &Path) -> Result<Box<dyn Lock>, NodeError> {
    let failed = |source| NodeError::DataDir { path: path.to_owned(), source };
    fs.create_dir_all(path).map_err(failed)?;
    match fs.lock(&path.join(LOCK_FILE), LockWait::Fail) {
        Ok(lock) => Ok(lock),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(NodeError::InUse { path: path.to_owned() })
        }
        Err(error) => Err(failed(error)),
    }
}
