//! What happens where a client cannot be had: one line and a pass, or a failure where none may be skipped.

use std::{env, path::PathBuf, process::Command};

/// Says what `test` has to do without, and why. Fails it where `POLYLOGUE_CLIENTS=all` asks that no
/// client be skipped, as CI does.
#[track_caller]
pub(crate) fn skip(test: &str, client: &str, why: &str) {
    assert!(env::var("POLYLOGUE_CLIENTS").as_deref() != Ok("all"), "{test}: no {client}: {why}");
    eprintln!("skipped {test}: no {client}: {why}");
}

/// Where clients are installed, each in a folder of its own.
pub(crate) fn clients_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients")
}

/// What a command printed; the last line of its complaint where it failed.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or("no output");
    Err(format!("{} ended with {}: {last}", command.get_program().display(), output.status))
}
