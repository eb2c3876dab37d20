//! The program: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use polylogue::cli::{self, Program};

/// 0: done. 1: failed. 2: options or settings that are wrong.
fn main() -> ExitCode {
    match cli::run(Program::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if cli::is_closed_output(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("polylogue: {error:#}");
            ExitCode::from(cli::exit_code(&error))
        }
    }
}
