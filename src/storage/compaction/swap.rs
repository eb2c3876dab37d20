//! The new segment takes the place of the old ones.

use std::{io, path::PathBuf};

use crate::{
    model::Offset,
    storage::fs::Entry,
    storage::segment::{FileKind, Folder, UNFINISHED_SUFFIX, parse_name, with_suffix},
};

/// Ends the name of a segment that is complete and has not its name yet: `<base>-<next>.compacted`.
pub(crate) const COMPACTED_SUFFIX: &str = ".compacted";

fn named(folder: &Folder, base: Offset, next: Offset) -> PathBuf {
    folder.named(&format!("{:020}-{:020}{COMPACTED_SUFFIX}", base.get(), next.get()))
}

/// The offsets that a name says, if it is one of these.
fn parse(name: &str) -> Option<(Offset, Offset)> {
    let (base, next) = name.strip_suffix(COMPACTED_SUFFIX)?.split_once('-')?;
    let number = |digits: &str| {
        let all = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
        all.then(|| digits.parse().ok()).flatten().map(Offset::new)
    };
    Some((number(base)?, number(next)?)).filter(|(base, next)| base < next)
}

/// Where a new segment is written.
pub(super) fn unfinished(folder: &Folder, base: Offset) -> PathBuf {
    with_suffix(&folder.file(base, FileKind::Log), UNFINISHED_SUFFIX)
}

/// From here on the synced file counts instead of the segments from `base` up to `next`.
pub(crate) fn commit(folder: &Folder, base: Offset, next: Offset) -> io::Result<()> {
    folder.fs.rename(&unfinished(folder, base), &named(folder, base, next))?;
    folder.fs.sync_dir(&folder.dir)
}

/// Gives the new segment its name. Each step may be done already, by whoever came so far before.
pub(crate) fn finish(folder: &Folder, base: Offset, next: Offset) -> io::Result<()> {
    for entry in folder.fs.list(&folder.dir)?.into_iter().filter(|entry| !entry.is_dir) {
        let Some((at, kind)) = parse_name(&entry.name) else { continue };
        let replaced = base <= at && at < next;
        // The first one's log is replaced by the rename below; till then it stands for the segment.
        let goes = match kind {
            FileKind::Log => replaced && at != base,
            FileKind::OffsetIndex | FileKind::TimeIndex | FileKind::Checksums => replaced,
            FileKind::Snapshot => false,
        };
        if goes {
            folder.fs.remove_file(&folder.named(&entry.name))?;
        }
    }
    // What went is gone for certain before anything takes its place.
    folder.fs.sync_dir(&folder.dir)?;
    folder.fs.rename(&named(folder, base, next), &folder.file(base, FileKind::Log))?;
    folder.fs.sync_dir(&folder.dir)
}

/// The segments of a folder that are complete and have not their names yet: where each begins, where the next one
/// does, and its entry.
pub(crate) fn committed(entries: &[Entry]) -> impl Iterator<Item = (Offset, Offset, &Entry)> {
    let files = entries.iter().filter(|entry| !entry.is_dir);
    files.filter_map(|entry| parse(&entry.name).map(|(base, next)| (base, next, entry)))
}

/// Finishes what a crash has cut short, as the entries of the folder tell; whether there was anything. Before the
/// folder is looked at.
pub(crate) fn finish_all(folder: &Folder, entries: &[Entry]) -> io::Result<bool> {
    let mut any = false;
    for (base, next, _) in committed(entries) {
        finish(folder, base, next)?;
        any = true;
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::model::Offset;

    #[test]
    fn a_name_says_which_offsets_it_covers_and_any_other_is_left_alone() {
        let name = "00000000000000000003-00000000000000000017.compacted";
        assert_eq!(parse(name), Some((Offset::new(3), Offset::new(17))));
        for other in [
            "00000000000000000003.log",
            "3-17.compacted",
            "00000000000000000017-00000000000000000003.compacted",
            "00000000000000000003-00000000000000000017.compacted.tmp",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
