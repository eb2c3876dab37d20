//! A file system that leaves some of the process's descriptors to others.
//!
//! A node that has no descriptor left takes no connection any more, not even of whoever wants to find out why. So the files of
//! logs are opened through this, which stops before the last ones. The system gives out the lowest number that is free: one that is
//! at `n` or above says that `n` descriptors are in use, whoever has them.
//!
//! That says nothing of what those that are opened side by side will take before long: a hundred logs that hold their locks, and
//! nothing else yet, would go on to what is kept for clients. So locks are counted too, one for each log.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{Entry, File, Fs, Lock, LockWait, Open};

/// How far descriptors may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// No lock is taken with so many in use: what is to be opened under it, which stays open for long, is not begun.
    pub to_begin: u64,
    /// No file is opened with so many in use: those that are begun may still roll their segments, and be read.
    pub to_go_on: u64,
    /// The most locks held at once: whatever these open under them finds descriptors.
    pub locks_max: u64,
    /// How many the process may have, for messages.
    pub limit: u64,
}

/// Why a file is not opened. Of the kind [`io::ErrorKind::QuotaExceeded`]: it heals by itself when others are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NoneToSpare {
    #[error(
        "{in_use} or more of the {limit} files are open that this process may open, and the rest is kept for connections: raise \
         the hard limit (`ulimit -Hn`, `LimitNOFILE=`)"
    )]
    Descriptors { in_use: u64, limit: u64 },
    #[error(
        "{open} logs are open, as many as this process has files for: it may open {limit}, of which the rest is kept for \
         connections: raise the hard limit (`ulimit -Hn`, `LimitNOFILE=`)"
    )]
    Logs { open: u64, limit: u64 },
}

impl From<NoneToSpare> for io::Error {
    fn from(refused: NoneToSpare) -> Self {
        Self::new(io::ErrorKind::QuotaExceeded, refused)
    }
}

/// The file system.
#[derive(Debug)]
pub struct SparingFs {
    fs: Arc<dyn Fs>,
    share: Share,
    locks: Arc<AtomicU64>,
}

/// A lock that is counted for as long as it is held.
#[derive(Debug)]
struct Counted {
    lock: Box<dyn Lock>,
    locks: Arc<AtomicU64>,
}

impl Lock for Counted {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.lock.descriptor()
    }
}

impl Drop for Counted {
    /// Before the lock itself goes: who waited for it finds the place free.
    fn drop(&mut self) {
        self.locks.fetch_sub(1, Relaxed);
    }
}

impl SparingFs {
    /// Over another file system, of which the same share may be in use.
    pub fn shared(fs: Arc<dyn Fs>, share: Share) -> Arc<dyn Fs> {
        Arc::new(Self { fs, share, locks: Arc::default() })
    }

    /// Refuses what stands at `bound` or above it.
    fn check_below(&self, bound: u64, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let number = descriptor.and_then(|file| u64::try_from(file.as_raw_fd()).ok());
        match number.filter(|number| *number >= bound) {
            None => Ok(()),
            Some(in_use) => Err(NoneToSpare::Descriptors { in_use, limit: self.share.limit }.into()),
        }
    }

    fn counted(&self, lock: Box<dyn Lock>) -> io::Result<Box<dyn Lock>> {
        let one_more = |open: u64| (open < self.share.locks_max).then_some(open + 1);
        match self.locks.fetch_update(Relaxed, Relaxed, one_more) {
            Ok(_) => Ok(Box::new(Counted { lock, locks: Arc::clone(&self.locks) })),
            Err(open) => Err(NoneToSpare::Logs { open, limit: self.share.limit }.into()),
        }
    }

    fn open_to_go_on(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.fs.open(path, how)?;
        self.check_below(self.share.to_go_on, file.descriptor())?;
        Ok(file)
    }
}

impl Fs for SparingFs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let is_there = how != Open::Create || self.fs.exists(path)?;
        let opened = self.open_to_go_on(path, how);
        let made = how == Open::CreateNew || !is_there;
        if made && opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::QuotaExceeded) {
            // As if it had never been tried.
            self.fs.remove_file(path)?;
        }
        opened
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.fs.create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.fs.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.fs.remove_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.fs.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.fs.exists(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.sync_dir(dir)
    }

    fn lock(&self, path: &Path, wait: LockWait) -> io::Result<Box<dyn Lock>> {
        let lock = self.fs.lock(path, wait)?;
        // One that is refused is let go at once. Its file stays; who locks it makes it if it is missing.
        self.check_below(self.share.to_begin, lock.descriptor())?;
        self.counted(lock)
    }

    fn read_from_disk(&self, path: &Path, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.fs.read_from_disk(path, position, buf)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.fs.free_bytes(path)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::real::RealFs, *};

    fn all_but(to_begin: u64, to_go_on: u64) -> Arc<dyn Fs> {
        SparingFs::shared(RealFs::shared(), Share { to_begin, to_go_on, locks_max: u64::MAX, limit: 1_024 })
    }

    #[test]
    fn nothing_is_opened_with_the_descriptors_of_others_and_nothing_that_was_there_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        RealFs.open(&old, Open::CreateNew).unwrap().write_all_at(b"kept", 0).unwrap();
        // Standard input is open, in any case.
        let none_left = all_but(0, 0);
        for (path, how) in [
            (&old, Open::Read),
            (&old, Open::ReadWrite),
            (&old, Open::Create),
            (&new, Open::Create),
            (&new, Open::CreateNew),
        ] {
            let error = none_left.open(path, how).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded, "{how:?}");
            assert!(error.to_string().contains("of the 1024 files"), "{error}");
            assert!(!new.exists(), "{how:?}");
        }
        assert_eq!(std::fs::read(&old).unwrap(), b"kept");
        let error = none_left.open(&old, Open::CreateNew).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(old.exists());
    }

    #[test]
    fn what_is_begun_goes_on_where_nothing_is_begun_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let (lock, file) = (dir.path().join("lock"), dir.path().join("file"));
        let fs = all_but(0, u64::MAX);
        for _ in 0..2 {
            let error = fs.lock(&lock, LockWait::Fail).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded, "what is refused is not held");
        }
        fs.open(&file, Open::CreateNew).unwrap();
        let fs = all_but(u64::MAX, u64::MAX);
        let _held = fs.lock(&lock, LockWait::Fail).unwrap();
        assert_eq!(fs.lock(&lock, LockWait::Fail).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn no_more_locks_are_held_than_there_are_files_for_and_who_waits_for_one_that_goes_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let share = Share { to_begin: u64::MAX, to_go_on: u64::MAX, locks_max: 2, limit: 1_024 };
        let fs = SparingFs::shared(RealFs::shared(), share);
        let lock = |name: &str, wait| fs.lock(&dir.path().join(name), wait);
        let first = lock("first", LockWait::Fail).unwrap();
        let _second = lock("second", LockWait::Fail).unwrap();
        for _ in 0..2 {
            let error = lock("third", LockWait::Fail).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded, "what is refused is not held");
            assert!(error.to_string().contains("2 logs are open"), "{error}");
        }
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| lock("first", LockWait::Block).map(drop));
            drop(first);
            waiting.join().unwrap().unwrap();
        });
        lock("third", LockWait::Fail).unwrap();
    }
}
