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
mod coordinator;
mod member;
mod network;
mod node;
mod plants;
mod replication;
mod run;
mod script;
mod shrink;
mod world;

use std::{collections::BTreeMap, env};

use crate::{plants::Plant, run::run, script::Script};

const SEEDS: u64 = if cfg!(feature = "long") { 10_000 } else { 400 };

/// What happens in some hundred seeds, or the world is not the one that it was meant to be.
const HAPPENS: &[&str] = &[
    "joined",
    "join refused",
    "synced",
    "sync refused",
    "heartbeat refused",
    "committed",
    "commit refused",
    "left",
    "offset expired",
    "offsets deleted",
    "group deleted",
    "group not deleted",
    "decisions undone by a crash",
    "power cut",
    "died in the middle",
    "log opened anew",
    "disk full",
    "compacted",
];

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap())
}

/// The script of a seed, or the part of it that the environment names.
fn script(seed: u64) -> Script {
    let whole = Script::of_seed(seed);
    let Ok(kept) = env::var("POLYLOGUE_SIM_STEPS") else { return whole };
    let kept: Vec<usize> =
        kept.split(',').filter(|at| !at.is_empty()).map(|at| at.parse().unwrap()).collect();
    let steps = whole.steps.iter().filter(|(at, _)| kept.contains(at)).cloned().collect();
    whole.with(steps)
}

#[test]
fn groups_keep_what_they_promise_whatever_happens() {
    let first = number("POLYLOGUE_SIM_SEED");
    let count = number("POLYLOGUE_SIM_SEEDS").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let first = first.unwrap_or(0);
    let traced = env::var("POLYLOGUE_SIM_TRACE").is_ok();
    let (mut events, mut seen) = (0, BTreeMap::<&str, u64>::new());
    for seed in first..first + count {
        let ran = run(&script(seed), None, traced);
        ran.lines.iter().for_each(|line| println!("{line}"));
        if let Some(violation) = ran.violation {
            panic!("{}", run::report(&script(seed), None, &violation));
        }
        events += ran.events;
        ran.seen.into_iter().for_each(|(what, count)| *seen.entry(what).or_default() += count);
    }
    println!("{count} seeds from {first} on: {events} events, {seen:?}");
    if count >= 300 {
        let missing: Vec<_> = HAPPENS.iter().filter(|what| !seen.contains_key(*what)).collect();
        assert!(missing.is_empty(), "a world in which this does not happen shows little: {missing:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let script = Script::of_seed(7);
    let (first, again) = (run(&script, None, false), run(&script, None, true));
    assert_eq!(first.hash, again.hash);
    assert_ne!(first.hash, run(&Script::of_seed(8), None, false).hash);
    assert!(!again.lines.is_empty() && first.lines.is_empty());
}

/// Finds the plant, shortens the script, and shows that what is left fails again in the same way.
fn is_found(plant: Plant, rules: &[&str], steps: usize) {
    let found = (0..400).find_map(|seed| {
        let script = Script::of_seed(seed);
        run(&script, Some(plant), false).violation.map(|violation| (script, violation))
    });
    let Some((script, violation)) = found else { panic!("{plant:?} is not found") };
    let short = run::shortest(&script, Some(plant), &violation);
    let again = run(&short, Some(plant), false).violation.unwrap();
    println!(
        "{plant:?}: seed {}, {} of {} steps: {again}",
        script.seed,
        short.steps.len(),
        script.steps.len()
    );
    assert!(rules.contains(&again.rule), "{again}");
    assert!(short.steps.len() <= steps && short.steps.len() < script.steps.len(), "{:#?}", short.steps);
    assert_eq!(run(&short, None, false).violation, None, "without the plant");
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
fn a_timer_that_rings_late_is_found() {
    is_found(Plant::RingsLate, &[checks::IN_TIME], 8);
}
