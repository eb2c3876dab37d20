//! What this process uses.

use std::{fs, io};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit},
    thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity},
};

/// Bytes of memory that this process has resident (`/proc/self/statm`).
pub fn rss_bytes() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|field| field.parse::<u64>().ok());
    let pages = pages.ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// How many files this process may have open at a time; `None`: as many as the system has.
pub fn open_files_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises that limit as far as this process may by itself, and says what it was and is.
///
/// The soft limit is low on most systems (1024) for the sake of programs that use `select`, which this one does not.
pub fn raise_open_files_limit() -> io::Result<(Option<u64>, Option<u64>)> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok((current, open_files_limit()))
}

/// Sets how far the calling thread stands back behind others, from 0 (not at all) to 19. Linux takes a thread's id where
/// POSIX has a process's (`setpriority(2)`), and lets anybody stand back further but not less far.
pub fn set_thread_niceness(niceness: i32) -> io::Result<()> {
    Ok(setpriority_process(Some(gettid()), niceness)?)
}

/// Cores of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores(CpuSet);

impl Cores {
    /// All that the calling thread may run on but the first; `None` where there is no other.
    pub fn all_but_one() -> io::Result<Option<Self>> {
        let mut cores = sched_getaffinity(None)?;
        if let Some(first) = (0..CpuSet::MAX_CPU).find(|&core| cores.is_set(core)) {
            cores.unset(first);
        }
        Ok((cores.count() > 0).then_some(Self(cores)))
    }

    /// How many these are.
    pub fn count(&self) -> usize {
        self.0.count() as usize
    }

    /// Has the calling thread run on these alone, and so each thread that it begins from then on.
    pub fn confine_this_thread(&self) -> io::Result<()> {
        Ok(sched_setaffinity(None, &self.0)?)
    }
}
