use super::{
    super::{Acks, Effect, Input, LeaderCore, PartitionState, Term},
    at, carried, epoch, ms, node,
};
use crate::{config::topic::Durability, storage::leader_epochs::EpochStart};

/// A leader without followers that has just opened its log: what recovery kept is all there is.
fn alone(durability: Durability, log_end: i64, flushed: i64) -> LeaderCore<u32> {
    let us = vec![node(1)];
    let partition = PartitionState {
        leader_epoch: epoch(5),
        replicas: us.clone(),
        in_sync: us,
        on_disk: true,
        ..PartitionState::default()
    };
    let begins = EpochStart { epoch: epoch(5), start: at(log_end) };
    let (node, lag_time_max, now) = (node(1), ms(10_000), ms(0));
    let term = Term { node, begins, durability, min_in_sync: 1, partition, lag_time_max, now };
    LeaderCore::lead(term, &carried(log_end, flushed, 0))
}

fn step(core: &mut LeaderCore<u32>, input: Input<u32>) -> Vec<Effect<u32>> {
    let mut effects = Vec::new();
    core.step(input, &mut effects);
    effects
}

fn appended(ticket: u32, end: i64, acks: Acks) -> Input<u32> {
    Input::Appended { ticket, end: at(end), acks }
}

#[test]
fn s04_on_disk_topics_an_acknowledgement_waits_for_the_flush() {
    let mut core = alone(Durability::Disk, 0, 0);
    assert_eq!(step(&mut core, appended(1, 10, Acks::All)), []);
    assert_eq!(step(&mut core, Input::LogEnd(at(10))), []);
    assert!(core.wants_flush());
    assert_eq!(
        step(&mut core, Input::Flushed(at(10))),
        [Effect::AdvanceHighWatermark(at(10)), Effect::Acknowledge(1)]
    );
    assert!(!core.wants_flush());
}

#[test]
fn s04_a_consumer_never_sees_what_is_not_flushed_on_a_disk_topic() {
    let mut core = alone(Durability::Disk, 50, 40);
    assert_eq!(core.high_watermark(), at(40));
    step(&mut core, Input::LogEnd(at(60)));
    assert_eq!(core.high_watermark(), at(40));
    // A completion that is further than the end can only be of an older generation's making.
    step(&mut core, Input::Flushed(at(70)));
    assert_eq!(core.high_watermark(), at(60));
}

#[test]
fn on_replicated_topics_the_append_itself_is_enough() {
    let mut core = alone(Durability::Replicated, 0, 0);
    assert_eq!(step(&mut core, appended(1, 3, Acks::All)), []);
    assert_eq!(
        step(&mut core, Input::LogEnd(at(3))),
        [Effect::AdvanceHighWatermark(at(3)), Effect::Acknowledge(1)]
    );
    assert!(!core.wants_flush());
}

#[test]
fn acks_one_is_answered_before_any_flush() {
    let mut core = alone(Durability::Disk, 0, 0);
    assert_eq!(step(&mut core, appended(7, 1, Acks::Leader)), [Effect::Acknowledge(7)]);
}

#[test]
fn s09_a_duplicate_is_acknowledged_no_sooner_than_its_original() {
    let mut core = alone(Durability::Disk, 0, 0);
    step(&mut core, appended(1, 5, Acks::All));
    step(&mut core, appended(2, 9, Acks::All));
    step(&mut core, Input::LogEnd(at(9)));
    assert_eq!(step(&mut core, appended(3, 5, Acks::All)), [], "the original waits, so does its retry");
    assert_eq!(
        step(&mut core, Input::Flushed(at(5))),
        [Effect::AdvanceHighWatermark(at(5)), Effect::Acknowledge(1), Effect::Acknowledge(3)]
    );
    assert_eq!(step(&mut core, appended(4, 5, Acks::All)), [Effect::Acknowledge(4)]);
    assert_eq!(core.parked(), 1);
}

#[test]
fn s05_the_high_watermark_never_goes_back() {
    let mut core = alone(Durability::Replicated, 20, 5);
    assert_eq!(core.high_watermark(), at(20));
    assert_eq!(step(&mut core, Input::Durability(Durability::Disk)), []);
    assert_eq!(core.high_watermark(), at(20), "what was seen is not unseen by a change of durability");
    assert_eq!(step(&mut core, Input::Flushed(at(6))), []);
    assert_eq!(core.high_watermark(), at(20));
}

#[test]
fn a_change_to_replicated_releases_those_who_waited_for_the_disk() {
    let mut core = alone(Durability::Disk, 0, 0);
    step(&mut core, appended(1, 4, Acks::All));
    step(&mut core, Input::LogEnd(at(4)));
    assert_eq!(
        step(&mut core, Input::Durability(Durability::Replicated)),
        [Effect::AdvanceHighWatermark(at(4)), Effect::Acknowledge(1)]
    );
}
