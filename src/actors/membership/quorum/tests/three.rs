//! Three members, of whom any may fall silent.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{
    super::{Proposed, Quorum, QuorumError, Refused},
    LONG, args, control, get, has, leads,
    net::{Net, Weather},
    raft_node, set, soon,
};
use crate::{
    model::{NodeId, RaftId},
    storage::fs::real::RealFs,
};

struct World {
    net: Net,
    dir: TempDir,
    members: BTreeMap<i32, Quorum>,
    snapshot_every: u64,
}

impl World {
    /// Three blank members, of whom the first has made a quorum of all.
    async fn formed(seed: u64, snapshot_every: u64) -> Self {
        let (net, dir) = (Net::new(seed), tempfile::tempdir().unwrap());
        let mut world = Self { net, dir, members: BTreeMap::new(), snapshot_every };
        for node in 1..=3 {
            world.start(node).await;
        }
        let voters = world.members.iter().map(|(node, quorum)| (quorum.id(), raft_node(*node))).collect();
        world.members[&1].initialize(voters).await.unwrap();
        world
    }

    fn folder(&self, node: i32) -> PathBuf {
        self.dir.path().join(node.to_string())
    }

    async fn start(&mut self, node: i32) {
        let folder = self.folder(node);
        std::fs::create_dir_all(&folder).unwrap();
        let (wire, us) = self.net.wire();
        let args = args(RealFs::shared(), folder, wire);
        let quorum = Quorum::start_with(args, self.snapshot_every).await.unwrap();
        *us.lock().unwrap() = Some(quorum.id());
        self.net.plug(&quorum);
        self.members.insert(node, quorum);
    }

    async fn stop(&mut self, node: i32) {
        let quorum = self.members.remove(&node).unwrap();
        self.net.unplug(quorum.id());
        soon("stopping", quorum.stop()).await;
    }

    async fn end(mut self) {
        let nodes: Vec<i32> = self.members.keys().copied().collect();
        for node in nodes {
            self.stop(node).await;
        }
    }

    /// Who leads, among those of these nodes.
    async fn leader_among(&self, nodes: &[i32]) -> i32 {
        let mut leading = JoinSet::new();
        for node in nodes.iter().copied() {
            let mut leadership = self.members[&node].leadership();
            leading.spawn(async move { leadership.wait_for(|now| now.is_self).await.map(|_| node) });
        }
        soon("an election", leading.join_next()).await.unwrap().unwrap().unwrap()
    }

    fn nodes(&self) -> Vec<i32> {
        self.members.keys().copied().collect()
    }

    async fn leader(&self) -> i32 {
        self.leader_among(&self.nodes()).await
    }

    /// Sets the value with whoever leads, however often that takes.
    async fn set(&self, nodes: &[i32], group: &str, value: u64) {
        let setting = async {
            loop {
                let quorum = &self.members[&self.leader_among(nodes).await];
                if let Ok(epoch) = control(quorum).await
                    && let Ok(Proposed::Applied { .. }) = quorum.propose(set(epoch, group, value)).await
                {
                    return;
                }
            }
        };
        soon("a proposal", setting).await;
    }

