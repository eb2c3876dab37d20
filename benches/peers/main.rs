//! How fast a node is, beside an ideal server on the same machine in the same run.
//!
//! One program with several parts, so that one command builds and runs everything: the neutral driver
//! (`driver`), the ideal server (`ideal-server`) and the runner (no subcommand), which starts the other
//! two as processes of their own beside `polylogue serve`. `README.md` in this folder says what each
//! measures and why it may be trusted.

mod driver;
mod failover;
mod groups;
mod ideal;
mod latency;
mod partitions;
mod process;
mod runner;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Runs a node beside the ideal server and prints the ratio of each row.
#[derive(Parser)]
#[command(name = "peers", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    run: runner::Options,
}

#[derive(Subcommand)]
enum Part {
    /// Loads any broker that speaks the Kafka protocol; prints one JSON line.
    Driver(driver::Options),
    /// Receives, writes, answers, and nothing else.
    IdealServer(ideal::Options),
    /// What partitions cost: memory, open files and idle processor time of three nodes, and how long they take.
    Partitions(partitions::Options),
    /// How long clients wait when nodes die, are paused or restarted.
    FailOver(failover::Options),
    /// Writes with librdkafka while nodes fail; started by `polylogue chaos failover`.
    FailOverProducer(failover::ProducerOptions),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // `cargo bench` adds its own flag to what it passes on; `cargo test --all-targets` passes nothing,
    // and must not measure for a quarter of an hour.
    if std::env::args().len() == 1 {
        eprintln!("run `cargo bench --bench peers`");
        return Ok(());
    }
    let arguments = Arguments::parse_from(std::env::args().filter(|argument| argument != "--bench"));
    match arguments.part {
        Some(Part::Driver(options)) => driver::main(&options),
        Some(Part::IdealServer(options)) => ideal::main(&options),
        Some(Part::Partitions(options)) => partitions::main(&options),
        Some(Part::FailOver(options)) => failover::main(&options),
        Some(Part::FailOverProducer(options)) => failover::produce(&options),
        None => runner::main(&arguments.run),
    }
}
