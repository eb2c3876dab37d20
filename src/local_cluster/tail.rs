//! What nodes print, line by line as it comes.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
};

use super::LocalNode;

/// How much is read at once.
const CHUNK: u64 = 256 * 1024;

/// The lines of one node's log that nobody has been given yet.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    position: u64,
    /// A line without its end.
    begun: Vec<u8>,
}

impl Tail {
    /// The lines that this node prints, from those on that it printed after it was first started here.
    pub fn from_launch(node: &LocalNode) -> Self {
        Self { path: node.log_path(), position: node.log_began(), begun: Vec::new() }
    }

    /// The whole lines that have come since; a log that has yet to be made has none.
    pub fn lines(&mut self) -> io::Result<Vec<String>> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(self.position))?;
        let read = file.take(CHUNK).read_to_end(&mut self.begun)?;
        self.position += read as u64;
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let rest = self.begun.split_off(end + 1);
        let whole = std::mem::replace(&mut self.begun, rest);
        Ok(String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write};

    use super::Tail;

    #[test]
    fn lines_are_given_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut tail = Tail { path: path.clone(), position: 0, begun: Vec::new() };
        assert!(tail.lines().unwrap().is_empty(), "there is no log yet");
        let mut log = OpenOptions::new().create(true).append(true).open(path).unwrap();
        log.write_all(b"one\ntw").unwrap();
        assert_eq!(tail.lines().unwrap(), ["one"]);
        assert!(tail.lines().unwrap().is_empty());
        log.write_all(b"o\nthree\n").unwrap();
        assert_eq!(tail.lines().unwrap(), ["two", "three"]);
    }
}