    /// Everybody has it.
    async fn all_have(&self, group: &str, value: u64) {
        for quorum in self.members.values() {
            has(quorum, group, value).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_the_loss_of_any_minority() {
    let mut world = World::formed(1, 1_000).await;
    for round in 0..3_u64 {
        let leader = world.leader().await;
        world.set(&world.nodes(), "group", round).await;
        world.stop(leader).await;
        let next = world.leader().await;
        has(&world.members[&next], "group", round).await;
        world.set(&world.nodes(), "other", round).await;
        world.start(leader).await;
        world.all_have("other", round).await;
    }
    world.end().await;
}

/// By time-outs there would be no election at all here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_known_to_be_gone_is_succeeded_before_it_is_missed() {
    let mut world = World::formed(7, 1_000).await;
    let gone = world.leader().await;
    world.set(&world.nodes(), "group", 1).await;
    world.all_have("group", 1).await;
    world.members.values().for_each(|quorum| quorum.inner.raft.runtime_config().elect(false));
    world.stop(gone).await;
    let successions = world
        .members
        .values()
        .cloned()
        .map(|quorum| tokio::spawn(async move { quorum.succeed(NodeId::new(gone)).await }));
    for succession in successions.collect::<Vec<_>>() {
        soon("a succession", succession).await.unwrap();
    }
    world.set(&world.nodes(), "group", 2).await;
    let leader = world.leader().await;
    let term = |world: &World| world.members[&leader].leadership().borrow().term;
    let before = term(&world);
    for quorum in world.members.values() {
        soon("nothing", quorum.succeed(NodeId::new(gone))).await;
    }
    assert_eq!(term(&world), before, "there is a leader: nobody asks for votes again");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s19_what_a_deposed_leader_had_in_flight_counts_once_or_not_at_all() {
    let world = World::formed(2, 1_000).await;
    let old = world.leader().await;
    let epoch = control(&world.members[&old]).await.unwrap();
    world.members[&old].propose(set(epoch, "group", 1)).await.unwrap();
    world.net.part(world.members[&old].id());
    let deposed = world.members[&old].clone();
    let in_flight = tokio::spawn(async move { deposed.propose(set(epoch, "group", 2)).await });
    let rest: Vec<i32> = world.nodes().into_iter().filter(|node| *node != old).collect();
    world.set(&rest, "group", 3).await;
    world.net.heal();
    // Cut from its log, because another leader wrote there: it may not say more than that.
    assert_eq!(soon("an outcome", in_flight).await.unwrap(), Err(QuorumError::Unknown));
    world.all_have("group", 3).await;
    world.set(&world.nodes(), "end", 1).await;
    world.all_have("end", 1).await;
    for quorum in world.members.values() {
        assert_eq!(get(&quorum.image(), "group"), Some(3), "the deposed leader's value came late");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s19_records_of_an_earlier_controller_are_stale_on_every_member_alike() {
    let world = World::formed(3, 1_000).await;
    let quorum = &world.members[&world.leader().await];
    let earlier = control(quorum).await.unwrap();
    let later = control(quorum).await.unwrap();
    assert_eq!(quorum.propose(set(earlier, "group", 1)).await, Ok(Proposed::Stale));
    quorum.propose(set(later, "end", 1)).await.unwrap();
    world.all_have("end", 1).await;
    let images: Vec<_> = world.members.values().map(Quorum::image).collect();
    assert!(images.iter().all(|image| image == &images[0] && get(image, "group").is_none()));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_lead_says_who_does() {
    let world = World::formed(4, 1_000).await;
    let leader = world.leader().await;
    world.set(&world.nodes(), "group", 1).await;
    let other = &world.members[&world.nodes().into_iter().find(|node| *node != leader).unwrap()];
    has(other, "group", 1).await;
    let refused = other.propose(set(1, "group", 2)).await;
    let hint = Some((world.members[&leader].id(), raft_node(leader)));
    assert_eq!(refused, Err(QuorumError::NotLeader { leader: hint.clone() }));
    assert_eq!(other.leadership().borrow().leader, hint);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_far_behind_gets_a_snapshot_in_pieces() {
    let mut world = World::formed(5, 40).await;
    world.set(&world.nodes(), "group", 0).await;
    let leader = world.leader().await;
    let behind = world.nodes().into_iter().find(|node| *node != leader).unwrap();
    world.stop(behind).await;
    // More than a piece, and more entries than are kept.
    let long = "x".repeat(20 << 10);
    let quorum = world.members[&world.leader().await].clone();
    let epoch = control(&quorum).await.unwrap();
    for value in 0..100 {
        quorum.propose(set(epoch, &format!("{long}{value}"), value)).await.unwrap();
    }
    let mut metrics = quorum.inner.raft.metrics();
    soon("purging", metrics.wait_for(|now| now.purged.is_some_and(|purged| purged.index > 50)))
        .await
        .unwrap();
    world.start(behind).await;
    has(&world.members[&behind], &format!("{long}99"), 99).await;
    let installed = world.members[&behind].inner.raft.metrics().borrow().snapshot;
    assert!(installed.is_some_and(|installed| installed.index > 20), "{installed:?}");
    assert!(world.net.longest() < (1 << 20) + (64 << 10), "{} bytes in one call", world.net.longest());
    // It is on its disk too.
    world.stop(behind).await;
    world.start(behind).await;
    world.set(&world.nodes(), "end", 1).await;
    world.all_have("end", 1).await;
    assert_eq!(get(&world.members[&behind].image(), &format!("{long}99")), Some(99));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s17_a_member_with_a_new_disk_is_swapped_in_by_one_change_and_voters_stay_odd() {
    let mut world = World::formed(6, 1_000).await;
    world.set(&world.nodes(), "group", 1).await;
    let leader = world.leader().await;
    let lost = world.nodes().into_iter().find(|node| *node != leader).unwrap();
    let goes = world.members[&lost].id();
    world.stop(lost).await;
    std::fs::remove_dir_all(world.folder(lost)).unwrap();
    world.start(lost).await;
    let comes = world.members[&lost].id();
    assert_ne!(goes, comes);
    assert!(world.members[&lost].is_blank());
    let quorum = &world.members[&leader];
    // Nobody votes who is no member, and no even number does.
    assert_eq!(quorum.swap(goes, comes).await, Err(QuorumError::Refused(Refused::NoMember(comes))));
    quorum.add_learner(comes, raft_node(lost)).await.unwrap();
    let one_more = quorum.promote(BTreeSet::from([comes])).await;
    assert_eq!(one_more, Err(QuorumError::Refused(Refused::Even(4))));
    has(&world.members[&lost], "group", 1).await;
    let mut progress = quorum.inner.raft.metrics();
    let swapping = async {
        while let Err(error) = quorum.swap(goes, comes).await {
            assert_eq!(error, QuorumError::Refused(Refused::Behind(comes)));
            progress.changed().await.unwrap();
        }
    };
    soon("a swap", swapping).await;
    let ids: BTreeSet<RaftId> = world.members.values().map(Quorum::id).collect();
    assert_eq!(quorum.members().voters, [ids]);
    assert!(!quorum.members().nodes.contains_key(&goes));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s18_the_next_leader_finishes_a_change_that_was_cut_in_the_middle() {
    let mut world = World::formed(7, 1_000).await;
    world.set(&world.nodes(), "group", 1).await;
    let leader = world.leader().await;
    world.start(4).await;
    let comes = world.members[&4].id();
    let quorum = world.members[&leader].clone();
    quorum.add_learner(comes, raft_node(4)).await.unwrap();
    has(&world.members[&4], "group", 1).await;
    let goes = world.nodes().into_iter().find(|node| *node != leader && *node != 4).unwrap();
    // The first step only: what is sent arrives, and the leader is silenced before it has the answers.
    world.net.weather(Weather { loss: 0.0, delay_ms: 20 });
    let goes_id = world.members[&goes].id();
    let mut wanted: BTreeSet<u64> = quorum.voters().into_iter().map(RaftId::get).collect();
    wanted.remove(&goes_id.get());
    wanted.insert(comes.get());
    let raft = quorum.inner.raft.clone();
    let half = tokio::spawn(async move { raft.change_membership(wanted, false).await });
    let mut metrics = world.members[&4].inner.raft.metrics();
    let joint = metrics.wait_for(|now| now.membership_config.membership().get_joint_config().len() == 2);
    soon("the first step", joint).await.unwrap();
    // It has the change, and may vote by it; that its vote counts is known only when the change is committed.
    assert!(world.members[&4].members().votes(comes));
    assert!(!world.members[&4].committed_voters().contains(&comes));
    world.net.part(quorum.id());
    world.net.weather(Weather::default());
    world.stop(leader).await;
    let _cut_or_done = half.await;
    let rest: Vec<i32> = world.nodes().into_iter().filter(|node| *node != goes).collect();
    let next = world.leader_among(&world.nodes()).await;
    let mut metrics = world.members[&rest[0]].inner.raft.metrics();
    let uniform = metrics.wait_for(|now| {
        let sets = now.membership_config.membership().get_joint_config().clone();
        sets.len() == 1 && sets[0].contains(&comes.get()) && !sets[0].contains(&goes_id.get())
    });
    soon("the second step", uniform).await.unwrap();
    assert_ne!(next, leader);
    let mut voters = world.members[&4].inner.committed_voters.clone();
    let count = |voters: &BTreeSet<RaftId>| voters.contains(&comes) && !voters.contains(&goes_id);
    soon("the change to count", voters.wait_for(count)).await.unwrap();
    world.set(&rest, "end", 1).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_can_let_go() {
    let world = World::formed(8, 1_000).await;
    let leader = world.leader().await;
    assert!(world.members[&leader].step_down(LONG).await);
    let rest: Vec<i32> = world.nodes().into_iter().filter(|node| *node != leader).collect();
    let next = world.leader_among(&rest).await;
    leads(&world.members[&next]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_go_on_over_a_network_that_loses_and_delays() {
    let mut world = World::formed(9, 60).await;
    world.leader().await;
    world.net.weather(Weather { loss: 0.05, delay_ms: 5 });
    let mut rng = fastrand::Rng::with_seed(9);
    let mut down = None;
    for value in 0..24 {
        world.set(&world.nodes(), "group", value).await;
        if value % 6 == 5 {
            if let Some(node) = down.take() {
                world.start(node).await;
            } else {
                let node = rng.i32(1..=3);
                world.stop(node).await;
                down = Some(node);
            }
        }
    }
    world.net.weather(Weather::default());
    if let Some(node) = down {
        world.start(node).await;
    }
    world.set(&world.nodes(), "end", 1).await;
    world.all_have("end", 1).await;
    let images: Vec<_> = world.members.values().map(|quorum| get(&quorum.image(), "group")).collect();
    assert_eq!(images, [Some(23); 3]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s17_a_call_for_another_member_at_the_same_address_is_refused() {
    let world = World::formed(10, 1_000).await;
    let (leader, other) = (world.leader().await, RaftId::new(99));
    let (term, follower) = (world.members[&leader].leadership().borrow().term, leader % 3 + 1);
    let asked = openraft::raft::VoteRequest::new(openraft::Vote::new(term + 9, 99), None);
    let body = super::super::peers::vote_request(other, asked);
    let answer = world.members[&follower].serve(body.clone()).await;
    assert!(String::from_utf8_lossy(&answer).contains("not member 99"), "{answer:?}");
    // What is no request at all is refused as well, and ends nothing.
    for strange in [&[][..], &[9, 9], &body[..body.len() - 1]] {
        assert!(!world.members[&follower].serve(bytes::Bytes::copy_from_slice(strange)).await.is_empty());
    }
    world.set(&world.nodes(), "end", 1).await;
    world.end().await;
}
