//! Where the ideal server puts batches: a file that it only ever writes, and just enough in memory to
//! answer a fetch. It checks nothing, indexes nothing and never reads its file.

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Where a batch carries how many records it has, and where its header ends.
const RECORD_COUNT_AT: usize = 57;
const HEADER_LEN: usize = 61;

/// The most that is kept of a partition's latest batches.
const RECENT_BATCHES_MAX: usize = 4096;
const RECENT_BYTES_MAX: usize = 64 << 20;

/// What a fetch is answered from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Serve {
    /// The latest batches, as they were produced: for end-to-end latency.
    Recent,
    /// Copies of the largest batch, numbered on, up to this offset: for the rate of consuming.
    Copies { end: i64 },
}

/// All topics; one comes into being when it is first named.
pub(super) struct Topics {
    by_name: Mutex<HashMap<Vec<u8>, Arc<Topic>>>,
    folder: Option<PathBuf>,
    partitions: usize,
    serve: Serve,
}

impl Topics {
    pub(super) fn new(folder: Option<PathBuf>, partitions: usize, serve: Serve) -> io::Result<Self> {
        if let Some(folder) = &folder {
            fs::create_dir_all(folder)?;
        }
        Ok(Self { by_name: Mutex::default(), folder, partitions, serve })
    }

    /// How many partitions every topic has.
    pub(super) fn partitions(&self) -> usize {
        self.partitions
    }

    pub(super) fn topic(&self, name: &[u8]) -> io::Result<Arc<Topic>> {
        let mut by_name = lock(&self.by_name);
        if let Some(topic) = by_name.get(name) {
            return Ok(Arc::clone(topic));
        }
        let number = by_name.len();
        let partitions = (0..self.partitions)
            .map(|index| Ok(Partition::new(self.file(number, index)?, self.serve)))
            .collect::<io::Result<Vec<_>>>()?;
        let topic = Arc::new(Topic { partitions: Mutex::new(partitions), appended: Condvar::new() });
        by_name.insert(name.to_vec(), Arc::clone(&topic));
        Ok(topic)
    }

    /// Files are numbered, not named: a topic's name comes from outside and is no file name.
    fn file(&self, topic: usize, partition: usize) -> io::Result<Option<File>> {
        let path = self.folder.as_ref().map(|folder| folder.join(format!("{topic}-{partition}.log")));
        path.map(File::create).transpose()
    }
}

/// One topic's partitions behind one lock.
pub(super) struct Topic {
    partitions: Mutex<Vec<Partition>>,
    appended: Condvar,
}

impl Topic {
    /// Numbers the batch, writes it and wakes who waits; returns its base offset.
    pub(super) fn append(&self, partition: usize, batch: &mut [u8]) -> io::Result<i64> {
        let base = with(&mut lock(&self.partitions), partition, |partition| partition.append(batch))??;
        self.appended.notify_all();
        Ok(base)
    }

    /// The offset after the last record that was produced.
    pub(super) fn end(&self, partition: usize) -> io::Result<i64> {
        with(&mut lock(&self.partitions), partition, |partition| partition.end)
    }

    /// Waits until one of the positions (partition, offset) has something to read.
    pub(super) fn wait_for_any(&self, positions: &[(usize, i64)], timeout: Duration) {
        let nothing = |partitions: &mut Vec<Partition>| {
            !positions.iter().any(|(index, offset)| partitions.get(*index).is_some_and(|p| p.has(*offset)))
        };
        drop(self.appended.wait_timeout_while(lock(&self.partitions), timeout, nothing));
    }

    /// Appends whole batches from `offset` on to `out`, at least one where there is one, else at most
    /// `bytes_max`.
    pub(super) fn read(
        &self,
        partition: usize,
        offset: i64,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        with(&mut lock(&self.partitions), partition, |partition| partition.read(offset, bytes_max, out))
    }

    /// The offset below which a consumer may read.
    pub(super) fn high_watermark(&self, partition: usize) -> io::Result<i64> {
        with(&mut lock(&self.partitions), partition, |partition| partition.readable_end())
    }
}

