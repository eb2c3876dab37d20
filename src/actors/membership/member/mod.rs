//! This node as a member of its cluster: the link, the quorum, the registry and what keeps them in step.
//!
//! Put together here and decided elsewhere: how a cluster forms in `formation`, who votes in `voters`, how a node registers in
//! `joining`, what the controller decides in `core`.

pub mod clean;
mod feeds;
mod founder;
mod hello;
mod identity;
mod peers;
mod registering;
mod succession;
mod voting;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{Mutex, Notify, mpsc, watch},
    time::timeout,
};

pub use self::{
    founder::FormationStatus,
    identity::{Belongs, Identity, NotOurs},
};
use self::{
    founder::FounderArgs,
    hello::{Alive, Answering, Asks},
    peers::LinkPeers,
    voting::VotingArgs,
};
use super::{
    core::{CLUSTER_LISTENER, Endpoint, Rules},
    formation,
    joining::{JoinStatus, JoiningTiming, NodeRegistration, RegistrarArgs, RegistrarHandle, registrar},
    quorum::Quorum,
    registry::{IsAlive, RegistryArgs, RegistryHandle, registry},
    voters::VotersRules,
};
use crate::{
    actors::{
        cluster_link::{
            ClusterLink, LinkOptions, Peer, Security, SecurityError, Service, ServiceHandler,
            liveness::{Beat, LeaseTable, VoterView, Voters},
        },
        controller::{self, ControllerArgs, ControllerTiming},
        listener::BoundPort,
        supervise::{Placement, SupervisorError, SupervisorHandle, task_spec},
    },
    clock::Clock,
    config::node::{ClusterSettings, HostPort},
    metrics::Metrics,
    model::{BootId, NodeId, RaftId},
    storage::{fs::Fs, own_file::OwnFileError},
};

/// Calls of the quorum that are under way at a time.
const RAFT_CALLS_MAX: usize = 256;
/// Commands of other nodes that are under way at a time.
const COMMANDS_MAX: usize = 1_024;
/// Calls about consumer groups that are under way at a time: each may hold a record in memory.
const GROUP_CALLS_MAX: usize = 64;
/// Hellos that wait for the one who answers them.
const HELLOS_MAX: usize = 64;
/// How long the registry may take to open its files.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// How long leaders stay where they are after the set of live nodes has changed.
const GIVE_BACK_AFTER: Duration = Duration::from_secs(3);
/// The controller gives an order without an outcome again after this time.
const ORDER_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a member is made of.
pub struct MemberArgs {
    /// This node.
    pub node: NodeId,
    /// This start of it.
    pub boot: BootId,
    /// The start that has left a clean mark in the data folder (S11).
    pub clean: Option<BootId>,
    /// Where clients reach it, and where it is administered.
    pub endpoints: Vec<Endpoint>,
    /// What it shares power, network or a building with.
    pub rack: Option<String>,
    /// The cluster listener's port, bound already.
    pub port: Arc<BoundPort>,
    /// Where other nodes reach it.
    pub advertised: HostPort,
    /// The seeds, as given.
    pub seeds: Vec<HostPort>,
    /// `cluster.voters`.
    pub voters_max: usize,
    /// Proofs, heartbeats and leases.
    pub settings: ClusterSettings,
    /// The file system.
    pub fs: Arc<dyn Fs>,
    /// The node's data folder, which exists.
    pub data_dir: PathBuf,
    /// What commands are decided by.
    pub rules: Rules,
    /// Whether all replicas are open.
    pub opened: watch::Receiver<bool>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where blocking work runs.
    pub io: Handle,
    /// What the consumer groups of other nodes ask of this one.
    pub groups: ServiceHandler,
}

/// A member that runs.
#[derive(Clone)]
pub struct Member {
    /// Commands, and the metadata.
    pub registry: RegistryHandle,
    /// The way to other nodes.
    pub link: ClusterLink,
    /// How far the node is on its way into the cluster.
    pub registrar: RegistrarHandle,
    /// How far the cluster is formed.
    pub formation: watch::Receiver<FormationStatus>,
}

