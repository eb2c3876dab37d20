//! Starts, stops and the starts that must be refused; what a node shows of itself.

mod listeners;
mod refusals;
mod shown;
mod stops;

use std::{path::Path, thread, time::Duration};

use polylogue::clock::{Clock, SystemClock};

use crate::support::{WITHIN, binary};

/// One line says why, and it is no panic.
#[track_caller]
fn assert_says(printed: &str, words: &[&str]) {
    let line = printed.lines().find(|line| words.iter().all(|word| line.contains(word)));
    assert!(line.is_some(), "no line with {words:?}:\n{printed}");
    assert!(!printed.contains("panicked"), "{printed}");
}

/// A node by flags alone, which must end by itself.
fn serve_by_hand(data: &Path, flags: &[(&str, &str)]) -> std::process::Output {
    let mut command = std::process::Command::new(binary());
    command.arg("serve").arg("--data-dir").arg(data);
    for key in ["kafka-listen", "admin-listen", "cluster-listen"] {
        let given = flags.iter().find(|(name, _)| *name == key);
        command.args([format!("--{key}").as_str(), given.map_or("127.0.0.1:0", |(_, value)| *value)]);
    }
    for (key, value) in flags.iter().filter(|(key, _)| !key.ends_with("-listen")) {
        command.args([format!("--{key}").as_str(), *value]);
    }
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let clock = SystemClock::new();
    let deadline = clock.monotonic() + WITHIN;
    while child.try_wait().unwrap().is_none() && clock.monotonic() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    // Nothing to kill, unless the test is about to fail.
    let _ = child.kill();
    child.wait_with_output().unwrap()
}
