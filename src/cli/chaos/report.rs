//! Figures of faults, for people and for programs.

use std::{io, io::Write, time::Duration};

use serde_json::{Value, json};

use super::{
    faults::{Fault, Gap},
    load::Verdict,
};
use crate::cli::table;

/// All runs of one fault on one kind of node.
#[derive(Clone, Debug)]
pub(super) struct Runs {
    fault: Fault,
    /// The node that was struck was the controller.
    of_controller: bool,
    gaps: Vec<Duration>,
}

/// What a measurement came to.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) client: String,
    pub(super) timeouts: Duration,
    /// Between two faults.
    pub(super) rest: Duration,
    pub(super) nodes: usize,
    /// Each in a network namespace of its own, and not on loopback.
    pub(super) on_wires: bool,
    pub(super) replicas: i16,
    /// From nothing to the first acknowledged record.
    pub(super) began_after: Duration,
    pub(super) runs: Vec<Runs>,
    pub(super) failed: u64,
    pub(super) first_failure: Option<String>,
    pub(super) verdict: Verdict,
}

impl Runs {
    /// Those that struck the controller's node apart from the others; of either, only if there are any.
    pub(super) fn of(fault: Fault, gaps: &[Gap]) -> Vec<Self> {
        let runs = [false, true].map(|of_controller| {
            let gaps = gaps.iter().filter(|gap| gap.of_controller == of_controller);
            Self { fault, of_controller, gaps: gaps.map(|gap| gap.time).collect() }
        });
        runs.into_iter().filter(|runs| !runs.gaps.is_empty()).collect()
    }

    fn name(&self) -> String {
        let whose = if self.of_controller { ", who was the controller" } else { "" };
        format!("{}{whose}", self.fault.name())
    }

    fn median(&self) -> Duration {
        self.quantile(50)
    }

    /// The shortest that is no shorter than so many of a hundred.
    fn quantile(&self, percent: usize) -> Duration {
        let mut sorted = self.gaps.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(at).copied().unwrap_or_default()
    }

    fn worst(&self) -> Duration {
        self.gaps.iter().max().copied().unwrap_or_default()
    }
}

impl Report {
    pub(super) fn is_right(&self) -> bool {
        self.failed == 0 && self.verdict.is_right()
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let nodes = if self.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", self.nodes) };
        let place = if self.on_wires { " in network namespaces" } else { "" };
        let replicas =
            if self.replicas == 1 { "1 replica".to_owned() } else { format!("{} replicas", self.replicas) };
        writeln!(
            out,
            "{nodes}{place}, {replicas}, acks=all, {}, socket time-outs of {:?}, {:?} between faults",
            self.client, self.timeouts, self.rest
        )?;
        writeln!(out, "first acknowledged record {} after the start\n", millis(self.began_after))?;
        let head = ["fault", "runs", "median", "p99", "worst"];
        let row = |runs: &Runs| {
            let times = [runs.median(), runs.quantile(99), runs.worst()].map(millis);
            [runs.name(), runs.gaps.len().to_string()].into_iter().chain(times).collect()
        };
        table::print(out, &head, &self.runs.iter().map(row).collect::<Vec<_>>())?;
        let verdict = self.verdict;
        writeln!(out)?;
        writeln!(out, "acknowledged  {}", verdict.acknowledged)?;
        writeln!(out, "read          {}", verdict.read)?;
        writeln!(out, "lost          {}", verdict.lost)?;
        writeln!(out, "duplicates    {}", verdict.duplicates)?;
        writeln!(out, "out of order  {}", verdict.out_of_order)?;
        writeln!(out, "failed        {}", self.failed)?;
        if let Some(failure) = &self.first_failure {
            writeln!(out, "first failure {failure}")?;
        }
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let runs = self.runs.iter().map(|runs| {
            json!({
                "fault": runs.fault.name(),
                "controllers_node": runs.of_controller,
                "gaps_ms": runs.gaps.iter().copied().map(ms).collect::<Vec<_>>(),
                "median_ms": ms(runs.median()),
                "p99_ms": ms(runs.quantile(99)),
                "worst_ms": ms(runs.worst()),
            })
        });
        let verdict = self.verdict;
        json!({
            "client": self.client,
            "socket_timeout_ms": ms(self.timeouts),
            "rest_ms": ms(self.rest),
            "nodes": self.nodes,
            "network_namespaces": self.on_wires,
            "replicas": self.replicas,
            "began_after_ms": ms(self.began_after),
            "faults": runs.collect::<Vec<_>>(),
            "acknowledged": verdict.acknowledged,
            "read": verdict.read,
            "lost": verdict.lost,
            "duplicates": verdict.duplicates,
            "out_of_order": verdict.out_of_order,
            "failed": self.failed,
            "first_failure": self.first_failure,
        })
    }
}

fn millis(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Fault, Gap, Runs};

    fn runs(gaps: &[u64]) -> Runs {
        let gaps = gaps.iter().copied().map(Duration::from_millis).collect();
        Runs { fault: Fault::Kill, of_controller: false, gaps }
    }

    #[test]
    fn the_median_is_one_of_the_runs_and_the_worst_the_longest() {
        let odd = runs(&[30, 10, 20]);
        assert_eq!((odd.median().as_millis(), odd.worst().as_millis()), (20, 30));
        assert_eq!(runs(&[4, 1, 3, 2]).median().as_millis(), 2);
        assert_eq!(runs(&[]).worst(), Duration::ZERO);
    }

    #[test]
    fn of_thirty_runs_the_worst_is_the_99th_percentile_and_of_two_hundred_it_is_not() {
        let many = |count| runs(&(1..=count).collect::<Vec<u64>>()).quantile(99).as_millis();
        assert_eq!((many(30), many(200)), (30, 198));
        assert_eq!(runs(&[]).quantile(99), Duration::ZERO);
    }

    #[test]
    fn the_controllers_node_is_told_apart_and_a_kind_without_a_run_left_out() {
        let gap = |millis, of_controller| Gap { time: Duration::from_millis(millis), of_controller };
        let apart = Runs::of(Fault::Kill, &[gap(10, false), gap(300, true), gap(20, false)]);
        let seen: Vec<_> = apart.iter().map(|runs| (runs.of_controller, runs.gaps.len())).collect();
        assert_eq!(seen, [(false, 2), (true, 1)]);
        assert_eq!(Runs::of(Fault::Pause, &[gap(10, true)]).len(), 1);
    }
}
