use std::time::Duration;

use uuid::Uuid;

use super::{
    ClusterView, Effect, Formation, FormationArgs, GiveUp, Hello, HelloAnswer, HelloRefusal, Input,
    JoinAnswer, Member, OnDisk, SeedAnswer, Timing,
};
use crate::{
    config::node::HostPort,
    model::{NodeId, RaftId},
};

const CLUSTER: Uuid = Uuid::from_u128(7);
const OURS: Uuid = Uuid::from_u128(1);

fn at(name: &str) -> HostPort {
    HostPort::new(name, 9_093)
}

fn list(names: &[&str]) -> Vec<HostPort> {
    names.iter().map(|name| at(name)).collect()
}

fn who(name: &str) -> Member {
    let number = i32::from(name.as_bytes()[0]);
    Member { node: NodeId::new(number), raft_id: RaftId::new(number as u64), address: at(name) }
}

/// A node that has been asked what it says, and when.
struct Node {
    formation: Formation,
    now: Duration,
    asked: Vec<(super::AskId, HostPort)>,
    done: Vec<Effect>,
}

impl Node {
    fn on_disk(name: &str, seeds: &[&str], disk: OnDisk) -> Self {
        let timing = Timing::default();
        let args = FormationArgs { us: who(name), disk, seeds: list(seeds), voters_max: 3, timing };
        let formation = Formation::new(args);
        let mut node = Self { formation, now: Duration::ZERO, asked: Vec::new(), done: Vec::new() };
        node.step(Input::Tick);
        node
    }

    fn blank(name: &str, seeds: &[&str]) -> Self {
        Self::on_disk(name, seeds, OnDisk::Blank { new_cluster_id: OURS })
    }

    fn step(&mut self, input: Input) {
        for effect in self.formation.step(self.now, input) {
            if let Effect::Ask(id, seed) = effect {
                self.asked.push((id, seed));
            } else {
                self.done.push(effect);
            }
        }
    }

    /// Answers every question that is out, for `time`, by what `answer` says.
    fn hear(&mut self, time: Duration, answer: impl Fn(&HostPort) -> Option<SeedAnswer>) {
        let until = self.now + time;
        loop {
            for (id, seed) in std::mem::take(&mut self.asked) {
                if let Some(answer) = answer(&seed) {
                    self.step(Input::SeedAnswered(id, answer));
                }
            }
            self.now += Duration::from_millis(10);
            if self.now > until {
                return;
            }
            self.step(Input::Tick);
        }
    }

    fn begins(&self) -> Option<(Vec<Member>, Vec<Member>)> {
        self.done.iter().find_map(|effect| {
            let Effect::Initialise { voters, learners, .. } = effect else { return None };
            Some((voters.clone(), learners.clone()))
        })
    }

    fn joins(&self) -> Vec<HostPort> {
        let joins = self.done.iter().filter_map(|effect| {
            let Effect::Join { at, .. } = effect else { return None };
            Some(at.clone())
        });
        joins.collect()
    }

    fn gave_up(&self) -> Option<GiveUp> {
        self.done.iter().find_map(|effect| {
            let Effect::GiveUp(why) = effect else { return None };
            Some(why.clone())
        })
    }

