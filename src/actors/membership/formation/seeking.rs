//! The steps of a node: looking for a cluster, and looking around as a member of one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use uuid::Uuid;

use super::{
    AskId, ClusterView, Effect, Formation, GiveUp, HelloAnswer, JoinAnswer, Joining, Member, Phase,
    SeedAnswer, normal,
    verdict::{Judge, Verdict, WaitsFor},
};
use crate::config::node::HostPort;

/// The pause after a request to be taken in that led nowhere, and after a failed write.
const JOIN_AGAIN_AFTER: Duration = Duration::from_millis(100);
const INITIALISE_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Formation {
    pub(super) fn on_initialised(&mut self, now: Duration, outcome: Result<(), String>) {
        let Phase::Initialising { cluster_id } = self.phase else { return };
        match outcome {
            Ok(()) => self.phase = Phase::Member { cluster_id, is_told: false },
            Err(error) => {
                tracing::warn!(error, "the first membership of the cluster was not written");
                self.cluster = None;
                self.phase = Phase::Seeking {
                    new_cluster_id: cluster_id,
                    join: Joining::No,
                    not_before: now + INITIALISE_AGAIN_AFTER,
                };
            }
        }
    }

    pub(super) fn on_member(&mut self, cluster_id: Uuid) {
        match self.phase {
            Phase::Seeking { .. } | Phase::Initialising { .. } => {
                self.hopeless = None;
                self.phase = Phase::Member { cluster_id, is_told: false };
            }
            Phase::Member { .. } | Phase::Settled { .. } | Phase::GivenUp => {}
        }
    }

    pub(super) fn on_settled(&mut self) {
        if let Phase::Member { cluster_id, .. } = self.phase {
            (self.said, self.hopeless) = (None, None);
            self.phase = Phase::Settled { cluster_id };
        }
    }

    pub(super) fn on_join_answered(&mut self, now: Duration, id: AskId, answer: JoinAnswer) {
        let is_duplicate = matches!(answer, JoinAnswer::DuplicateNode);
        let Phase::Seeking { join, .. } = &mut self.phase else { return };
        if !matches!(join, Joining::Asked { id: asked, .. } if *asked == id) {
            return;
        }
        let later = now + JOIN_AGAIN_AFTER;
        *join = match answer {
            JoinAnswer::Taken => Joining::Taken { since: now },
            // Following a hint waits a little too: two nodes may name each other.
            JoinAnswer::NotLeader { leader } => Joining::Again { at: leader, not_before: later },
            JoinAnswer::DuplicateNode | JoinAnswer::ForeignCluster(_) | JoinAnswer::Unreachable => {
                Joining::Again { at: None, not_before: later }
            }
        };
        if is_duplicate {
            self.note_hopeless(now, GiveUp::DuplicateNode(self.us.node));
        } else if matches!(self.hopeless, Some((GiveUp::DuplicateNode(_), _))) {
            self.hopeless = None;
        }
    }

    /// Where members are now; the quorum's log may know an address from before a restart.
    pub(super) fn learn(&mut self, answer: &SeedAnswer, effects: &mut Vec<Effect>) {
        let SeedAnswer::Answered(HelloAnswer::Blank { who, .. } | HelloAnswer::Member { who, .. }) = answer
        else {
            return;
        };
        if who.raft_id != self.us.raft_id && self.learned.get(&who.raft_id) != Some(&who.address) {
            self.learned.insert(who.raft_id, who.address.clone());
            effects.push(Effect::Learned(who.clone()));
        }
    }

    /// One step of a node without a cluster.
    pub(super) fn seek(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.ask_seeds(now, effects);
        let heard: Vec<_> = self.seeds.fresh(now).collect();
        let verdict = Judge { us: &self.us, voters_max: self.voters_max }.judge(&heard);
        match verdict {
            Verdict::Initialise { voters, learners } => self.initialise(now, voters, learners, effects),
            Verdict::Join { cluster, through } => self.join(now, &cluster, &through, effects),
            Verdict::Wait(reasons) => {
                self.hopeless = None;
                self.say(now, format!("waiting to form a cluster: {}", list(&reasons)), effects);
            }
            Verdict::Hopeless(why) => {
                self.say(now, format!("no cluster can be formed or joined: {why}"), effects);
                self.note_hopeless(now, why);
            }
        }
        self.give_up_if_it_lasts(now, effects);
    }

    /// One step of a member that is not served yet.
    pub(super) fn look_around(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let Phase::Member { cluster_id, is_told } = &mut self.phase else { return };
        let ours = *cluster_id;
        if !std::mem::replace(is_told, true) {
            effects.push(Effect::GoOn);
        }
        self.ask_seeds(now, effects);
        let us = normal(&self.us.address);
        let (mut theirs, mut waits, mut ours_or_silent) = (BTreeMap::new(), Vec::new(), 0);
        for (seed, answer) in self.seeds.fresh(now).filter(|(seed, _)| **seed != us) {
            match answer {
                Some(SeedAnswer::Answered(answer)) => {
                    if let Some(foreign) = foreign(answer, ours) {
                        theirs.insert(foreign, seed.clone());
                        waits.push(WaitsFor::NotTaken(
                            seed.clone(),
                            format!("it belongs to cluster {foreign}"),
                        ));
                        continue;
                    }
                }
                Some(SeedAnswer::Unreachable) => waits.push(WaitsFor::Unreachable(seed.clone())),
                None => waits.push(WaitsFor::Unheard(seed.clone())),
            }
            ours_or_silent += 1;
        }
        if ours_or_silent == 0 && !theirs.is_empty() {
            self.note_hopeless(now, GiveUp::ForeignCluster { ours, theirs });
        } else {
            self.hopeless = None;
        }
        let reasons = if waits.is_empty() { String::new() } else { format!(": {}", list(&waits)) };
        self.say(now, format!("waiting to be served by cluster {ours}{reasons}"), effects);
        self.give_up_if_it_lasts(now, effects);
    }

    fn ask_seeds(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let due = self.seeds.due(now, &self.us.address);
        effects.extend(due.into_iter().map(|(id, seed)| Effect::Ask(id, seed)));
    }

    fn initialise(
        &mut self,
        now: Duration,
        voters: BTreeSet<Member>,
        learners: BTreeSet<Member>,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Seeking { new_cluster_id, not_before, .. } = self.phase else { return };
        self.hopeless = None;
        if now < not_before {
            return;
        }
        self.phase = Phase::Initialising { cluster_id: new_cluster_id };
        self.cluster = Some(ClusterView {
            id: new_cluster_id,
            leader: None,
            controller_epoch: 0,
            members: voters.iter().chain(&learners).cloned().collect(),
        });
        self.said = None;
        effects.push(Effect::Initialise {
            cluster_id: new_cluster_id,
            voters: voters.into_iter().collect(),
            learners: learners.into_iter().collect(),
        });
    }

    fn join(
        &mut self,
        now: Duration,
        cluster: &ClusterView,
        through: &[HostPort],
        effects: &mut Vec<Effect>,
    ) {
        if !matches!(self.hopeless, Some((GiveUp::DuplicateNode(_), _))) {
            self.hopeless = None;
        }
        let id = cluster.id;
        if cluster.members.contains(&self.us) {
            self.say(
                now,
                format!("waiting for the leader of cluster {id}, to which this node belongs"),
                effects,
            );
            return;
        }
        let within = self.timing.join_within;
        let Phase::Seeking { join, .. } = &mut self.phase else { return };
        let hint = match join {
            Joining::Asked { since, .. } | Joining::Taken { since } if now < *since + within => return,
            Joining::Again { not_before, .. } if now < *not_before => return,
            Joining::Again { at, .. } => at.take(),
            Joining::No | Joining::Asked { .. } | Joining::Taken { .. } => cluster.leader.clone(),
        };
        self.next_join += 1;
        let turn = self.next_join as usize % through.len().max(1);
        let Some(at) = hint.filter(|hint| *hint != self.us.address).or_else(|| through.get(turn).cloned())
        else {
            return;
        };
        let asked = AskId(self.next_join);
        *join = Joining::Asked { id: asked, since: now };
        effects.push(Effect::Join { id: asked, at: at.clone(), cluster_id: id });
        self.say(now, format!("waiting to be taken in by cluster {id}"), effects);
    }

    fn note_hopeless(&mut self, now: Duration, why: GiveUp) {
        let since = match self.hopeless.take() {
            Some((before, since)) if before == why => since,
            _ => now,
        };
        self.hopeless = Some((why, since));
    }

    fn give_up_if_it_lasts(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if let Some((why, since)) = &self.hopeless
            && now >= *since + self.timing.patience
        {
            effects.push(Effect::GiveUp(why.clone()));
            self.phase = Phase::GivenUp;
        }
    }

    fn say(&mut self, now: Duration, sentence: String, effects: &mut Vec<Effect>) {
        let is_due = match &self.said {
            Some((before, at)) => *before != sentence || now >= *at + self.timing.say_every,
            None => true,
        };
        if is_due {
            self.said = Some((sentence.clone(), now));
            effects.push(Effect::Say(sentence));
        }
    }
}

/// The cluster that a seed belongs to, if that is another one than ours.
fn foreign(answer: &HelloAnswer, ours: Uuid) -> Option<Uuid> {
    match answer {
        HelloAnswer::Member { cluster, .. } if cluster.id != ours => Some(cluster.id),
        HelloAnswer::Refused(super::HelloRefusal::ForeignCluster(theirs)) => Some(*theirs),
        HelloAnswer::Member { .. } | HelloAnswer::Blank { .. } | HelloAnswer::Refused(_) => None,
    }
}

fn list(reasons: &[WaitsFor]) -> String {
    let each: Vec<_> = reasons.iter().map(WaitsFor::to_string).collect();
    each.join("; ")
}
