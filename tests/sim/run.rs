//! One script from beginning to end.

use std::collections::BTreeSet;

use polylogue::wire::api::consumer_group_describe;

use crate::{
    checks::{ANSWERED, SETTLES, describe},
    member::{Member, Phase},
    plants::Plant,
    script::{self, Action, Coordinated},
    standings::describe_consumer,
    trial::{Checked, Given, Ran, Script, Violation, hold, violation},
    world::World,
};

impl Given for Coordinated {
    type Action = Action;
    type Mistake = Plant;

    const SEEDS: u64 = if cfg!(feature = "long") { 10_000 } else { 400 };
    const TEST: &'static str = "groups_keep";
    const HAPPENS: &'static [&'static str] = &[
        "joined",
        "join refused",
        "synced",
        "sync refused",
        "heartbeat refused",
        "committed",
        "commit refused",
        "left",
        "reconciled",
        "heartbeat of a consumer refused",
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

    fn script(seed: u64) -> Script<Self> {
        script::of_seed(seed)
    }

    fn cast(&self) -> Vec<String> {
        let members = self.members.iter().enumerate();
        members.map(|(at, spec)| format!("member {at}: {spec:?}")).collect()
    }

    fn run(script: &Script<Self>, plant: Option<Plant>, traced: bool) -> Ran {
        let mut world = World::new(script, plant, traced);
        let violation = violation(|| world.live());
        Ran::new(violation, world.trace, world.events, world.happened)
    }
}

impl World {
    fn live(&mut self) -> Checked {
        self.run_until(1000 * self.script.ends_ms())?;
        self.calm();
        let given = &self.script.given;
        let quiet_ms = 3 * given.longest_rebalance_ms() + 3 * given.longest_session_ms() + 20_000;
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
        for (at, group) in self.groups.iter().enumerate() {
            if self.members.iter().any(|member| member.spec.server_side && member.spec.group == at) {
                let members: Vec<_> = self.members.iter().filter(|member| member.group == *group).collect();
                settled_consumers(
                    &describe_consumer(&mut serving.core, group),
                    &members,
                    self.script.given.partitions,
                )?;
                continue;
            }
            let live = |member: &&Member| {
                member.group == *group && !matches!(member.phase, Phase::Gone | Phase::Outcast)
            };
            let described = describe(&mut serving.core, group);
            let members: Vec<_> = self.members.iter().filter(live).collect();
            // Those whom a full group does not take try again and again. So do those who do not speak what the group
            // has chosen, where the members are known from the log, which has no more of what they speak (as Kafka's).
            let full = described.members.len() >= self.script.given.settings.max_size as usize;
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
            let all: Vec<_> = (0..self.script.given.partitions).collect();
            hold!(shares == all, SETTLES, "{group}: {shares:?} of {all:?} have an owner");
        }
        Ok(())
    }
}

/// The same of a group whose coordinator assigns.
fn settled_consumers(
    described: &consumer_group_describe::DescribedGroup,
    members: &[&Member],
    partitions: usize,
) -> Checked {
    // Who comes by the name of one that is there tries again and again.
    let is_there = |name: &Option<String>| {
        members.iter().any(|other| other.phase == Phase::Consuming && other.spec.instance == *name)
    };
    let is_double = |member: &Member| {
        member.phase == Phase::Joining && member.spec.instance.is_some() && is_there(&member.spec.instance)
    };
    let is_live =
        |member: &&&Member| !matches!(member.phase, Phase::Gone | Phase::Outcast) && !is_double(member);
    let live: Vec<_> = members.iter().filter(is_live).copied().collect();
    let (group, state) = (&described.group_id, described.group_state.as_str());
    if live.is_empty() {
        hold!(described.members.is_empty(), SETTLES, "{described:?} without a member alive");
        return Ok(());
    }
    hold!(state == "Stable", SETTLES, "{group}: {state}, {:?}", phases(&live));
    let ids: BTreeSet<_> = live.iter().map(|member| member.id.clone()).collect();
    let known: BTreeSet<_> = described.members.iter().map(|member| member.member_id.clone()).collect();
    hold!(ids == known, SETTLES, "{group}: {ids:?} live, {known:?} are known");
    let are_there = live.iter().all(|m| m.phase == Phase::Consuming && m.generation == described.group_epoch);
    hold!(are_there, SETTLES, "{group} at {}: {:?}", described.group_epoch, phases(&live));
    let mut shares: Vec<_> = live.iter().flat_map(|member| member.assigned.clone()).collect();
    shares.sort_unstable();
    let all: Vec<_> = (0..partitions).collect();
    hold!(shares == all, SETTLES, "{group}: {shares:?} of {all:?} have an owner");
    Ok(())
}

fn phases(members: &[&Member]) -> Vec<(String, Phase, i32)> {
    members.iter().map(|member| (member.id.to_string(), member.phase, member.generation)).collect()
}
