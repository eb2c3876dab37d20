use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use super::{Entry, FORMAT_VERSION, Header};

/// The longest line that is read; a file with a longer one is no history.
pub const MAX_LINE_LEN: usize = 1 << 20;

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be opened.
    #[error("history cannot be opened: {0}")]
    Open(#[source] io::Error),
    /// Reading failed on the way.
    #[error("history line {line}: {source}")]
    Io {
        /// Counted from 1.
        line: u64,
        /// What failed.
        source: io::Error,
    },
    /// There is no header.
    #[error("history line 1: not the header of a history")]
    NoHeader,
    /// Another build wrote it.
    #[error("history line 1: format version {found}, this build reads {FORMAT_VERSION}")]
    Version {
        /// What the header says.
        found: u32,
    },
    /// A line is longer than [`MAX_LINE_LEN`].
    #[error("history line {line}: longer than {MAX_LINE_LEN} bytes")]
    TooLong {
        /// Counted from 1.
        line: u64,
    },
    /// The last line has no end: whoever wrote it was interrupted.
    #[error("history line {line}: cut off")]
    CutOff {
        /// Counted from 1.
        line: u64,
    },
    /// A line is not an entry.
    #[error("history line {line}: {source}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Reads a history one entry at a time, in memory bounded by [`MAX_LINE_LEN`].
///
/// After the first error it ends.
#[derive(Debug)]
pub struct HistoryReader<R> {
    from: R,
    line: u64,
    buffer: Vec<u8>,
    ended: bool,
}

impl HistoryReader<BufReader<File>> {
    /// Opens a file and checks its header.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let file = File::open(path).map_err(HistoryError::Open)?;
        Self::new(BufReader::with_capacity(1 << 18, file))
    }
}

impl<R: BufRead> HistoryReader<R> {
    /// Takes what a file holds and checks its header.
    pub fn new(from: R) -> Result<Self, HistoryError> {
        let mut reader = Self { from, line: 0, buffer: Vec::new(), ended: false };
        if !reader.fill()? {
            return Err(HistoryError::NoHeader);
        }
        let header: Header = serde_json::from_slice(&reader.buffer).map_err(|_| HistoryError::NoHeader)?;
        match header.polylogue_history {
            FORMAT_VERSION => Ok(reader),
            found => Err(HistoryError::Version { found }),
        }
    }

    /// The number of the line last read, counted from 1.
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// Puts the next line into the buffer; false at the end of the file.
    fn fill(&mut self) -> Result<bool, HistoryError> {
        self.buffer.clear();
        self.line += 1;
        let line = self.line;
        let limit = MAX_LINE_LEN as u64 + 1;
        let read = self.from.by_ref().take(limit).read_until(b'\n', &mut self.buffer);
        let read = read.map_err(|source| HistoryError::Io { line, source })?;
        if self.buffer.ends_with(b"\n") || read == 0 {
            return Ok(read > 0);
        }
        Err(if read as u64 == limit { HistoryError::TooLong { line } } else { HistoryError::CutOff { line } })
    }

    fn entry(&mut self) -> Result<Option<Entry>, HistoryError> {
        if !self.fill()? {
            return Ok(None);
        }
        let line = self.line;
        serde_json::from_slice(&self.buffer).map(Some).map_err(|source| HistoryError::Line { line, source })
    }
}

impl<R: BufRead> Iterator for HistoryReader<R> {
    type Item = Result<Entry, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.entry().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}
