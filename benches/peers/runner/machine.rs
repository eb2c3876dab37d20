//! The line that goes above any table: a figure without its machine says nothing.

use std::{fs, path::Path, process::Command, thread};

use serde::Serialize;

use crate::driver::librdkafka;

/// What the figures were measured on and with.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    filesystem: String,
    congestion_control: String,
    librdkafka: String,
    commit: String,
}

impl Machine {
    /// Reads what this machine says of itself; what it does not say is `unknown`.
    pub(super) fn here(data: &Path) -> Self {
        Self {
            cpu: value_of("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory_gib().unwrap_or(0.0),
            kernel: line_of("/proc/sys/kernel/osrelease"),
            filesystem: filesystem(data).unwrap_or_else(unknown),
            congestion_control: line_of("/proc/sys/net/ipv4/tcp_congestion_control"),
            librdkafka: librdkafka::version(),
            commit: commit().unwrap_or_else(unknown),
        }
    }

    /// One line.
    pub(super) fn line(&self) -> String {
        format!(
            "{} x {}, {:.0} GiB, Linux {}, {}, default congestion control {}, librdkafka {}, commit {}",
            self.cores,
            self.cpu,
            self.memory_gib,
            self.kernel,
            self.filesystem,
            self.congestion_control,
            self.librdkafka,
            self.commit,
        )
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn line_of(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| unknown(), |text| text.trim().to_owned())
}

/// The first `name : value` of a file under /proc.
fn value_of(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(key, value)| (key.trim(), value.trim()))
        .find(|(key, _)| *key == name)
        .map(|(_, v)| v.to_owned())
}

fn memory_gib() -> Option<f64> {
    let kib = value_of("/proc/meminfo", "MemTotal")?;
    Some(kib.split_whitespace().next()?.parse::<f64>().ok()? / f64::from(1 << 20))
}

/// The kind of the file system that holds `path`: that of the longest mount point above it.
fn filesystem(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let above = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let nearest = above.filter(|(point, _)| path.starts_with(point)).max_by_key(|(point, _)| point.len());
    nearest.map(|(_, kind)| kind.to_owned())
}

fn commit() -> Option<String> {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
