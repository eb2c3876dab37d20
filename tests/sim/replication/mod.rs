//! The world of replicas: the cores of leader and followers, over logs that lose what a crash may take, streams that
//! break, a controller whose answers get lost and whose images come late, and producers that try again.
//!
//! The cores are the program's own; the log, the controller and the actors around the cores are played here. [`checks`]
//! says what has to hold after every step. Seeds, steps and traces are asked for as in the groups' world.

#![allow(
    clippy::needless_pass_by_value,
    clippy::struct_field_names,
    clippy::unnecessary_wraps,
    reason = "what the world tells is used up, whatever is done with it, and every step may find something"
)]

mod checks;
mod client;
mod controller;
mod leading;
mod log;
mod mistakes;
mod node;
mod run;
mod script;
mod world;

use std::{collections::BTreeMap, env};

use self::{mistakes::Mistake, run::run, script::Script};
use crate::number;

const SEEDS: u64 = if cfg!(feature = "long") { 10_000 } else { 300 };

/// What happens in some hundred seeds, or the world is not the one that it was meant to be.
const HAPPENS: &[&str] = &[
    "acknowledged",
    "duplicate",
    "timed out",
    "refused before the append",
    "refused after the append",
    "power cut",
    "killed",
    "stopped",
    "replica restarted",
    "fenced",
    "took over",
    "resigned",
    "truncated",
    "started anew",
    "damaged data refused",
    "subscription not taken",
    "set change proposed",
    "set change refused",
    "joined the set",
    "left the set",
    "records deleted",
    "chosen of those who left",
    "lost as the topic allows",
];

fn script(seed: u64) -> Script {
    let whole = Script::of_seed(seed);
    let Ok(kept) = env::var("POLYLOGUE_SIM_STEPS") else { return whole };
    let kept: Vec<usize> =
        kept.split(',').filter(|at| !at.is_empty()).map(|at| at.parse().unwrap()).collect();
    let steps = whole.steps.iter().filter(|(at, _)| kept.contains(at)).copied().collect();
    whole.with(steps)
}

#[test]
fn replicas_keep_what_they_promise_whatever_happens() {
    let first = number("POLYLOGUE_SIM_SEED");
    let count = number("POLYLOGUE_SIM_SEEDS").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let first = first.unwrap_or(0);
    let traced = env::var("POLYLOGUE_SIM_TRACE").is_ok();
    let (mut events, mut happened) = (0, BTreeMap::<&str, u64>::new());
    for seed in first..first + count {
        let ran = run(&script(seed), None, traced);
        ran.lines.iter().for_each(|line| println!("{line}"));
        if let Some(violation) = ran.violation {
            panic!("{}", run::report(&script(seed), &violation));
        }
        events += ran.events;
        ran.happened.into_iter().for_each(|(what, count)| *happened.entry(what).or_default() += count);
    }
    println!("{count} seeds from {first} on: {events} events, {happened:?}");
    if count >= 300 {
        let missing: Vec<_> = HAPPENS.iter().filter(|what| !happened.contains_key(*what)).collect();
        assert!(missing.is_empty(), "a world in which this does not happen shows little: {missing:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_of_replicas() {
    let script = Script::of_seed(7);
    let (first, again) = (run(&script, None, false), run(&script, None, true));
    assert_eq!(first.hash, again.hash);
    assert_ne!(first.hash, run(&Script::of_seed(8), None, false).hash);
    assert!(!again.lines.is_empty() && first.lines.is_empty());
}

/// Finds the mistake, shortens the script, and shows that what is left fails again in the same way.
fn is_found(mistake: Mistake, rules: &[&str]) {
    is_found_in(Script::of_seed, mistake, rules);
}

fn is_found_in(script_of: fn(u64) -> Script, mistake: Mistake, rules: &[&str]) {
    let found = (0..1000).find_map(|seed| {
        let script = script_of(seed);
        run(&script, Some(mistake), false).violation.map(|violation| (script, violation))
    });
    let Some((script, violation)) = found else { panic!("{mistake:?} is not found") };
    let short = run::shortest(&script, Some(mistake), &violation);
    let again = run(&short, Some(mistake), false).violation.unwrap();
    println!(
        "{mistake:?}: seed {}, {} of {} steps: {again}\n{:#?}",
        script.seed,
        short.steps.len(),
        script.steps.len(),
        short.steps
    );
    assert!(rules.contains(&again.rule), "{again}");
    assert_eq!(run(&short, None, false).violation, None, "without the mistake");
}

#[test]
fn s01_an_acknowledgement_at_the_minimum_is_found() {
    is_found(Mistake::AcknowledgesAtMinimum, &[checks::COMPLETE]);
}

#[test]
fn s02_a_proposed_member_that_does_not_count_is_found() {
    is_found(Mistake::ForgetsProposed, &[checks::COMPLETE]);
}

#[test]
fn s02_an_image_from_before_the_epoch_that_counts_is_found() {
    is_found_in(Script::restless, Mistake::TrustsOldImage, &[checks::COMPLETE]);
}

#[test]
fn s03_a_join_below_the_epochs_start_is_found() {
    is_found(Mistake::JoinsBelowEpochStart, &[checks::COMPLETE]);
}

#[test]
fn s04_an_append_that_counts_as_a_flush_is_found() {
    is_found(Mistake::CountsAppended, &[checks::COMPLETE]);
}

#[test]
fn s05_a_watermark_that_goes_back_is_found() {
    is_found(Mistake::WatermarkGoesBack, &[checks::SEEN]);
}

#[test]
fn s06_two_openings_under_one_epoch_are_found() {
    is_found(Mistake::ReusesEpoch, &[checks::ONE_LEADER]);
}

#[test]
fn s08_a_flush_of_another_generation_is_found() {
    is_found(Mistake::ForgetsGeneration, &[checks::FLUSHED]);
}

#[test]
fn s10_a_watermark_that_moves_below_the_minimum_is_found() {
    is_found(Mistake::AdvancesBelowMinimum, &[checks::COMPLETE]);
}

#[test]
fn s11_a_topic_that_counts_as_on_disk_too_early_is_found() {
    is_found(Mistake::OnDiskByConfig, &[checks::COMPLETE, checks::SEEN, checks::ONCE]);
}

#[test]
fn a_follower_judged_by_its_end_alone_is_found() {
    is_found(Mistake::IgnoresEpochs, &[checks::COMPLETE, checks::SEEN, checks::SETTLES]);
}
