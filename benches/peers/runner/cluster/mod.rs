//! Three nodes beside three of Kafka: every partition on all of them, `acks=all`. Ours twice, once as Kafka does it (what
//! all replicas have in memory is acknowledged) and once with every replica's disk.

pub(super) mod rows;
mod side;

use std::{path::Path, thread};

use anyhow::{Context, Result};

use self::{
    rows::{AHEAD, HALF, Load, Row, TWICE, UNDER_800_US, UNDER_A_SECOND},
    side::{Prepared, Side},
};
use super::{
    broker::Kind,
    measure::{
        Both, Effort, LATENCY_SIZE, QUIET, WORKED_COUNT, ack_text, end_to_end_text, first_acknowledgement,
        rate, rate_text, rounds,
    },
    rows::Target,
    table::Figure,
};
use crate::{
    driver::{Report, now_nanos},
    latency::Latency,
};

/// Both sides and the ground they stand on.
pub(super) struct Clusters<'a> {
    pub(super) ours: &'a Kind,
    pub(super) kafka: &'a Kind,
    pub(super) folder: &'a Path,
    pub(super) effort: Effort,
}

/// What a row's runs gave: beside Kafka in memory, and beside the same of Kafka on disk.
struct Results<T> {
    memory: Both<T>,
    disk: Both<T>,
}

/// What is shown of a run: the name, the unit, what is to be reached in memory, and where to find it.
type Shown<T> = (&'static str, &'static str, Target, fn(&T) -> Option<f64>);

