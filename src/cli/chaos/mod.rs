//! `polylogue chaos`: breaks nodes on purpose and tells what came of it.

mod failover;
mod faults;
mod load;
mod report;
mod stock;

use clap::Subcommand;

/// What to break.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start nodes, kill, pause, cut off and restart those that lead while records are written, and measure how long
    /// none is acknowledged.
    Failover(failover::Flags),
}

pub(super) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Failover(flags) => failover::run(&flags),
    }
}
