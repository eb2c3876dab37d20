use super::super::{
    Carried, DataHead, FollowerCore, FollowerEffect, FollowerInput, Generation, Session, Subscription,
    SubscriptionRefusal, Verdict,
};
use super::{at, carried, epoch, node};
use crate::{
    config::topic::Durability,
    model::{BrokerEpoch, LeaderEpoch, Offset},
};

fn step(core: &mut FollowerCore, input: FollowerInput) -> Vec<FollowerEffect> {
    let mut effects = Vec::new();
    core.step(input, &mut effects);
    effects
}

fn names(leader: Option<i32>, of: i32) -> FollowerInput {
    FollowerInput::Leader { node: leader.map(node), epoch: epoch(of) }
}

fn says(core: &FollowerCore, verdict: Verdict, ours: Option<(i32, i64)>) -> FollowerInput {
    let ours = ours.map(|(of, end)| (epoch(of), at(end)));
    FollowerInput::Verdict { session: core.session(), verdict, ours }
}

fn asked(effects: &[FollowerEffect]) -> Subscription {
    match effects {
        [.., FollowerEffect::Subscribe { subscription, .. }] => *subscription,
        other => panic!("{other:?}"),
    }
}

/// Node 2 with 100 records of epochs up to 4, 80 of them on disk; it follows node 1 in epoch 5.
fn asking() -> FollowerCore {
    let carried = carried(100, 80, 70);
    let mut core = FollowerCore::new(node(2), BrokerEpoch::new(7), 1, Durability::Disk, epoch(4), &carried);
    let asked = asked(&step(&mut core, names(Some(1), 5)));
    assert_eq!((asked.end, asked.flushed, asked.last_epoch), (at(100), at(80), epoch(4)));
    assert_eq!((asked.leader_epoch, asked.node), (epoch(5), node(2)));
    core
}

fn fetching() -> FollowerCore {
    let mut core = asking();
    let follows = says(&core, Verdict::Follows, None);
    assert_eq!(step(&mut core, follows), []);
    core
}

fn data(core: &FollowerCore, from: i64, end: i64, of: i32) -> DataHead {
    DataHead {
        session: core.session(),
        from: at(from),
        end: at(end),
        first_epoch: epoch(of),
        last_epoch: epoch(of),
        high_watermark: at(95),
        log_start: at(0),
    }
}

fn report(core: &FollowerCore, appended: i64, flushed: i64) -> FollowerEffect {
    let session = core.session();
    FollowerEffect::Report { leader: node(1), session, appended: at(appended), flushed: at(flushed) }
}

fn left(end: i64, generation: u64) -> Carried {
    Carried { generation: Generation::new(generation), ..carried(end, end.min(80), 0) }
}

#[test]
fn what_continues_the_log_is_appended_and_reported_with_what_is_on_disk() {
    let mut core = fetching();
    let head = data(&core, 100, 110, 5);
    assert_eq!(
        step(&mut core, FollowerInput::Data(head)),
        [FollowerEffect::AdvanceHighWatermark(at(95)), FollowerEffect::Append]
    );
    let appended = FollowerInput::Appended { end: at(110), last_epoch: epoch(5) };
    assert_eq!(step(&mut core, appended), [report(&core, 110, 80)]);
    assert!(core.wants_flush());
    let flushed = FollowerInput::Flushed { generation: Generation::new(0), end: at(110) };
    assert_eq!(step(&mut core, flushed), [report(&core, 110, 110)], "at once, whatever else waits");
    assert!(!core.wants_flush());
}

#[test]
fn the_leaders_watermark_is_taken_over_as_far_as_the_log_goes() {
    let mut core = fetching();
    let (session, log_start) = (core.session(), Offset::ZERO);
    let watermark = FollowerInput::Watermark { session, high_watermark: at(130), log_start };
    assert_eq!(step(&mut core, watermark), [FollowerEffect::AdvanceHighWatermark(at(100))]);
    let head = DataHead { high_watermark: at(130), ..data(&core, 100, 140, 5) };
    assert_eq!(step(&mut core, FollowerInput::Data(head)), [FollowerEffect::Append]);
    let appended = FollowerInput::Appended { end: at(140), last_epoch: epoch(5) };
    assert!(step(&mut core, appended).contains(&FollowerEffect::AdvanceHighWatermark(at(130))));
    assert_eq!(core.carried().high_watermark, at(130), "and goes along when this replica leads");
}

