//! The composition root: from a valid configuration to a running node, and down again.
//!
//! Nothing is decided here. Ports are bound first, so that a wrong one is found before any file is
//! touched; then the data folder is locked, the metadata is read, the replicas recover, and only then
//! does a client get an answer. On the way down it is the other way round, and the last thing that is
//! written is that all of it was.

mod cluster;
mod data_folder;
mod doors;
mod error;
mod footprint;
mod groups;
mod limits;
pub mod offline;
mod others;
mod replicating;
mod runtimes;
mod telling;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{oneshot, watch},
    time::{Instant, timeout, timeout_at},
};

pub use self::error::NodeError;
use self::{
    cluster::ClusterDoor,
    data_folder::{known_folders, lock_data_folder, sweep},
    doors::{Door, bind, bounds},
    groups::Desk,
    limits::OpenFiles,
    runtimes::Runtimes,
};
use crate::{
    actors::{
        group_coordinator::Groups,
        listener::{self, BoundPort, ConnectionBounds, CurrentBounds, ListenerOptions, Serve},
        membership::{
            self, Endpoint, LOGS_DIR, MembershipHandle, MetadataImage,
            member::{Member, clean},
        },
        partition::{
            BackgroundFlush, DiskAlarm, Waiter,
            partitions::{PartitionsArgs, Reconciler, ReconcilerMessage},
            scrubber::ScrubPace,
            table::TopicTable,
        },
        supervise::{
            ChildSpec, Ended, Exit, Placement, Shutdown, Slot, SupervisorHandle, SupervisorOptions, Tree,
        },
    },
    admin::{self, cluster::ADMIN_LISTENER},
    clock::{Clock, GuardedClock},
    config::node::{HostPort, NodeConfig},
    kafka::{AutoCreate, Broker, Budget, ConnectionLimits, Departed, LogLimit, RequestMeters},
    metrics::Metrics,
    model::BootId,
    storage::fs::{Fs, Lock, real::RealFs, sparing::SparingFs},
    telemetry::LogLevels,
};

/// How long replicas may take to be started before clients are let in anyway.
const OPENING_TIME: Duration = Duration::from_secs(30);
/// Clients are let in when no further replica has opened for this long: most open within milliseconds, and
/// one that is stuck or has much to recover keeps nobody else's clients waiting.
const OPENING_PAUSE: Duration = Duration::from_millis(250);

