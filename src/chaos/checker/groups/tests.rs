//! For each rule of groups a history that breaks it, and good ones that look like trouble.

mod letters;

use std::collections::BTreeSet;

use crate::{
    chaos::{
        checker::{Checker, Expectations, Report, Rule},
        history::{
            Acknowledged, Acks, Commit, CommitFailed, Consumed, ContentDigest, Entry, Event, GroupProfile,
            Joined, Membership, NodeChange, NodeEvent, Parted, Parting, PositionAsked, PositionTold,
            ProducerName, ProducerProfile, Read, RecordId, Refused, ScanBegan, ScanEnded, Sent,
            TopicPartition,
        },
    },
    model::{NodeId, Offset, TopicName},
};

const SECOND: u64 = 1_000_000;
const SESSION: u64 = 6;

/// A history as it is told, one microsecond after the other unless it says otherwise.
#[derive(Clone)]
struct Story {
    entries: Vec<Entry>,
    at_us: u64,
    stored: u32,
}

impl Story {
    fn tell(&mut self, event: Event) -> &mut Self {
        self.at_us += 1;
        self.entries.push(Entry { at_us: self.at_us, event });
        self
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.at_us += seconds * SECOND;
        self
    }

    /// A group, and so many records acknowledged for it.
    fn with(records: u32) -> Self {
        let mut story = Self { entries: Vec::new(), at_us: 0, stored: 0 };
        let name = ProducerName::new("p").unwrap();
        let (acks, idempotent, retries, in_flight) = (Acks::All, true, true, 5);
        story.tell(Event::Producer(ProducerProfile { name, acks, idempotent, retries, in_flight }));
        story.tell(group("g"));
        for _ in 0..records {
            story.produce();
        }
        story
    }

    fn sent(&mut self) -> &mut Self {
        let record = record(self.stored);
        self.stored += 1;
        self.tell(Event::Sent(Sent { digest: digest(&record), record }))
    }

    fn produce(&mut self) -> &mut Self {
        let (record, offset) = (record(self.stored), Some(Offset::new(self.stored.into())));
        self.sent().tell(Event::Acknowledged(Acknowledged { record, offset }))
    }

    fn joined(&mut self, member: &str, generation: i32) -> &mut Self {
        self.tell(Event::Joined(Joined { by: by(member, generation), partitions: vec![partition()] }))
    }

    fn parted(&mut self, member: &str, generation: i32, how: Parting) -> &mut Self {
        self.tell(Event::Parted(Parted { by: by(member, generation), how }))
    }

    fn consumed(&mut self, member: &str, generation: i32, sequence: u32) -> &mut Self {
        let read = read(member, sequence);
        self.tell(Event::Consumed(Consumed { group: "g".into(), generation, read }))
    }

    fn asks(&mut self, commit: &Commit) -> &mut Self {
        self.tell(Event::CommitAsked(commit.clone()))
    }

    fn commits(&mut self, commit: &Commit) -> &mut Self {
        self.asks(commit).tell(Event::CommitAcknowledged(commit.clone()))
    }

    fn commits_who_knows(&mut self, commit: &Commit) -> &mut Self {
        self.asks(commit).tell(Event::CommitUnknown(failed(commit)))
    }

    fn asks_position(&mut self) -> &mut Self {
        let (group, reader) = ("g".into(), "r".into());
        self.tell(Event::PositionAsked(PositionAsked { group, reader, partition: partition() }))
    }

    fn told(&mut self, offset: impl Into<Option<i64>>) -> &mut Self {
        let (group, reader, offset) = ("g".into(), "r".into(), offset.into().map(Offset::new));
        self.tell(Event::PositionTold(PositionTold { group, reader, partition: partition(), offset }))
    }

    fn position(&mut self, offset: impl Into<Option<i64>>) -> &mut Self {
        self.asks_position().told(offset)
    }

    fn node(&mut self, node: i32, change: NodeChange) -> &mut Self {
        self.tell(Event::Node(NodeEvent { node: NodeId::new(node), change }))
    }

    /// One member that consumes and commits so many records, one after the other.
    fn served(records: u32) -> Self {
        let mut story = Self::with(records);
        story.joined("c1", 1);
        for sequence in 0..records {
            story.consumed("c1", 1, sequence).commits(&commit("c1", 1, i64::from(sequence) + 1));
        }
        story
    }

