//! What is done with the scripts of every world: one is run, many are run, one that fails is made shorter and printed,
//! and mistakes that were planted have to be found.

use std::{
    collections::BTreeMap,
    env,
    fmt::{self, Debug, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{chance::Trace, shrink::shrink};

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

pub(crate) type Checked = Result<(), Violation>;

pub(crate) const NO_PANIC: &str = "nothing panics";

macro_rules! hold {
    ($holds:expr, $rule:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::trial::Violation { rule: $rule, what: format!($($what)+) });
        }
    };
}
pub(crate) use hold;

/// How many of a world's things happened, by name.
pub(crate) type Happened = BTreeMap<&'static str, u64>;

/// What came of a script.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) hash: u64,
    pub(crate) events: u64,
    pub(crate) happened: Happened,
    pub(crate) lines: Vec<String>,
    pub(crate) violation: Option<Violation>,
}

impl Ran {
    pub(crate) fn new(violation: Option<Violation>, trace: Trace, events: u64, happened: Happened) -> Self {
        Self { hash: trace.hash(), events, happened, lines: trace.lines(), violation }
    }
}

/// What a world has against its own life, a panic among it.
pub(crate) fn violation(live: impl FnOnce() -> Checked) -> Option<Violation> {
    match catch_unwind(AssertUnwindSafe(live)) {
        Ok(checked) => checked.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(Violation { rule: NO_PANIC, what: text.unwrap_or_default() })
        }
    }
}

/// Something that is done to a world.
#[derive(Clone)]
pub(crate) struct Step<A> {
    pub(crate) at_ms: u64,
    pub(crate) what: A,
}

impl<A: Debug> Debug for Step<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7} ms  {:?}", self.at_ms, self.what)
    }
}

/// What is done in a world, and to whom: all of it by a seed, and any part of its steps is one as well.
#[derive(Clone, Debug)]
pub(crate) struct Script<G: Given> {
    pub(crate) seed: u64,
    pub(crate) given: G,
    /// In their order, with the number that each had in the whole script.
    pub(crate) steps: Vec<(usize, Step<G::Action>)>,
}

impl<G: Given> Script<G> {
    /// A whole one.
    pub(crate) fn new(seed: u64, given: G, mut steps: Vec<Step<G::Action>>) -> Self {
        steps.sort_by_key(|step| step.at_ms);
        Self { seed, given, steps: steps.into_iter().enumerate().collect() }
    }

    /// The same with these steps alone.
    fn with(&self, steps: Vec<(usize, Step<G::Action>)>) -> Self {
        Self { steps, ..self.clone() }
    }

    /// When the last of it has been done.
    pub(crate) fn ends_ms(&self) -> u64 {
        self.steps.last().map_or(0, |(_, step)| step.at_ms) + 1000
    }

    fn run(&self, mistake: Option<G::Mistake>, traced: bool) -> Ran {
        G::run(self, mistake, traced)
    }
}

/// What a world begins with.
pub(crate) trait Given: Clone + Sized {
    /// What can be done to it.
    type Action: Clone + Debug;
    /// What can be planted.
    type Mistake: Copy + Debug;

    /// How many seeds the test runs when nobody says.
    const SEEDS: u64;
    /// The test that runs them, as `cargo test` finds it.
    const TEST: &'static str;
    /// What happens in some hundred seeds, or the world is not the one that it was meant to be.
    const HAPPENS: &'static [&'static str];

    fn script(seed: u64) -> Script<Self>;
    /// Who there is, for whoever reads a failure.
    fn cast(&self) -> Vec<String> {
        Vec::new()
    }
    fn run(script: &Script<Self>, mistake: Option<Self::Mistake>, traced: bool) -> Ran;
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap())
}

/// The script of a seed, or the part of it that the environment names.
fn asked_for<G: Given>(seed: u64) -> Script<G> {
    let whole = G::script(seed);
    let Ok(kept) = env::var("POLYLOGUE_SIM_STEPS") else { return whole };
    let kept: Vec<usize> =
        kept.split(',').filter(|at| !at.is_empty()).map(|at| at.parse().unwrap()).collect();
    let steps = whole.steps.iter().filter(|(at, _)| kept.contains(at)).cloned().collect();
    whole.with(steps)
}

