use super::super::{
    Acks, Effect, EpochStart, Input, LeaderCore, PartitionState, SetAnswer, SetChange, Subscription,
    SubscriptionRefusal, Term, TooFewInSync, Verdict, in_sync::FollowerMoved,
};
use super::{at, carried, epoch, ms, node, partition, session};
use crate::{
    config::topic::Durability,
    model::{BrokerEpoch, LeaderEpoch},
};

type Core = LeaderCore<u32>;
type Effects = Vec<Effect<u32>>;

fn term(durability: Durability, min_in_sync: usize, partition: PartitionState, start: i64) -> Term {
    Term {
        node: node(1),
        begins: EpochStart { epoch: epoch(5), start: at(start) },
        durability,
        min_in_sync,
        partition,
        lag_time_max: ms(10_000),
        now: ms(0),
    }
}

/// Leads in epoch 5 with a log of 100 records, all flushed, of which 100 are known to be committed.
fn leader(durability: Durability, min_in_sync: usize, in_sync: &[i32]) -> Core {
    Core::lead(term(durability, min_in_sync, partition(1, in_sync, &[]), 100), &carried(100, 100, 100))
}

fn step(core: &mut Core, input: Input<u32>) -> Effects {
    let mut effects = Vec::new();
    core.step(input, &mut effects);
    effects
}

fn subscription(follower: i32, number: u64, end: i64, flushed: i64) -> Subscription {
    Subscription {
        node: node(follower),
        broker_epoch: BrokerEpoch::new(7),
        session: session(number),
        leader_epoch: epoch(5),
        last_epoch: epoch(4),
        end: at(end),
        flushed: at(flushed),
    }
}

/// A follower whose log is a beginning of the leader's.
fn subscribe(core: &mut Core, follower: i32, end: i64, flushed: i64) -> Effects {
    let mut effects = Vec::new();
    let asked = subscription(follower, 1, end, flushed);
    let verdict = core.subscribe(&asked, Some((epoch(4), at(end))), at(0), ms(0), &mut effects);
    assert_eq!(verdict, Verdict::Follows);
    effects
}

fn report(follower: i32, appended: i64, flushed: i64, now: u64) -> Input<u32> {
    let moved = FollowerMoved {
        node: node(follower),
        session: session(1),
        appended: at(appended),
        flushed: at(flushed),
    };
    Input::Follower { at: moved, now: ms(now) }
}

fn append(core: &mut Core, ticket: u32, end: i64) -> Effects {
    let mut effects = step(core, Input::Appended { ticket, end: at(end), acks: Acks::All });
    effects.extend(step(core, Input::LogEnd(at(end))));
    effects.extend(step(core, Input::Flushed(at(end))));
    effects
}

fn proposed(effects: &Effects) -> Option<(SetChange, Vec<i32>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::ProposeInSync(change) => {
            let mut members: Vec<i32> = change.in_sync.iter().map(|member| member.node.get()).collect();
            members.sort_unstable();
            Some(((**change).clone(), members))
        }
        Effect::Acknowledge(_) | Effect::AdvanceHighWatermark(_) | Effect::Refuse(..) | Effect::Disown(_) => {
            None
        }
    })
}

fn answered(change: &SetChange, answer: SetAnswer) -> Input<u32> {
    Input::Answered { id: change.id, answer, now: ms(1) }
}

#[test]
fn s01_an_acknowledgement_waits_for_the_whole_set_and_not_for_the_minimum() {
    let mut core = leader(Durability::Disk, 2, &[1, 2, 3]);
    subscribe(&mut core, 2, 100, 100);
    subscribe(&mut core, 3, 100, 100);
    assert_eq!(append(&mut core, 1, 110), []);
    assert_eq!(
        step(&mut core, report(2, 110, 110, 5)),
        [],
        "two of two that are asked for, but one is missing"
    );
    assert_eq!(
        step(&mut core, report(3, 110, 110, 6)),
        [Effect::AdvanceHighWatermark(at(110)), Effect::Acknowledge(1)]
    );
}

