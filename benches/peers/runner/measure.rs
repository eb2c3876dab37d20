//! How each row is measured: both sides in turns, the first turn thrown away, because the first to grow
//! the page cache pays for both.

use std::{path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    broker::{Hints, Kind},
    disk,
    rows::{Beside, Load, RateTargets, Row, Target},
    stage::{Background, Stage},
    table::{Figure, number},
};
use crate::{
    driver::{Report, librdkafka::Producer, now_nanos, setting},
    latency::Latency,
    process::resident_mib,
};

/// Bytes of each message whose latency is measured, and of those that another producer sends beside.
pub(super) const LATENCY_SIZE: &str = "100";
const BULK_SIZE: usize = 1024;
/// Messages that a node has taken and served before its memory is looked at.
pub(super) const WORKED_COUNT: u64 = 5_000_000;
/// Long enough for a node to have become quiet.
pub(super) const QUIET: Duration = Duration::from_secs(2);
const FIRST_RECORD_WITHIN: Duration = Duration::from_secs(20);

/// How much of each row is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Measured runs of each side.
    pub(super) runs: usize,
    /// Whether a run is thrown away before them.
    pub(super) warm_up: bool,
    /// Counts and bytes are divided by this.
    pub(super) divisor: u64,
    /// Of each end-to-end run.
    pub(super) seconds: u64,
}

/// Both sides and the ground they stand on.
pub(super) struct Bench<'a> {
    pub(super) ours: &'a Kind,
    /// The ideal server, or another peer.
    pub(super) theirs: &'a Kind,
    pub(super) folder: &'a Path,
    pub(super) effort: Effort,
}

/// What both sides' runs gave, in order.
pub(super) struct Both<T> {
    ours: Vec<T>,
    theirs: Vec<T>,
}

impl<T> Both<T> {
    pub(super) const fn none() -> Self {
        Self { ours: Vec::new(), theirs: Vec::new() }
    }

    /// What one turn gave; a warm-up is thrown away.
    pub(super) fn push(&mut self, round: Round, ours: T, theirs: T) {
        if round.counts() {
            self.ours.push(ours);
            self.theirs.push(theirs);
        }
    }

    pub(super) fn figure(
        &self,
        names: (&'static str, &'static str, &'static str),
        target: Target,
        value: impl Fn(&T) -> Option<f64>,
    ) -> Figure {
        let of = |side: &[T]| side.iter().filter_map(&value).collect();
        Figure::new(names, of(&self.ours), of(&self.theirs), target)
    }
}

impl Bench<'_> {
    /// Runs one row and returns its lines of the table.
    pub(super) fn measure(&self, row: &Row) -> Result<Vec<Figure>> {
        match row.load {
            Load::Produce { size, count, partitions, targets } => {
                self.produce(row, size, count, partitions, targets)
            }
            Load::Consume { size, count, partitions, targets } => {
                self.consume(row, size, count, partitions, targets)
            }
            Load::EndToEnd { beside, target } => self.end_to_end(row, beside, target),
            Load::OneInFlight { count } if row.topic.durability == "disk" => self.ack_on_disk(row, count),
            Load::OneInFlight { count } => self.ack(row, count),
            Load::Idle { target } => self.idle(row, target),
            Load::Worked { target } => self.worked(row, target),
            Load::FirstRecord { target } => self.first_record(row, target),
            Load::Rebalance { protocol } => self.rebalance(row, protocol),
            Load::CoordinatorKill { target } => self.coordinator_kill(row, target),
            Load::IdleGroup { target } => self.idle_group(row, target),
            Load::GroupsStart { target } => self.groups_start(row, target),
        }
    }

    fn produce(
        &self,
        row: &Row,
        size: usize,
        count: u64,
        partitions: i32,
        targets: RateTargets,
    ) -> Result<Vec<Figure>> {
        let [size, count] = [size.to_string(), (count / self.effort.divisor).to_string()];
        let hints = Hints { partitions, ..Hints::default() };
        let reports = self.in_turns(&mut self.stages(row, hints), rate_text, |stage| {
            let topic = stage.fresh_topic()?;
            let report = stage.drive(&topic, &["produce", "--size", &size, "--count", &count])?;
            stage.clear(&[topic])?;
            Ok(report)
        })?;
        Ok(rate_figures(row, &reports, targets))
    }

