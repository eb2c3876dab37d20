//! How nodes that were started with a seed list become exactly one cluster (S16, S17).
//!
//! Every node asks its seeds who they are. Only when all of them, the node itself among them, are blank and were started with
//! the same list, the one with the lowest address begins a cluster; whoever meets a member of one asks to be taken in. A list
//! with nobody else in it begins a cluster at once.
//!
//! **Invariants.**
//! - Two nodes never begin a cluster from the same list: they agree on the lowest entry, and a list that names one
//!   node twice begins none.
//! - What is on disk wins over what seeds say: a node that is a member goes on as one, and never joins another cluster.
//! - A lost disk has another raft id and is a stranger: it asks the others like any newcomer, and as long as one of
//!   them answers otherwise than "blank" it joins.
//! - Only answers to questions asked lately count, and none of an earlier life.
//! - It is always said whom a node waits for.
//!
//! **What this needs from the quorum.** Blank means neither entry nor snapshot. The cluster's id goes with every request of
//! raft: a blank node takes the first one that it is sent, with the entries in the same write, and a member refuses any other.
//! A request names the raft id that it is meant for, and another one refuses it.

mod actor;
mod hello;
mod seeds;
mod seeking;
mod verdict;

#[cfg(test)]
mod actor_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use uuid::Uuid;

use self::seeds::{Seeds, normal};
pub use self::{
    actor::{FormationStatus, Former, FormerArgs, FormerHandle, FormerMessage, Surroundings, former},
    hello::{ClusterView, Hello, HelloAnswer, HelloRefusal, JoinAnswer, Member, SeedAnswer},
};
use crate::{
    config::node::HostPort,
    model::{NodeId, RaftId},
};

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct FormationArgs {
    /// Who it is. The raft id is on disk, whether anything else is or not.
    pub us: Member,
    /// What its quorum's log holds.
    pub disk: OnDisk,
    /// The seeds, as given. They may name this node, or not.
    pub seeds: Vec<HostPort>,
    /// `cluster.voters`.
    pub voters_max: usize,
    /// How long things may take.
    pub timing: Timing,
}

/// What a node finds in its data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisk {
    /// Nothing of a cluster.
    Blank {
        /// The id of the cluster, should this node begin one: random.
        new_cluster_id: Uuid,
    },
    /// Entries or a snapshot of a cluster's log.
    Member {
        /// Which.
        cluster_id: Uuid,
    },
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A seed without an answer by then is asked again.
    pub ask_within: Duration,
    /// The pause between two questions to one seed while it says something new.
    pub ask_every_min: Duration,
    /// The same once it keeps saying the same.
    pub ask_every_max: Duration,
    /// How old a question may be for its answer to count. More than the two times above together.
    pub fresh_for: Duration,
    /// How long the request to be taken in may take.
    pub join_within: Duration,
    /// How long a hopeless state has to last: a predecessor may yet be stopping, its lease may yet run out.
    pub patience: Duration,
    /// How often it is said whom the node waits for, when it does not change.
    pub say_every: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ask_within: Duration::from_secs(1),
            ask_every_min: Duration::from_millis(25),
            ask_every_max: Duration::from_millis(500),
            fresh_for: Duration::from_secs(2),
            join_within: Duration::from_secs(5),
            patience: Duration::from_secs(5),
            say_every: Duration::from_secs(10),
        }
    }
}