    /// Reads back what was produced, and judges.
    fn judged(&self) -> Report {
        let mut story = self.clone();
        let (reader, partition, stored) = (|| "s".to_owned(), partition(), self.stored);
        let (from, until) = (Offset::ZERO, Offset::new(stored.into()));
        story.tell(Event::ScanBegan(ScanBegan {
            reader: reader(),
            partition: partition.clone(),
            from,
            until,
        }));
        for sequence in 0..stored {
            story.tell(Event::Read(read("s", sequence)));
        }
        story.tell(Event::ScanEnded(ScanEnded { reader: reader(), partition }));
        let mut checker = Checker::new(Expectations::default());
        story.entries.iter().for_each(|entry| checker.observe(entry));
        checker.finish()
    }

    #[track_caller]
    fn assert_good(&self) -> Report {
        let report = self.judged();
        assert!(report.is_clean(), "{report}");
        report
    }

    #[track_caller]
    fn assert_broken(&self, rules: &[Rule]) -> Report {
        let report = self.judged();
        let broken: BTreeSet<Rule> = report.broken.keys().copied().collect();
        assert_eq!(broken, rules.iter().copied().collect(), "{report}");
        report
    }
}

fn group(name: &str) -> Event {
    Event::Group(profile(name))
}

fn profile(name: &str) -> GroupProfile {
    let (topics, session_timeout_ms) = (vec![TopicName::new("orders").unwrap()], SESSION as u32 * 1000);
    GroupProfile {
        name: name.into(),
        topics,
        session_timeout_ms,
        server_side: false,
        max_delivery_attempts: 0,
    }
}

fn partition() -> TopicPartition {
    "orders/0".parse().unwrap()
}

fn record(sequence: u32) -> RecordId {
    RecordId { partition: partition(), producer: ProducerName::new("p").unwrap(), sequence }
}

fn digest(record: &RecordId) -> ContentDigest {
    ContentDigest::of(None, Some(&record.in_value(b"payload")), &[])
}

/// Every record stands at the offset of its sequence.
fn read(reader: &str, sequence: u32) -> Read {
    let (record, offset) = (record(sequence), Offset::new(sequence.into()));
    let digest = digest(&record);
    Read { reader: reader.into(), partition: partition(), offset, record: Some(record), digest }
}

fn by(member: &str, generation: i32) -> Membership {
    Membership { group: "g".into(), member: member.into(), generation }
}

fn commit(member: &str, generation: i32, offset: i64) -> Commit {
    Commit { by: by(member, generation), partition: partition(), offset: Offset::new(offset) }
}

fn failed(commit: &Commit) -> CommitFailed {
    CommitFailed { commit: commit.clone(), cause: "why".into() }
}

#[test]
fn a_group_that_consumes_everything_passes_and_is_counted() {
    let mut story = Story::with(3);
    story.joined("c1", 1).position(None);
    story.consumed("c1", 1, 0).consumed("c1", 1, 1).commits(&commit("c1", 1, 2));
    story.parted("c1", 1, Parting::Revoked).joined("c2", 2).position(2);
    story.consumed("c2", 2, 1).consumed("c2", 2, 2).commits(&commit("c2", 2, 3)).position(3);
    let refused = commit("c2", 2, 3);
    story.asks(&refused).tell(Event::CommitRefused(failed(&refused)));
    let counts = story.assert_good().counts;
    let groups = counts.groups;
    assert_eq!((groups.generations, groups.consumed, groups.consumed_again), (2, 4, 1));
    assert_eq!((groups.commits, groups.commits_refused, groups.positions), (2, 1, 3));
    assert_eq!(counts.reads, 7, "what is consumed is read");
}

#[test]
fn an_acknowledged_record_that_nobody_consumed_is_caught() {
    let mut story = Story::served(3);
    story.position(3).assert_good();
    story.produce().assert_broken(&[Rule::ConsumedAtLeastOnce]);
    // One that leaves no trace but in the log.
    let mut story = Story::served(3);
    let unplaced = Event::Acknowledged(Acknowledged { record: record(3), offset: None });
    story.position(3).sent().tell(unplaced).assert_broken(&[Rule::ConsumedAtLeastOnce]);
}

#[test]
fn a_record_of_unknown_outcome_need_not_be_consumed() {
    let mut story = Story::served(3);
    let unknown = Event::Unknown(Refused { record: record(3), cause: "why".into() });
    story.position(3).sent().tell(unknown).assert_good();
}