    /// Each side reads what it was sent just before: the node from the page cache, the ideal server
    /// copies of a batch.
    fn consume(
        &self,
        row: &Row,
        size: usize,
        count: u64,
        partitions: i32,
        targets: RateTargets,
    ) -> Result<Vec<Figure>> {
        let count = count / self.effort.divisor;
        let hints = Hints { serve_copies_to: Some(count), partitions, ..Hints::default() };
        let [size, count] = [size.to_string(), count.to_string()];
        let mut stages = self.stages(row, hints);
        let mut topics = Vec::new();
        for stage in &mut stages {
            let topic = stage.fresh_topic()?;
            stage.drive(&topic, &["produce", "--size", &size, "--count", &count])?;
            topics.push(topic);
        }
        let topic = topics.first().context("two sides")?; // both named it alike
        let reports = self
            .in_turns(&mut stages, rate_text, |stage| stage.drive(topic, &["consume", "--count", &count]))?;
        Ok(rate_figures(row, &reports, targets))
    }

    fn end_to_end(&self, row: &Row, beside: Beside, target: Target) -> Result<Vec<Figure>> {
        let seconds = self.effort.seconds.to_string();
        let load = ["e2e", "--seconds", &seconds, "--size", LATENCY_SIZE, "--set", "p.linger.ms=0"];
        let reports = self.in_turns(&mut self.stages(row, Hints::default()), end_to_end_text, |stage| {
            let topic = stage.fresh_topic()?;
            let bulk = stage.fresh_topic()?;
            let background = self.keep_busy(stage, &bulk, beside)?;
            let report = stage.drive(&topic, &load)?;
            drop(background);
            stage.clear(&[topic, bulk])?;
            Ok(report)
        })?;
        let p = |of: fn(&Latency) -> f64| move |report: &Report| report.end_to_end.as_ref().map(of);
        Ok(vec![
            reports.figure((row.name, "end to end p50", "us"), target, p(|l| l.p50_us)),
            reports.figure((row.name, "end to end p99", "us"), target, p(|l| l.p99_us)),
            reports.figure((row.name, "end to end p99.9", "us"), Target::None, p(|l| l.p999_us)),
        ])
    }

    /// Does what the row wants done before or beside the measuring.
    fn keep_busy(&self, stage: &Stage, topic: &str, beside: Beside) -> Result<Option<Background>> {
        let size = BULK_SIZE.to_string();
        match beside {
            Beside::Nothing => Ok(None),
            Beside::JustWritten { bytes } => {
                let count = (bytes / self.effort.divisor / BULK_SIZE as u64).to_string();
                stage.drive(topic, &["produce", "--size", &size, "--count", &count])?;
                Ok(None)
            }
            Beside::ReaderBehind { bytes } => {
                let count = (bytes / self.effort.divisor / BULK_SIZE as u64).to_string();
                stage.drive(topic, &["produce", "--size", &size, "--count", &count])?;
                stage.drive_in_background(topic, &["consume", "--count", &count, "--again"]).map(Some)
            }
            Beside::FullSpeedProducer => {
                let endless = u64::MAX.to_string();
                stage.drive_in_background(topic, &["produce", "--size", &size, "--count", &endless]).map(Some)
            }
        }
    }

    fn ack(&self, row: &Row, count: u64) -> Result<Vec<Figure>> {
        let reports = self.in_turns(&mut self.stages(row, Hints::default()), ack_text, |stage| {
            self.one_in_flight(stage, count)
        })?;
        let p = |of: fn(&Latency) -> f64| move |report: &Report| report.acknowledged.as_ref().map(of);
        Ok(vec![
            reports.figure((row.name, "acknowledged p50", "us"), Target::None, p(|l| l.p50_us)),
            reports.figure((row.name, "acknowledged p99", "us"), Target::None, p(|l| l.p99_us)),
        ])
    }

