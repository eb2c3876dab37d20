//! What the kernel says about a process: its processor time and its resident memory. Read from
//! `/proc`, so that every broker is measured from outside and in the same way.

use std::fs;

use anyhow::{Context, Result};

/// Ticks per second of the times in `/proc/<pid>/stat`; part of Linux's ABI (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of all threads of `pid` so far, ended ones too, in seconds; a tick is 10 ms.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The second field, the program's name, may hold spaces and brackets: count from its end.
    let (_, fields) = stat.rsplit_once(')').with_context(|| format!("{path}: no program name"))?;
    let ticks = |index: usize| -> Result<f64> {
        let field = fields.split_whitespace().nth(index).with_context(|| format!("{path}: too short"))?;
        Ok(field.parse::<f64>()?)
    };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// Resident memory of `pid` in MiB.
pub(crate) fn resident_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    Ok(kib.with_context(|| format!("{path}: no VmRSS"))?.parse::<f64>()? / 1024.0)
}

/// Processor time that processes use together between two moments.
pub(crate) struct CpuMeter {
    pids: Vec<u32>,
    at_start: f64,
}

impl CpuMeter {
    pub(crate) fn start(pid: u32) -> Result<Self> {
        Self::start_all(&[pid])
    }

    pub(crate) fn start_all(pids: &[u32]) -> Result<Self> {
        Ok(Self { pids: pids.to_owned(), at_start: all_seconds(pids)? })
    }

    /// Seconds used since the start.
    pub(crate) fn seconds(&self) -> Result<f64> {
        Ok(all_seconds(&self.pids)? - self.at_start)
    }
}

fn all_seconds(pids: &[u32]) -> Result<f64> {
    pids.iter().map(|pid| cpu_seconds(*pid)).sum()
}