#[test]
fn s01_a_member_that_has_not_been_heard_of_in_this_epoch_holds_nothing() {
    let mut core = leader(Durability::Disk, 1, &[1, 2]);
    assert_eq!(append(&mut core, 1, 101), []);
    assert_eq!(core.high_watermark(), at(100));
}

#[test]
fn s02_a_proposed_member_counts_before_anybody_has_answered() {
    let mut core = leader(Durability::Disk, 1, &[1]);
    let (change, members) = proposed(&subscribe(&mut core, 2, 100, 100)).unwrap();
    assert_eq!((members, change.expected_partition_epoch), (vec![1, 2], 1));
    assert_eq!(append(&mut core, 1, 105), [], "node 2 may be in the set already");
    assert_eq!(step(&mut core, answered(&change, SetAnswer::Unknown)), [], "and after no answer too");
    assert_eq!(
        step(&mut core, report(2, 105, 105, 3)),
        [Effect::AdvanceHighWatermark(at(105)), Effect::Acknowledge(1)]
    );
}

#[test]
fn s05_a_log_that_ends_where_the_leaders_starts_and_whose_epoch_nobody_knows_any_more_starts_anew() {
    let mut core = leader(Durability::Disk, 1, &[1, 2]);
    let mut judge = |last: i32, end: i64, found: Option<(i32, i64)>| {
        let asked = Subscription { last_epoch: epoch(last), ..subscription(2, 1, end, 0) };
        let found = found.map(|(of, end)| (epoch(of), at(end)));
        core.subscribe(&asked, found, at(45), ms(0), &mut Vec::new())
    };
    assert_eq!(judge(2, 45, Some((2, 45))), Verdict::StartsAnew { log_start: at(45) });
    assert_eq!(judge(4, 45, Some((4, 60))), Verdict::Follows, "the epoch goes on above");
    assert_eq!(judge(2, 50, Some((2, 45))), Verdict::Diverges { epoch: epoch(2), end: at(45) });
    assert_eq!(judge(LeaderEpoch::NONE.get(), 45, None), Verdict::Follows, "it has begun anew");
}

#[test]
fn s02_one_who_was_proposed_counts_until_a_compare_and_set_is_answered() {
    let mut core = leader(Durability::Disk, 1, &[1]);
    let (change, _) = proposed(&subscribe(&mut core, 2, 100, 100)).unwrap();
    step(&mut core, answered(&change, SetAnswer::Unknown));
    step(&mut core, Input::Silent { node: node(2), session: session(1) });
    append(&mut core, 1, 105);
    assert!(core.wants_tick());
    // The set as it is, again: only so can the first one be known to be over.
    let (again, members) = proposed(&step(&mut core, Input::Tick { now: ms(500) })).unwrap();
    assert_eq!((members, again.expected_partition_epoch), (vec![1], 1));
    assert_eq!(step(&mut core, Input::Tick { now: ms(600) }), [], "one proposal at a time");
    // A refusal of the second says nothing about the first.
    step(&mut core, answered(&again, SetAnswer::Refused(None)));
    assert_eq!(core.high_watermark(), at(100));
    let (third, _) = proposed(&step(&mut core, Input::Tick { now: ms(1000) })).unwrap();
    assert_eq!(
        step(&mut core, answered(&third, SetAnswer::Done(partition(2, &[1], &[])))),
        [Effect::AdvanceHighWatermark(at(105)), Effect::Acknowledge(1)]
    );
}

#[test]
fn s02_an_answer_out_of_an_image_from_before_the_change_leaves_the_proposed_counting() {
    let mut core = leader(Durability::Disk, 1, &[1]);
    let (change, _) = proposed(&subscribe(&mut core, 2, 100, 100)).unwrap();
    step(&mut core, answered(&change, SetAnswer::Done(partition(1, &[1], &[]))));
    append(&mut core, 1, 105);
    assert_eq!(core.high_watermark(), at(100), "node 2 may be in the set");
    let state = partition(2, &[1, 2], &[]);
    assert_eq!(step(&mut core, Input::Partition { state, now: ms(2) }), []);
    step(&mut core, report(2, 105, 105, 3));
    assert_eq!(core.high_watermark(), at(105));
}

