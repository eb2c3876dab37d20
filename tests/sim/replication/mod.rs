//! The world of replicas: the cores of leader and followers, over logs that lose what a crash may take, streams that
//! break, a controller whose answers get lost and whose images come late, and producers that try again.
//!
//! The cores are the program's own; the log, the controller and the actors around the cores are played here. [`checks`]
//! says what has to hold after every step. Seeds, steps and traces are asked for as in the groups' world.
//!
//! **Disks that lie.** In one world of four the disks of some nodes say for a while that they have what they keep in a
//! memory of their own; a power cut meanwhile takes it. A node cannot know that (what its checkpoint shows to be missing,
//! recovery finds; here the checkpoint is lost as well), and the protocol cannot see it before it comes back. So this is
//! all that can be promised, and all of it is asserted:
//!
//! - On `replicated` topics nobody's disk is believed: whoever comes back from a power cut is out of the set by its
//!   registration (S11), and lies cost nothing.
//! - On `disk` topics such a node stays in the set, with less than it had promised. For as long as another leads, nothing
//!   is lost: all others that may lead have all that was promised, and the leader counts the node for what it has now, not
//!   for what it had (a position goes with its subscription). So nothing that is promised after its return rests on the
//!   lie, and once it has caught up it answers for everything again. How many disks lie does not matter for this, nor whether the
//!   topic is altered to `replicated` meanwhile.
//! - When such a node leads before it has caught up, what it lacks is lost, though it was acknowledged with `acks=all`; not more
//!   than what it lacks, and what is left is a beginning of what was there. From then on what an earlier leader says counts for
//!   nothing, all follow the new one, and all that is promised from there on holds as ever.
//! - Kills, and restarts of replicas, bring no lie to light, and cost nothing.

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

use self::{mistakes::Mistake, script::Replicas};
use crate::trial::{self, Script, all_hold, same_seed_same_trace};

#[test]
fn replicas_keep_what_they_promise_whatever_happens() {
    all_hold::<Replicas>();
}

#[test]
fn the_same_seed_gives_the_same_trace_of_replicas() {
    same_seed_same_trace::<Replicas>();
}

fn is_found(mistake: Mistake, rules: &[&str]) {
    is_found_in(script::of_seed, mistake, rules);
}

fn is_found_in(script_of: fn(u64) -> Script<Replicas>, mistake: Mistake, rules: &[&str]) {
    trial::is_found((0..1000).map(script_of), mistake, rules);
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
    is_found_in(script::restless, Mistake::TrustsOldImage, &[checks::COMPLETE]);
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
fn s04_a_follower_that_is_believed_to_have_what_it_lost_is_found() {
    is_found_in(script::lying, Mistake::KeepsPosition, &[checks::COMPLETE]);
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