/// Runs a node until it is told to stop, and stops it in order. `levels` are those of the process's log
/// lines.
pub fn run(config: &NodeConfig, levels: LogLevels) -> Result<(), NodeError> {
    limits::raise();
    let runtimes = Runtimes::start()?;
    let outcome = runtimes.control().block_on(async {
        let mut stop = Stop::new()?;
        match Node::start(config, &runtimes, levels, &mut stop).await {
            Ok(node) => {
                tokio::spawn(footprint::release_after_start());
                node.run_until(&mut stop).await
            }
            Err(NodeError::StoppedEarly) => Ok(()),
            Err(error) => Err(error),
        }
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
    member: Member,
    reconciler: Slot<ReconcilerMessage>,
    alarm: DiskAlarm,
    fs: Arc<dyn Fs>,
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
    desk: Desk,
    levels: LogLevels,
    alarm: DiskAlarm,
    files: OpenFiles,
}

impl Node {
    async fn start(
        config: &NodeConfig,
        runtimes: &Runtimes,
        levels: LogLevels,
        stop: &mut Stop,
    ) -> Result<Self, NodeError> {
        config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let clock = GuardedClock::shared();
        let started = clock.wall();
        let kafka_doors =
            config.kafka_listeners().into_iter().map(Door::bind).collect::<Result<Vec<_>, _>>()?;
        let admin_port = bind("admin-listen", &config.admin_listen)?;
        let cluster_door = ClusterDoor::bind(config)?;
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let data_folder = lock_data_folder(fs.as_ref(), &config.data_dir)?;
        membership::offline::prepare(&fs, &config.data_dir)?;
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
            desk: Desk::default(),
            levels,
            alarm: DiskAlarm::default(),
            files: OpenFiles::now(),
        };
        parts.start_all(kafka_doors, admin_port, cluster_door, (root_ended, data_folder), stop).await
    }

    /// Waits for a signal, or for the root of the tree to fail.
    async fn run_until(mut self, stop: &mut Stop) -> Result<(), NodeError> {
        tokio::select! {
            which = stop.asked_for() => tracing::info!("{which}: stopping"),
            exit = &mut self.root_ended => return Err(NodeError::Root(exit)),
            error = cluster::failure(self.member.clone()) => return Err(error),
            partition = self.alarm.raised() => return Err(NodeError::DiskFailed { partition }),
        }
        self.stop().await
    }

    /// Clients first, then the logs, then everything else.
    async fn stop(self) -> Result<(), NodeError> {
        self.ready.send_replace(false);
        let deadline = Instant::now() + self.config.shutdown_grace;
        if !self.member.registrar.leave(self.config.shutdown_grace / 2).await {
            tracing::warn!("the node stops although it leads partitions: nobody else could, or not in time");
        }
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
        if unclean == 0 {
            let path = self.config.data_dir.clone();
            let left = clean::leave(self.fs.as_ref(), &path, self.boot);
            left.map_err(|source| NodeError::DataDir { path, source })?;
        }
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
        let (reply, closed) = oneshot::channel();
        let message = ReconcilerMessage::CloseClean { boot: self.boot, reply };
        let told = self.reconciler.get().is_some_and(|reconciler| reconciler.cast(message).is_ok());
        match timeout_at(deadline, closed).await {
            Ok(Ok(unclean)) if told => unclean,
            // Some are, some are not; the next start finds out.
            Ok(_) | Err(_) => self.topics.all().iter().map(|topic| topic.partitions().len()).sum(),
        }
    }
}

impl Parts<'_> {
    async fn start_all(
        self,
        doors: Vec<Door>,
        admin_port: BoundPort,
        cluster_door: ClusterDoor,
        (root_ended, data_folder): (Ended, Box<dyn Lock>),
        stop: &mut Stop,
    ) -> Result<Node, NodeError> {
        let began = self.clock.monotonic();
        let (ready, is_ready) = watch::channel(false);
        let (opened, are_opened) = watch::channel(false);
        let listeners = SupervisorHandle::new(SupervisorOptions::default());
        let control = || Placement::on(self.runtimes.control().clone());
        let admin_endpoint = self.admin_endpoint(&admin_port);
        let member = self.start_membership(&doors, admin_endpoint, cluster_door, are_opened).await?;
        let membership = member.registry.clone();
        let leaders = self.open_desk(&member);
        self.root.add(listeners.child_spec("listeners", control())).await?;
        let admin_address = admin_port.address();
        let admin = self.admin_source(is_ready, member.clone(), &leaders);
        let admin = self.listener("admin", control(), admin_port, admin::serve(admin), self.bounds().into());
        listeners.add(admin).await?;
        cluster::wait_until(&member, stop, |status| status.reconcile).await?;
        let image = membership.image();
        if let Some(shortage) = self.files.shortage(&image, self.config.node_id) {
            tracing::warn!("{shortage}");
        }
        self.sweep(&image).await?;
        let reconciler = self.open_replicas(&member, &opened, stop).await?;
        self.start_groups(&member, leaders, &image).await?;
        let told: Vec<_> = doors.iter().map(Door::to_string).collect();
        let names: Vec<_> = doors.iter().map(|door| door.settings.name.clone()).collect();
        let broker = Arc::new(self.broker(&doors, &member));
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
            member,
            reconciler,
            alarm: self.alarm,
            fs: self.fs,
            _data_folder: data_folder,
        })
    }

    /// Starts the replicas, and waits until the node may serve and has what it leads.
    async fn open_replicas(
        &self,
        member: &Member,
        opened: &watch::Sender<bool>,
        stop: &mut Stop,
    ) -> Result<Slot<ReconcilerMessage>, NodeError> {
        let image = member.registry.image();
        cluster::speak_for_registration(member, &image, self.config.node_id);
        let (agreed, reconciler) = self.start_partitions(member).await?;
        self.wait_until_agreed(&image, agreed.clone()).await;
        opened.send_replace(true);
        cluster::wait_until(member, stop, |status| status.serves).await?;
        let image = member.registry.image();
        self.wait_until_agreed(&image, agreed).await;
        self.wait_for_leaders(&image).await;
        Ok(reconciler)
    }

    /// What the cluster knows, and this node's part in that.
    async fn start_membership(
        &self,
        doors: &[Door],
        admin: Endpoint,
        cluster_door: ClusterDoor,
        opened: watch::Receiver<bool>,
    ) -> Result<Member, NodeError> {
        let supervisor = SupervisorHandle::new(SupervisorOptions::default());
        let control = Placement::on(self.runtimes.control().clone());
        self.root.add(supervisor.child_spec("membership", control)).await?;
        self.start_member(&supervisor, doors, admin, cluster_door, opened).await
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
        member: &Member,
    ) -> Result<(watch::Receiver<u64>, Slot<ReconcilerMessage>), NodeError> {
        let control = || Placement::on(self.runtimes.control().clone());
        let supervisor = SupervisorHandle::new(SupervisorOptions::default());
        self.root.add(supervisor.child_spec("partitions", control())).await?;
        let (agreed, on_agreed) = watch::channel(0);
        let storage = &self.config.storage;
        let args = PartitionsArgs {
            supervisor,
            topics: self.topics.clone(),
            logs: self.logs(),
            fs: SparingFs::shared(Arc::clone(&self.fs), self.files.of_logs()),
            clock: Arc::clone(&self.clock),
            data: self.runtimes.data().clone(),
            io: self.runtimes.io().clone(),
            upkeep: self.runtimes.upkeep(),
            bulk: self.runtimes.bulk(),
            membership: member.registry.clone(),
            node: self.config.node_id,
            defaults: self.config.topic_defaults.clone(),
            background_flush: BackgroundFlush {
                bytes: storage.replicated_flush_bytes,
                after: storage.replicated_flush_interval,
            },
            retention_every: storage.retention_check_interval,
            scrub: ScrubPace::new(storage.scrub_bytes_per_second, storage.scrub_interval)
                .after_crash(storage.scrub_after_crash_bytes_per_second),
            metrics: Arc::clone(&self.metrics),
            replication: replicating::replication(
                member,
                self.runtimes.data(),
                self.config.cluster.replica_lag_time_max,
                self.alarm.clone(),
            ),
            agreed: Arc::new(agreed),
        };
        let (topics, data, io) = (self.topics.clone(), self.runtimes.data(), self.runtimes.io());
        member.link.on_replication(replicating::feed(topics, data.clone(), io.clone()));
        let slot = Slot::new();
        let make = move |_| (Reconciler, args.clone());
        self.root.add(ChildSpec::actor("reconciler", control(), slot.clone(), make)).await?;
        self.root.add(cluster::tell_ends(member, self.topics.clone(), self.config.node_id)).await?;
        Ok((on_agreed, slot))
    }

    /// Waits until the reconciler has started what the image names.
    async fn wait_until_agreed(&self, image: &MetadataImage, mut agreed: watch::Receiver<u64>) {
        let index = image.index();
        if !matches!(timeout(OPENING_TIME, agreed.wait_for(|agreed| *agreed >= index)).await, Ok(Ok(_))) {
            tracing::error!("not all partitions were started within {OPENING_TIME:?}");
        }
    }

    /// Waits while replicas open that are to lead, so that the clients of a node that comes back find leaders.
    async fn wait_for_leaders(&self, image: &MetadataImage) {
        let deadline = Instant::now() + OPENING_TIME;
        let us = self.config.node_id;
        let led = image.partitions().filter(|(_, _, partition)| partition.leader == us);
        let mut opening: Vec<_> = led.filter_map(|(id, _, _)| self.topics.replica(id)).collect();
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

    fn broker(&self, doors: &[Door], member: &Member) -> Broker {
        let limits = &self.config.limits;
        let settings = self.config.with_kafka_listeners(doors.iter().map(Door::as_bound));
        let others = others::OtherMembers::new(member.link.clone(), Arc::clone(&self.clock));
        Broker {
            node_id: self.config.node_id,
            membership: member.registry.clone(),
            topics: self.topics.clone(),
            groups: self.groups.clone(),
            others: Some(Arc::new(others)),
            settings,
            levels: self.levels.clone(),
            auto_create: AutoCreate {
                enabled: self.config.auto_create_topics,
                partitions: self.config.default_partitions,
            },
            clock: Arc::clone(&self.clock),
            departed: Departed::default(),
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
            bulk: self.runtimes.bulk(),
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
        let bounds = CurrentBounds::looked_up(move || {
            let image = membership.image();
            let dynamic = image.dynamic_configs(node);
            ConnectionBounds {
                total: dynamic.number("max.connections").unwrap_or(of_file.total),
                per_address: dynamic.number("max.connections.per.ip").unwrap_or(of_file.per_address),
            }
        });
        bounds.with_descriptors(self.files.without_the_last())
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

    fn logs(&self) -> PathBuf {
        self.config.data_dir.join(LOGS_DIR)
    }
}

/// Where the node is reached.
fn endpoints(doors: &[Door], admin: Endpoint) -> Vec<Endpoint> {
    let endpoint = |door: &Door| {
        let HostPort { host, port } = door.advertised();
        Endpoint { listener: door.settings.name.clone(), host, port }
    };
    doors.iter().map(endpoint).chain([admin]).collect()
}