/// Why a member does not start.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The cluster's id cannot be read.
    #[error("the data folder's cluster id: {0}")]
    Identity(#[from] OwnFileError),
    /// Cookie or certificates cannot be used.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// A part did not start.
    #[error(transparent)]
    Part(#[from] SupervisorError),
    /// The data folder is another node's.
    #[error("data folder {} belongs to node {owner}, not to node {given}", path.display())]
    AnotherNode {
        /// The data folder.
        path: PathBuf,
        /// Whose it is.
        owner: NodeId,
        /// Who asked.
        given: NodeId,
    },
    /// The metadata quorum's files were not opened in time.
    #[error("the metadata quorum was not opened within {OPEN_WITHIN:?}")]
    NotOpened,
}

/// The watches between the parts.
struct Watches {
    voters: Arc<watch::Sender<Arc<Voters>>>,
    beat: Arc<watch::Sender<Beat>>,
    view: Arc<watch::Sender<Arc<VoterView>>>,
    status: Arc<watch::Sender<FormationStatus>>,
}

/// Starts all of it under `parent`, the supervisor of membership, on the runtime of `place`.
pub async fn start(
    parent: &SupervisorHandle,
    place: &Placement,
    args: MemberArgs,
) -> Result<Member, MemberError> {
    let fs = Arc::clone(&args.fs);
    let identity = Arc::new(Identity::open(fs, &args.data_dir)?);
    let peers = LinkPeers::new(Arc::clone(&identity));
    let leases = Arc::new(std::sync::OnceLock::new());
    let (registry, spec) = registry("registry", place.clone(), registry_args(&args, &peers, &leases));
    parent.add(spec).await?;
    let mut quorums = registry.watch_quorum();
    let opened = timeout(OPEN_WITHIN, quorums.wait_for(Option::is_some)).await;
    let raft_id = match opened {
        Ok(Ok(quorum)) => ours(quorum.as_ref().ok_or(MemberError::NotOpened)?, &args)?,
        Ok(Err(_)) | Err(_) => return Err(MemberError::NotOpened),
    };
    let us = formation::Member { node: args.node, raft_id, address: args.advertised.clone() };
    let parts = Parts { args, identity, registry, us, place: place.clone() };
    let watches = Watches {
        voters: Arc::default(),
        beat: Arc::default(),
        view: Arc::default(),
        status: Arc::default(),
    };
    let link = parts.link(&watches)?;
    peers.open(link.clone());
    let _only_once = leases.set(link.leases());
    parts.start(parent, link, watches).await
}

/// This member's id, unless its folder is another node's.
fn ours(quorum: &Quorum, args: &MemberArgs) -> Result<RaftId, MemberError> {
    let id = quorum.id();
    match quorum.members().nodes.get(&id) {
        Some(member) if member.node != args.node => Err(MemberError::AnotherNode {
            path: args.data_dir.clone(),
            owner: member.node,
            given: args.node,
        }),
        Some(_) | None => Ok(id),
    }
}

type LeaseSlot = Arc<std::sync::OnceLock<watch::Receiver<Arc<LeaseTable>>>>;

fn registry_args(args: &MemberArgs, peers: &LinkPeers, leases: &LeaseSlot) -> RegistryArgs {
    let leases = Arc::clone(leases);
    let us = args.node;
    let is_alive: IsAlive = Arc::new(move |node, boot| {
        let holds = |table: &watch::Receiver<Arc<LeaseTable>>| table.borrow().is_held_by_another(node, boot);
        node != us && leases.get().is_some_and(holds)
    });
    RegistryArgs {
        fs: Arc::clone(&args.fs),
        data_dir: args.data_dir.clone(),
        rules: args.rules.clone(),
        pace: args.settings.quorum,
        peers: Arc::new(peers.clone()),
        commands: Arc::new(peers.clone()),
        is_alive,
        clock: Arc::clone(&args.clock),
        metrics: Arc::clone(&args.metrics),
    }
}

struct Parts {
    args: MemberArgs,
    identity: Arc<Identity>,
    registry: RegistryHandle,
    us: formation::Member,
    place: Placement,
}

impl Parts {
    fn link(&self, watches: &Watches) -> Result<ClusterLink, SecurityError> {
        let me = Peer {
            node: self.args.node,
            raft_id: self.us.raft_id,
            boot: self.args.boot,
            cluster_id: None,
            address: self.args.advertised.clone(),
        };
        Ok(ClusterLink::new(LinkOptions {
            me,
            port: Arc::clone(&self.args.port),
            security: Security::load(&self.args.settings)?,
            settings: self.args.settings.clone(),
            clock: Arc::clone(&self.args.clock),
            metrics: Arc::clone(&self.args.metrics),
            voters: watches.voters.subscribe(),
            beat: watches.beat.subscribe(),
            view: watches.view.subscribe(),
        }))
    }

    async fn start(
        self,
        parent: &SupervisorHandle,
        link: ClusterLink,
        watches: Watches,
    ) -> Result<Member, MemberError> {
        let (asks, heard) = (Arc::new(Asks::default()), Arc::new(Notify::new()));
        let (founder, asked) = mpsc::channel(HELLOS_MAX);
        let asked = Arc::new(Mutex::new(asked));
        self.serve(&link, &asks, &heard, founder);
        link.start(parent, &self.place).await?;
        let (registrar, spec) = registrar("registrar", self.place.clone(), self.registrar_args());
        let serves = serves(&registrar);
        let founding = FounderArgs {
            us: self.us.clone(),
            seeds: self.args.seeds.clone(),
            voters_max: self.args.voters_max,
            link: link.clone(),
            registry: self.registry.clone(),
            identity: Arc::clone(&self.identity),
            clock: Arc::clone(&self.args.clock),
            io: self.args.io.clone(),
            asked,
            heard,
            serves,
            status: Arc::clone(&watches.status),
        };
        let formation = watches.status.subscribe();
        self.start_tasks(parent, &link, &asks, founding, registrar.watch(), watches).await?;
        parent.add(spec).await?;
        Ok(Member { registry: self.registry, link, registrar, formation })
    }

    fn serve(
        &self,
        link: &ClusterLink,
        asks: &Arc<Asks>,
        heard: &Arc<Notify>,
        founder: mpsc::Sender<hello::Asked>,
    ) {
        let raft = peers::serve_raft(
            self.registry.clone(),
            Arc::clone(&self.identity),
            Arc::clone(heard),
            self.args.io.clone(),
        );
        link.serve(Service::Raft, RAFT_CALLS_MAX, raft);
        link.serve(Service::Controller, COMMANDS_MAX, peers::serve_commands(self.registry.clone()));
        link.serve(Service::Groups, GROUP_CALLS_MAX, Arc::clone(&self.args.groups));
        let answering = Answering {
            registry: self.registry.clone(),
            identity: Arc::clone(&self.identity),
            asks: Arc::clone(asks),
            alive: self.alive(link),
            founder,
        };
        link.on_hello(answering.handler());
    }

    /// Who holds a lease here, and under which data folder it is registered.
    fn alive(&self, link: &ClusterLink) -> Alive {
        let (leases, images) = (link.leases(), self.registry.watch());
        Arc::new(move || {
            let (leases, image) = (leases.borrow(), images.borrow());
            let alive = image.brokers().iter().filter(|(node, broker)| leases.is_alive(**node, broker.boot));
            alive.map(|(node, broker)| (*node, broker.raft_id)).collect::<BTreeMap<_, _>>()
        })
    }

    fn registrar_args(&self) -> RegistrarArgs {
        let cluster = Endpoint {
            listener: CLUSTER_LISTENER.to_owned(),
            host: self.args.advertised.host.clone(),
            port: self.args.advertised.port,
        };
        let endpoints = self.args.endpoints.iter().cloned().chain([cluster]).collect();
        RegistrarArgs {
            us: NodeRegistration {
                node: self.args.node,
                raft_id: self.us.raft_id,
                boot: self.args.boot,
                endpoints,
                rack: self.args.rack.clone(),
                stopped_cleanly: self.args.clean,
            },
            controller: Arc::new(registering::ToController {
                registry: self.registry.clone(),
                replicas_max: u32::try_from(self.args.rules.replicas_max).ok(),
            }),
            image: self.registry.watch(),
            look: registering::look(self.args.node),
            opened: self.args.opened.clone(),
            // The image says whether this node is fenced; nothing else is asked of heartbeats' answers.
            unknown: watch::channel(None).1,
            clock: Arc::clone(&self.args.clock),
            timing: JoiningTiming::default(),
        }
    }

    async fn start_tasks(
        &self,
        parent: &SupervisorHandle,
        link: &ClusterLink,
        asks: &Arc<Asks>,
        founding: FounderArgs,
        joined: watch::Receiver<JoinStatus>,
        watches: Watches,
    ) -> Result<(), SupervisorError> {
        let feeds = feeds::Feeds {
            registry: self.registry.clone(),
            link: link.clone(),
            joined,
            voters: watches.voters,
            beat: watches.beat,
            view: watches.view,
        };
        let voting = VotingArgs {
            registry: self.registry.clone(),
            link: link.clone(),
            leases: link.leases(),
            asks: Arc::clone(asks),
            rules: VotersRules { voters_max: self.args.voters_max, ..VotersRules::default() },
            clock: Arc::clone(&self.args.clock),
        };
        let controlling = ControllerArgs {
            registry: self.registry.clone(),
            leases: link.leases(),
            node: self.args.node,
            clock: Arc::clone(&self.args.clock),
            timing: ControllerTiming {
                lease: self.args.settings.lease,
                give_back_after: GIVE_BACK_AFTER,
                again_after: ORDER_AGAIN_AFTER,
            },
        };
        let place = || self.place.clone();
        parent
            .add(task_spec("feeds", place(), Arc::new(move || Box::pin(feeds::run(feeds.clone())))))
            .await?;
        parent
            .add(task_spec("founder", place(), Arc::new(move || Box::pin(founder::run(founding.clone())))))
            .await?;
        parent
            .add(task_spec("voting", place(), Arc::new(move || Box::pin(voting::run(voting.clone())))))
            .await?;
        let (registry, leases) = (self.registry.clone(), link.leases());
        let succeeding = move || -> crate::actors::supervise::BoxFuture<()> {
            Box::pin(succession::run(registry.clone(), leases.clone()))
        };
        parent.add(task_spec("succession", place(), Arc::new(succeeding))).await?;
        let controller = move || -> crate::actors::supervise::BoxFuture<()> {
            Box::pin(controller::run(controlling.clone()))
        };
        parent.add(task_spec("controller", place(), Arc::new(controller))).await
    }
}

/// Whether the cluster serves this node.
fn serves(registrar: &RegistrarHandle) -> watch::Receiver<bool> {
    let (told, serves) = watch::channel(false);
    let mut status = registrar.watch();
    tokio::spawn(async move {
        while status.wait_for(|status| status.serves).await.is_ok() {
            told.send_replace(true);
            if status.changed().await.is_err() {
                return;
            }
        }
    });
    serves
}