#[test]
fn s02_an_image_settles_what_was_proposed() {
    let mut core = leader(Durability::Disk, 1, &[1]);
    let (change, _) = proposed(&subscribe(&mut core, 2, 100, 100)).unwrap();
    step(&mut core, answered(&change, SetAnswer::Unknown));
    step(&mut core, Input::Silent { node: node(2), session: session(1) });
    append(&mut core, 1, 105);
    let old = Input::Partition { state: partition(1, &[1], &[]), now: ms(2) };
    assert_eq!(step(&mut core, old), [], "the image that is known says nothing about what came after");
    let state = partition(2, &[1], &[]);
    let effects = step(&mut core, Input::Partition { state, now: ms(3) });
    assert_eq!(effects, [Effect::AdvanceHighWatermark(at(105)), Effect::Acknowledge(1)]);
}

#[test]
fn s02_a_set_from_before_the_epoch_counts_for_nothing() {
    let old = PartitionState { leader_epoch: epoch(4), ..partition(1, &[1], &[]) };
    let mut core = Core::lead(term(Durability::Disk, 1, old, 100), &carried(100, 100, 90));
    assert_eq!(append(&mut core, 1, 105), [], "an earlier leader may have proposed somebody");
    let state = partition(3, &[1, 2], &[]);
    assert_eq!(step(&mut core, Input::Partition { state, now: ms(1) }), []);
    assert_eq!(subscribe(&mut core, 2, 100, 100), [Effect::AdvanceHighWatermark(at(100))], "and so it was");
}

#[test]
fn s03_nobody_joins_below_the_epochs_start() {
    let state = partition(1, &[1, 3], &[]);
    let mut core = Core::lead(term(Durability::Disk, 1, state, 200), &carried(200, 200, 150));
    assert_eq!(core.high_watermark(), at(150));
    assert!(!core.may_promise());
    assert_eq!(subscribe(&mut core, 2, 160, 160), [], "above the watermark, below what may be acknowledged");
    assert!(proposed(&step(&mut core, report(2, 199, 199, 1))).is_none());
    assert!(proposed(&step(&mut core, report(2, 200, 199, 2))).is_none(), "on disk topics the disk counts");
    let (_, members) = proposed(&step(&mut core, report(2, 200, 200, 3))).unwrap();
    assert_eq!(members, [1, 2, 3]);
}

#[test]
fn s03_nobody_joins_below_the_watermark() {
    let mut core = leader(Durability::Replicated, 1, &[1]);
    append(&mut core, 1, 150);
    assert_eq!(core.high_watermark(), at(150));
    assert_eq!(subscribe(&mut core, 2, 100, 0), []);
    assert!(proposed(&step(&mut core, report(2, 149, 0, 1))).is_none());
    let (change, _) = proposed(&step(&mut core, report(2, 150, 0, 2))).unwrap();
    let of_2 = change.in_sync.iter().find(|member| member.node == node(2)).unwrap();
    assert_eq!(of_2.broker_epoch, BrokerEpoch::new(7), "the very process that holds it (KIP-903)");
}

#[test]
fn s04_on_disk_topics_a_followers_flush_counts_and_on_replicated_ones_its_append() {
    let mut core = leader(Durability::Disk, 1, &[1, 2]);
    subscribe(&mut core, 2, 100, 100);
    append(&mut core, 1, 110);
    assert_eq!(step(&mut core, report(2, 110, 104, 1)), [Effect::AdvanceHighWatermark(at(104))]);
    assert_eq!(
        step(&mut core, Input::Durability(Durability::Replicated)),
        [Effect::AdvanceHighWatermark(at(110)), Effect::Acknowledge(1)]
    );
}

#[test]
fn s04_the_leaders_own_flush_counts_like_any_other() {
    let mut core = leader(Durability::Disk, 1, &[1, 2]);
    subscribe(&mut core, 2, 100, 100);
    step(&mut core, Input::Appended { ticket: 1, end: at(110), acks: Acks::All });
    step(&mut core, Input::LogEnd(at(110)));
    assert_eq!(step(&mut core, report(2, 110, 110, 1)), []);
    assert!(core.wants_flush());
    assert_eq!(
        step(&mut core, Input::Flushed(at(110))),
        [Effect::AdvanceHighWatermark(at(110)), Effect::Acknowledge(1)]
    );
}

