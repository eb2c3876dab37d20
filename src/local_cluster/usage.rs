//! What a process takes, from `/proc` (proc(5)).

use std::{fs, io, time::Duration};

use rustix::process::Pid;

/// The kernel gives times to user space in hundredths of a second (`USER_HZ`), whatever its own tick.
const TICKS_PER_SECOND: u64 = 100;

/// Resident memory in bytes.
pub(super) fn resident_bytes(pid: Pid) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(first_number);
    kib.map(|kib| kib * 1024).ok_or_else(|| malformed("status has no VmRSS"))
}

/// Processor time used so far, in user and kernel mode, by all threads.
pub(super) fn cpu_time(pid: Pid) -> io::Result<Duration> {
    let ticks = |field: &String| field.parse::<u64>().ok();
    let fields = stat_fields(pid)?;
    let user_and_system = fields.get(11).and_then(ticks).zip(fields.get(12).and_then(ticks));
    let (user, system) = user_and_system.ok_or_else(|| malformed("stat has no times"))?;
    Ok(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

/// Whether every thread has come to rest after SIGSTOP.
pub(super) fn is_stopped(pid: Pid) -> io::Result<bool> {
    Ok(stat_fields(pid)?.first().is_some_and(|state| state == "T"))
}

/// The fields of `stat` from the third on: behind the name, which may hold spaces and parentheses.
fn stat_fields(pid: Pid) -> io::Result<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or_else(|| malformed("stat has no name"))?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
