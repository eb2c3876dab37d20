//! The rows about consumer groups, each side in turns as in all rows. A broker lives through a row; each run has a
//! topic and a group of its own.

use std::time::Duration;

use anyhow::Result;

use super::{
    broker::Hints,
    measure::Bench,
    rows::{Row, Target},
    stage::Stage,
    table::Figure,
};
use crate::{
    driver::now_nanos,
    groups::{self, Protocol, Rebalances, Setup},
};

/// Members and partitions of a group that rebalances.
const MEMBERS: usize = 100;
/// What both brokers are told for the server-side protocol, too ([`Hints::groups`]).
const HEARTBEAT: Duration = Duration::from_secs(1);
const SESSION: Duration = Duration::from_secs(6);
/// An interval and 200 ms; after a kill the session has to end first.
const REBALANCED: Target = Target::AtMost(1200.0);
const REBALANCED_AFTER_KILL: Target = Target::AtMost(7200.0);
/// What is left of a rebalance without the waiting for heartbeats, beside Kafka's.
const SETTLED: Target = Target::RatioAtMost(0.5);
/// Where in a heartbeat interval something happens, by the number of the run; the same for both sides.
const SHARES: [f64; 5] = [0.5, 0.1, 0.7, 0.3, 0.9];

/// A group that only says that it lives.
const IDLE_MEMBERS: usize = 1000;
const IDLE_HEARTBEAT: Duration = Duration::from_secs(3);
const IDLE_SESSION: Duration = Duration::from_secs(30);
const IDLE_FOR: Duration = Duration::from_secs(15);

const COMMITTED_GROUPS: usize = 1000;
const COMMITTED_PARTITIONS: usize = 1000;
const MANY_GROUPS: usize = 10_000;

impl Bench<'_> {
    /// One joins 99, leaves 100, is killed among 100.
    pub(super) fn rebalance(&self, row: &Row, protocol: Protocol) -> Result<Vec<Figure>> {
        let rebalanced = self.in_turns(&mut self.stages(row, of_groups(MEMBERS)), text, |stage| {
            let topic = stage.fresh_topic()?;
            let setup = setup(stage, &topic, protocol)?;
            groups::rebalances(setup, SHARES[stage.topics_so_far() % SHARES.len()])
        })?;
        let of = |which: fn(&Rebalances) -> Duration| move |all: &Rebalances| Some(ms(which(all)));
        let settle = |all: &Rebalances| all.settle.map(ms);
        let mut figures = vec![
            rebalanced.figure((row.name, "a member joins", "ms"), REBALANCED, of(|all| all.join)),
            rebalanced.figure((row.name, "a member leaves", "ms"), REBALANCED, of(|all| all.leave)),
            rebalanced.figure(
                (row.name, "a member is killed", "ms"),
                REBALANCED_AFTER_KILL,
                of(|all| all.kill),
            ),
        ];
        if protocol == Protocol::Classic {
            let name = (row.name, "a member joins, once all heard", "ms");
            figures.insert(1, rebalanced.figure(name, SETTLED, settle));
        }
        Ok(figures)
    }

    pub(super) fn idle_group(&self, row: &Row, target: Target) -> Result<Vec<Figure>> {
        let text = |percent: &f64| format!("{percent:.2} % of a core");
        let used = self.in_turns(&mut self.stages(row, of_groups(1)), text, |stage| {
            let topic = stage.fresh_topic()?;
            let busy = setup(stage, &topic, Protocol::Classic)?;
            let idle = Setup {
                members: IDLE_MEMBERS,
                partitions: 1,
                heartbeat: IDLE_HEARTBEAT,
                session_timeout: IDLE_SESSION,
                ..busy
            };
            groups::idle_percent(idle, stage.broker()?.pid(), IDLE_FOR)
        })?;
        Ok(vec![used.figure((row.name, "broker CPU", "%"), target, |percent| Some(*percent))])
    }

    /// The groups commit once; then the broker is killed in every run.
    pub(super) fn coordinator_kill(&self, row: &Row, target: Target) -> Result<Vec<Figure>> {
        let groups = COMMITTED_GROUPS / self.effort.divisor as usize;
        let mut stages = self.stages(row, of_groups(COMMITTED_PARTITIONS));
        let topic = filled(&mut stages, groups, COMMITTED_PARTITIONS)?;
        let mut tried = 0;
        let took = self.in_turns(&mut stages, text_of_ms, |stage| {
            tried += 1;
            let start = now_nanos();
            stage.kill_and_relaunch()?;
            groups::first_commit(stage.broker()?.address(), &topic, tried / 2 % groups)?;
            Ok(ms(since(start)))
        })?;
        Ok(vec![took.figure((row.name, "kill -9 to next commit", "ms"), target, |ms| Some(*ms))])
    }

    pub(super) fn groups_start(&self, row: &Row, target: Target) -> Result<Vec<Figure>> {
        let groups = MANY_GROUPS / self.effort.divisor as usize;
        let mut stages = self.stages(row, of_groups(1));
        filled(&mut stages, groups, 1)?;
        let took = self.in_turns(&mut stages, text_of_ms, |stage| {
            stage.end_keeping_data()?;
            let start = now_nanos();
            stage.relaunch()?;
            groups::all_listed(stage.broker()?.address(), groups)?;
            Ok(ms(since(start)))
        })?;
        Ok(vec![took.figure((row.name, "start to all groups listed", "ms"), target, |ms| Some(*ms))])
    }
}

fn of_groups(partitions: usize) -> Hints {
    Hints { partitions: partitions as i32, groups: true, ..Hints::default() }
}

fn setup<'a>(stage: &Stage, topic: &'a str, protocol: Protocol) -> Result<Setup<'a>> {
    Ok(Setup {
        broker: stage.broker()?.address(),
        name: topic,
        protocol,
        members: MEMBERS,
        partitions: MEMBERS,
        heartbeat: HEARTBEAT,
        session_timeout: SESSION,
    })
}

/// Groups that have committed offsets of a topic, which is named alike on both sides.
fn filled(stages: &mut [Stage; 2], groups: usize, partitions: usize) -> Result<String> {
    let mut name = String::new();
    for stage in stages {
        name = stage.fresh_topic()?;
        groups::commit_to_all(stage.broker()?.address(), &name, groups, partitions)?;
    }
    Ok(name)
}

fn since(start: u64) -> Duration {
    Duration::from_nanos(now_nanos() - start)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn text(all: &Rebalances) -> String {
    let Rebalances { join, settle, leave, kill } = all;
    let settle = settle.map_or_else(String::new, |settle| format!(" ({:.1} once all heard)", ms(settle)));
    format!("join {:.0}{settle}, leave {:.0}, kill {:.0} ms", ms(*join), ms(*leave), ms(*kill))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as all of a row's texts are made")]
fn text_of_ms(ms: &f64) -> String {
    format!("{ms:.0} ms")
}
