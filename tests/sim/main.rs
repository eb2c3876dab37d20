//! The simulator: the group coordinator's core and the storage under it, in a world where everything is decided by a
//! seed: when who joins, leaves and dies, what the network loses and the disk tears, when the node dies and comes back.
//!
//! The core, the writer, the replay and the log are the program's own; the actors around them and the clients are
//! played here. [`checks`] says what has to hold after every step. A seed that fails is made shorter and printed with
//! the command that runs it again:
//!
//! - `POLYLOGUE_SIM_SEED=17` runs this seed alone; `POLYLOGUE_SIM_SEEDS=500` so many, from there on.
//! - `POLYLOGUE_SIM_STEPS=0,4,7` keeps these steps of its script alone (empty: none).
//! - `POLYLOGUE_SIM_TRACE=1` prints everything that happens.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::match_wildcard_for_single_variants,
    reason = "the core may learn requests that this world does not use"
)]

mod chance;
mod checks;
mod consumer;
mod coordinator;
mod member;
mod network;
mod node;
mod plants;
mod replication;
mod run;
mod script;
mod shrink;
mod standings;
mod trial;
mod world;

use crate::{
    plants::Plant,
    script::Coordinated,
    trial::{all_hold, same_seed_same_trace},
};

#[test]
fn groups_keep_what_they_promise_whatever_happens() {
    all_hold::<Coordinated>();
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    same_seed_same_trace::<Coordinated>();
}

fn is_found(plant: Plant, rules: &[&str], steps: usize) {
    let (left, of) = trial::is_found((0..400).map(script::of_seed), plant, rules);
    assert!(left <= steps && left < of);
}

#[test]
fn an_answer_before_the_disk_has_it_is_found() {
    is_found(Plant::AnswersBeforeTheDisk, &[checks::DURABLE], 4);
}

#[test]
fn a_loading_that_ends_too_early_is_found() {
    is_found(Plant::LoadsTooEarly, &[checks::REPLAY], 6);
}

#[test]
fn a_commit_that_should_have_been_fenced_is_found() {
    is_found(Plant::TakesAnyCommit, &[checks::FENCED, checks::POSITION], 5);
}

#[test]
fn an_answer_that_is_forgotten_is_found() {
    is_found(Plant::ForgetsAnAnswer, &[checks::ANSWERED], 4);
}

#[test]
fn s21_a_partition_that_is_given_before_it_is_given_back_is_found() {
    is_found(Plant::GivesTooEarly, &[checks::OWNER], 6);
}

#[test]
fn a_timer_that_rings_late_is_found() {
    is_found(Plant::RingsLate, &[checks::IN_TIME], 8);
}
