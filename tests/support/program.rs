//! Small programs on clients of other languages: installed once, run with a deadline, judged by what they say.
//!
//! A program prints one line for each check, `ok NAME` or `FAILED NAME: what was expected, what came`, and
//! ends with 0 if all held. What it needs is installed into a folder of its own under `target/clients/` and
//! stays there for as long as the files that pin it stay the same.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::{
    eventually,
    skip::{clients_folder, run, skip},
};

/// What a client's folder in `tests/clients/` is installed from.
pub(crate) struct Installation<'a> {
    /// The client, and its folder under `target/clients/`.
    pub(crate) name: &'a str,
    /// The files that pin versions: the installation is made anew when one of them changes.
    pub(crate) pins: &'a [&'a str],
    /// Fills the folder; each command is run to its end, in order.
    pub(crate) steps: &'a dyn Fn(&Path) -> Vec<Command>,
}

impl Installation<'_> {
    /// The folder of the installed client; `None` after having said what is skipped.
    #[track_caller]
    pub(crate) fn find(&self, test: &str) -> Option<PathBuf> {
        // Tests run side by side; one of them installs, the others find.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let found = {
            let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            self.installed()
        };
        found.map_err(|why| skip(test, self.name, &why)).ok()
    }

    fn installed(&self) -> Result<PathBuf, String> {
        let folder = clients_folder().join(self.name);
        let (stamp, pins) = (folder.join("installed"), self.pins.join("\n"));
        if fs::read_to_string(&stamp).is_ok_and(|done| done == pins) {
            return Ok(folder);
        }
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
        }
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        for mut step in (self.steps)(&folder) {
            run(&mut step)?;
        }
        // Written last: without it everything is installed again.
        fs::write(&stamp, pins).map_err(|error| error.to_string())?;
        Ok(folder)
    }
}

/// Runs a program to its end. Fails with what it said where a check failed, where it ended with anything but
/// 0 or said nothing at all, and where it took longer than `within`, after which it is ended. Gives its
/// lines.
#[track_caller]
pub(crate) fn check(mut program: Command, within: Duration) -> Vec<String> {
    let named = format!("{program:?}");
    let mut child =
        program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (out, errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reading = thread::spawn(move || std::io::read_to_string(out).unwrap_or_default());
    let complaining = thread::spawn(move || std::io::read_to_string(errors).unwrap_or_default());
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("the program's end", within, || child.try_wait().unwrap())
    }));
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let said = reading.join().unwrap();
    let complaints = complaining.join().unwrap();
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    let held = lines.iter().any(|line| line.starts_with("ok "));
    let failed = lines.iter().any(|line| line.starts_with("FAILED "));
    let well = ended.as_ref().is_ok_and(ExitStatus::success);
    assert!(well && held && !failed, "{named}: {ended:?}\n{said}\n{complaints}");
    lines
}
