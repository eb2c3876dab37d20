//! What a member of a group says and hears (KIP-848), without a socket and without a clock.
//!
//! A member says everything in one request, the heartbeat: that it joins, that it lives, what it holds. The answer
//! brings its epoch and what it is to hold. Whoever reads the records follows that at its own pace and says what it
//! holds by now ([`Member::holds`]); only then the coordinator gives to others what was given back.
//!
//! A member that is fenced or forgotten holds nothing from that moment on, and joins again. Each time that it joins is
//! a round, so that nothing of an earlier one is taken for one of now.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    model::{PartitionIndex, TopicId},
    wire::{
        ErrorCode, Str,
        api::consumer_group_heartbeat::{
            ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
        },
    },
};

/// Partitions by their topics' ids.
pub(super) type Partitions = BTreeMap<TopicId, BTreeSet<PartitionIndex>>;

/// What a member says instead of an epoch as it joins, and as it leaves for good or, being static, for a while.
const JOINS: i32 = 0;
const LEAVES: i32 = -1;
const LEAVES_FOR_A_WHILE: i32 = -2;

/// How long to wait after a failure; doubles with each in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Who the member is and what it wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    pub(super) group: Str,
    pub(super) id: Str,
    pub(super) instance: Option<Str>,
    pub(super) topics: Vec<Str>,
    pub(super) assignor: Option<Str>,
    /// How long it may take to give back what it is to give back.
    pub(super) rebalance_timeout: Duration,
}

/// What a member is to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Counts how often it has joined; what was held in an earlier round is lost.
    pub(super) round: u64,
    /// Its epoch; 0: it is on its way in.
    pub(super) epoch: i32,
    pub(super) partitions: Partitions,
}

/// What an answer means for whoever carries the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// On with it.
    GoOn,
    /// Another node may be the coordinator now.
    FindCoordinator,
    /// The group will not have it.
    Ended { code: ErrorCode, message: Option<String> },
}

/// One member.
#[derive(Debug)]
pub(super) struct Member {
    profile: Profile,
    share: Share,
    /// What it holds, in this round.
    held: Partitions,
    /// What the coordinator has heard of that.
    heard: Option<Partitions>,
    /// What is on its way to the coordinator.
    said: Option<Partitions>,
    /// Whether the next heartbeat says everything, since the coordinator may not have heard the last one.
    says_all: bool,
    interval: Duration,
    due: Duration,
    failures: u32,
    /// It has left, and joins when whoever reads has heard of that.
    is_out: bool,
}

