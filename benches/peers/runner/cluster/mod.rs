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
        Both, Effort, LATENCY_SIZE, QUIET, Round, WORKED_COUNT, ack_text, end_to_end_text,
        first_acknowledgement, rate, rate_text, rounds,
    },
    rows::Target,
    table::Figure,
};
use crate::{
    driver::{Report, now_nanos},
    latency::Latency,
};

/// Before a latency is measured on nodes that have just started: Kafka's JVM compiles what it runs often.
const LOADS_TO_WARM: usize = 2;

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
        let results = self.loaded_alone(row, &load, ack_text)?;
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
        let results = self.loaded_alone(row, &load, end_to_end_text)?;
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
        let (mut ours, mut kafka) = (self.start_ours()?, self.start_kafka()?);
        let mut results = Results { memory: Both::none(), disk: Both::none() };
        for round in rounds(self.effort) {
            let run = |side: &mut Side, on_disk| run(side, on_disk, partitions, load, (round, text));
            let in_memory = run(&mut ours, false)?;
            let theirs = run(&mut kafka, false)?;
            if row.on_disk.is_some() {
                results.disk.push(round, run(&mut ours, true)?, theirs.clone());
            }
            results.memory.push(round, in_memory, theirs);
        }
        ours.close()?;
        kafka.close()?;
        Ok(results)
    }

    /// The same with only one side's nodes running at any time: three idle JVMs wake often enough to be a part of anyone's
    /// 99th percentile. Nodes are started anew in each turn, so each begins with loads that are thrown away.
    fn loaded_alone(&self, row: &Row, load: &[&str], text: fn(&Report) -> String) -> Result<Results<Report>> {
        let mut results = Results { memory: Both::none(), disk: Both::none() };
        for round in rounds(Effort { warm_up: false, ..self.effort }) {
            let run = |side: &mut Side, on_disk| run(side, on_disk, 1, load, (round, text));
            let warm = |mut side: Side| -> Result<Side> {
                for _ in 0..LOADS_TO_WARM {
                    run(&mut side, false).context("to warm it up")?;
                }
                Ok(side)
            };
            let mut ours = warm(self.start_ours()?)?;
            let in_memory = run(&mut ours, false)?;
            let on_disk = row.on_disk.map(|_| run(&mut ours, true)).transpose()?;
            ours.close()?;
            let mut kafka = warm(self.start_kafka()?)?;
            let theirs = run(&mut kafka, false)?;
            kafka.close()?;
            if let Some(on_disk) = on_disk {
                results.disk.push(round, on_disk, theirs.clone());
            }
            results.memory.push(round, in_memory, theirs);
        }
        Ok(results)
    }

    fn memory(&self, row: &Row) -> Result<Vec<Figure>> {
        let (mut ours, mut kafka) = (self.start_ours()?, self.start_kafka()?);
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
            let ms = || (now_nanos() - start) as f64 / 1e6;
            let side = prepared.start()?;
            side.first_topic("first").context("its topic was not made")?;
            let made = ms();
            first_acknowledgement(&side.bootstrap(), "first")
                .with_context(|| format!("its topic was made after {made:.0} ms"))?;
            let first = ms();
            side.close()?;
            Ok(first)
        };
        let mut both = Both::none();
        for round in rounds(self.effort) {
            let run =
                |kind: &Kind, name| run(kind, name).with_context(|| format!("{round}, {}", kind.label()));
            let (ours, kafka) = (run(self.ours, "ours")?, run(self.kafka, "kafka")?);
            eprintln!("  {round}: ours {ours:.0} ms, kafka {kafka:.0} ms");
            both.push(round, ours, kafka);
        }
        let names = (row.name, "nothing to first acknowledged", "ms");
        Ok(vec![both.figure(names, UNDER_A_SECOND, |ms| Some(*ms))])
    }

    fn start_ours(&self) -> Result<Side> {
        Side::start(self.ours, &self.folder.join("ours"))
    }

    fn start_kafka(&self) -> Result<Side> {
        Side::start(self.kafka, &self.folder.join("kafka"))
    }
}

/// One load on a fresh topic.
fn run(
    side: &mut Side,
    on_disk: bool,
    partitions: i32,
    load: &[&str],
    (round, text): (Round, fn(&Report) -> String),
) -> Result<Report> {
    let what = format!("{round}, {}{}", side.label(), if on_disk { " on disk" } else { "" });
    let topic = side.fresh_topic(partitions, on_disk)?;
    let report = side.drive(&topic, partitions, load).with_context(|| what.clone())?;
    eprintln!("  {what}: {}", text(&report));
    side.clear(&topic)?;
    Ok(report)
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
