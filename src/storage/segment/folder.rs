use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{model::Offset, storage::fs::Fs};

/// A partition's folder and the file system that holds it.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: PathBuf,
}

/// What a file of a partition's folder holds, as its extension says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileKind {
    /// Record batches.
    Log,
    /// Offset to position.
    OffsetIndex,
    /// Timestamp to offset.
    TimeIndex,
    /// Producer state.
    Snapshot,
    /// Block checksums of a sealed segment.
    Checksums,
}

impl FileKind {
    /// The files that go when their segment goes; the log first, because it decides whether there is one.
    pub(crate) const OF_SEGMENT: [Self; 4] = [Self::Log, Self::OffsetIndex, Self::TimeIndex, Self::Checksums];

    const fn extension(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::OffsetIndex => "index",
            Self::TimeIndex => "timeindex",
            Self::Snapshot => "snapshot",
            Self::Checksums => "checksums",
        }
    }
}

/// Ends the name of a file that is about to be removed.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";
/// In the name of a file of bytes that are no longer part of the log, and are kept for people.
pub(crate) const SET_ASIDE: &str = ".set-aside";
/// Ends the name of a file that is not complete yet.
pub(crate) const UNFINISHED_SUFFIX: &str = ".unfinished";

impl Folder {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        Self { fs, dir: dir.to_path_buf() }
    }

    /// The file of this kind that begins at `base`.
    pub(crate) fn file(&self, base: Offset, kind: FileKind) -> PathBuf {
        self.dir.join(file_name(base, kind))
    }

    /// A file that is not there yet, for bytes that were at this offset and are no longer part of the log.
    pub(crate) fn set_aside(&self, offset: Offset) -> io::Result<PathBuf> {
        let mut path = self.named(&format!("{:020}{SET_ASIDE}", offset.get()));
        let mut again = 0;
        while self.fs.exists(&path)? {
            again += 1;
            path = self.named(&format!("{:020}{SET_ASIDE}-{again}", offset.get()));
        }
        Ok(path)
    }

    /// The file with this name.
    pub(crate) fn named(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

fn file_name(base: Offset, kind: FileKind) -> String {
    format!("{:020}.{}", base.get(), kind.extension())
}

/// The offset and kind that a name says, `None` for any other file.
pub(crate) fn parse_name(name: &str) -> Option<(Offset, FileKind)> {
    let (digits, extension) = name.split_once('.')?;
    let kinds =
        [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::Snapshot, FileKind::Checksums];
    let kind = kinds.into_iter().find(|kind| kind.extension() == extension)?;
    if digits.len() != 20 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some((Offset::new(digits.parse().ok()?), kind))
}

#[cfg(test)]
mod tests {
    use super::{FileKind, file_name, parse_name};
    use crate::model::Offset;

    #[test]
    fn a_name_says_what_it_was_made_of_and_any_other_is_left_alone() {
        let name = file_name(Offset::new(1234), FileKind::TimeIndex);
        assert_eq!(name, "00000000000000001234.timeindex");
        assert_eq!(parse_name(&name), Some((Offset::new(1234), FileKind::TimeIndex)));
        for strange in ["1234.log", "00000000000000001234.log.deleted", "lock", "0000000000000000-234.log"] {
            assert_eq!(parse_name(strange), None, "{strange}");
        }
        assert_eq!(parse_name("99999999999999999999.log"), None);
    }
}
