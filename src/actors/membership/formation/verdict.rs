//! What a node without a cluster is to do, by what its seeds say (S16). No state, no time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use uuid::Uuid;

use super::{ClusterView, GiveUp, HelloAnswer, Member, SeedAnswer, seeds::normal};
use crate::config::node::HostPort;

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// We are the one that begins the cluster.
    Initialise {
        /// An odd number.
        voters: BTreeSet<Member>,
        /// The rest of the seeds.
        learners: BTreeSet<Member>,
    },
    /// There is a cluster.
    Join {
        /// The newest view of it.
        cluster: ClusterView,
        /// Who belongs to it, by what they said themselves.
        through: Vec<HostPort>,
    },
    /// Nothing, yet.
    Wait(Vec<WaitsFor>),
    /// Nothing ever, if it stays like this.
    Hopeless(GiveUp),
}

/// One reason to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WaitsFor {
    Unreachable(HostPort),
    Unheard(HostPort),
    NotTaken(HostPort, String),
    OtherSeeds(HostPort, Vec<HostPort>),
    SameNode(HostPort, HostPort),
    NotListed(HostPort),
    Lowest(HostPort),
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(seed) => write!(f, "seed {seed} cannot be reached"),
            Self::Unheard(seed) => write!(f, "seed {seed} has not answered yet"),
            Self::NotTaken(seed, why) => write!(f, "seed {seed} refuses this node: {why}"),
            Self::OtherSeeds(seed, theirs) => {
                let theirs: Vec<_> = theirs.iter().map(HostPort::to_string).collect();
                write!(f, "seed {seed} was started with other seeds: {}", theirs.join(","))
            }
            Self::SameNode(one, other) => write!(f, "seeds {one} and {other} are the same node"),
            Self::NotListed(us) => {
                write!(f, "no seed belongs to a cluster, and this node ({us}) is no seed and begins none")
            }
            Self::Lowest(seed) => write!(f, "seed {seed} is to begin the cluster"),
        }
    }
}

/// Who asks, and how many may vote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge<'a> {
    pub(super) us: &'a Member,
    pub(super) voters_max: usize,
}

type Heard<'a> = (&'a HostPort, Option<&'a SeedAnswer>);

