//! Looking into a partition's folder that nobody has open, and putting right what can be put right there.
//!
//! A node heals by itself what it can: torn ends, indexes and terms that are missing. This is for people
//! whose data folder has been through more than that: [`verify`] reads everything and says what is not as
//! it was written, [`repair`] mends it, from another copy of the folder where one is given. Nothing here
//! takes a lock: whoever calls keeps nodes out of the data folder.

mod repair;
mod verify;
mod walk;

#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use repair::{Mended, RepairError, RepairOptions, repair};
pub use verify::{Finding, Flaw, FolderReport, verify};
pub use walk::{Damage, Gaps, Piece, SegmentWalk};

use super::{
    compaction::committed,
    fs::{Entry, Fs, Open},
    index::{self, OffsetEntry, TimeEntry},
    segment::{FileKind, parse_name},
};
use crate::model::Offset;

/// One segment of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// The offset that its name says.
    pub base: Offset,
    /// The file of batches.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
    /// Whether it has its name. Else it counts instead of others that are still there, with their indexes: a
    /// compaction was cut short, and the next opening finishes it.
    pub is_settled: bool,
}

/// The segments of a folder, ascending. Kafka names them as we do.
pub fn segments(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<SegmentFile>> {
    let entries = fs.list(dir)?;
    let file = |base, entry: &Entry, is_settled| {
        let (path, len) = (dir.join(&entry.name), entry.len);
        SegmentFile { base, path, len, is_settled }
    };
    let mut segments: Vec<SegmentFile> = entries
        .iter()
        .filter(|entry| !entry.is_dir)
        .filter_map(|entry| match parse_name(&entry.name) {
            Some((base, FileKind::Log)) => Some(file(base, entry, true)),
            _ => None,
        })
        .collect();
    for (base, next, entry) in committed(&entries) {
        segments.retain(|segment| segment.base < base || next <= segment.base);
        segments.push(file(base, entry, false));
    }
    segments.sort_unstable_by_key(|segment| segment.base);
    Ok(segments)
}

/// The base offset that a segment's file name says.
pub fn base_of(path: &Path) -> Option<Offset> {
    match parse_name(path.file_name()?.to_str()?)? {
        (base, FileKind::Log) => Some(base),
        _ => None,
    }
}

/// The entries of an index file as they stand in it. Of an offset index (`.index`): offset less the segment's
/// base, and position. Of a time index (`.timeindex`): timestamp in ms, and offset less the segment's base.
/// `None` where the bytes are not those of an index.
pub fn index_entries(fs: &dyn Fs, path: &Path) -> io::Result<Option<Vec<(i64, i64)>>> {
    let file = fs.open(path, Open::Read)?;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        let read = file.read_at(&mut chunk, bytes.len() as u64)?;
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
    let name = path.file_name().and_then(|name| name.to_str()).and_then(parse_name);
    Ok(match name {
        Some((_, FileKind::OffsetIndex)) => entries::<OffsetEntry>(&bytes)
            .map(|all| all.iter().map(|each| (each.relative.into(), each.position.into())).collect()),
        Some((_, FileKind::TimeIndex)) => entries::<TimeEntry>(&bytes)
            .map(|all| all.iter().map(|each| (each.timestamp, each.relative.into())).collect()),
        _ => None,
    })
}

fn entries<E: index::Entry>(bytes: &[u8]) -> Option<Vec<E>> {
    let whole = bytes.len().is_multiple_of(E::SIZE);
    if whole { bytes.chunks_exact(E::SIZE).map(E::decode).collect() } else { None }
}