#[test]
fn a_record_that_is_skipped_is_caught_once_the_position_is_past_it() {
    let mut story = Story::with(3);
    story.joined("c1", 1).consumed("c1", 1, 0).consumed("c1", 1, 2).commits(&commit("c1", 1, 3)).position(3);
    let rules = [Rule::ConsumedAtLeastOnce, Rule::PositionBehindConsumption];
    let report = story.assert_broken(&rules);
    assert!(
        report.to_string().contains("position past what was consumed, orders/0 at offset 1: g committed 3")
    );
    // Consumed after all, but too late: whoever had come meanwhile would not have consumed it.
    story.consumed("c1", 1, 1).assert_broken(&[Rule::PositionBehindConsumption]);
}

#[test]
fn a_position_that_is_told_and_never_was_acknowledged_may_not_be_past_a_record_either() {
    let mut story = Story::with(3);
    story.joined("c1", 1).consumed("c1", 1, 0).commits_who_knows(&commit("c1", 1, 3));
    story.consumed("c1", 1, 1).consumed("c1", 1, 2);
    story.assert_good();
    let mut unheard = story.clone();
    unheard.asks(&commit("c1", 1, 3));
    assert_eq!(unheard.assert_good().counts.groups.commits_unknown, 2);
    story.position(3).assert_broken(&[Rule::PositionBehindConsumption]);
}

#[test]
fn a_position_from_nowhere_is_caught() {
    let mut story = Story::served(3);
    story.position(3).assert_good();
    story.position(4).assert_broken(&[Rule::PositionIsCommitted]);
    let mut story = Story::served(3);
    let refused = commit("c1", 1, 7);
    story.asks(&refused).tell(Event::CommitRefused(failed(&refused))).position(7);
    story.assert_broken(&[Rule::PositionIsCommitted]);
}

#[test]
fn a_position_that_goes_back_is_caught_with_its_lines() {
    let mut story = Story::served(3);
    let report = story.position(2).assert_broken(&[Rule::PositionNeverBack]);
    assert!(
        report.to_string().contains("2 is told to r (lines 20 to 21) after 3 had been reached (line 19)")
    );
    assert_eq!(report.broken[&Rule::PositionNeverBack], 1);
    Story::served(3).position(None).assert_broken(&[Rule::PositionNeverBack]);
    // What was only told was there as well.
    let mut story = Story::with(3);
    story.joined("c1", 1).consumed("c1", 1, 0).consumed("c1", 1, 1);
    story.commits(&commit("c1", 1, 1)).commits_who_knows(&commit("c1", 1, 2)).position(2);
    story.consumed("c1", 1, 2).clone().assert_good();
    story.position(1).assert_broken(&[Rule::PositionNeverBack]);
}

#[test]
fn a_commit_behind_an_earlier_one_is_caught() {
    let mut story = Story::served(3);
    story.commits(&commit("c1", 1, 2)).position(2).assert_broken(&[Rule::PositionNeverBack]);
}

#[test]
fn a_question_that_was_under_way_may_be_answered_with_what_was_before() {
    let mut story = Story::served(2);
    story.produce().consumed("c1", 1, 2).asks_position().commits(&commit("c1", 1, 3)).told(2);
    story.position(3).assert_good();
}

#[test]
fn a_commit_nobody_heard_of_may_put_the_position_back() {
    let mut story = Story::served(2);
    story.produce().consumed("c1", 1, 2).commits_who_knows(&commit("c1", 1, 1));
    story.commits(&commit("c1", 1, 3)).position(1).position(1);
    let groups = story.assert_good().counts.groups;
    assert_eq!((groups.put_back, groups.commits_unknown), (1, 1));
    story.position(3).assert_good();
}

#[test]
fn a_commit_of_a_generation_that_is_over_explains_nothing() {
    let mut story = Story::served(2);
    story.commits_who_knows(&commit("c1", 1, 1)).parted("c1", 1, Parting::Revoked).joined("c2", 2);
    story.produce().consumed("c2", 2, 2).commits(&commit("c2", 2, 3)).position(1);
    story.assert_broken(&[Rule::PositionNeverBack]);
}

#[test]
fn a_commit_that_was_lost_with_the_only_node_explains_nothing() {
    let back_after_a_kill = |nodes: i32| {
        let mut story = Story::served(2);
        story.produce().consumed("c1", 1, 2);
        for node in 1..=nodes {
            story.node(node, NodeChange::Started);
        }
        story.commits_who_knows(&commit("c1", 1, 1));
        story.node(1, NodeChange::Killed).node(1, NodeChange::Started);
        story.commits(&commit("c1", 1, 3)).position(1);
        story
    };
    back_after_a_kill(1).assert_broken(&[Rule::PositionNeverBack]);
    // It may have been under way to the other one.
    back_after_a_kill(2).assert_good();
}

