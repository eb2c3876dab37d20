//! The program: parse, run, exit code.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use polylogue::cli;

#[derive(Parser)]
#[command(name = "polylogue", version)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a node.
    Serve(cli::serve::Flags),
}

fn main() -> ExitCode {
    let Command::Serve(flags) = Program::parse().command;
    match cli::serve::run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("polylogue: {error:#}");
            ExitCode::FAILURE
        }
    }
}
