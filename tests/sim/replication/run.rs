//! One script from beginning to end.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    checks::{ONCE, SETTLES},
    mistakes::Mistake,
    node::Role,
    script::{self, Action, Replicas},
    world::{Event, World},
};
use crate::trial::{Checked, Given, Ran, Script, Violation, hold, violation};

impl Given for Replicas {
    type Action = Action;
    type Mistake = Mistake;

    const SEEDS: u64 = if cfg!(feature = "long") { 10_000 } else { 300 };
    const TEST: &'static str = "replicas_keep";
    const HAPPENS: &'static [&'static str] = &[
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
        "a lie came to light",
        "has again what its disk lost",
        "lost by a lie",
    ];

    fn script(seed: u64) -> Script<Self> {
        script::of_seed(seed)
    }

    fn run(script: &Script<Self>, mistake: Option<Mistake>, traced: bool) -> Ran {
        let mut world = World::new(script, mistake, traced);
        let violation = violation(|| world.live());
        Ran::new(violation, world.trace, world.events, world.happened)
    }
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
        hold!(partition.in_sync.len() == self.script.given.nodes, SETTLES, "{partition:?}");
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