/// One question to a seed, or one request to be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AskId(u64);

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed. Everything else looks at the time too.
    Tick,
    /// The outcome of [`Effect::Ask`].
    SeedAnswered(AskId, SeedAnswer),
    /// Another node has asked us ([`Formation::answer`] says what it gets).
    Asked(Hello),
    /// The outcome of [`Effect::Initialise`]: the first membership is on this node's disk, or is not.
    Initialised(Result<(), String>),
    /// The outcome of [`Effect::Join`].
    JoinAnswered(AskId, JoinAnswer),
    /// The quorum's log on this node has its first entry or snapshot, of this cluster.
    BecameMember(Uuid),
    /// What this node's quorum knows of the cluster now.
    Cluster(ClusterView),
    /// The node is registered and served: there is nothing left to find out.
    Settled,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Say [`Formation::hello`] to this seed, and bring the answer back under this id.
    Ask(AskId, HostPort),
    /// Write the first membership, with this cluster id before it.
    Initialise {
        /// The id of the new cluster.
        cluster_id: Uuid,
        /// Who votes: an odd number, this node among them.
        voters: Vec<Member>,
        /// Who follows the log without a vote; whoever is not added asks for it, too.
        learners: Vec<Member>,
    },
    /// Ask the member of the cluster at this address to take this node in.
    Join {
        /// For the answer.
        id: AskId,
        /// Whom to ask.
        at: HostPort,
        /// Which cluster is meant.
        cluster_id: Uuid,
    },
    /// This node is a member, by its disk: go on with what members do. Said once.
    GoOn,
    /// This member of our cluster is reached there, whatever the quorum's log says.
    Learned(Member),
    /// To be logged: it is new, or has been so for a while.
    Say(String),
    /// There is no way to go on; end with this message.
    GiveUp(GiveUp),
}

/// Why a node cannot become part of a cluster as it was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GiveUp {
    /// Another node has this one's id.
    #[error("node id {node} is taken: the node at {seed} has it too, with another data folder")]
    SameNodeId {
        /// The id.
        node: NodeId,
        /// Where the other one is.
        seed: HostPort,
    },
    /// A node that is alive is registered under this one's id.
    #[error("node id {0} is taken: a node that is alive is registered under it")]
    DuplicateNode(NodeId),
    /// Seeds of several clusters are no list of one.
    #[error("the seeds belong to different clusters: {}", list_clusters(.0))]
    SeveralClusters(BTreeMap<Uuid, HostPort>),
    /// The data folder belongs to one cluster, all seeds to another.
    #[error("this node's data folder belongs to cluster {ours}, and all seeds to another: {}", list_clusters(.theirs))]
    ForeignCluster {
        /// By the data folder.
        ours: Uuid,
        /// By the seeds.
        theirs: BTreeMap<Uuid, HostPort>,
    },
}

fn list_clusters(clusters: &BTreeMap<Uuid, HostPort>) -> String {
    let each: Vec<_> = clusters.iter().map(|(id, seed)| format!("{seed} to {id}")).collect();
    each.join(", ")
}

/// One node on its way into a cluster.
#[derive(Clone, Debug)]
pub struct Formation {
    us: Member,
    seeds: Seeds,
    voters_max: usize,
    timing: Timing,
    phase: Phase,
    /// What the quorum last said of our cluster.
    cluster: Option<ClusterView>,
    next_join: u64,
    hopeless: Option<(GiveUp, Duration)>,
    said: Option<(String, Duration)>,
    /// Where members were last seen.
    learned: BTreeMap<RaftId, HostPort>,
}

#[derive(Clone, Debug)]
enum Phase {
    Seeking {
        new_cluster_id: Uuid,
        join: Joining,
        not_before: Duration,
    },
    /// The first membership is being written.
    Initialising {
        cluster_id: Uuid,
    },
    Member {
        cluster_id: Uuid,
        is_told: bool,
    },
    Settled {
        cluster_id: Uuid,
    },
    GivenUp,
}

/// How far the request to be taken in is.
#[derive(Clone, Debug, Default)]
enum Joining {
    #[default]
    No,
    /// Asked.
    Asked { id: AskId, since: Duration },
    /// To be asked again, there if it was named.
    Again { at: Option<HostPort>, not_before: Duration },
    /// The log is on its way.
    Taken { since: Duration },
}

impl Formation {
    /// A node at its start.
    pub fn new(args: FormationArgs) -> Self {
        let phase = match args.disk {
            OnDisk::Blank { new_cluster_id } => {
                Phase::Seeking { new_cluster_id, join: Joining::No, not_before: Duration::ZERO }
            }
            OnDisk::Member { cluster_id } => Phase::Member { cluster_id, is_told: false },
        };
        Self {
            us: args.us,
            seeds: Seeds::new(args.seeds, args.timing),
            voters_max: args.voters_max,
            timing: args.timing,
            phase,
            cluster: None,
            next_join: 0,
            hopeless: None,
            said: None,
            learned: BTreeMap::new(),
        }
    }