    /// The yardstick is not the ideal server, which syncs nothing, but the disk itself.
    fn ack_on_disk(&self, row: &Row, count: u64) -> Result<Vec<Figure>> {
        let [mut ours, _] = self.stages(row, Hints::default());
        let (mut acknowledged, mut synced) = (Vec::new(), Vec::new());
        for round in rounds(self.effort) {
            let disk = disk::fdatasync(self.folder, (count / self.effort.divisor) as usize)?;
            let report = self.one_in_flight(&mut ours, count)?;
            eprintln!("  {round}: {}; fdatasync p50 {:.0} us", ack_text(&report), disk.p50_us);
            if round.counts() {
                acknowledged.extend(report.acknowledged);
                synced.push(disk);
            }
        }
        ours.close()?;
        let both = Both { ours: acknowledged, theirs: synced };
        let within = Target::RatioWithin(1.0, 2.0);
        Ok(vec![
            both.figure((row.name, "acknowledged p50 by fdatasync", "us"), within, |l| Some(l.p50_us)),
            both.figure((row.name, "acknowledged p99 by fdatasync", "us"), Target::None, |l| Some(l.p99_us)),
        ])
    }

    fn one_in_flight(&self, stage: &mut Stage, count: u64) -> Result<Report> {
        let count = (count / self.effort.divisor).to_string();
        let topic = stage.fresh_topic()?;
        let load = ["ack", "--size", LATENCY_SIZE, "--count", &count, "--set", "p.linger.ms=0"];
        let report = stage.drive(&topic, &load)?;
        stage.clear(&[topic])?;
        Ok(report)
    }

    fn idle(&self, row: &Row, target: Target) -> Result<Vec<Figure>> {
        let text = |mib: &f64| format!("{mib:.1} MiB");
        let resident = self.in_turns(&mut self.stages(row, Hints::default()), text, |stage| {
            stage.fresh_topic()?;
            thread::sleep(QUIET);
            let mib = resident_mib(stage.broker()?.pid())?;
            stage.close()?;
            Ok(mib)
        })?;
        Ok(vec![resident.figure((row.name, "resident", "MiB"), target, |mib| Some(*mib))])
    }

    /// After each run the same node has taken and served as many messages more.
    fn worked(&self, row: &Row, target: Target) -> Result<Vec<Figure>> {
        let text = |mib: &f64| format!("{mib:.1} MiB");
        let count = (WORKED_COUNT / self.effort.divisor).to_string();
        let hints = Hints { partitions: 8, ..Hints::default() };
        let resident = self.in_turns(&mut self.stages(row, hints), text, |stage| {
            let topic = stage.fresh_topic()?;
            stage.drive(&topic, &["produce", "--size", LATENCY_SIZE, "--count", &count])?;
            stage.drive(&topic, &["consume", "--count", &count])?;
            let mib = resident_mib(stage.broker()?.pid())?;
            stage.clear(&[topic])?;
            Ok(mib)
        })?;
        Ok(vec![resident.figure((row.name, "resident", "MiB"), target, |mib| Some(*mib))])
    }

    /// A node that has a topic is started again and again; the clock runs from before the process is.
    fn first_record(&self, row: &Row, target: Target) -> Result<Vec<Figure>> {
        let text = |ms: &f64| format!("{ms:.0} ms");
        let mut stages = self.stages(row, Hints::default());
        let took = self.in_turns(&mut stages, text, |stage| {
            let topic = stage.fresh_topic()?;
            stage.end_keeping_data()?;
            let start = now_nanos();
            let broker = stage.launch()?;
            first_acknowledgement(&broker.address().to_string(), &topic)?;
            let ms = (now_nanos() - start) as f64 / 1e6;
            broker.stop()?;
            stage.close()?;
            Ok(ms)
        })?;
        let names = (row.name, "start to first acknowledged", "ms");
        Ok(vec![took.figure(names, target, |ms| Some(*ms))])
    }

