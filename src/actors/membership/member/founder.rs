//! Carries out what the formation's core says: asks seeds, begins a cluster, asks to be taken in.
//!
//! It begins anew from what is on disk each time that it is started; nothing that counts is in its memory alone.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{Mutex, Notify, mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{
    hello::{Asked, Asking},
    identity::Identity,
};
use crate::{
    actors::{
        cluster_link::ClusterLink,
        membership::{
            core::{Command, MetadataImage},
            formation::{
                ClusterView, Effect, Formation, FormationArgs, GiveUp, Input, Member, OnDisk, Timing,
            },
            forward::Leadership,
            quorum::{Quorum, RaftNode},
            registry::RegistryHandle,
        },
    },
    clock::Clock,
    config::node::HostPort,
    model::RaftId,
};

/// How often to look although nothing was told: while the node is on its way, and once it is served.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long the first command of all may take; it is sent again.
const CREATE_WITHIN: Duration = Duration::from_secs(5);

/// How far the formation is, for readiness and for whoever ends the node.
#[derive(Clone, Debug, Default)]
pub struct FormationStatus {
    /// Whom the node waits for.
    pub waits_for: Option<String>,
    /// Why the process is to end with an error.
    pub gave_up: Option<GiveUp>,
}

/// What the founder stands on.
#[derive(Clone)]
pub(super) struct FounderArgs {
    pub(super) us: Member,
    pub(super) seeds: Vec<HostPort>,
    pub(super) voters_max: usize,
    pub(super) link: ClusterLink,
    pub(super) registry: RegistryHandle,
    pub(super) identity: Arc<Identity>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) io: Handle,
    /// Hellos of others.
    pub(super) asked: Arc<Mutex<mpsc::Receiver<Asked>>>,
    /// The quorum's log may have something now.
    pub(super) heard: Arc<Notify>,
    /// Whether the node is served.
    pub(super) serves: watch::Receiver<bool>,
    pub(super) status: Arc<watch::Sender<FormationStatus>>,
}

/// Runs for as long as the node does.
pub(super) async fn run(args: FounderArgs) {
    let asked = Arc::clone(&args.asked);
    let mut asked = asked.lock().await;
    let mut quorums = args.registry.watch_quorum();
    let is_blank = match quorums.wait_for(Option::is_some).await {
        Ok(quorum) => quorum.as_ref().is_none_or(Quorum::is_blank),
        Err(_) => return,
    };
    let (mut leadership, mut members) = (args.registry.leadership(), args.registry.watch_members());
    let mut serves = args.serves.clone();
    let mut founder = Founder::new(args, is_blank);
    founder.step(Input::Tick);
    loop {
        let wake = founder.wakes_in();
        tokio::select! {
            Ok(()) = leadership.changed() => founder.look(),
            Ok(()) = members.changed() => founder.look(),
            Ok(()) = serves.changed() => founder.look(),
            Some(asked) = asked.recv() => founder.on_asked(asked),
            Some(Ok(Some(input))) = founder.tasks.join_next() => founder.step(input),
            () = founder.args.heard.notified() => founder.look(),
            () = sleep(wake) => founder.look(),
        }
    }
}

struct Founder {
    args: FounderArgs,
    core: Formation,
    tasks: JoinSet<Option<Input>>,
    view: Option<ClusterView>,
    is_member: bool,
    /// The first command of all is on its way.
    creating: bool,
}

impl Founder {
    fn new(args: FounderArgs, is_blank: bool) -> Self {
        let belongs = args.identity.get();
        let is_member = !is_blank && belongs.is_some();
        let disk = match belongs {
            Some(belongs) if is_member => OnDisk::Member { cluster_id: belongs.cluster_id },
            Some(belongs) if belongs.may_begin => OnDisk::Blank { new_cluster_id: belongs.cluster_id },
            Some(_) | None => OnDisk::Blank { new_cluster_id: Uuid::new_v4() },
        };
        let core = Formation::new(FormationArgs {
            us: args.us.clone(),
            disk,
            seeds: args.seeds.clone(),
            voters_max: args.voters_max,
            timing: Timing::default(),
        });
        Self { args, core, tasks: JoinSet::new(), view: None, is_member, creating: false }
    }

    fn wakes_in(&self) -> Duration {
        let now = self.args.clock.monotonic();
        let longest = if *self.args.serves.borrow() { LOOK_AGAIN } else { LOOK_EVERY };
        self.core.next_wake().map_or(longest, |at| at.saturating_sub(now).min(longest))
    }

    fn step(&mut self, input: Input) {
        for effect in self.core.step(self.args.clock.monotonic(), input) {
            self.carry_out(effect);
        }
        let waits_for = self.core.waits_for().map(str::to_owned);
        self.args.status.send_if_modified(|status| {
            let has_changed = status.waits_for != waits_for;
            status.waits_for = waits_for;
            has_changed
        });
    }

    fn on_asked(&mut self, asked: Asked) {
        let answer = self.core.answer(&asked.hello);
        let _asker_may_be_gone = asked.reply.send(answer);
        self.step(Input::Asked(asked.hello));
    }