impl Member {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            profile,
            share: Share { round: 1, ..Share::default() },
            held: Partitions::new(),
            heard: None,
            said: None,
            says_all: true,
            interval: Duration::ZERO,
            due: Duration::ZERO,
            failures: 0,
            is_out: false,
        }
    }

    pub(super) fn share(&self) -> &Share {
        &self.share
    }

    pub(super) fn profile(&self) -> &Profile {
        &self.profile
    }

    pub(super) fn id(&self) -> &Str {
        &self.profile.id
    }

    pub(super) fn is_out(&self) -> bool {
        self.is_out
    }

    /// When the next heartbeat is due.
    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// The next heartbeat. It is to be followed by [`Self::answered`] or [`Self::unanswered`].
    pub(super) fn heartbeat(&mut self) -> ConsumerGroupHeartbeatRequest {
        let Profile { group, id, instance, topics, assignor, rebalance_timeout } = &self.profile;
        let says_held = self.says_all || self.heard.as_ref() != Some(&self.held);
        self.said = says_held.then(|| self.held.clone());
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: group.clone(),
            member_id: id.clone(),
            member_epoch: self.share.epoch,
            topic_partitions: self.said.as_ref().map(listed),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        if self.says_all {
            request.instance_id.clone_from(instance);
            request.rebalance_timeout_ms = i32::try_from(rebalance_timeout.as_millis()).unwrap_or(i32::MAX);
            request.subscribed_topic_names = Some(topics.clone());
            request.server_assignor.clone_from(assignor);
        }
        request
    }

    /// The last thing that it says. A static member keeps its place for as long as its session lasts.
    pub(super) fn farewell(profile: &Profile) -> ConsumerGroupHeartbeatRequest {
        let epoch = if profile.instance.is_some() { LEAVES_FOR_A_WHILE } else { LEAVES };
        ConsumerGroupHeartbeatRequest {
            group_id: profile.group.clone(),
            member_id: profile.id.clone(),
            instance_id: profile.instance.clone(),
            member_epoch: epoch,
            ..ConsumerGroupHeartbeatRequest::default()
        }
    }

    /// The coordinator has answered.
    pub(super) fn answered(&mut self, now: Duration, answer: &ConsumerGroupHeartbeatResponse) -> Heard {
        let code = answer.error_code;
        if code.is_none() {
            self.accepted(now, answer);
            return Heard::GoOn;
        }
        if [ErrorCode::FencedMemberEpoch, ErrorCode::UnknownMemberId].contains(&code) {
            self.join_again(now);
            return Heard::GoOn;
        }
        if code.is_retriable() {
            self.unanswered(now);
            return Heard::FindCoordinator;
        }
        let message = answer.error_message.as_ref().map(|message| message.as_str().to_owned());
        Heard::Ended { code, message }
    }

    fn accepted(&mut self, now: Duration, answer: &ConsumerGroupHeartbeatResponse) {
        self.failures = 0;
        self.says_all = false;
        if let Some(said) = self.said.take() {
            self.heard = Some(said);
        }
        self.share.epoch = answer.member_epoch;
        if let Some(assignment) = &answer.assignment {
            let topics = assignment.topic_partitions.iter();
            let topic =
                |topic: &TopicPartitions| (topic.topic_id, topic.partitions.iter().copied().collect());
            self.share.partitions = topics.map(topic).collect();
        }
        self.interval =
            Duration::from_millis(u64::try_from(answer.heartbeat_interval_ms).unwrap_or(0).max(10));
        self.due = now + self.interval;
        self.say_what_is_held(now);
    }

    fn join_again(&mut self, now: Duration) {
        // One that is put out as it joins, again and again, does not make a storm of it.
        self.due = if self.share.epoch == JOINS { now + self.pause() } else { now };
        self.begin_anew();
    }

    /// It leaves, and says nothing more until whoever reads says what it holds in the round that begins: nothing.
    pub(super) fn step_out(&mut self) {
        self.begin_anew();
        (self.is_out, self.due) = (true, Duration::MAX);
    }

    /// Whoever is not of the group holds nothing of it.
    fn begin_anew(&mut self) {
        self.share = Share { round: self.share.round + 1, ..Share::default() };
        (self.held, self.heard, self.said) = (Partitions::new(), None, None);
        self.says_all = true;
    }

    /// There is no answer, or none that counts: whether the heartbeat was heard is not known, so the next says all.
    pub(super) fn unanswered(&mut self, now: Duration) {
        self.said = None;
        self.says_all = true;
        self.due = now + self.pause();
    }

    fn pause(&mut self) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled.min(LONGEST_PAUSE)
    }

    /// Whoever reads holds these by now. The coordinator hears of it at once: others wait for what was given back.
    pub(super) fn holds(&mut self, now: Duration, round: u64, held: Partitions) {
        if round == self.share.round {
            self.held = held;
            if std::mem::take(&mut self.is_out) {
                self.due = now;
            }
            self.say_what_is_held(now);
        }
    }

    fn say_what_is_held(&mut self, now: Duration) {
        if self.heard.as_ref().is_some_and(|heard| *heard != self.held) && self.failures == 0 {
            self.due = now;
        }
    }
}