#[test]
fn s05_the_watermark_stays_where_it_is_when_a_follower_comes_back_with_less() {
    let mut core = leader(Durability::Replicated, 1, &[1, 2]);
    subscribe(&mut core, 2, 100, 0);
    append(&mut core, 1, 110);
    step(&mut core, report(2, 110, 0, 1));
    assert_eq!(core.high_watermark(), at(110));
    let mut effects = Vec::new();
    let again = Subscription { broker_epoch: BrokerEpoch::new(8), ..subscription(2, 1, 60, 60) };
    core.subscribe(&again, Some((epoch(4), at(100))), at(0), ms(2), &mut effects);
    assert_eq!((core.high_watermark(), effects), (at(110), vec![]));
    assert_eq!(append(&mut core, 2, 120), []);
    assert_eq!(step(&mut core, report(2, 112, 60, 3)), [Effect::AdvanceHighWatermark(at(112))]);
}

#[test]
fn s05_nothing_is_promised_before_the_watermark_is_at_the_epochs_start() {
    let state = partition(1, &[1, 2], &[]);
    let mut core = Core::lead(term(Durability::Disk, 1, state, 200), &carried(200, 200, 150));
    assert!(!core.may_promise());
    assert_eq!(subscribe(&mut core, 2, 100, 100), []);
    step(&mut core, report(2, 199, 199, 1));
    assert!(!core.may_promise());
    step(&mut core, report(2, 200, 200, 2));
    assert!(core.may_promise());
}

#[test]
fn s10_below_the_minimum_the_watermark_stands_still_and_producers_are_refused() {
    let mut core = leader(Durability::Disk, 2, &[1, 2]);
    subscribe(&mut core, 2, 100, 100);
    append(&mut core, 1, 110);
    let too_few = TooFewInSync { in_sync: 1, required: 2 };
    step(&mut core, Input::Silent { node: node(2), session: session(1) });
    let left = Input::Partition { state: partition(2, &[1], &[2]), now: ms(1) };
    assert_eq!(step(&mut core, left), [Effect::Refuse(1, too_few)], "20: appended, and too few are left");
    assert_eq!(core.admits(Acks::All), Err(too_few), "19: not even appended");
    assert_eq!(core.admits(Acks::Leader), Ok(()));
    assert_eq!(append(&mut core, 2, 120), [Effect::Refuse(2, too_few)]);
    assert_eq!(core.high_watermark(), at(100));
    // A duplicate of what is committed is a success whoever is left.
    let again = Input::Appended { ticket: 3, end: at(100), acks: Acks::All };
    assert_eq!(step(&mut core, again), [Effect::Acknowledge(3)]);
}

#[test]
fn s10_while_somebody_outside_may_lead_the_watermark_stands_still() {
    let mut core = leader(Durability::Disk, 1, &[1, 2]);
    subscribe(&mut core, 2, 100, 100);
    append(&mut core, 1, 110);
    step(&mut core, Input::Silent { node: node(2), session: session(1) });
    // The controller had another minimum when node 2 left.
    let left = Input::Partition { state: partition(2, &[1], &[2]), now: ms(1) };
    assert_eq!(step(&mut core, left), []);
    let settled = Input::Partition { state: partition(3, &[1], &[]), now: ms(2) };
    assert_eq!(step(&mut core, settled), [Effect::AdvanceHighWatermark(at(110)), Effect::Acknowledge(1)]);
}

#[test]
fn a_follower_that_is_never_at_the_end_under_load_is_not_late_and_one_that_stands_still_is() {
    let mut core = leader(Durability::Replicated, 1, &[1, 2, 3]);
    subscribe(&mut core, 2, 100, 0);
    subscribe(&mut core, 3, 100, 0);
    let mut found = None;
    for second in 1..30 {
        let end = 100 + second * 10;
        append(&mut core, 0, end);
        // Always five behind.
        step(&mut core, report(2, end - 5, 0, second.cast_unsigned() * 1000));
        let effects = step(&mut core, Input::Tick { now: ms(second.cast_unsigned() * 1000 + 1) });
        if let Some((_, members)) = proposed(&effects) {
            found = Some((second, members));
            break;
        }
    }
    let (second, members) = found.unwrap();
    assert_eq!(members, [1, 2]);
    assert!((10..=12).contains(&second), "{second}");
}