impl Judge<'_> {
    /// The verdict over all seeds and what each of them said lately.
    pub(super) fn judge(&self, heard: &[Heard<'_>]) -> Verdict {
        if let Some(hopeless) = self.same_node_id(heard) {
            return Verdict::Hopeless(hopeless);
        }
        let members: Vec<_> = heard.iter().filter_map(|(seed, answer)| member(seed, *answer)).collect();
        match newest(&members) {
            Some(cluster) if members.iter().all(|(_, other)| other.id == cluster.id) => {
                let through = members.iter().map(|(seed, _)| (*seed).clone()).collect();
                Verdict::Join { cluster: cluster.clone(), through }
            }
            Some(_) => Verdict::Hopeless(GiveUp::SeveralClusters(clusters(&members))),
            None => self.judge_blank(heard),
        }
    }

    fn same_node_id(&self, heard: &[Heard<'_>]) -> Option<GiveUp> {
        heard.iter().find_map(|(seed, answer)| match answer {
            Some(SeedAnswer::Answered(HelloAnswer::Refused(super::HelloRefusal::SameNodeId(node)))) => {
                Some(GiveUp::SameNodeId { node: *node, seed: (*seed).clone() })
            }
            Some(SeedAnswer::Answered(HelloAnswer::Blank { who, .. } | HelloAnswer::Member { who, .. }))
                if who.node == self.us.node && who.raft_id != self.us.raft_id =>
            {
                Some(GiveUp::SameNodeId { node: who.node, seed: (*seed).clone() })
            }
            _ => None,
        })
    }

    /// Nobody is known to be a member.
    fn judge_blank(&self, heard: &[Heard<'_>]) -> Verdict {
        let list: Vec<HostPort> = heard.iter().map(|(seed, _)| (*seed).clone()).collect();
        let (mut by_entry, mut waits) = (Vec::new(), Vec::new());
        for (seed, answer) in heard {
            match self.blank(&list, seed, *answer) {
                Ok(who) => by_entry.push(((*seed).clone(), who)),
                Err(wait) => waits.push(wait),
            }
        }
        waits.extend(named_twice(&by_entry));
        let ours = by_entry.iter().position(|(_, who)| who.raft_id == self.us.raft_id);
        match ours {
            None if list.is_empty() => return self.alone(),
            None if waits.is_empty() => {
                waits.push(WaitsFor::NotListed(self.us.address.clone()));
            }
            Some(place) if waits.is_empty() && place > 0 => {
                waits.push(WaitsFor::Lowest(by_entry[0].0.clone()));
            }
            None | Some(_) => {}
        }
        if waits.is_empty() { self.initialise(by_entry) } else { Verdict::Wait(waits) }
    }

    /// The node behind an entry, if it is as blank as we are and was told the same.
    fn blank(
        &self,
        list: &[HostPort],
        seed: &HostPort,
        answer: Option<&SeedAnswer>,
    ) -> Result<Member, WaitsFor> {
        if *seed == normal(&self.us.address) {
            return Ok(self.us.clone());
        }
        match answer {
            Some(SeedAnswer::Answered(HelloAnswer::Blank { who, seeds })) if seeds.as_slice() == list => {
                Ok(who.clone())
            }
            Some(SeedAnswer::Answered(HelloAnswer::Blank { seeds, .. })) => {
                Err(WaitsFor::OtherSeeds(seed.clone(), seeds.clone()))
            }
            Some(SeedAnswer::Answered(HelloAnswer::Refused(why))) => {
                Err(WaitsFor::NotTaken(seed.clone(), why.to_string()))
            }
            Some(SeedAnswer::Unreachable) => Err(WaitsFor::Unreachable(seed.clone())),
            Some(SeedAnswer::Answered(HelloAnswer::Member { .. })) | None => {
                Err(WaitsFor::Unheard(seed.clone()))
            }
        }
    }

    fn alone(&self) -> Verdict {
        Verdict::Initialise { voters: BTreeSet::from([self.us.clone()]), learners: BTreeSet::new() }
    }

    fn initialise(&self, by_entry: Vec<(HostPort, Member)>) -> Verdict {
        let voters = largest_odd(by_entry.len().min(self.voters_max.max(1)));
        let mut members = by_entry.into_iter().map(|(_, who)| who);
        let voters = members.by_ref().take(voters).collect();
        Verdict::Initialise { voters, learners: members.collect() }
    }
}

/// The largest odd number up to `count`; 1 for none.
pub(super) const fn largest_odd(count: usize) -> usize {
    if count.is_multiple_of(2) { count.saturating_sub(1) | 1 } else { count }
}

fn member<'a>(seed: &'a HostPort, answer: Option<&'a SeedAnswer>) -> Option<(&'a HostPort, &'a ClusterView)> {
    match answer {
        Some(SeedAnswer::Answered(HelloAnswer::Member { cluster, .. })) => Some((seed, cluster)),
        _ => None,
    }
}

fn newest<'a>(members: &[(&HostPort, &'a ClusterView)]) -> Option<&'a ClusterView> {
    members.iter().map(|(_, cluster)| *cluster).max_by_key(|cluster| cluster.controller_epoch)
}

fn clusters(members: &[(&HostPort, &ClusterView)]) -> BTreeMap<Uuid, HostPort> {
    members.iter().map(|(seed, cluster)| (cluster.id, (*seed).clone())).collect()
}

/// Two names for one node would count it twice among those that have to agree.
fn named_twice(by_entry: &[(HostPort, Member)]) -> Option<WaitsFor> {
    let mut names = BTreeMap::new();
    by_entry.iter().find_map(|(seed, who)| {
        names
            .insert(who.raft_id, seed)
            .map(|other: &HostPort| WaitsFor::SameNode(other.clone(), seed.clone()))
    })
}