#[test]
fn the_lag_is_what_is_committed_and_not_here_as_soon_as_the_leader_has_said_it() {
    let mut core = fetching();
    assert_eq!(core.lag(), None);
    let (session, log_start) = (core.session(), Offset::ZERO);
    let watermark = |to| FollowerInput::Watermark { session, high_watermark: at(to), log_start };
    step(&mut core, watermark(95));
    assert_eq!(core.lag(), Some(0), "it may be ahead of what is committed");
    step(&mut core, watermark(130));
    assert_eq!(core.lag(), Some(30));
    let head = DataHead { high_watermark: at(130), ..data(&core, 100, 120, 5) };
    step(&mut core, FollowerInput::Data(head));
    step(&mut core, FollowerInput::Appended { end: at(120), last_epoch: epoch(5) });
    assert_eq!(core.lag(), Some(10));
    step(&mut core, names(None, 6));
    assert_eq!(core.lag(), None, "nobody tells");
}

#[test]
fn s08_a_flush_that_began_before_a_truncation_says_nothing_after_it() {
    let mut core = asking();
    let diverges = Verdict::Diverges { epoch: epoch(3), end: at(80) };
    let diverges = says(&core, diverges, Some((3, 90)));
    assert_eq!(step(&mut core, diverges), [FollowerEffect::Truncate { to: at(80) }]);
    assert!(!core.may_hand_over());
    let truncated = FollowerInput::Truncated { left: left(80, 1), last_epoch: epoch(3) };
    let again = asked(&step(&mut core, truncated));
    assert_eq!((again.end, again.flushed, again.last_epoch), (at(80), at(80), epoch(3)));
    let follows = says(&core, Verdict::Follows, None);
    step(&mut core, follows);
    let head = data(&core, 80, 100, 5);
    step(&mut core, FollowerInput::Data(head));
    step(&mut core, FollowerInput::Appended { end: at(100), last_epoch: epoch(5) });
    let old = FollowerInput::Flushed { generation: Generation::new(0), end: at(100) };
    assert_eq!(step(&mut core, old), []);
    assert_eq!(core.carried().flushed, at(80));
    let new = FollowerInput::Flushed { generation: Generation::new(1), end: at(100) };
    assert_eq!(step(&mut core, new), [report(&core, 100, 100)]);
}

#[test]
fn s08_nothing_is_asked_before_the_truncation_is_on_disk() {
    let mut core = asking();
    let diverges = Verdict::Diverges { epoch: epoch(4), end: at(90) };
    let diverges = says(&core, diverges, Some((4, 100)));
    assert_eq!(step(&mut core, diverges), [FollowerEffect::Truncate { to: at(90) }]);
    assert_eq!(step(&mut core, names(Some(3), 6)), [], "not even of a new leader");
    assert_eq!(step(&mut core, FollowerInput::Retry), []);
    let truncated = FollowerInput::Truncated { left: left(90, 1), last_epoch: epoch(4) };
    let effects = step(&mut core, truncated);
    assert!(matches!(effects[..], [FollowerEffect::Subscribe { leader, .. }] if leader == node(3)));
}

#[test]
fn a_log_is_cut_where_both_know_that_it_is_the_same() {
    // The leader has epoch 2 up to 60, this log up to 50: from there on they have nothing in common.
    let mut core = asking();
    let diverges = Verdict::Diverges { epoch: epoch(2), end: at(60) };
    let diverges = says(&core, diverges, Some((2, 50)));
    assert_eq!(step(&mut core, diverges), [FollowerEffect::Truncate { to: at(50) }]);
}

#[test]
fn an_answer_that_would_cut_nothing_is_not_asked_for_again_at_once() {
    let mut core = asking();
    let diverges = Verdict::Diverges { epoch: epoch(4), end: at(100) };
    let diverges = says(&core, diverges, Some((4, 100)));
    assert_eq!(step(&mut core, diverges), [FollowerEffect::AskLater]);
}

#[test]
fn an_epoch_without_records_is_forgotten_by_a_cut_at_the_end() {
    let mut core = asking();
    let diverges = Verdict::Diverges { epoch: epoch(3), end: at(100) };
    let diverges = says(&core, diverges, Some((3, 100)));
    assert_eq!(step(&mut core, diverges), [FollowerEffect::Truncate { to: at(100) }]);
}

#[test]
fn a_follower_below_the_leaders_start_begins_anew_there() {
    let mut core = asking();
    let anew = says(&core, Verdict::StartsAnew { log_start: at(500) }, None);
    assert_eq!(step(&mut core, anew), [FollowerEffect::StartAnew { at: at(500) }]);
    let left = Carried { log_start: at(500), flushed: at(500), ..left(500, 1) };
    let asked = asked(&step(&mut core, FollowerInput::Truncated { left, last_epoch: LeaderEpoch::NONE }));
    assert_eq!((asked.end, asked.last_epoch), (at(500), LeaderEpoch::NONE));
    assert_eq!(core.carried().high_watermark, at(500));
}

