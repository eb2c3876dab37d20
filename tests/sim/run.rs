//! One script from beginning to end, and what is done with one that fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    checks::{ANSWERED, Checked, NO_PANIC, SETTLES, Violation, describe, hold},
    member::{Member, Phase},
    plants::Plant,
    script::Script,
    shrink::shrink,
    world::World,
};

/// What came of a script.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) hash: u64,
    pub(crate) events: u64,
    pub(crate) seen: BTreeMap<&'static str, u64>,
    pub(crate) lines: Vec<String>,
    pub(crate) violation: Option<Violation>,
}

pub(crate) fn run(script: &Script, plant: Option<Plant>, traced: bool) -> Ran {
    let mut world = World::new(script, plant, traced);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.live()));
    let violation = match outcome {
        Ok(checked) => checked.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(Violation { rule: NO_PANIC, what: text.unwrap_or_default() })
        }
    };
    let World { trace, events, seen, .. } = world;
    Ran { hash: trace.hash(), events, seen, lines: trace.lines(), violation }
}

/// The shortest part of a script that breaks the same rule.
pub(crate) fn shortest(script: &Script, plant: Option<Plant>, violation: &Violation) -> Script {
    let breaks_it = |script: &Script| {
        run(script, plant, false).violation.is_some_and(|found| found.rule == violation.rule)
    };
    shrink(script, breaks_it)
}

/// What whoever mends it needs.
pub(crate) fn report(script: &Script, plant: Option<Plant>, violation: &Violation) -> String {
    let short = shortest(script, plant, violation);
    let again = run(&short, plant, false).violation;
    let mut text = format!("seed {}: {violation}\n", script.seed);
    let kept: Vec<_> = short.steps.iter().map(|(at, _)| at.to_string()).collect();
    let _ = writeln!(text, "{} of {} steps break it as well:", kept.len(), script.steps.len());
    for (at, step) in &short.steps {
        let _ = writeln!(text, "  {at:>3} {step:?}");
    }
    for (at, spec) in short.members.iter().enumerate() {
        let _ = writeln!(text, "  member {at}: {spec:?}");
    }
    if let Some(again) = again {
        let _ = writeln!(text, "{again}");
    }
    let _ = writeln!(
        text,
        "POLYLOGUE_SIM_SEED={} POLYLOGUE_SIM_STEPS={} POLYLOGUE_SIM_TRACE=1 cargo test --test sim groups_keep -- \
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
        let quiet_ms = 3 * self.script.longest_rebalance_ms() + 3 * self.script.longest_session_ms() + 20_000;
        self.run_until(self.now + 1000 * quiet_ms)?;
        self.settled()?;
        // And all of it is still true when the power goes.
        self.node_dies(true, 10);
        self.run_until(self.now + 2_000_000)?;
        hold!(self.node.serving.is_some(), SETTLES, "no coordinator after the last power cut");
        Ok(())
    }

    /// Everybody who is alive has a share, and all of them together have everything.
    fn settled(&mut self) -> Checked {
        let Some(serving) = &mut self.node.serving else {
            return Err(Violation { rule: SETTLES, what: "no coordinator serves".to_owned() });
        };
        let stuck = serving.tickets.values().find(|asked| self.now - asked.at > 10_000_000);
        hold!(stuck.is_none(), ANSWERED, "{stuck:?}");
        for group in &self.groups {
            let live = |member: &&Member| {
                member.group == *group && !matches!(member.phase, Phase::Gone | Phase::Outcast)
            };
            let described = describe(&mut serving.core, group);
            let members: Vec<_> = self.members.iter().filter(live).collect();
            // Those whom a full group does not take try again and again. So do those who do not speak what the group
            // has chosen, where the members are known from the log, which has no more of what they speak (as Kafka's).
            let full = described.members.len() >= self.script.settings.max_size as usize;
            let speaks =
                |member: &Member| member.spec.protocols.iter().any(|p| described.protocol_data == *p);
            let outside = |member: &Member| member.phase == Phase::Joining && (full || !speaks(member));
            let inside = members.iter().filter(|member| !outside(member));
            let inside: Vec<_> = inside.collect();
            let state = described.group_state.as_str();
            if inside.is_empty() {
                hold!(matches!(state, "Empty" | "Dead"), SETTLES, "{described:?} without a member alive");
                continue;
            }
            hold!(state == "Stable", SETTLES, "{group}: {state}, {:?}", phases(&members));
            let ids: BTreeSet<_> = inside.iter().map(|member| member.id.clone()).collect();
            let known: BTreeSet<_> =
                described.members.iter().map(|member| member.member_id.clone()).collect();
            hold!(ids == known, SETTLES, "{group}: {ids:?} live, {known:?} are known");
            let generations: BTreeSet<_> = inside.iter().map(|member| member.generation).collect();
            let consuming = inside.iter().all(|member| member.phase == Phase::Consuming);
            hold!(consuming && generations.len() == 1, SETTLES, "{group}: {:?}", phases(&members));
            let mut shares: Vec<_> = inside.iter().flat_map(|member| member.assigned.clone()).collect();
            shares.sort_unstable();
            let all: Vec<_> = (0..self.script.partitions).collect();
            hold!(shares == all, SETTLES, "{group}: {shares:?} of {all:?} have an owner");
        }
        Ok(())
    }
}

fn phases(members: &[&Member]) -> Vec<(String, Phase, i32)> {
    members.iter().map(|member| (member.id.to_string(), member.phase, member.generation)).collect()
}
