//! `polylogue completions`: what a shell reads to complete our commands.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Program;

#[derive(Args, Debug)]
pub(super) struct Flags {
    /// The shell, for instance: `source <(polylogue completions bash)`
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(flags: &Flags) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut Program::command(), "polylogue", &mut script);
    Ok(io::stdout().lock().write_all(&script)?)
}