#[test]
fn data_that_do_not_fit_are_not_appended_and_asked_for_again() {
    let fits = |head: DataHead| step(&mut fetching(), FollowerInput::Data(head));
    let good = data(&fetching(), 100, 110, 5);
    assert!(fits(good).contains(&FollowerEffect::Append));
    let later = [FollowerEffect::AskLater];
    assert_eq!(fits(DataHead { from: at(99), ..good }), later, "an overlap");
    assert_eq!(fits(DataHead { from: at(101), ..good }), later, "a gap");
    assert_eq!(fits(DataHead { end: at(100), ..good }), later, "nothing");
    assert_eq!(fits(DataHead { last_epoch: epoch(6), ..good }), later, "of an epoch above the leader's");
    assert_eq!(fits(DataHead { first_epoch: epoch(3), ..good }), later, "of an epoch below the log's last");
    let earlier = Session::new(good.session.get() - 1);
    assert_eq!(fits(DataHead { session: earlier, ..good }), [], "of an earlier subscription");
}

#[test]
fn an_answer_about_a_log_that_has_grown_since_is_asked_for_again() {
    let mut core = fetching();
    let head = data(&core, 100, 110, 5);
    step(&mut core, FollowerInput::Data(head));
    // The append takes its time; another leader is named meanwhile.
    let effects = step(&mut core, names(Some(3), 6));
    assert!(matches!(effects[0], FollowerEffect::Unsubscribe { leader, .. } if leader == node(1)));
    assert_eq!(asked(&effects).end, at(100));
    step(&mut core, FollowerInput::Appended { end: at(110), last_epoch: epoch(5) });
    let follows = says(&core, Verdict::Follows, None);
    assert_eq!(asked(&step(&mut core, follows)).end, at(110));
}

#[test]
fn a_flush_that_ends_while_the_answer_is_on_its_way_is_reported_with_it() {
    let mut core = asking();
    step(&mut core, FollowerInput::Flushed { generation: Generation::new(0), end: at(100) });
    let follows = says(&core, Verdict::Follows, None);
    assert_eq!(step(&mut core, follows), [report(&core, 100, 100)]);
}

#[test]
fn an_image_that_is_older_changes_nothing_and_one_without_a_leader_ends_the_subscription() {
    let mut core = fetching();
    assert_eq!(step(&mut core, names(Some(3), 4)), []);
    assert_eq!(step(&mut core, names(Some(1), 5)), []);
    let effects = step(&mut core, names(None, 6));
    assert!(matches!(effects[..], [FollowerEffect::Unsubscribe { .. }]));
    assert_eq!(core.doing(), "waiting for a leader");
    assert_eq!(step(&mut core, names(Some(2), 7)), [], "oneself is nobody to follow");
}

#[test]
fn who_is_refused_or_cut_off_asks_again_after_a_while() {
    let mut core = asking();
    let first = core.session();
    let refused = says(&core, Verdict::Refused(SubscriptionRefusal::UnknownLeaderEpoch), None);
    assert_eq!(step(&mut core, refused), [FollowerEffect::AskLater]);
    assert!(asked(&step(&mut core, FollowerInput::Retry)).session > first);
    let broken = FollowerInput::Broken { session: first };
    assert_eq!(step(&mut core, broken), [], "that stream is not missed");
    let broken = FollowerInput::Broken { session: core.session() };
    assert_eq!(step(&mut core, broken), [FollowerEffect::AskLater]);
    step(&mut core, FollowerInput::Retry);
    let follows = says(&core, Verdict::Follows, None);
    step(&mut core, follows);
    assert_eq!(step(&mut core, FollowerInput::Rejected), [FollowerEffect::AskLater]);
}

#[test]
fn the_logs_start_follows_the_leaders_and_never_passes_the_watermark() {
    let mut core = fetching();
    let head = DataHead { log_start: at(97), ..data(&core, 100, 110, 5) };
    let effects = step(&mut core, FollowerInput::Data(head));
    assert!(effects.contains(&FollowerEffect::MoveLogStart(at(95))), "{effects:?}");
    assert_eq!(step(&mut core, FollowerInput::LogStartMoved(at(95))), []);
    assert_eq!(core.carried().log_start, at(95));
}
