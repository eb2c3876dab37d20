//! What the disk itself takes: an append of 4 KiB and an `fdatasync`, over and over. An acknowledgement
//! that promises the disk cannot be faster, and should not be much slower.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use anyhow::Result;

use crate::{driver::now_nanos, latency::Latency};

const APPEND: usize = 4096;

/// The latency of `count` appends with their sync, in a new file that is removed afterwards.
pub(super) fn fdatasync(folder: &Path, count: usize) -> Result<Latency> {
    let path = folder.join("fdatasync-probe");
    let mut file = File::create(&path)?;
    let block = [0x5A; APPEND];
    let mut nanos = Vec::with_capacity(count);
    for _ in 0..count {
        let start = now_nanos();
        file.write_all(&block)?;
        file.sync_data()?;
        nanos.push(now_nanos() - start);
    }
    drop(file);
    fs::remove_file(path)?;
    Ok(Latency::of(nanos))
}

/// Bytes of all files below `folder`; one that goes while it is counted does not count.
pub(super) fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
