//! `polylogue completions`: what a shell needs to complete the other commands.

use std::io::{self, Write};

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Program;

/// The options of `polylogue completions`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// For which shell. For bash: source <(polylogue completions bash)
    shell: Shell,
}

#[expect(clippy::needless_pass_by_value, reason = "each subcommand is given its options")]
pub(super) fn run(flags: Flags) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut Program::command(), "polylogue", &mut script);
    io::stdout().write_all(&script).context("the script could not be written")
}
