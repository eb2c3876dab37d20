//! The neutral driver: librdkafka, the C client that most Kafka users run, against any broker that
//! speaks the protocol. It knows nothing of the broker but its address, and everything it measures it
//! measures from outside.

mod consume;
mod end_to_end;
pub(crate) mod librdkafka;
mod one_in_flight;
mod produce;
mod report;

use std::{str::FromStr, sync::OnceLock, time::Duration};

use anyhow::Result;
use clap::{Args, Subcommand};
use polylogue::clock::{Clock, SystemClock};

pub(crate) use report::Report;

use crate::process::CpuMeter;

/// What to load, and how.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    work: Work,
    #[command(flatten)]
    target: Target,
}

/// The broker and the topic, and what librdkafka is told beside the defaults.
#[derive(Args, Clone, Debug)]
struct Target {
    /// A broker's address, or several, parted by commas.
    #[arg(long, global = true, default_value = "127.0.0.1:9092")]
    brokers: String,
    /// The topic; it must exist, or the broker must create it.
    #[arg(long, global = true, default_value = "bench")]
    topic: String,
    /// Partitions 0 to this one less, in turns of a batch's worth of messages.
    #[arg(long, global = true, default_value_t = 1)]
    partitions: i32,
    /// The broker's process, or those of all brokers, parted by commas, to measure the processor time that the load costs
    /// them.
    #[arg(long, global = true, value_delimiter = ',')]
    broker_pid: Vec<u32>,
    /// librdkafka's own settings, `name=value`; `p.name` for the producer only, `c.name` for the
    /// consumer only.
    #[arg(short = 'X', long = "set", global = true, value_name = "NAME=VALUE")]
    settings: Vec<Override>,
}

#[derive(Subcommand, Debug)]
enum Work {
    /// Sends as fast as librdkafka can.
    Produce {
        /// Bytes of each value.
        #[arg(long, default_value_t = 100)]
        size: usize,
        /// Messages to send.
        #[arg(long, default_value_t = 5_000_000)]
        count: u64,
    },
    /// Reads from the beginning as fast as librdkafka can.
    Consume {
        /// Messages to read.
        #[arg(long, default_value_t = 5_000_000)]
        count: u64,
        /// Begin again with a new consumer when all are read, until the process is ended.
        #[arg(long)]
        again: bool,
    },
    /// Sends at a steady rate and reads what was sent: how long each message is on its way.
    E2e {
        /// Messages a second.
        #[arg(long, default_value_t = 1000.0)]
        rate: f64,
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Bytes of each value, at least the 8 of its time stamp.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(8..))]
        size: u64,
    },
    /// Sends one message, waits for its acknowledgement, sends the next.
    Ack {
        #[arg(long, default_value_t = 100)]
        size: usize,
        #[arg(long, default_value_t = 2000)]
        count: u64,
    },
}

/// One of librdkafka's settings.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// A setting that was given on the command line, and whom it is for.
#[derive(Clone, Debug)]
struct Override {
    side: Option<Side>,
    setting: Setting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Producer,
    Consumer,
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("expected name=value")?;
        let (side, name) = match name.split_at_checked(2) {
            Some(("p.", rest)) => (Some(Side::Producer), rest),
            Some(("c.", rest)) => (Some(Side::Consumer), rest),
            _ => (None, name),
        };
        Ok(Self { side, setting: Setting { name: name.to_owned(), value: value.to_owned() } })
    }
}

impl Target {
    fn producer_settings(&self) -> Vec<Setting> {
        let defaults = [
            ("acks", "1"),
            ("linger.ms", "1"),
            ("batch.num.messages", "1000"),
            ("queue.buffering.max.messages", "200000"),
            ("queue.buffering.max.kbytes", "262144"),
        ];
        self.settings(Side::Producer, &defaults)
    }

    fn consumer_settings(&self) -> Vec<Setting> {
        let defaults = [
            ("fetch.wait.max.ms", "100"),
            ("queued.min.messages", "500000"),
            ("enable.partition.eof", "false"),
        ];
        self.settings(Side::Consumer, &defaults)
    }

    /// Defaults first, so that what was given wins.
    fn settings(&self, side: Side, defaults: &[(&str, &str)]) -> Vec<Setting> {
        let given = self.settings.iter().filter(|given| given.side.is_none_or(|whose| whose == side));
        let brokers = setting("bootstrap.servers", &self.brokers);
        let defaults = defaults.iter().map(|(name, value)| setting(name, value));
        [brokers].into_iter().chain(defaults).chain(given.map(|given| given.setting.clone())).collect()
    }

    fn broker_cpu(&self) -> Result<Option<CpuMeter>> {
        (!self.broker_pid.is_empty()).then(|| CpuMeter::start_all(&self.broker_pid)).transpose()
    }
}

/// A setting by name and value.
pub(crate) fn setting(name: &str, value: &str) -> Setting {
    Setting { name: name.to_owned(), value: value.to_owned() }
}

/// Runs the load and prints one JSON line. Leaves without closing the clients: the figures are out, and
/// emptying librdkafka's queues would take seconds.
pub(crate) fn main(options: &Options) -> Result<()> {
    let target = &options.target;
    let report = match options.work {
        Work::Produce { size, count } => produce::run(target, size, count)?,
        Work::Consume { count, again: false } => consume::run(target, count)?,
        Work::Consume { count, again: true } => consume::run_again_and_again(target, count)?,
        Work::E2e { rate, seconds, size } => {
            end_to_end::run(target, &end_to_end::Pace { rate, seconds, size: size as usize })?
        }
        Work::Ack { size, count } => one_in_flight::run(target, size, count)?,
    };
    println!("{}", serde_json::to_string(&report)?);
    std::process::exit(i32::from(report.failed > 0));
}

/// Monotonic time of this process in nanoseconds, never zero.
pub(crate) fn now_nanos() -> u64 {
    static CLOCK: OnceLock<SystemClock> = OnceLock::new();
    let clock = CLOCK.get_or_init(SystemClock::new);
    (clock.monotonic() + Duration::from_nanos(1)).as_nanos() as u64
}

/// Seconds since a moment of [`now_nanos`].
fn seconds_since(start: u64) -> f64 {
    now_nanos().saturating_sub(start) as f64 / 1e9
}

/// A value of the given size that does not compress to nothing: letters from a fixed seed.
fn letters(size: usize) -> Vec<u8> {
    let mut state = 12_345_u32;
    let mut letter = || {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        b'a' + ((state >> 16) % 26) as u8
    };
    (0..size).map(|_| letter()).collect()
}