/// Runs the seeds that the environment asks for, or so many as are usual.
pub(crate) fn all_hold<G: Given>() {
    let first = number("POLYLOGUE_SIM_SEED");
    let count = number("POLYLOGUE_SIM_SEEDS").unwrap_or(if first.is_some() { 1 } else { G::SEEDS });
    let first = first.unwrap_or(0);
    let traced = env::var("POLYLOGUE_SIM_TRACE").is_ok();
    let (mut events, mut happened) = (0, Happened::new());
    for seed in first..first + count {
        let script = asked_for::<G>(seed);
        let ran = script.run(None, traced);
        ran.lines.iter().for_each(|line| println!("{line}"));
        if let Some(violation) = ran.violation {
            panic!("{}", report(&script, &violation));
        }
        events += ran.events;
        ran.happened.into_iter().for_each(|(what, count)| *happened.entry(what).or_default() += count);
    }
    println!("{count} seeds from {first} on: {events} events, {happened:?}");
    if count >= 300 {
        let missing: Vec<_> = G::HAPPENS.iter().filter(|what| !happened.contains_key(*what)).collect();
        assert!(missing.is_empty(), "a world in which this does not happen shows little: {missing:?}");
    }
}

/// Runs one seed twice, and another.
pub(crate) fn same_seed_same_trace<G: Given>() {
    let script = G::script(7);
    let (first, again) = (script.run(None, false), script.run(None, true));
    assert_eq!(first.hash, again.hash);
    assert_ne!(first.hash, G::script(8).run(None, false).hash);
    assert!(!again.lines.is_empty() && first.lines.is_empty());
}

/// The shortest part of a script that breaks the same rule.
fn shortest<G: Given>(script: &Script<G>, mistake: Option<G::Mistake>, violation: &Violation) -> Script<G> {
    let steps = shrink(&script.steps, |steps| {
        let found = script.with(steps.to_vec()).run(mistake, false).violation;
        found.is_some_and(|found| found.rule == violation.rule)
    });
    script.with(steps)
}

/// What whoever mends it needs.
fn report<G: Given>(script: &Script<G>, violation: &Violation) -> String {
    let short = shortest(script, None, violation);
    let mut text = format!("seed {}: {violation}\n", script.seed);
    let kept: Vec<_> = short.steps.iter().map(|(at, _)| at.to_string()).collect();
    let _ = writeln!(text, "{} of {} steps break it as well:", kept.len(), script.steps.len());
    for (at, step) in &short.steps {
        let _ = writeln!(text, "  {at:>3} {step:?}");
    }
    for line in short.given.cast() {
        let _ = writeln!(text, "  {line}");
    }
    if let Some(again) = short.run(None, false).violation {
        let _ = writeln!(text, "{again}");
    }
    let _ = writeln!(
        text,
        "POLYLOGUE_SIM_SEED={} POLYLOGUE_SIM_STEPS={} POLYLOGUE_SIM_TRACE=1 cargo test --test sim {} -- --nocapture",
        script.seed,
        kept.join(","),
        G::TEST,
    );
    text
}

/// Finds the mistake in these scripts, shortens the one that found it, and shows that what is left fails again in the
/// same way, and only with the mistake. How many steps are left, and of how many.
pub(crate) fn is_found<G: Given>(
    mut scripts: impl Iterator<Item = Script<G>>,
    mistake: G::Mistake,
    rules: &[&str],
) -> (usize, usize) {
    let found = scripts
        .find_map(|script| script.run(Some(mistake), false).violation.map(|violation| (script, violation)));
    let Some((script, violation)) = found else { panic!("{mistake:?} is not found") };
    let short = shortest(&script, Some(mistake), &violation);
    let again = short.run(Some(mistake), false).violation.unwrap();
    let (left, of) = (short.steps.len(), script.steps.len());
    println!("{mistake:?}: seed {}, {left} of {of} steps: {again}\n{:#?}", script.seed, short.steps);
    assert!(rules.contains(&again.rule), "{again}");
    assert_eq!(short.run(None, false).violation, None, "without the mistake");
    (left, of)
}
