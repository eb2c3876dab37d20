//! One script from beginning to end, and what is done with one that fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{
    checks::{Checked, NO_PANIC, ONCE, SETTLES, Violation, hold},
    mistakes::Mistake,
    node::Role,
    script::Script,
    world::{Event, World},
};
use crate::shrink::shrink_steps;

/// What came of a script.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) hash: u64,
    pub(super) events: u64,
    pub(super) happened: BTreeMap<&'static str, u64>,
    pub(super) lines: Vec<String>,
    pub(super) violation: Option<Violation>,
}

pub(super) fn run(script: &Script, mistake: Option<Mistake>, traced: bool) -> Ran {
    let mut world = World::new(script, mistake, traced);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.live()));
    let violation = match outcome {
        Ok(checked) => checked.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(Violation { rule: NO_PANIC, what: text.unwrap_or_default() })
        }
    };
    let World { trace, events, happened, .. } = world;
    Ran { hash: trace.hash(), events, happened, lines: trace.lines(), violation }
}

/// The shortest part of a script that breaks the same rule.
pub(super) fn shortest(script: &Script, mistake: Option<Mistake>, violation: &Violation) -> Script {
    let steps = shrink_steps(&script.steps, |steps| {
        let found = run(&script.with(steps.to_vec()), mistake, false).violation;
        found.is_some_and(|found| found.rule == violation.rule)
    });
    script.with(steps)
}

/// What whoever mends it needs.
pub(super) fn report(script: &Script, violation: &Violation) -> String {
    let short = shortest(script, None, violation);
    let mut text = format!("seed {}: {violation}\n", script.seed);
    let kept: Vec<_> = short.steps.iter().map(|(at, _)| at.to_string()).collect();
    let _ = writeln!(text, "{} of {} steps break it as well:", kept.len(), script.steps.len());
    for (at, step) in &short.steps {
        let _ = writeln!(text, "  {at:>3} {step:?}");
    }
    if let Some(again) = run(&short, None, false).violation {
        let _ = writeln!(text, "{again}");
    }
    let _ = writeln!(
        text,
        "POLYLOGUE_SIM_SEED={} POLYLOGUE_SIM_STEPS={} POLYLOGUE_SIM_TRACE=1 cargo test --test sim replicas_keep -- \
         --nocapture",
        script.seed,
        kept.join(",")
    );
    text
}

impl World {
    fn live(&mut self) -> Checked {
        self.run_until(1000 * self.script.ends_ms())?;
        self.calm();
        for node in 1..self.nodes.len() {
            self.after(0, Event::Up { node });
        }
        self.run_until(self.now + 6_000_000)?;
        self.clients.iter_mut().for_each(|client| client.stopped = true);
        self.run_until(self.now + 4_000_000)?;
        self.settled()
    }

    /// All are in sync, their logs are equal, and what was acknowledged is there: once, and in order.
    fn settled(&mut self) -> Checked {
        let partition = self.controller.image.partition.clone();
        hold!(partition.in_sync.len() == self.script.nodes, SETTLES, "{partition:?}");
        hold!(partition.electable.is_empty(), SETTLES, "{partition:?}");
        let idle = self.clients.iter().all(super::client::Producer::is_idle);
        hold!(idle, SETTLES, "a producer is not answered: {:?}", self.clients);
        let Some(leader) = self.controller.image.leader else {
            return Err(Violation { rule: SETTLES, what: "nobody leads".to_owned() });
        };
        let log = &self.nodes[leader].log;
        hold!(matches!(self.nodes[leader].role, Role::Leading(_)), SETTLES, "node {leader} does not lead");
        for it in &self.nodes[1..] {
            let same = it.log.end() == log.end() && it.log.chain_at(log.end()) == log.chain_at(log.end());
            hold!(same, SETTLES, "node {} has other records than node {leader}", it.number);
            hold!(
                it.high_watermark == log.end(),
                SETTLES,
                "node {} knows of {}",
                it.number,
                it.high_watermark
            );
        }
        for (offset, id) in &self.promises.acknowledged {
            let found = log.get(*offset).map(|record| record.id);
            let kept = found == Some(*id) || *offset < log.start;
            hold!(kept, ONCE, "record {id} was acknowledged at {offset}, where {found:?} is");
        }
        let (mut last, mut ids) = (BTreeMap::new(), BTreeSet::new());
        for record in
            (log.start..log.end()).filter_map(|at| log.get(at)).filter(|record| record.sequence >= 0)
        {
            hold!(ids.insert(record.id) || self.deleted, ONCE, "{record:?} is there twice");
            let before = last.insert(record.producer, record.sequence);
            hold!(before.is_none_or(|before| before < record.sequence), ONCE, "{record:?} after {before:?}");
        }
        Ok(())
    }
}