fn listed(partitions: &Partitions) -> Vec<TopicPartitions> {
    let topics = partitions.iter().filter(|(_, indexes)| !indexes.is_empty());
    topics
        .map(|(id, indexes)| TopicPartitions { topic_id: *id, partitions: indexes.iter().copied().collect() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::api::consumer_group_heartbeat::Assignment;

    const INTERVAL: Duration = Duration::from_secs(5);
    const TOPIC: TopicId = TopicId::from_bytes([7; 16]);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn these(indexes: &[i32]) -> Partitions {
        let indexes: BTreeSet<_> = indexes.iter().copied().map(PartitionIndex::new).collect();
        if indexes.is_empty() { Partitions::new() } else { Partitions::from([(TOPIC, indexes)]) }
    }

    fn member() -> Member {
        let profile = Profile {
            group: "g".into(),
            id: "m".into(),
            topics: vec!["t".into()],
            rebalance_timeout: at(60),
            ..Profile::default()
        };
        Member::new(profile)
    }

    fn answer(epoch: i32, assigned: Option<&[i32]>) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse {
            member_epoch: epoch,
            heartbeat_interval_ms: 5000,
            assignment: assigned.map(|indexes| Assignment { topic_partitions: listed(&these(indexes)) }),
            ..ConsumerGroupHeartbeatResponse::default()
        }
    }

    fn refusal(code: ErrorCode) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse { error_code: code, ..ConsumerGroupHeartbeatResponse::default() }
    }

    /// One that has joined, been given these and taken them.
    fn settled(indexes: &[i32]) -> Member {
        let mut member = member();
        member.heartbeat();
        assert_eq!(member.answered(at(0), &answer(1, Some(indexes))), Heard::GoOn);
        member.holds(at(0), 1, these(indexes));
        member.heartbeat();
        member.answered(at(0), &answer(1, None));
        member
    }

    #[test]
    fn a_member_joins_with_all_it_has_to_say_and_then_says_only_what_is_new() {
        let mut member = member();
        assert_eq!(member.due(), at(0));
        let join = member.heartbeat();
        assert_eq!((join.member_epoch, join.topic_partitions), (0, Some(Vec::new())));
        assert_eq!(
            (join.subscribed_topic_names, join.rebalance_timeout_ms),
            (Some(vec!["t".into()]), 60_000)
        );
        member.answered(at(1), &answer(3, Some(&[0, 1])));
        assert_eq!(member.share(), &Share { round: 1, epoch: 3, partitions: these(&[0, 1]) });
        assert_eq!(member.due(), at(1) + INTERVAL);
        // What it has taken is said at once, and once.
        member.holds(at(2), 1, these(&[0, 1]));
        assert_eq!(member.due(), at(2));
        let beat = member.heartbeat();
        assert_eq!((beat.member_epoch, beat.topic_partitions), (3, Some(listed(&these(&[0, 1])))));
        assert_eq!((beat.subscribed_topic_names, beat.rebalance_timeout_ms), (None, -1));
        member.answered(at(2), &answer(3, None));
        assert_eq!(member.due(), at(2) + INTERVAL);
        assert_eq!(member.heartbeat().topic_partitions, None);
    }

    #[test]
    fn what_is_to_be_given_back_is_held_until_the_reader_says_that_it_is_not() {
        let mut member = settled(&[0, 1]);
        member.heartbeat();
        member.answered(at(5), &answer(1, Some(&[0])));
        assert_eq!(member.share().partitions, these(&[0]));
        assert_eq!(member.due(), at(5) + INTERVAL);
        assert_eq!(member.heartbeat().topic_partitions, None, "nothing has changed yet");
        member.answered(at(10), &answer(1, None));
        member.holds(at(11), 1, these(&[0]));
        assert_eq!(member.due(), at(11));
        assert_eq!(member.heartbeat().topic_partitions, Some(listed(&these(&[0]))));
    }

    #[test]
    fn what_changes_while_a_heartbeat_is_on_its_way_is_said_with_the_next() {
        let mut member = settled(&[0]);
        member.heartbeat();
        member.holds(at(5), 1, these(&[]));
        member.answered(at(6), &answer(2, None));
        assert_eq!(member.due(), at(6));
        assert_eq!(member.heartbeat().topic_partitions, Some(Vec::new()));
    }

    #[test]
    fn s21_a_member_that_is_fenced_holds_nothing_and_joins_again_in_another_round() {
        for code in [ErrorCode::FencedMemberEpoch, ErrorCode::UnknownMemberId] {
            let mut member = settled(&[0, 1]);
            member.heartbeat();
            assert_eq!(member.answered(at(5), &refusal(code)), Heard::GoOn);
            assert_eq!(member.share(), &Share { round: 2, ..Share::default() });
            assert_eq!(member.due(), at(5));
            // What the reader held before is of no account any more.
            member.holds(at(5), 1, these(&[0, 1]));
            let join = member.heartbeat();
            assert_eq!((join.member_epoch, join.topic_partitions), (0, Some(Vec::new())));
            // And if that does not help, it is no storm.
            member.answered(at(5), &refusal(code));
            assert_eq!(member.due(), at(5) + FIRST_PAUSE);
            member.heartbeat();
            member.answered(at(6), &refusal(code));
            assert_eq!(member.due(), at(6) + 2 * FIRST_PAUSE);
        }
    }

    #[test]
    fn s21_a_member_that_steps_out_holds_nothing_and_says_nothing_until_its_reader_is_back() {
        let mut member = settled(&[0, 1]);
        member.step_out();
        assert_eq!(member.share(), &Share { round: 2, ..Share::default() });
        assert_eq!((member.is_out(), member.due()), (true, Duration::MAX));
        // What the reader still says of before does not bring it back.
        member.holds(at(9), 1, these(&[0, 1]));
        assert_eq!((member.is_out(), member.due()), (true, Duration::MAX));
        member.holds(at(10), 2, Partitions::new());
        assert_eq!((member.is_out(), member.due()), (false, at(10)));
        let join = member.heartbeat();
        assert_eq!((join.member_epoch, join.topic_partitions), (0, Some(Vec::new())));
        assert!(join.subscribed_topic_names.is_some());
        member.answered(at(10), &answer(5, Some(&[1])));
        assert_eq!(member.share(), &Share { round: 2, epoch: 5, partitions: these(&[1]) });
    }

    #[test]
    fn after_a_lost_answer_everything_is_said_again_after_a_pause_that_grows() {
        let mut member = settled(&[0]);
        for failures in 0..10_u32 {
            member.heartbeat();
            member.unanswered(at(5));
            assert_eq!(member.due(), at(5) + (FIRST_PAUSE * (1 << failures)).min(LONGEST_PAUSE));
        }
        let again = member.heartbeat();
        assert_eq!((again.member_epoch, again.topic_partitions), (1, Some(listed(&these(&[0])))));
        assert!(again.subscribed_topic_names.is_some());
        member.answered(at(6), &answer(1, Some(&[0])));
        assert_eq!((member.due(), member.share().round), (at(6) + INTERVAL, 1));
        assert!(member.heartbeat().subscribed_topic_names.is_none());
    }

    #[test]
    fn another_coordinator_is_looked_for_and_what_is_held_is_kept() {
        for code in [ErrorCode::NotCoordinator, ErrorCode::CoordinatorLoadInProgress] {
            let mut member = settled(&[0]);
            member.heartbeat();
            assert_eq!(member.answered(at(5), &refusal(code)), Heard::FindCoordinator);
            assert_eq!(member.share().partitions, these(&[0]));
            assert_eq!(member.due(), at(5) + FIRST_PAUSE);
        }
    }

    #[test]
    fn what_no_second_try_can_change_ends_it() {
        let mut member = member();
        member.heartbeat();
        let full = refusal(ErrorCode::GroupMaxSizeReached);
        let ended = Heard::Ended { code: ErrorCode::GroupMaxSizeReached, message: None };
        assert_eq!(member.answered(at(0), &full), ended);
    }

    #[test]
    fn a_static_member_leaves_for_a_while_and_another_for_good() {
        let mut profile = member().profile;
        assert_eq!(Member::farewell(&profile).member_epoch, -1);
        profile.instance = Some("i".into());
        let farewell = Member::farewell(&profile);
        assert_eq!((farewell.member_epoch, farewell.instance_id), (-2, Some("i".into())));
    }
}
