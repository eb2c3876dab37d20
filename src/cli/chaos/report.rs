//! Figures of faults, for people and for programs.

use std::{io, io::Write, time::Duration};

use serde_json::{Value, json};

use super::{faults::Fault, load::Verdict};
use crate::cli::table;

/// All runs of one fault.
#[derive(Clone, Debug)]
pub(super) struct Runs {
    pub(super) fault: Fault,
    pub(super) gaps: Vec<Duration>,
}

/// What a measurement came to.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) client: String,
    pub(super) timeouts: Duration,
    pub(super) nodes: usize,
    pub(super) replicas: i16,
    /// From nothing to the first acknowledged record.
    pub(super) began_after: Duration,
    pub(super) runs: Vec<Runs>,
    pub(super) failed: u64,
    pub(super) first_failure: Option<String>,
    pub(super) verdict: Verdict,
}

impl Runs {
    fn median(&self) -> Duration {
        let mut sorted = self.gaps.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
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
        let replicas =
            if self.replicas == 1 { "1 replica".to_owned() } else { format!("{} replicas", self.replicas) };
        writeln!(
            out,
            "{nodes}, {replicas}, acks=all, {}, socket time-outs of {:?}",
            self.client, self.timeouts
        )?;
        writeln!(out, "first acknowledged record {} after the start\n", millis(self.began_after))?;
        let head = ["fault", "runs", "median", "worst"];
        let row = |runs: &Runs| {
            let (median, worst) = (millis(runs.median()), millis(runs.worst()));
            vec![runs.fault.name().to_owned(), runs.gaps.len().to_string(), median, worst]
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
                "gaps_ms": runs.gaps.iter().copied().map(ms).collect::<Vec<_>>(),
                "median_ms": ms(runs.median()),
                "worst_ms": ms(runs.worst()),
            })
        });
        let verdict = self.verdict;
        json!({
            "client": self.client,
            "socket_timeout_ms": ms(self.timeouts),
            "nodes": self.nodes,
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

    use super::{Fault, Runs};

    #[test]
    fn the_median_is_one_of_the_runs_and_the_worst_the_longest() {
        let runs = |gaps: &[u64]| Runs {
            fault: Fault::Kill,
            gaps: gaps.iter().copied().map(Duration::from_millis).collect(),
        };
        let odd = runs(&[30, 10, 20]);
        assert_eq!((odd.median().as_millis(), odd.worst().as_millis()), (20, 30));
        assert_eq!(runs(&[4, 1, 3, 2]).median().as_millis(), 2);
        assert_eq!(runs(&[]).worst(), Duration::ZERO);
    }
}
