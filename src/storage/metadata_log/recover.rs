//! Reads a metadata log and decides what in it is committed, what is torn, and what is lost.

use std::path::Path;

use super::{
    JournalKind, OpenError,
    format::{self, BLOCKS, Block, BlockKind, HEADER_LEN, Header, HeaderError, MARK_LEN, MARKS},
};
use crate::storage::fs::File;

/// What a file holds.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) header: Header,
    pub(super) snapshot: Option<Vec<u8>>,
    pub(super) records: Vec<Vec<u8>>,
    pub(super) last_index: u64,
    pub(super) snapshot_end: u64,
    /// The end of the last whole block.
    pub(super) end: u64,
    pub(super) cut_bytes: u64,
    /// Whether the mark says that all of it is durable and nothing lies behind.
    pub(super) is_clean: bool,
    pub(super) next_mark: usize,
}

pub(super) fn read(file: &dyn File, path: &Path, kind: JournalKind) -> Result<Content, OpenError> {
    let bytes = read_whole(file, path)?;
    let header = header(&bytes, path, kind)?;
    let (durable_end, next_mark) = durable_end(&bytes, header.salt, path)?;
    let mut content = Content {
        header,
        snapshot: None,
        records: Vec::new(),
        last_index: 0,
        snapshot_end: BLOCKS,
        end: BLOCKS,
        cut_bytes: 0,
        is_clean: false,
        next_mark,
    };
    let broken = Walk { bytes: &bytes, content: &mut content }.run();
    let corrupt = |what| OpenError::Corrupt { path: path.to_path_buf(), position: content.end, what };
    if let Some(what) = broken {
        return Err(corrupt(what));
    }
    if content.end < durable_end {
        return Err(corrupt("a committed block is not whole"));
    }
    content.cut_bytes = bytes.len() as u64 - content.end;
    content.is_clean = content.end == durable_end && content.cut_bytes == 0;
    Ok(content)
}

fn read_whole(file: &dyn File, path: &Path) -> Result<Vec<u8>, OpenError> {
    let len = file.len().map_err(OpenError::io("measure", path))?;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 256 << 10];
    // By what is there, not by what the length says.
    while (bytes.len() as u64) < len {
        let read = file.read_at(&mut chunk, bytes.len() as u64).map_err(OpenError::io("read", path))?;
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
    Ok(bytes)
}

fn header(bytes: &[u8], path: &Path, kind: JournalKind) -> Result<Header, OpenError> {
    let path = path.to_path_buf();
    Header::parse(bytes.get(..HEADER_LEN).unwrap_or(bytes), kind.magic).map_err(|error| match error {
        HeaderError::NotOurs => OpenError::NotOurs { path },
        HeaderError::Version(found) => OpenError::Version { path, found, known: format::VERSION },
        HeaderError::Checksum => {
            OpenError::Corrupt { path, position: 0, what: "the header's checksum is wrong" }
        }
    })
}

/// The higher of the two marks, and which of them may be overwritten. One is always whole: while one
/// is written the other was synced with an earlier block.
fn durable_end(bytes: &[u8], salt: u64, path: &Path) -> Result<(u64, usize), OpenError> {
    let [first, second] = MARKS.map(|position| {
        let at = usize::try_from(position).ok()?;
        bytes.get(at..at + MARK_LEN).and_then(|mark| format::parse_mark(mark, salt))
    });
    let [first_position, _] = MARKS;
    match (first, second) {
        (None, None) => Err(OpenError::Corrupt {
            path: path.to_path_buf(),
            position: first_position,
            what: "both marks of the durable end are wrong",
        }),
        (first, second) if first >= second => Ok((first.unwrap_or(BLOCKS), 1)),
        (_, second) => Ok((second.unwrap_or(BLOCKS), 0)),
    }
}

struct Walk<'a, 'c> {
    bytes: &'a [u8],
    content: &'c mut Content,
}

impl<'a> Walk<'a, '_> {
    /// Takes every whole block in order; says what is wrong if they cannot be all that there was.
    fn run(mut self) -> Option<&'static str> {
        let salt = self.content.header.salt;
        while let Some(block) = Block::parse(self.rest(), salt) {
            if let Some(wrong) = self.take(&block) {
                return Some(wrong);
            }
        }
        // Each block was synced before the next one was begun.
        format::find_block(self.rest(), salt).map(|_| "a block is not whole, and a later one is")
    }

    fn rest(&self) -> &'a [u8] {
        let at = usize::try_from(self.content.end).unwrap_or(usize::MAX);
        self.bytes.get(at..).unwrap_or_default()
    }

    fn take(&mut self, block: &Block<'_>) -> Option<&'static str> {
        let content = &mut *self.content;
        let is_first = content.end == BLOCKS;
        match block.kind {
            BlockKind::Snapshot if is_first => {
                content.snapshot = Some(block.payload.to_vec());
                content.snapshot_end = BLOCKS + block.len() as u64;
            }
            BlockKind::Snapshot => return Some("a snapshot lies behind other blocks"),
            BlockKind::Records => {
                if content.last_index.checked_add(u64::from(block.count)) != Some(block.last_index) {
                    return Some("records are missing before this block");
                }
                let Some(records) = block.records() else {
                    return Some("a block does not hold the records that it claims");
                };
                content.records.extend(records);
            }
        }
        content.last_index = block.last_index;
        content.end += block.len() as u64;
        None
    }
}
