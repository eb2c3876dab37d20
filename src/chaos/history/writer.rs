use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{Event, FORMAT_VERSION, Header, HistoryError, HistoryReader};

/// Time since the writer began, from whoever owns a clock.
type Elapsed = Box<dyn Fn() -> Duration + Send + Sync>;

/// Writes a history; shared by every thread of a workload.
///
/// Lines are buffered. [`HistoryWriter::flush`] or dropping the writer puts them into the file; only
/// the former can report that it failed.
pub struct HistoryWriter {
    path: PathBuf,
    elapsed: Elapsed,
    file: Mutex<BufWriter<File>>,
}

impl HistoryWriter {
    /// Starts a new file, replacing one that is there.
    pub fn create(path: &Path, elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> io::Result<Self> {
        let writer = Self::over(path, File::create(path)?, elapsed);
        let mut header = serde_json::to_vec(&Header { polylogue_history: FORMAT_VERSION })?;
        header.push(b'\n');
        writer.with_file(|file| file.write_all(&header))?;
        Ok(writer)
    }

    /// Goes on with a file that is there, after its header was found to be ours.
    ///
    /// `elapsed` should go on where the file's times end.
    pub fn append(
        path: &Path,
        elapsed: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Result<Self, HistoryError> {
        HistoryReader::new(BufReader::new(File::open(path).map_err(HistoryError::Open)?))?;
        let file = OpenOptions::new().append(true).open(path).map_err(HistoryError::Open)?;
        Ok(Self::over(path, file, elapsed))
    }

    fn over(path: &Path, file: File, elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let file = Mutex::new(BufWriter::with_capacity(1 << 18, file));
        Self { path: path.to_owned(), elapsed: Box::new(elapsed), file }
    }

    /// Where the history goes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down one event. It stands behind every event whose `record` has returned.
    pub fn record(&self, event: &Event) -> io::Result<()> {
        // Serialised before the lock is taken: that is nearly all of the work.
        let event = serde_json::to_vec(event)?;
        self.with_file(|file| {
            write!(file, "{{\"at_us\":{},\"event\":", (self.elapsed)().as_micros())?;
            file.write_all(&event)?;
            file.write_all(b"}\n")
        })
    }

    /// Writes down an event that is found out by `make`, while nobody else can write down anything: whatever
    /// stands before it was over before `make` began. For what depends on all of that, such as the end up to
    /// which a log is about to be read.
    pub fn record_made(&self, make: impl FnOnce() -> Event) -> io::Result<()> {
        self.with_file(|file| {
            let event = serde_json::to_vec(&make())?;
            write!(file, "{{\"at_us\":{},\"event\":", (self.elapsed)().as_micros())?;
            file.write_all(&event)?;
            file.write_all(b"}\n")
        })
    }

    /// Hands everything written so far to the operating system.
    pub fn flush(&self) -> io::Result<()> {
        self.with_file(Write::flush)
    }

    fn with_file(&self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
        // A thread that panicked while it held the lock left at worst a torn line, which the reader
        // reports.
        write(&mut self.file.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for HistoryWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryWriter").field("path", &self.path).finish_non_exhaustive()
    }
}