    fn waits_for(&self) -> &str {
        self.formation.waits_for().unwrap_or_default()
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as the callers need it")]
fn blank(name: &str, seeds: &[&str]) -> Option<SeedAnswer> {
    Some(SeedAnswer::Answered(HelloAnswer::Blank { who: who(name), seeds: list(seeds) }))
}

#[allow(clippy::unnecessary_wraps, reason = "as the callers need it")]
fn member_of(id: Uuid, name: &str, leader: Option<&str>) -> Option<SeedAnswer> {
    let cluster = ClusterView { id, leader: leader.map(at), controller_epoch: 3, members: vec![who(name)] };
    Some(SeedAnswer::Answered(HelloAnswer::Member { who: who(name), cluster }))
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn s16_a_list_with_nobody_else_in_it_begins_at_once() {
    for seeds in [&[][..], &["a"], &["A"]] {
        let node = Node::blank("a", seeds);
        assert_eq!(node.begins(), Some((vec![who("a")], vec![])), "{seeds:?}");
    }
}

#[test]
fn s16_only_the_lowest_begins_and_only_once_all_have_answered() {
    let seeds = ["c", "a", "b"];
    let sorted = ["a", "b", "c"];
    let name = |seed: &HostPort| seed.host.clone();
    let mut lowest = Node::blank("a", &seeds);
    lowest.hear(SECOND / 2, |seed| (name(seed) == "b").then(|| blank("b", &sorted)).flatten());
    assert_eq!(lowest.begins(), None, "c has not answered");
    assert!(lowest.waits_for().contains("seed c:9093 has not answered yet"), "{}", lowest.waits_for());
    lowest.hear(SECOND * 2, |seed| blank(&seed.host, &sorted));
    assert_eq!(lowest.begins(), Some((vec![who("a"), who("b"), who("c")], vec![])));

    let mut other = Node::blank("b", &seeds);
    other.hear(SECOND, |seed| blank(&seed.host, &sorted));
    assert_eq!(other.begins(), None);
    assert!(other.waits_for().contains("seed a:9093 is to begin the cluster"), "{}", other.waits_for());
}

#[test]
fn s16_the_voters_are_the_largest_odd_number_and_the_rest_learns() {
    for (seeds, voters) in [(&["a", "b"][..], 1), (&["a", "b", "c", "d"], 3), (&["a", "b", "c", "d", "e"], 3)]
    {
        let mut node = Node::blank("a", seeds);
        node.hear(SECOND, |seed| blank(&seed.host, seeds));
        let (voting, learning) = node.begins().unwrap();
        assert_eq!((voting.len(), learning.len()), (voters, seeds.len() - voters));
        assert_eq!(voting[0], who("a"));
    }
}

#[test]
fn s16_a_seed_with_another_list_keeps_everybody_from_beginning() {
    let mut node = Node::blank("a", &["a", "b"]);
    node.hear(SECOND, |_| blank("b", &["a", "b", "c"]));
    assert_eq!(node.begins(), None);
    assert!(node.waits_for().contains("b:9093 was started with other seeds"), "{}", node.waits_for());
}

#[test]
fn s16_a_node_that_is_not_in_its_list_never_begins() {
    let mut node = Node::blank("z", &["a", "b"]);
    node.hear(SECOND * 3, |seed| blank(&seed.host, &["a", "b"]));
    assert_eq!(node.begins(), None);
    assert!(node.waits_for().contains("this node (z:9093) is no seed"), "{}", node.waits_for());
}

#[test]
fn s16_an_answer_does_not_count_for_ever() {
    let seeds = ["a", "b", "c"];
    let mut node = Node::blank("a", &seeds);
    node.hear(SECOND, |seed| (seed.host == "b").then(|| blank("b", &seeds)).flatten());
    node.hear(SECOND * 4, |_| None);
    node.hear(SECOND * 3, |seed| (seed.host == "c").then(|| blank("c", &seeds)).flatten());
    assert_eq!(node.begins(), None, "b was there before c was, and is not any more");
}

#[test]
fn s16_a_node_that_knows_itself_by_another_name_counts_once() {
    let seeds = ["alias", "b"];
    let mut node = Node::blank("z", &seeds);
    let ourselves = || SeedAnswer::Answered(HelloAnswer::Blank { who: who("z"), seeds: list(&seeds) });
    node.hear(SECOND, |seed| if seed.host == "alias" { Some(ourselves()) } else { blank("b", &seeds) });
    assert_eq!(node.begins(), Some((vec![who("z")], vec![who("b")])));

    let mut twice = Node::blank("z", &["alias", "z"]);
    let list = list(&["alias", "z"]);
    twice.hear(SECOND, |_| {
        Some(SeedAnswer::Answered(HelloAnswer::Blank { who: who("z"), seeds: list.clone() }))
    });
    assert_eq!(twice.begins(), None);
    assert!(twice.waits_for().contains("are the same node"), "{}", twice.waits_for());
}

#[test]
fn s17_a_blank_node_joins_through_any_member_though_it_is_the_lowest() {
    let mut node = Node::blank("a", &["a", "b", "c"]);
    node.hear(SECOND / 10, |seed| (seed.host == "b").then(|| member_of(CLUSTER, "b", Some("c"))).flatten());
    assert_eq!(node.begins(), None);
    assert_eq!(node.joins(), [at("c")], "where the leader is");
}

#[test]
fn s17_whoever_does_not_lead_says_who_does_and_is_followed() {
    let mut node = Node::blank("a", &["a", "b"]);
    node.hear(SECOND / 10, |_| member_of(CLUSTER, "b", None));
    assert_eq!(node.joins(), [at("b")]);
    node.step(Input::JoinAnswered(super::AskId(1), JoinAnswer::NotLeader { leader: Some(at("d")) }));
    node.hear(SECOND / 2, |_| member_of(CLUSTER, "b", None));
    assert_eq!(node.joins(), [at("b"), at("d")]);
    node.step(Input::JoinAnswered(super::AskId(2), JoinAnswer::Taken));
    node.hear(SECOND, |_| member_of(CLUSTER, "b", None));
    assert_eq!(node.joins().len(), 2, "its log is on its way");
    node.step(Input::BecameMember(CLUSTER));
    assert!(node.done.contains(&Effect::GoOn));
    assert_eq!(node.formation.cluster_id(), Some(CLUSTER));
}

#[test]
fn s16_a_failed_first_write_is_tried_again() {
    let mut node = Node::blank("a", &[]);
    node.step(Input::Initialised(Err("disk full".to_owned())));
    assert_eq!(node.formation.cluster_id(), None);
    let begun = |node: &Node| node.done.iter().filter(|e| matches!(e, Effect::Initialise { .. })).count();
    assert_eq!(begun(&node), 1);
    node.now = node.formation.next_wake().unwrap();
    node.step(Input::Tick);
    assert_eq!(begun(&node), 2);
    node.step(Input::Initialised(Ok(())));
    assert_eq!(node.formation.cluster_id(), Some(OURS));
}

#[test]
fn s16_what_is_on_disk_wins_over_what_seeds_say() {
    let disk = OnDisk::Member { cluster_id: CLUSTER };
    let mut node = Node::on_disk("a", &["a", "b", "c"], disk);
    assert!(node.done.contains(&Effect::GoOn), "before anybody has answered");
    node.hear(SECOND * 10, |seed| (seed.host == "b").then(|| blank("b", &["a", "b", "c"])).flatten());
    assert_eq!((node.begins(), node.joins(), node.gave_up()), (None, vec![], None));
}

#[test]
fn a_member_among_seeds_of_another_cluster_gives_up_and_says_why() {
    let disk = OnDisk::Member { cluster_id: CLUSTER };
    let refused = || SeedAnswer::Answered(HelloAnswer::Refused(HelloRefusal::ForeignCluster(OURS)));
    let mut node = Node::on_disk("a", &["a", "b", "c"], disk);
    node.hear(SECOND * 10, |seed| (seed.host == "b").then(refused));
    assert_eq!(node.gave_up(), None, "c may be one of ours");
    node.hear(SECOND * 10, |_| Some(refused()));
    assert!(matches!(node.gave_up(), Some(GiveUp::ForeignCluster { ours: CLUSTER, .. })));
    let answer = node.formation.answer(&Hello { from: who("d"), cluster_id: None });
    assert!(matches!(answer, HelloAnswer::Refused(HelloRefusal::NotTaken(_))), "s16: not blank: {answer:?}");
}

#[test]
fn seeds_of_two_clusters_are_given_up_if_that_lasts() {
    let mut node = Node::blank("a", &["a", "b", "c"]);
    let two = |seed: &HostPort| member_of(if seed.host == "b" { OURS } else { CLUSTER }, &seed.host, None);
    node.hear(SECOND * 3, two);
    assert_eq!((node.gave_up(), node.joins()), (None, vec![at("b")]), "the first one was asked before");
    node.hear(SECOND * 3, two);
    assert!(matches!(node.gave_up(), Some(GiveUp::SeveralClusters(_))));
}

#[test]
fn a_node_id_that_another_disk_has_is_refused_on_both_sides_and_given_up_if_that_lasts() {
    let other = Member { raft_id: RaftId::new(1_000), address: at("b"), ..who("a") };
    let mut node = Node::blank("a", &["a", "b"]);
    let refusal = HelloAnswer::Refused(HelloRefusal::SameNodeId(who("a").node));
    assert_eq!(node.formation.answer(&Hello { from: other, cluster_id: None }), refusal);
    node.hear(SECOND * 3, |_| Some(SeedAnswer::Answered(refusal.clone())));
    assert_eq!(node.gave_up(), None, "a predecessor may be on its way out");
    node.hear(SECOND * 4, |_| Some(SeedAnswer::Answered(refusal.clone())));
    assert!(matches!(node.gave_up(), Some(GiveUp::SameNodeId { .. })));
}

#[test]
fn a_live_duplicate_of_the_node_in_the_cluster_is_given_up_only_if_that_lasts() {
    let mut node = Node::blank("a", &["a", "b"]);
    let mut asked = 0;
    while node.gave_up().is_none() {
        assert!(node.now < SECOND * 10, "never given up");
        node.hear(SECOND / 10, |_| member_of(CLUSTER, "b", None));
        if node.joins().len() > asked {
            asked = node.joins().len();
            node.step(Input::JoinAnswered(super::AskId(asked as u64), JoinAnswer::DuplicateNode));
        }
    }
    assert!(node.now > SECOND * 5, "a lease that is running out is waited for: {:?}", node.now);
}

#[test]
fn whom_the_node_waits_for_is_said_when_it_changes_and_every_ten_seconds() {
    let mut node = Node::blank("a", &["a", "b"]);
    node.hear(SECOND * 25, |_| Some(SeedAnswer::Unreachable));
    let said = node.done.iter().filter(|effect| matches!(effect, Effect::Say(_))).count();
    assert_eq!(said, 4, "unheard, unreachable, and that twice again: {:?}", node.done);
}

#[test]
fn s16_a_foreign_node_is_refused_and_a_blank_one_is_told_the_cluster() {
    let node = Node::on_disk("a", &["a"], OnDisk::Member { cluster_id: CLUSTER });
    let foreign = Hello { from: who("b"), cluster_id: Some(OURS) };
    let refusal = HelloAnswer::Refused(HelloRefusal::ForeignCluster(CLUSTER));
    assert_eq!(node.formation.answer(&foreign), refusal);
    let blank = Hello { from: who("b"), cluster_id: None };
    assert!(
        matches!(node.formation.answer(&blank), HelloAnswer::Member { cluster, .. } if cluster.id == CLUSTER)
    );
}