#[test]
fn two_owners_in_one_generation_are_caught() {
    let mut story = Story::served(3);
    story.position(3).joined("c1", 1).joined("c2", 2);
    story.assert_good();
    let report = story.joined("c1", 2).assert_broken(&[Rule::OneOwner]);
    assert!(report.to_string().contains("generation 2 of g: c2 (line"), "{report}");
}

#[test]
fn a_commit_of_a_generation_that_was_over_is_caught_when_it_is_taken() {
    let late = commit("c1", 1, 3);
    let mut story = Story::served(3);
    story.joined("c2", 2).commits(&late).position(3);
    let report = story.assert_broken(&[Rule::GenerationFenced]);
    assert!(report.to_string().contains("generation 2 had begun"), "{report}");
    let mut refused = Story::served(3);
    refused.joined("c2", 2).asks(&late).tell(Event::CommitRefused(failed(&late))).position(3).assert_good();
    // It was under way when the next generation began: who knows which was first.
    let mut meanwhile = Story::served(3);
    meanwhile.asks(&late).joined("c2", 2).tell(Event::CommitAcknowledged(late.clone())).position(3);
    meanwhile.assert_good();
}

/// A group whose coordinator assigns: one member has consumed two records of the partition in generation 1.
fn served_from_the_server() -> Story {
    let mut story = Story::served(2);
    let declared = Event::Group(GroupProfile { server_side: true, ..profile("g") });
    for entry in story.entries.iter_mut().filter(|entry| matches!(entry.event, Event::Group(_))) {
        entry.event = declared.clone();
    }
    story
}

#[test]
fn where_the_server_assigns_a_member_may_commit_behind_others_until_its_partition_is_anothers() {
    let late = commit("c1", 1, 3);
    let mut story = served_from_the_server();
    story.produce().consumed("c1", 1, 2);
    // Of another partition, or of none: that says nothing about this one.
    story.tell(Event::Joined(Joined { by: by("c2", 2), partitions: Vec::new() }));
    let mut taken = story.clone();
    story.commits(&late).position(3).assert_good();
    // The same in a classic group: its generation is over.
    let declared = group("g");
    let mut classic = story.clone();
    classic.entries.iter_mut().filter(|entry| matches!(entry.event, Event::Group(_))).for_each(|entry| {
        entry.event = declared.clone();
    });
    classic.assert_broken(&[Rule::GenerationFenced]);
    taken.joined("c2", 2);
    let mut refused = taken.clone();
    refused.asks(&late).tell(Event::CommitRefused(failed(&late))).position(2).assert_good();
    let report = taken.commits(&late).position(3).assert_broken(&[Rule::GenerationFenced]);
    assert!(report.to_string().contains("c2 had taken it over in generation 2"), "{report}");
}

#[test]
fn where_the_server_assigns_two_owners_in_one_generation_are_caught_as_well() {
    let mut story = served_from_the_server();
    story.position(2).joined("c2", 2).assert_good();
    story.joined("c3", 2).assert_broken(&[Rule::OneOwner]);
}

#[test]
fn where_the_server_assigns_a_commit_nobody_heard_of_explains_nothing_once_its_partition_is_anothers() {
    let back = |taken_over: bool| {
        let mut story = served_from_the_server();
        story.produce().consumed("c1", 1, 2).commits_who_knows(&commit("c1", 1, 1));
        story.commits(&commit("c1", 1, 3));
        if taken_over {
            story.joined("c2", 2);
        } else {
            story.tell(Event::Joined(Joined { by: by("c2", 2), partitions: Vec::new() }));
        }
        story.position(3).position(1);
        story
    };
    back(false).assert_good();
    back(true).assert_broken(&[Rule::PositionNeverBack]);
}