#[test]
fn who_has_nothing_to_catch_up_with_is_never_late() {
    let mut core = leader(Durability::Disk, 1, &[1, 2]);
    subscribe(&mut core, 2, 100, 100);
    assert!(!core.wants_tick());
    assert_eq!(step(&mut core, Input::Tick { now: ms(1_000_000) }), []);
    append(&mut core, 1, 110);
    assert!(core.wants_tick());
    assert_eq!(step(&mut core, Input::Tick { now: ms(1_005_000) }), []);
    assert!(proposed(&step(&mut core, Input::Tick { now: ms(1_010_001) })).is_some());
}

#[test]
fn after_a_resignation_nobody_is_told_that_all_is_well() {
    let mut core = leader(Durability::Disk, 1, &[1, 2]);
    subscribe(&mut core, 2, 100, 100);
    append(&mut core, 1, 110);
    let mut effects = Vec::new();
    assert_eq!(core.resign(&mut effects), at(100));
    assert_eq!(effects, [Effect::Disown(1)]);
    assert_eq!(step(&mut core, report(2, 110, 110, 1)), []);
    assert_eq!(append(&mut core, 2, 120), [Effect::Disown(2)]);
    let asked = subscription(2, 2, 100, 100);
    let verdict = core.subscribe(&asked, Some((epoch(4), at(100))), at(0), ms(1), &mut effects);
    assert_eq!(verdict, Verdict::Refused(SubscriptionRefusal::UnknownLeaderEpoch));
}

#[test]
fn a_report_of_an_earlier_subscription_says_nothing() {
    let mut core = leader(Durability::Disk, 1, &[1, 2]);
    subscribe(&mut core, 2, 100, 100);
    let mut effects = Vec::new();
    let later = subscription(2, 3, 100, 100);
    core.subscribe(&later, Some((epoch(4), at(100))), at(0), ms(1), &mut effects);
    append(&mut core, 1, 110);
    assert_eq!(step(&mut core, report(2, 110, 110, 2)), [], "session 1 is over");
    let earlier = subscription(2, 2, 100, 100);
    let verdict = core.subscribe(&earlier, Some((epoch(4), at(100))), at(0), ms(3), &mut effects);
    assert_eq!(verdict, Verdict::Refused(SubscriptionRefusal::Stale));
}

#[test]
fn a_subscription_is_refused_where_the_two_mean_different_leaders() {
    let mut core = leader(Durability::Disk, 1, &[1, 2]);
    let mut judge = |asked: Subscription| {
        core.subscribe(&asked, Some((epoch(4), at(100))), at(20), ms(0), &mut Vec::new())
    };
    let good = subscription(2, 1, 100, 100);
    let refused = |refusal| Verdict::Refused(refusal);
    let with = |leader_epoch| Subscription { leader_epoch, ..good };
    assert_eq!(judge(with(epoch(4))), refused(SubscriptionRefusal::StaleLeaderEpoch));
    assert_eq!(judge(with(epoch(6))), refused(SubscriptionRefusal::UnknownLeaderEpoch));
    assert_eq!(judge(Subscription { node: node(4), ..good }), refused(SubscriptionRefusal::NotReplica));
    assert_eq!(judge(Subscription { node: node(1), ..good }), refused(SubscriptionRefusal::NotReplica));
    assert_eq!(judge(Subscription { end: at(19), ..good }), Verdict::StartsAnew { log_start: at(20) });
    assert_eq!(judge(good), Verdict::Follows);
}

