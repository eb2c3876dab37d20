//! For each rule of refused records and dead letters a history that breaks it, and good ones that look like trouble.

use super::{Story, commit, failed, partition, profile};
use crate::{
    chaos::{
        checker::Rule,
        history::{DeadLetter, DeadLettersRead, Event, GroupProfile, NodeChange},
    },
    model::Offset,
};

impl Story {
    /// A group whose coordinator assigns and gives a record up after three attempts: its member has consumed the first record,
    /// and there are three more.
    fn limited() -> Self {
        let mut story = Self::served(1);
        let declared =
            Event::Group(GroupProfile { server_side: true, max_delivery_attempts: 3, ..profile("g") });
        for entry in story.entries.iter_mut().filter(|entry| matches!(entry.event, Event::Group(_))) {
            entry.event = declared.clone();
        }
        story.produce().produce().produce();
        story
    }

    fn refuses(&mut self, member: &str, generation: i32, offset: i64) -> &mut Self {
        let nack = commit(member, generation, offset);
        self.tell(Event::NackAsked(nack.clone())).tell(Event::CommitAcknowledged(nack))
    }

    fn letter(&mut self, offset: i64, attempts: u32) -> &mut Self {
        let (group, offset) = ("g".into(), Offset::new(offset));
        self.tell(Event::DeadLetter(DeadLetter { group, partition: partition(), offset, attempts }))
    }

    fn letters_read(&mut self, passed: i64) -> &mut Self {
        let (group, passed) = ("g".into(), Offset::new(passed));
        self.tell(Event::DeadLettersRead(DeadLettersRead { group, partition: partition(), passed }))
    }

    /// What is behind the record at offset 1.
    fn rest(&mut self, member: &str, generation: i32) -> &mut Self {
        for sequence in 2..4 {
            self.consumed(member, generation, sequence);
            self.commits(&commit(member, generation, i64::from(sequence) + 1));
        }
        self.position(4).letters_read(4)
    }

    /// Three times refused, and passed.
    fn given_up() -> Self {
        let mut story = Self::limited();
        for _ in 0..3 {
            story.refuses("c1", 1, 1).position(1);
        }
        story.position(2);
        story
    }
}

#[test]
fn a_record_that_is_refused_often_enough_is_a_dead_letter_and_passed() {
    let mut story = Story::given_up();
    let report = story.letter(1, 3).letters_read(2).rest("c1", 1).assert_good();
    let counts = report.counts.groups;
    assert_eq!((counts.refused, counts.dead_letters, counts.consumed), (3, 1, 3));
}

#[test]
fn a_record_that_is_refused_once_and_then_consumed_is_nothing_special() {
    let mut story = Story::limited();
    story.refuses("c1", 1, 1).consumed("c1", 1, 1).commits(&commit("c1", 1, 2));
    story.rest("c1", 1).assert_good();
    // Its commit is seen before its answer is: what put the position there was asked for after the record was consumed.
    let mut seen = Story::limited();
    seen.refuses("c1", 1, 1).consumed("c1", 1, 1).asks(&commit("c1", 1, 2)).position(2);
    seen.tell(Event::CommitAcknowledged(commit("c1", 1, 2))).rest("c1", 1).assert_good();
    let mut early = Story::limited();
    early.refuses("c1", 1, 1).position(2).consumed("c1", 1, 1).commits(&commit("c1", 1, 2));
    early.rest("c1", 1).assert_broken(&[Rule::PositionBehindConsumption]);
}

#[test]
fn a_position_that_passes_a_record_before_it_is_a_dead_letter_is_caught() {
    let mut story = Story::given_up();
    // It comes, and too late.
    story.letters_read(2).letter(1, 3).rest("c1", 1).assert_broken(&[Rule::GivenUpIsDeadLetter]);
}

#[test]
fn a_record_that_is_given_up_and_never_a_dead_letter_is_caught() {
    let mut story = Story::given_up();
    story.rest("c1", 1).assert_broken(&[
        Rule::GivenUpIsDeadLetter,
        Rule::ConsumedAtLeastOnce,
        Rule::PositionBehindConsumption,
    ]);
}

#[test]
fn a_record_that_is_given_up_after_too_few_attempts_is_caught() {
    let mut story = Story::limited();
    story.refuses("c1", 1, 1).position(2).letter(1, 3).rest("c1", 1);
    let report = story.assert_broken(&[Rule::DeadLetterEarned]);
    assert!(report.to_string().contains("refused 1 times, and its partition taken 0 times"), "{report}");
    let mut says_so = Story::given_up();
    says_so.letter(1, 2).rest("c1", 1).assert_broken(&[Rule::DeadLetterEarned]);
    // One that is in order does not become a dead letter besides.
    let mut fine = Story::limited();
    fine.consumed("c1", 1, 1).commits(&commit("c1", 1, 2)).letter(1, 3).rest("c1", 1);
    fine.assert_broken(&[Rule::DeadLetterEarned]);
}

#[test]
fn members_that_are_lost_with_a_record_make_up_for_refusals() {
    let mut story = Story::limited();
    story.refuses("c1", 1, 1).joined("c2", 2).joined("c3", 3).position(2).letter(1, 3);
    story.rest("c3", 3).assert_good();
}

#[test]
fn a_second_letter_is_caught_whoever_has_died() {
    let mut story = Story::limited();
    story.node(1, NodeChange::Started);
    story.refuses("c1", 1, 1).refuses("c1", 1, 1);
    story.node(1, NodeChange::Killed).node(1, NodeChange::Started);
    story.refuses("c1", 1, 1).position(2).letter(1, 3).letter(1, 3);
    story.rest("c1", 1).assert_broken(&[Rule::DeadLetterOnce]);
}

#[test]
fn a_position_that_goes_back_to_behind_a_dead_letter_is_caught() {
    let mut story = Story::given_up();
    story.letter(1, 3).letters_read(2).rest("c1", 1);
    story.position(2).position(4).assert_broken(&[Rule::PositionNeverBack]);
}

#[test]
fn a_refusal_whose_answer_is_lost_may_have_been_the_last_one() {
    let mut story = Story::limited();
    story.refuses("c1", 1, 1).refuses("c1", 1, 1);
    let nack = commit("c1", 1, 1);
    story.node(1, NodeChange::Started);
    story.tell(Event::NackAsked(nack.clone())).tell(Event::CommitUnknown(failed(&nack)));
    // The coordinator dies, and gives it up when it is back.
    story.node(1, NodeChange::Killed).node(1, NodeChange::Started);
    story.position(2).letter(1, 3).letters_read(2).rest("c1", 1).assert_good();
}

#[test]
fn a_refusal_where_nothing_is_counted_makes_no_sense() {
    let mut story = Story::served(1);
    story.tell(Event::NackAsked(commit("c1", 1, 1))).position(1).assert_broken(&[Rule::HistoryIsSound]);
    let mut stranger = Story::limited();
    stranger.tell(Event::NackAsked(commit("c2", 2, 1)));
    let report = stranger.judged();
    assert!(report.broken.contains_key(&Rule::HistoryIsSound), "{report}");
}