    pub(super) fn stages(&self, row: &Row, hints: Hints) -> [Stage; 2] {
        let stage = |kind: &Kind, name| Stage::new(kind, self.folder.join(name), hints, row.topic);
        [stage(self.ours, "ours"), stage(self.theirs, "theirs")]
    }

    /// Ours, theirs, ours, theirs ...; closes both.
    pub(super) fn in_turns<T>(
        &self,
        stages: &mut [Stage; 2],
        text: impl Fn(&T) -> String,
        mut run: impl FnMut(&mut Stage) -> Result<T>,
    ) -> Result<Both<T>> {
        let mut both = Both::none();
        for round in rounds(self.effort) {
            let [first, second] = &mut *stages;
            for (role, stage, results) in
                [("ours", first, &mut both.ours), (self.theirs.label(), second, &mut both.theirs)]
            {
                let result = run(stage).with_context(|| format!("{round}, {role}"))?;
                eprintln!("  {round}, {role}: {}", text(&result));
                if round.counts() {
                    results.push(result);
                }
            }
        }
        stages.iter_mut().try_for_each(Stage::close)?;
        Ok(both)
    }
}

/// Warm-up and runs, in order.
pub(super) fn rounds(Effort { runs, warm_up, .. }: Effort) -> impl Iterator<Item = Round> {
    let first = usize::from(!warm_up);
    (first..=runs).map(move |number| Round { number, runs })
}

/// One turn of both sides; number 0 is the warm-up.
#[derive(Clone, Copy)]
pub(super) struct Round {
    number: usize,
    runs: usize,
}

impl Round {
    fn counts(self) -> bool {
        self.number > 0
    }
}

impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.number {
            0 => write!(f, "warm-up"),
            number => write!(f, "run {number} of {}", self.runs),
        }
    }
}

fn rate_figures(row: &Row, reports: &Both<Report>, targets: RateTargets) -> Vec<Figure> {
    vec![
        reports.figure((row.name, "rate", "msg/s"), targets.rate, |report| Some(rate(report))),
        reports.figure((row.name, "broker CPU per million", "s"), targets.cpu, |report| {
            report.broker_cpu_seconds_per_million
        }),
    ]
}

/// A consumer's rate is taken once messages flow: before, librdkafka asks for metadata and offsets at
/// intervals of its own.
pub(super) fn rate(report: &Report) -> f64 {
    report.messages_per_second_once_flowing.unwrap_or(report.messages_per_second)
}

pub(super) fn rate_text(report: &Report) -> String {
    let cpu = report.broker_cpu_seconds_per_million.unwrap_or(0.0);
    format!("{} msg/s, {cpu:.3} s of broker CPU per million", number(rate(report)))
}

pub(super) fn end_to_end_text(report: &Report) -> String {
    let latency = report.end_to_end.unwrap_or_default();
    format!("p50 {:.0}, p99 {:.0}, p99.9 {:.0} us", latency.p50_us, latency.p99_us, latency.p999_us)
}

pub(super) fn ack_text(report: &Report) -> String {
    let latency = report.acknowledged.unwrap_or_default();
    format!("acknowledged p50 {:.0}, p99 {:.0} us", latency.p50_us, latency.p99_us)
}

/// Tries to connect every few milliseconds, as a client does whose node is just coming back.
pub(super) fn first_acknowledgement(brokers: &str, topic: &str) -> Result<()> {
    let settings = [
        setting("bootstrap.servers", brokers),
        setting("acks", "all"),
        setting("linger.ms", "0"),
        setting("reconnect.backoff.ms", "2"),
        setting("reconnect.backoff.max.ms", "4"),
        setting("retry.backoff.ms", "5"),
        setting("topic.metadata.refresh.fast.interval.ms", "5"),
        setting("log_level", "0"),
    ];
    let producer = Producer::new(topic, &settings)?;
    let _ = producer.send(0, b"first", 0)?; // an empty queue takes a message
    producer.flush(FIRST_RECORD_WITHIN);
    ensure!(producer.delivered() == 1, "no acknowledgement: {:?}", producer.first_error());
    Ok(())
}