#[test]
fn a_log_that_parts_from_the_leaders_is_told_where() {
    let mut core = leader(Durability::Disk, 1, &[1, 2]);
    let mut judge = |last: i32, end: i64, found: Option<(i32, i64)>| {
        let asked = Subscription { last_epoch: epoch(last), ..subscription(2, 1, end, 0) };
        let found = found.map(|(of, end)| (epoch(of), at(end)));
        core.subscribe(&asked, found, at(0), ms(0), &mut Vec::new())
    };
    let diverges = |of: i32, end: i64| Verdict::Diverges { epoch: epoch(of), end: at(end) };
    assert_eq!(judge(4, 90, Some((4, 80))), diverges(4, 80), "more of the epoch than the leader has");
    assert_eq!(judge(3, 70, Some((2, 50))), diverges(2, 50), "an epoch that the leader has nothing of");
    assert_eq!(judge(9, 70, None), diverges(5, 100), "an epoch above the leader's own");
    assert_eq!(judge(LeaderEpoch::NONE.get(), 0, None), Verdict::Follows, "an empty log");
    assert_eq!(judge(4, 80, Some((4, 80))), Verdict::Follows);
}

/// A node that deleted up to 5 comes back to a leader that has lost its memory and filled 4 again: in sync from 5 on,
/// it would lead one day without a record that was acknowledged. One that may lead has missed nothing: it knows of a
/// deletion that its leader has not heard of, and keeps what it has promised.
#[test]
fn s01_an_empty_log_begins_where_the_leaders_does_unless_it_may_lead() {
    let mut core = leader(Durability::Disk, 1, &[1, 2]);
    let mut judge = |follower: i32, session: u64, end: i64| {
        let asked = Subscription { last_epoch: LeaderEpoch::NONE, ..subscription(follower, session, end, 0) };
        core.subscribe(&asked, None, at(4), ms(0), &mut Vec::new())
    };
    let anew = Verdict::StartsAnew { log_start: at(4) };
    assert_eq!(judge(3, 1, 5), anew, "outside of the set");
    assert_eq!(judge(3, 2, 4), Verdict::Follows);
    assert_eq!(judge(2, 1, 5), Verdict::Follows, "in the set");
    assert_eq!(judge(2, 2, 3), anew);
    assert_eq!(judge(2, 3, 101), anew, "beyond the leader's end");
}

#[test]
fn s11_a_topic_is_not_on_disk_while_somebody_outside_of_the_set_who_may_lead_has_it_in_memory() {
    let state = PartitionState { on_disk: false, ..partition(1, &[1], &[2]) };
    let mut core = Core::lead(term(Durability::Disk, 1, state, 100), &carried(100, 100, 100));
    assert!(core.wants_tick());
    assert!(proposed(&step(&mut core, Input::Tick { now: ms(1) })).is_none());
    let state = PartitionState { on_disk: false, ..partition(2, &[1], &[]) };
    let settled = step(&mut core, Input::Partition { state, now: ms(2) });
    let (change, members) = proposed(&settled).unwrap();
    assert_eq!((change.on_disk, members), (true, vec![1]));
}

#[test]
fn s11_a_change_that_puts_out_who_has_it_in_memory_does_not_say_that_all_have_it_on_disk() {
    let state = PartitionState { on_disk: false, ..partition(1, &[1, 2], &[]) };
    let mut core = Core::lead(term(Durability::Disk, 2, state, 100), &carried(100, 100, 100));
    let late = step(&mut core, Input::Tick { now: ms(100_000) });
    let (change, members) = proposed(&late).unwrap();
    assert_eq!((change.on_disk, members), (false, vec![1]));
}

#[test]
fn s11_a_topic_that_becomes_disk_is_that_once_every_member_has_flushed_what_was_acknowledged() {
    let state = PartitionState { on_disk: false, ..partition(1, &[1, 2], &[]) };
    let mut core = Core::lead(term(Durability::Replicated, 1, state, 100), &carried(100, 0, 100));
    subscribe(&mut core, 2, 100, 0);
    append(&mut core, 1, 110);
    step(&mut core, report(2, 110, 0, 1));
    assert_eq!(core.high_watermark(), at(110));
    step(&mut core, Input::Durability(Durability::Disk));
    assert!(core.wants_tick());
    assert!(proposed(&step(&mut core, report(2, 110, 109, 2))).is_none());
    let (change, members) = proposed(&step(&mut core, report(2, 110, 110, 3))).unwrap();
    assert_eq!((change.on_disk, members), (true, vec![1, 2]));
}