#[test]
fn a_partition_that_stands_still_after_a_kill_is_caught() {
    let after_kill = |kill: &dyn Fn(&mut Story), seconds: u64| {
        let mut story = Story::served(2);
        story.position(2).produce();
        kill(&mut story);
        story.wait(seconds).joined("c2", 2).consumed("c2", 2, 1).consumed("c2", 2, 2);
        story
    };
    let member = |story: &mut Story| {
        story.parted("c1", 1, Parting::Killed);
    };
    let node = |story: &mut Story| {
        story.node(1, NodeChange::Killed);
    };
    for kill in [&member as &dyn Fn(&mut Story), &node] {
        let groups = after_kill(kill, SESSION + 4).assert_good().counts.groups;
        assert_eq!((groups.progress_checked, groups.slowest_progress_us / SECOND), (1, SESSION + 4));
        let report = after_kill(kill, SESSION + 5).assert_broken(&[Rule::ProgressAgain]);
        assert!(report.to_string().contains("nothing new was consumed for 11000 ms"), "{report}");
    }
    // What was consumed before is no progress.
    let mut story = Story::served(2);
    story.position(2).produce().parted("c1", 1, Parting::Killed).joined("c2", 2).consumed("c2", 2, 1);
    story.wait(SESSION + 5).consumed("c2", 2, 2).assert_broken(&[Rule::ProgressAgain]);
}

#[test]
fn a_partition_that_still_stands_still_when_the_history_ends_is_caught() {
    let mut story = Story::served(2);
    story.position(2).produce().parted("c1", 1, Parting::Killed);
    story.wait(SESSION + 4).assert_broken(&[Rule::ConsumedAtLeastOnce]);
    story.wait(2).assert_broken(&[Rule::ConsumedAtLeastOnce, Rule::ProgressAgain]);
}

#[test]
fn a_group_with_nothing_to_consume_need_not_progress() {
    let mut story = Story::served(2);
    story.position(2).parted("c1", 1, Parting::Killed).wait(60);
    story.assert_good();
    // The time counts from when there is something.
    story.joined("c2", 2).sent().wait(SESSION + 6);
    story.clone().assert_broken(&[Rule::ProgressAgain]);
    let acknowledged = Acknowledged { record: record(2), offset: Some(Offset::new(2)) };
    story.tell(Event::Acknowledged(acknowledged)).consumed("c2", 2, 2).assert_broken(&[Rule::ProgressAgain]);
    // What was refused is nothing to consume, and neither is what nobody knows of.
    for outcome in [Event::Failed, Event::Unknown] {
        let mut story = Story::served(2);
        story.position(2).sent().tell(outcome(Refused { record: record(2), cause: "why".into() }));
        story.stored = 2;
        story.parted("c1", 1, Parting::Killed).wait(60).assert_good();
    }
}

#[test]
fn each_kill_gives_the_full_time_again_and_what_was_too_late_by_then_is_caught() {
    let killed_again_after = |seconds: u64| {
        let mut story = Story::served(2);
        story.position(2).produce().parted("c1", 1, Parting::Killed).wait(seconds);
        story.parted("c2", -1, Parting::Killed).wait(SESSION + 4);
        story.joined("c3", 2).consumed("c3", 2, 2);
        story
    };
    killed_again_after(SESSION + 4).assert_good();
    killed_again_after(SESSION + 5).assert_broken(&[Rule::ProgressAgain]);
}

#[test]
fn a_position_that_nobody_asked_for_at_the_end_is_caught() {
    let mut story = Story::served(3);
    story.clone().assert_broken(&[Rule::PositionReadBack]);
    story.asks_position().clone().assert_broken(&[Rule::PositionReadBack]);
    story.told(3).assert_good();
}

#[test]
fn a_groups_history_that_makes_no_sense_is_caught() {
    let good = || {
        let mut story = Story::served(3);
        story.position(3).joined("c1", 1);
        story
    };
    let ended = Event::CommitAcknowledged(commit("c1", 1, 3));
    let mut elsewhere = commit("c1", 1, 3);
    elsewhere.by.group = "unheard of".into();
    let broken: [&dyn Fn(&mut Story); 9] = [
        &|story| {
            story.tell(group("g"));
        },
        &|story| {
            story.tell(Event::CommitAsked(elsewhere.clone()));
        },
        &|story| {
            story.consumed("c2", 1, 2);
        },
        &|story| {
            story.consumed("c1", 2, 2);
        },
        &|story| {
            story.parted("c1", 1, Parting::Revoked).consumed("c1", 1, 2);
        },
        &|story| {
            story.asks(&commit("c2", 1, 3));
        },
        &|story| {
            story.tell(ended.clone());
        },
        &|story| {
            story.told(3);
        },
        &|story| {
            story.parted("c1", 1, Parting::Killed).joined("c1", 2);
        },
    ];
    good().assert_good();
    for (number, spoil) in broken.iter().enumerate() {
        let mut story = good();
        spoil(&mut story);
        println!("spoilt in way {number}");
        story.assert_broken(&[Rule::HistoryIsSound]);
    }
}
