//! The command that works on a record (`--exec`): it is given the record, waited for, and ended where it takes too long.

use std::{
    ffi::OsStr,
    io::{self, Write},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    select,
    time::{Instant, sleep},
};

use super::group::Stop;
use crate::client::Delivery;

/// How long a command may take to end once it is told to (SIGTERM); then it is killed.
const TO_END: Duration = Duration::from_secs(5);

/// What came of it.
pub(super) struct Outcome {
    /// Why the delivery has failed; none: the record is done.
    pub(super) failure: Option<String>,
    /// The reading is to end.
    pub(super) stops: bool,
}

/// Has the command work on the record, for as long as `limit` at most.
pub(super) async fn run(
    stop: &mut Stop,
    command: &str,
    limit: Duration,
    delivery: &Delivery,
) -> anyhow::Result<Outcome> {
    let child = start(command, delivery)?;
    let group = Pid::from_child(&child);
    let value = delivery.record.value.clone().unwrap_or_default();
    let mut running = tokio::task::spawn_blocking(move || give_to(child, &value));
    let (mut stops, mut told_to_end) = (false, false);
    let mut late = Box::pin(sleep(limit));
    loop {
        select! {
            ended = &mut running => {
                let failure = failure(ended??, told_to_end.then_some(limit));
                return Ok(Outcome { failure, stops });
            }
            // One that is under way comes to its end; whoever asks again does not want to wait for that.
            () = stop.asked_for() => {
                if stops {
                    end(group, Signal::TERM);
                    bail!("interrupted while the command was running");
                }
                stops = true;
            }
            () = &mut late => {
                end(group, if told_to_end { Signal::KILL } else { Signal::TERM });
                told_to_end = true;
                late.as_mut().reset(Instant::now() + TO_END);
            }
        }
    }
}

fn failure(status: ExitStatus, late: Option<Duration>) -> Option<String> {
    match late {
        Some(limit) => {
            Some(format!("command did not end within {} and was ended", humantime::format_duration(limit)))
        }
        None if status.success() => None,
        None => Some(format!("command ended with {status}")),
    }
}

/// All that the command has started. It may have ended by itself just now.
fn end(group: Pid, signal: Signal) {
    let _ = kill_process_group(group, signal);
}

/// Begins the command, in a process group of its own: so what it starts ends with it, and a terminal's Ctrl-C, which asks for
/// an end after this record, does not cut the record short.
fn start(command: &str, delivery: &Delivery) -> anyhow::Result<Child> {
    let Delivery { topic, partition, record, attempts, .. } = delivery;
    let mut process = Command::new("sh");
    process.arg("-c").arg(command).stdin(Stdio::piped()).process_group(0);
    process.env("POLYLOGUE_TOPIC", topic.as_str());
    process.env("POLYLOGUE_PARTITION", partition.to_string());
    process.env("POLYLOGUE_OFFSET", record.offset.to_string());
    process.env("POLYLOGUE_TIMESTAMP", record.timestamp.to_string());
    process.env("POLYLOGUE_ATTEMPT", attempts.saturating_add(1).to_string());
    // No variable can hold a zero byte.
    match record.key.as_deref().filter(|key| !key.contains(&0)) {
        Some(key) => process.env("POLYLOGUE_KEY", OsStr::from_bytes(key)),
        None => process.env_remove("POLYLOGUE_KEY"),
    };
    process.spawn().map_err(|error| anyhow!("cannot run sh: {error}"))
}

/// Gives it the record's value as its input, and waits for its end.
fn give_to(mut child: Child, value: &[u8]) -> anyhow::Result<ExitStatus> {
    if let Some(mut input) = child.stdin.take()
        && let Err(error) = input.write_all(value)
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(error.into());
    }
    Ok(child.wait()?)
}
