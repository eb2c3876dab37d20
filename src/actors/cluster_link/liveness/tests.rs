use std::{collections::BTreeSet, time::Duration};

use super::{Beat, Cause, Leases, Life, Probe, Refused, VoterView, frames};
use crate::model::{BootId, BrokerEpoch, NodeId};

const LEASE: Duration = Duration::from_millis(1500);
const NODE: NodeId = NodeId::new(3);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn life(leases: &Leases) -> Life {
    leases.table().nodes[&NODE].life
}

fn alive_at(at: u64) -> (Leases, BootId) {
    let (mut leases, boot) = (Leases::new(LEASE), BootId::random());
    leases.look(ms(at));
    leases.beat(ms(at), NODE, boot, 1, Beat::default()).unwrap();
    (leases, boot)
}

/// Looks as often as the task does, up to and with this time.
fn look_until(leases: &mut Leases, from: u64, to: u64) {
    for at in (from..to).step_by(100) {
        leases.look(ms(at));
    }
    leases.look(ms(to));
}

#[test]
fn s19_silence_ends_a_lease_after_its_length_and_not_before() {
    let (mut leases, boot) = alive_at(0);
    look_until(&mut leases, 0, 1499);
    assert_eq!(life(&leases), Life::Alive { since: ms(0) });
    assert_eq!(leases.next_end(), Some(LEASE));
    assert_eq!(leases.look(ms(1500)), [(NODE, boot)]);
    assert_eq!(leases.look(ms(1501)), [], "that is said once");
    assert_eq!(life(&leases), Life::Dead { since: ms(1500), cause: Cause::Silent });
    assert_eq!(leases.next_end(), None);
    leases.beat(ms(1600), NODE, boot, 2, Beat::default()).unwrap();
    assert_eq!(life(&leases), Life::Alive { since: ms(1600) }, "one that wakes up lives again");
    assert!(leases.table().is_alive(NODE, boot) && !leases.table().is_alive(NODE, BootId::random()));
}

#[test]
fn a_connection_that_ended_and_a_refused_dial_are_death_at_once() {
    let (mut leases, _) = alive_at(0);
    assert!(leases.lost(NODE, 1));
    assert_eq!(life(&leases), Life::Alive { since: ms(0) }, "the end of a connection alone says nothing");
    leases.probed(ms(5), NODE, 1, Probe::Inconclusive);
    assert_eq!(life(&leases), Life::Alive { since: ms(0) });
    leases.probed(ms(6), NODE, 1, Probe::Refused);
    assert_eq!(life(&leases), Life::Dead { since: ms(6), cause: Cause::Refused });
}

#[test]
fn only_a_process_that_is_gone_has_ended_and_one_that_is_heard_again_is_not_asked_after() {
    let (mut leases, boot) = alive_at(0);
    assert!(!leases.is_lost(NODE, 1), "its connection is there");
    leases.lost(NODE, 1);
    assert!(leases.is_lost(NODE, 1) && !leases.table().has_ended(NODE));
    leases.beat(ms(3), NODE, boot, 2, Beat::default()).unwrap();
    assert!(!leases.is_lost(NODE, 1));
    leases.lost(NODE, 2);
    leases.probed(ms(6), NODE, 2, Probe::Refused);
    assert!(leases.table().has_ended(NODE) && !leases.is_lost(NODE, 2));
    let (mut silent, _) = alive_at(0);
    look_until(&mut silent, 0, 1500);
    assert!(!silent.table().has_ended(NODE), "it may only be paused, and lead on");
}

#[test]
fn a_refused_dial_is_worth_nothing_once_the_node_was_heard_again() {
    let (mut leases, boot) = alive_at(0);
    assert!(leases.lost(NODE, 1));
    leases.beat(ms(3), NODE, boot, 2, Beat::default()).unwrap();
    leases.probed(ms(6), NODE, 1, Probe::Refused);
    assert_eq!(life(&leases), Life::Alive { since: ms(0) });
    assert!(!leases.lost(NODE, 1), "an old stream's end says nothing of the new one");
}

#[test]
fn s17_a_start_that_was_succeeded_renews_nothing() {
    let (mut leases, old) = alive_at(0);
    let new = BootId::random();
    leases.registered(ms(10), NODE, old);
    leases.registered(ms(20), NODE, new);
    assert_eq!(life(&leases), Life::Dead { since: ms(20), cause: Cause::Succeeded });
    assert_eq!(leases.beat(ms(30), NODE, old, 2, Beat::default()), Err(Refused::StaleBoot));
    leases.beat(ms(40), NODE, new, 3, Beat::default()).unwrap();
    assert!(leases.table().is_alive(NODE, new));
}

#[test]
fn s17_two_processes_under_one_id_do_not_share_a_lease() {
    let (mut leases, first) = alive_at(0);
    let second = BootId::random();
    assert_eq!(leases.beat(ms(10), NODE, second, 2, Beat::default()), Err(Refused::Held));
    assert!(leases.table().is_alive(NODE, first));
    assert!(leases.lost(NODE, 1));
    assert!(leases.table().is_held_by_another(NODE, second), "the second may not register meanwhile");
    leases.beat(ms(20), NODE, second, 3, Beat::default()).unwrap();
    assert!(!leases.table().is_held_by_another(NODE, second), "its own lease does not stand in its way");
    assert_eq!(leases.beat(ms(30), NODE, first, 4, Beat::default()), Err(Refused::StaleBoot));
    assert!(leases.table().is_alive(NODE, second));
}

#[test]
fn when_this_process_stood_still_nobody_is_called_dead_for_it() {
    let (mut leases, boot) = alive_at(0);
    look_until(&mut leases, 0, 100);
    // SIGSTOP and, a minute later, SIGCONT.
    leases.look(ms(60_100));
    assert!(leases.table().is_alive(NODE, boot));
    look_until(&mut leases, 60_200, 61_700);
    assert!(!leases.table().is_alive(NODE, boot), "a real silence after it counts");
}

#[test]
fn heartbeats_and_answers_are_read_as_they_were_written() {
    let beat = Beat { broker_epoch: BrokerEpoch::new(7), image_index: 99, stopping: true };
    assert_eq!(frames::beat_of(&frames::beat(ms(5), beat)[2..]).unwrap(), (5_000_000, beat));
    let view =
        VoterView { controller_epoch: 12, controller: Some(NodeId::new(1)), fenced: BTreeSet::from([NODE]) };
    let answer = frames::answer_of(&frames::answer(5_000_000, &view, NODE)[2..]).unwrap();
    assert_eq!((answer.controller_epoch, answer.controller, answer.fenced), (12, Some(NodeId::new(1)), true));
    assert_eq!(answer.sent, ms(5));
    let other = frames::answer_of(&frames::answer(0, &VoterView::default(), NodeId::new(1))[2..]).unwrap();
    assert_eq!((other.controller, other.fenced), (None, false));
}

#[test]
fn a_heartbeat_cut_anywhere_is_an_error() {
    let whole = frames::beat(ms(5), Beat::default());
    assert!((2..whole.len()).all(|cut| frames::beat_of(&whole[2..cut]).is_err()));
}
