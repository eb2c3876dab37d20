//! The figures of a run, for people and for programs.

use std::{
    io::{self, Write},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::cli::{
    connect::Output,
    progress::{count, size},
    table,
};

/// The longest time that is told from a longer one.
const HIGHEST: Duration = Duration::from_hours(1);
/// The percentiles that are told.
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99)];

/// Times in microseconds, to three digits.
#[derive(Clone, Debug)]
pub(super) struct Times(Histogram<u64>);

impl Times {
    #[expect(clippy::expect_used, reason = "neither the bounds nor the digits are out of range")]
    pub(super) fn new() -> Self {
        let highest = u64::try_from(HIGHEST.as_micros()).unwrap_or(u64::MAX);
        Self(Histogram::new_with_bounds(1, highest, 3).expect("bounds that a histogram can have"))
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len()
    }

    fn json(&self) -> Value {
        let mut object: Map<String, Value> = PERCENTILES
            .iter()
            .map(|(name, percentile)| {
                let micros = self.0.value_at_percentile(*percentile);
                (name.to_string(), json!(millis(micros as f64)))
            })
            .collect();
        object.insert("min".to_owned(), json!(millis(self.0.min() as f64)));
        object.insert("mean".to_owned(), json!(millis(self.0.mean())));
        object.insert("max".to_owned(), json!(millis(self.0.max() as f64)));
        Value::Object(object)
    }

    fn line(&self) -> String {
        let told = PERCENTILES.iter().map(|(name, percentile)| {
            format!("{name} {:.3}", millis(self.0.value_at_percentile(*percentile) as f64))
        });
        let told: Vec<_> = told.chain([format!("max {:.3}", millis(self.0.max() as f64))]).collect();
        format!("{} ms", told.join("  "))
    }
}

fn millis(micros: f64) -> f64 {
    micros / 1000.0
}

/// What a run came to.
#[derive(Debug)]
pub(super) struct Report {
    /// `produce`, `consume` or `latency`.
    pub(super) what: &'static str,
    pub(super) records: u64,
    /// Of keys and values.
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    pub(super) failed: u64,
    /// Whether it was ended before its time.
    pub(super) interrupted: bool,
    /// What was timed, by its name.
    pub(super) times: Vec<(&'static str, Times)>,
    /// Other figures, by their names.
    pub(super) more: Vec<(&'static str, Value)>,
}

impl Report {
    fn per_second(&self, amount: u64) -> f64 {
        amount as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    pub(super) fn print(&self, output: Output) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match output {
            Output::Json => table::print_json(&mut out, &self.json()),
            Output::Table => self.print_for_people(&mut out),
        }
    }

    fn print_for_people(&self, out: &mut impl Write) -> io::Result<()> {
        let (records, bytes) = (count(self.records), size(self.bytes));
        let seconds = self.elapsed.as_secs_f64();
        writeln!(out, "{}: {records} records, {bytes} in {seconds:.2} s", self.what)?;
        let (records, bytes) = (self.per_second(self.records), self.per_second(self.bytes));
        writeln!(out, "{:<16}{} msg/s, {:.2} MB/s", "rate", count(records as u64), bytes / 1e6)?;
        for (name, times) in &self.times {
            writeln!(out, "{:<16}{}", name.replace('_', " "), times.line())?;
        }
        for (name, value) in &self.more {
            writeln!(out, "{:<16}{value}", name.replace('_', " "))?;
        }
        if self.failed > 0 {
            writeln!(out, "{:<16}{}", "failed", count(self.failed))?;
        }
        if self.interrupted {
            writeln!(out, "ended before its time")?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("bench", json!(self.what));
        put("records", json!(self.records));
        put("bytes", json!(self.bytes));
        put("seconds", json!(self.elapsed.as_secs_f64()));
        put("records_per_second", json!(self.per_second(self.records)));
        put("megabytes_per_second", json!(self.per_second(self.bytes) / 1e6));
        put("failed", json!(self.failed));
        put("interrupted", json!(self.interrupted));
        for (name, times) in &self.times {
            put(&format!("{name}_ms"), times.json());
        }
        for (name, value) in &self.more {
            put(name, value.clone());
        }
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Report, Times};

    fn report() -> Report {
        let mut times = Times::new();
        (1..=1000).for_each(|millis| times.record(Duration::from_millis(millis)));
        Report {
            what: "produce",
            records: 1000,
            bytes: 2_000_000,
            elapsed: Duration::from_secs(2),
            failed: 1,
            interrupted: false,
            times: vec![("acknowledged", times)],
            more: vec![("run", "x".into())],
        }
    }

    #[test]
    fn figures_carry_their_units_and_percentiles_are_those_of_the_times() {
        let json = report().json();
        assert_eq!(
            (json["records_per_second"].as_f64(), json["megabytes_per_second"].as_f64()),
            (Some(500.0), Some(1.0))
        );
        let near = |name: &str, millis: f64| {
            let found = json["acknowledged_ms"][name].as_f64().unwrap();
            assert!((found - millis).abs() <= millis / 900.0, "{name}: {found}");
        };
        let expected =
            [("p50", 500.0), ("p90", 900.0), ("p99", 990.0), ("max", 1000.0), ("min", 1.0), ("mean", 500.5)];
        for (name, millis) in expected {
            near(name, millis);
        }
    }

    #[test]
    fn people_are_told_the_same() {
        let mut out = Vec::new();
        report().print_for_people(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("500 msg/s, 1.00 MB/s") && text.contains("acknowledged    p50 "), "{text}");
    }

    #[test]
    fn a_time_beyond_the_longest_is_kept_as_the_longest() {
        let mut times = Times::new();
        times.record(Duration::from_hours(5));
        times.record(Duration::ZERO);
        assert_eq!(times.len(), 2);
    }
}