    /// What this node says when it asks.
    pub fn hello(&self) -> Hello {
        Hello { from: self.us.clone(), cluster_id: self.cluster_id() }
    }

    /// The cluster that this node belongs to.
    pub fn cluster_id(&self) -> Option<Uuid> {
        match &self.phase {
            Phase::Member { cluster_id, .. } | Phase::Settled { cluster_id } => Some(*cluster_id),
            Phase::Seeking { .. } | Phase::Initialising { .. } | Phase::GivenUp => None,
        }
    }

    /// What a node that asks is told; feed [`Input::Asked`] too.
    pub fn answer(&self, hello: &Hello) -> HelloAnswer {
        let who = self.us.clone();
        if matches!(self.phase, Phase::GivenUp) {
            return HelloAnswer::Refused(HelloRefusal::NotTaken("it is about to end".to_owned()));
        }
        if hello.from.node == who.node && hello.from.raft_id != who.raft_id {
            return HelloAnswer::Refused(HelloRefusal::SameNodeId(who.node));
        }
        let Some(id) = self.cluster_id().or(self.initialising()) else {
            return HelloAnswer::Blank { who, seeds: self.seeds.list() };
        };
        if hello.cluster_id.is_some_and(|theirs| theirs != id) {
            return HelloAnswer::Refused(HelloRefusal::ForeignCluster(id));
        }
        let nothing_yet = ClusterView { id, leader: None, controller_epoch: 0, members: Vec::new() };
        HelloAnswer::Member { who, cluster: self.cluster.clone().unwrap_or(nothing_yet) }
    }

    /// Takes an input at a monotonic time, and says what is to be done.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.take(now, input, &mut effects);
        match &self.phase {
            Phase::Seeking { .. } => self.seek(now, &mut effects),
            Phase::Member { .. } => self.look_around(now, &mut effects),
            Phase::Initialising { .. } | Phase::Settled { .. } | Phase::GivenUp => {}
        }
        effects
    }

    /// When to come back at the latest.
    pub fn next_wake(&self) -> Option<Duration> {
        let said = self.said.as_ref().map(|(_, at)| *at + self.timing.say_every);
        let join = match &self.phase {
            Phase::Seeking { join: Joining::Asked { since, .. } | Joining::Taken { since }, .. } => {
                Some(*since + self.timing.join_within)
            }
            Phase::Seeking { join: Joining::Again { not_before, .. }, .. } => Some(*not_before),
            Phase::Seeking { not_before, .. } if !not_before.is_zero() => Some(*not_before),
            Phase::Seeking { .. } | Phase::Member { .. } => None,
            Phase::Initialising { .. } | Phase::Settled { .. } | Phase::GivenUp => return None,
        };
        let hopeless = self.hopeless.as_ref().map(|(_, since)| *since + self.timing.patience);
        [self.seeds.next_due(&self.us.address), said, join, hopeless].into_iter().flatten().min()
    }

    /// Whom the node waits for, for whoever asks whether it is ready.
    pub fn waits_for(&self) -> Option<&str> {
        self.said.as_ref().map(|(sentence, _)| sentence.as_str())
    }

    fn initialising(&self) -> Option<Uuid> {
        let Phase::Initialising { cluster_id } = self.phase else { return None };
        Some(cluster_id)
    }

    fn take(&mut self, now: Duration, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Tick => {}
            Input::SeedAnswered(id, answer) => {
                self.learn(&answer, effects);
                self.seeds.on_answer(now, id, answer);
            }
            Input::Asked(hello) => self.seeds.on_sign_of_life(now, &hello.from.address),
            Input::Initialised(outcome) => self.on_initialised(now, outcome),
            Input::JoinAnswered(id, answer) => self.on_join_answered(now, id, answer),
            Input::BecameMember(cluster_id) => self.on_member(cluster_id),
            Input::Cluster(view) => self.cluster = Some(view),
            Input::Settled => self.on_settled(),
        }
    }
}