struct Partition {
    file: Option<File>,
    end: i64,
    kept: Kept,
}

enum Kept {
    Recent { batches: VecDeque<Batch>, bytes: usize },
    Largest { batch: Option<Batch>, end: i64 },
}

struct Batch {
    base: i64,
    records: i64,
    bytes: Box<[u8]>,
}

impl Partition {
    fn new(file: Option<File>, serve: Serve) -> Self {
        let kept = match serve {
            Serve::Recent => Kept::Recent { batches: VecDeque::new(), bytes: 0 },
            Serve::Copies { end } => Kept::Largest { batch: None, end },
        };
        Self { file, end: 0, kept }
    }

    fn append(&mut self, batch: &mut [u8]) -> io::Result<i64> {
        let records = record_count(batch)?;
        let base = self.end;
        batch[..8].copy_from_slice(&base.to_be_bytes());
        if let Some(file) = &mut self.file {
            file.write_all(batch)?;
        }
        self.end += records;
        self.kept.keep(base, records, batch);
        Ok(base)
    }

    fn readable_end(&self) -> i64 {
        match &self.kept {
            Kept::Recent { .. } => self.end,
            Kept::Largest { batch, end } => batch.as_ref().map_or(0, |_| *end),
        }
    }

    fn has(&self, offset: i64) -> bool {
        offset < self.readable_end()
    }

    fn read(&self, offset: i64, bytes_max: usize, out: &mut Vec<u8>) {
        match &self.kept {
            Kept::Recent { batches, .. } => read_recent(batches, offset, bytes_max, out),
            Kept::Largest { batch: Some(batch), end } => read_copies(batch, offset, *end, bytes_max, out),
            Kept::Largest { batch: None, .. } => {}
        }
    }
}

impl Kept {
    fn keep(&mut self, base: i64, records: i64, bytes: &[u8]) {
        match self {
            Self::Recent { batches, bytes: total } => {
                *total += bytes.len();
                batches.push_back(Batch { base, records, bytes: bytes.into() });
                while batches.len() > RECENT_BATCHES_MAX || *total > RECENT_BYTES_MAX {
                    *total -= batches.pop_front().map_or(0, |batch| batch.bytes.len());
                }
            }
            Self::Largest { batch, .. } => {
                if batch.as_ref().is_none_or(|largest| largest.records < records) {
                    *batch = Some(Batch { base, records, bytes: bytes.into() });
                }
            }
        }
    }
}

fn read_recent(batches: &VecDeque<Batch>, offset: i64, bytes_max: usize, out: &mut Vec<u8>) {
    let first = batches.partition_point(|batch| batch.base + batch.records <= offset);
    let mut left = bytes_max;
    for (index, batch) in batches.iter().skip(first).enumerate() {
        if index > 0 && batch.bytes.len() > left {
            return;
        }
        out.extend_from_slice(&batch.bytes);
        left = left.saturating_sub(batch.bytes.len());
    }
}

fn read_copies(batch: &Batch, mut offset: i64, end: i64, bytes_max: usize, out: &mut Vec<u8>) {
    let mut left = bytes_max;
    while offset < end && (left >= batch.bytes.len() || left == bytes_max) {
        let start = out.len();
        out.extend_from_slice(&batch.bytes);
        out[start..start + 8].copy_from_slice(&offset.to_be_bytes());
        left = left.saturating_sub(batch.bytes.len());
        offset += batch.records;
    }
}

fn record_count(batch: &[u8]) -> io::Result<i64> {
    let count = batch.get(RECORD_COUNT_AT..HEADER_LEN).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    match count.map(i32::from_be_bytes) {
        Some(count) if count > 0 => Ok(i64::from(count)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a record batch")),
    }
}

fn with<T>(
    partitions: &mut [Partition],
    index: usize,
    work: impl FnOnce(&mut Partition) -> T,
) -> io::Result<T> {
    let partition = partitions.get_mut(index);
    Ok(work(partition.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no such partition"))?))
}

/// A panic elsewhere leaves nothing half-done here that matters to a benchmark.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