    /// Levels, whatever was told of them.
    fn look(&mut self) {
        if let Some(quorum) = self.args.registry.quorum() {
            if let Some(belongs) = self.args.identity.get()
                && !self.is_member
                && !quorum.is_blank()
            {
                self.is_member = true;
                self.step(Input::BecameMember(belongs.cluster_id));
            }
            self.look_at(&quorum);
        }
        if *self.args.serves.borrow() {
            self.step(Input::Settled);
        } else {
            self.step(Input::Tick);
        }
    }

    fn look_at(&mut self, quorum: &Quorum) {
        let Some(belongs) = self.args.identity.get().filter(|_| self.is_member) else { return };
        let image = quorum.image();
        let leader = quorum.leadership().borrow().leader.clone();
        let mut members = quorum.members().nodes;
        // What the log says of this node may be from before its last start.
        if let Some(ours) = members.get_mut(&self.args.us.raft_id) {
            *ours = raft_node(&self.args.us);
        }
        let leader = leader.map(|(id, node)| members.get(&id).cloned().unwrap_or(node));
        let view = ClusterView {
            id: belongs.cluster_id,
            leader: leader.and_then(|node| HostPort::parse(&node.address)),
            controller_epoch: image.controller_epoch(),
            members: members.iter().filter_map(|(id, node)| member(*id, node)).collect(),
        };
        if self.view.as_ref() != Some(&view) {
            self.view = Some(view.clone());
            self.step(Input::Cluster(view));
        }
        self.create(&image, belongs.cluster_id);
    }

    /// The first controller of all says which cluster this is.
    fn create(&mut self, image: &MetadataImage, cluster_id: Uuid) {
        let leads = *self.args.registry.leadership().borrow() == Leadership::Us;
        if !leads || !image.cluster_id().is_nil() || self.creating {
            return;
        }
        self.creating = true;
        let registry = self.args.registry.clone();
        self.tasks.spawn(async move {
            let created = registry.command(Command::CreateCluster(cluster_id), CREATE_WITHIN).await;
            if let Err(error) = created {
                tracing::warn!(%error, "the cluster's first record was not written");
            }
            Some(Input::Tick)
        });
    }

    fn carry_out(&mut self, effect: Effect) {
        let asking = Asking(self.args.link.clone());
        let within = Timing::default();
        match effect {
            Effect::Ask(id, seed) => {
                let asked = asking.hello(seed, self.core.hello(), within.ask_within);
                self.tasks.spawn(async move { Some(Input::SeedAnswered(id, asked.await)) });
            }
            Effect::Initialise { cluster_id, voters, learners: _ } => self.initialise(cluster_id, voters),
            Effect::Join { id, at, cluster_id } => {
                let asked = asking.join(at, self.args.us.clone(), cluster_id, within.join_within);
                self.tasks.spawn(async move { Some(Input::JoinAnswered(id, asked.await)) });
            }
            Effect::GoOn => {}
            Effect::Learned(member) => self.args.link.want(member.address),
            Effect::Say(sentence) => tracing::info!("{sentence}"),
            Effect::GiveUp(why) => {
                tracing::error!(error = %why, "this node cannot become part of a cluster");
                self.args.status.send_modify(|status| status.gave_up = Some(why));
            }
        }
    }

    /// Who is to learn asks for it by itself.
    fn initialise(&mut self, cluster_id: Uuid, voters: Vec<Member>) {
        tracing::info!(cluster = %cluster_id, voters = voters.len(), "this node begins the cluster");
        for member in voters.iter().filter(|member| member.raft_id != self.args.us.raft_id) {
            self.args.link.want(member.address.clone());
        }
        let (registry, identity, io) =
            (self.args.registry.clone(), Arc::clone(&self.args.identity), self.args.io.clone());
        self.tasks.spawn(async move {
            let outcome = begin(registry, identity, io, cluster_id, voters).await;
            Some(Input::Initialised(outcome))
        });
        self.is_member = true;
    }
}

async fn begin(
    registry: RegistryHandle,
    identity: Arc<Identity>,
    io: Handle,
    cluster_id: Uuid,
    voters: Vec<Member>,
) -> Result<(), String> {
    let written = io.spawn_blocking(move || identity.begin(cluster_id)).await;
    written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let quorum = registry.quorum().ok_or("the quorum's member does not run")?;
    let voters: BTreeMap<RaftId, RaftNode> =
        voters.into_iter().map(|member| (member.raft_id, raft_node(&member))).collect();
    let begun = timeout(Timing::default().join_within, quorum.initialize(voters)).await;
    begun.map_err(|_| "not written in time".to_owned())?.map_err(|error| error.to_string())
}

/// A member as the quorum knows it.
pub(super) fn raft_node(member: &Member) -> RaftNode {
    RaftNode { node: member.node, address: member.address.to_string() }
}

/// A member of the quorum, if its address is one.
pub(super) fn member(id: RaftId, node: &RaftNode) -> Option<Member> {
    HostPort::parse(&node.address).map(|address| Member { node: node.node, raft_id: id, address })
}