impl Clusters<'_> {
    /// Runs one row and returns its lines of the table.
    pub(super) fn measure(&self, row: &Row) -> Result<Vec<Figure>> {
        match row.load {
            Load::Produce { size, count, partitions } => self.produce(row, size, count, partitions),
            Load::OneInFlight { count } => self.one_in_flight(row, count),
            Load::EndToEnd => self.end_to_end(row),
            Load::Memory => self.memory(row),
            Load::FirstRecord => self.first_record(row),
        }
    }

    fn produce(&self, row: &Row, size: usize, count: u64, partitions: i32) -> Result<Vec<Figure>> {
        let [size, count] = [size.to_string(), (count / self.effort.divisor).to_string()];
        let load = ["produce", "--size", &size, "--count", &count];
        let results = self.loaded(row, partitions, &load, rate_text)?;
        Ok(figures(
            row,
            &results,
            &[
                ("rate", "msg/s", TWICE, |report| Some(rate(report))),
                ("CPU of all per million", "s", Target::None, |report| report.broker_cpu_seconds_per_million),
            ],
        ))
    }

    fn one_in_flight(&self, row: &Row, count: u64) -> Result<Vec<Figure>> {
        let count = (count / self.effort.divisor).to_string();
        let load = ["ack", "--size", LATENCY_SIZE, "--count", &count, "--set", "p.linger.ms=0"];
        let results = self.loaded(row, 1, &load, ack_text)?;
        Ok(figures(
            row,
            &results,
            &[
                ("acknowledged p50", "us", HALF, |report| acknowledged(report, |l| l.p50_us)),
                ("acknowledged p99", "us", UNDER_800_US, |report| acknowledged(report, |l| l.p99_us)),
            ],
        ))
    }

    fn end_to_end(&self, row: &Row) -> Result<Vec<Figure>> {
        let seconds = self.effort.seconds.to_string();
        let load = ["e2e", "--seconds", &seconds, "--size", LATENCY_SIZE, "--set", "p.linger.ms=0"];
        let results = self.loaded(row, 1, &load, end_to_end_text)?;
        Ok(figures(
            row,
            &results,
            &[
                ("end to end p50", "us", AHEAD, |report| on_the_way(report, |l| l.p50_us)),
                ("end to end p99", "us", AHEAD, |report| on_the_way(report, |l| l.p99_us)),
                ("end to end p99.9", "us", Target::None, |report| on_the_way(report, |l| l.p999_us)),
            ],
        ))
    }

    /// One load on a fresh topic in each run; the nodes live through the row.
    fn loaded(
        &self,
        row: &Row,
        partitions: i32,
        load: &[&str],
        text: fn(&Report) -> String,
    ) -> Result<Results<Report>> {
        let run = |side: &mut Side, on_disk| -> Result<Report> {
            let topic = side.fresh_topic(partitions, on_disk)?;
            let report = side.drive(&topic, partitions, load)?;
            side.clear(&topic)?;
            Ok(report)
        };
        let (mut ours, mut kafka) = self.started()?;
        let mut results = Results { memory: Both::none(), disk: Both::none() };
        for round in rounds(self.effort) {
            let in_memory = run(&mut ours, false).with_context(|| format!("{round}, ours"))?;
            eprintln!("  {round}, ours: {}", text(&in_memory));
            let theirs = run(&mut kafka, false).with_context(|| format!("{round}, kafka"))?;
            eprintln!("  {round}, kafka: {}", text(&theirs));
            if row.on_disk.is_some() {
                let on_disk = run(&mut ours, true).with_context(|| format!("{round}, ours on disk"))?;
                eprintln!("  {round}, ours on disk: {}", text(&on_disk));
                results.disk.push(round, on_disk, theirs.clone());
            }
            results.memory.push(round, in_memory, theirs);
        }
        ours.close()?;
        kafka.close()?;
        Ok(results)
    }

    fn memory(&self, row: &Row) -> Result<Vec<Figure>> {
        let (mut ours, mut kafka) = self.started()?;
        let count = (WORKED_COUNT / self.effort.divisor).to_string();
        let look = |side: &mut Side| -> Result<(f64, f64)> {
            let topic = side.fresh_topic(8, false)?;
            thread::sleep(QUIET);
            let idle = side.resident_mib()?;
            side.drive(&topic, 8, &["produce", "--size", LATENCY_SIZE, "--count", &count])?;
            side.drive(&topic, 8, &["consume", "--count", &count])?;
            let worked = side.resident_mib()?;
            eprintln!("  {}: {idle:.1} MiB each, {worked:.1} after {count} messages", side.label());
            Ok((idle, worked))
        };
        let (of_ours, of_kafka) = (look(&mut ours)?, look(&mut kafka)?);
        ours.close()?;
        kafka.close()?;
        let figure =
            |what, ours, theirs| Figure::new((row.name, what, "MiB"), vec![ours], vec![theirs], Target::None);
        Ok(vec![
            figure("resident, each, idle", of_ours.0, of_kafka.0),
            figure("resident, each, worked", of_ours.1, of_kafka.1),
        ])
    }

    /// Three nodes are started on empty folders again and again; the clock runs from before the first process is.
    fn first_record(&self, row: &Row) -> Result<Vec<Figure>> {
        let run = |kind: &Kind, name: &str| -> Result<f64> {
            let prepared = Prepared::new(kind, &self.folder.join(name))?;
            let start = now_nanos();
            let side = prepared.start()?;
            side.first_topic("first")?;
            first_acknowledgement(&side.bootstrap(), "first")?;
            let ms = (now_nanos() - start) as f64 / 1e6;
            side.close()?;
            Ok(ms)
        };
        let mut both = Both::none();
        for round in rounds(self.effort) {
            let (ours, kafka) = (run(self.ours, "ours")?, run(self.kafka, "kafka")?);
            eprintln!("  {round}: ours {ours:.0} ms, kafka {kafka:.0} ms");
            both.push(round, ours, kafka);
        }
        let names = (row.name, "nothing to first acknowledged", "ms");
        Ok(vec![both.figure(names, UNDER_A_SECOND, |ms| Some(*ms))])
    }

    fn started(&self) -> Result<(Side, Side)> {
        let ours = Side::start(self.ours, &self.folder.join("ours"))?;
        let kafka = Side::start(self.kafka, &self.folder.join("kafka"))?;
        Ok((ours, kafka))
    }
}

fn figures(row: &Row, results: &Results<Report>, shown: &[Shown<Report>]) -> Vec<Figure> {
    let in_memory = shown
        .iter()
        .map(|(what, unit, target, value)| results.memory.figure((row.name, what, unit), *target, value));
    // What the disk costs is shown beside Kafka's memory, and has no target of its own.
    let on_disk = row.on_disk.into_iter().flat_map(|name| {
        shown
            .iter()
            .map(move |(what, unit, _, value)| results.disk.figure((name, what, unit), Target::None, value))
    });
    in_memory.chain(on_disk).collect()
}

fn acknowledged(report: &Report, of: fn(&Latency) -> f64) -> Option<f64> {
    report.acknowledged.as_ref().map(of)
}

fn on_the_way(report: &Report, of: fn(&Latency) -> f64) -> Option<f64> {
    report.end_to_end.as_ref().map(of)
}
