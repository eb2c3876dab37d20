//! What the real file system and the simulated one must agree on: one set of tests, run over both, and
//! random calls whose answers are compared.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use proptest::prelude::*;

use super::{File, Fs, LockWait, Open, faulty::SimulatedDisk, folder_of, real::RealFs};

/// Runs a test over both, in an empty folder.
fn on_both(test: impl Fn(Arc<dyn Fs>, &Path)) {
    let real = tempfile::tempdir().unwrap();
    test(RealFs::shared(), real.path());
    let simulated = SimulatedDisk::new(1).mount();
    simulated.create_dir_all(Path::new("/data")).unwrap();
    test(simulated, Path::new("/data"));
}

fn kind<T: std::fmt::Debug>(answer: io::Result<T>) -> io::ErrorKind {
    answer.unwrap_err().kind()
}

#[test]
fn opening_respects_what_is_there() {
    on_both(|fs, root| {
        let path = root.join("file");
        assert_eq!(kind(fs.open(&path, Open::Read)), io::ErrorKind::NotFound);
        assert_eq!(kind(fs.open(&path, Open::ReadWrite)), io::ErrorKind::NotFound);
        let file = fs.open(&path, Open::CreateNew).unwrap();
        file.write_all_at(b"kept", 0).unwrap();
        assert_eq!(kind(fs.open(&path, Open::CreateNew)), io::ErrorKind::AlreadyExists);
        assert_eq!(fs.open(&path, Open::Create).unwrap().len().unwrap(), 4);
        assert_eq!(kind(fs.open(root, Open::Read)), io::ErrorKind::IsADirectory);
        assert_eq!(kind(fs.open(&path.join("x"), Open::Create)), io::ErrorKind::NotADirectory);
        assert_eq!(kind(fs.open(&root.join("no/x"), Open::Create)), io::ErrorKind::NotFound);
        assert!(fs.open(&path, Open::Read).unwrap().write_all_at(b"x", 0).is_err());
    });
}

#[test]
fn a_gap_between_writes_reads_as_zeros_and_a_read_ends_with_the_file() {
    on_both(|fs, root| {
        let file = fs.open(&root.join("file"), Open::Create).unwrap();
        file.write_all_at(b"ab", 0).unwrap();
        file.write_all_at(b"cd", 4).unwrap();
        let mut buf = [9; 8];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 6);
        assert_eq!(&buf[..6], b"ab\0\0cd");
        file.set_len(1).unwrap();
        file.set_len(3).unwrap();
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 3);
        assert_eq!(&buf[..3], b"a\0\0");
        assert_eq!(file.map(3).unwrap().bytes(), b"a\0\0");
        assert_eq!(kind(file.map(4)), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_rename_replaces_and_open_files_stay_readable() {
    on_both(|fs, root| {
        let (old, new) = (root.join("old"), root.join("new"));
        fs.open(&old, Open::Create).unwrap().write_all_at(b"one", 0).unwrap();
        let replaced = fs.open(&new, Open::Create).unwrap();
        replaced.write_all_at(b"replaced", 0).unwrap();
        fs.rename(&old, &new).unwrap();
        fs.sync_dir(&folder_of(&new)).unwrap();
        assert!(!fs.exists(&old).unwrap());
        assert_eq!(fs.open(&new, Open::Read).unwrap().len().unwrap(), 3);
        assert_eq!(replaced.len().unwrap(), 8);
        replaced.sync_data().unwrap();
        assert_eq!(kind(fs.rename(&old, &new)), io::ErrorKind::NotFound);
    });
}

#[test]
fn a_folder_is_listed_in_order_and_removed_with_all_it_holds() {
    on_both(|fs, root| {
        let dir = root.join("t-0");
        fs.create_dir_all(&dir.join("inner/most")).unwrap();
        fs.create_dir_all(&dir).unwrap();
        fs.open(&dir.join("b"), Open::Create).unwrap().write_all_at(b"xyz", 0).unwrap();
        fs.open(&dir.join("a"), Open::Create).unwrap();
        let listed = fs.list(&dir).unwrap();
        let listed: Vec<_> = listed.iter().map(|e| (e.name.as_str(), e.is_dir, e.len)).collect();
        assert_eq!(listed, [("a", false, 0), ("b", false, 3), ("inner", true, 0)]);
        fs.rename(&dir, &root.join("t-0.deleted")).unwrap();
        assert_eq!(kind(fs.list(&dir)), io::ErrorKind::NotFound);
        fs.remove_dir_all(&root.join("t-0.deleted")).unwrap();
        assert!(fs.list(root).unwrap().is_empty());
        assert_eq!(kind(fs.remove_dir_all(&dir)), io::ErrorKind::NotFound);
        assert_eq!(kind(fs.remove_file(&dir)), io::ErrorKind::NotFound);
    });
}

#[test]
fn s07_a_lock_shuts_out_until_it_is_dropped_and_a_waiter_then_gets_it() {
    on_both(|fs, root| {
        let path = root.join("lock");
        let held = fs.lock(&path, LockWait::Fail).unwrap();
        assert_eq!(kind(fs.lock(&path, LockWait::Fail)), io::ErrorKind::WouldBlock);
        let (sender, waiting) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let got = fs.lock(&path, LockWait::Block);
                sender.send(()).unwrap();
                got.map(drop)
            });
            assert!(waiting.try_recv().is_err(), "the lock is held");
            drop(held);
            waiter.join().unwrap().unwrap();
        });
        drop(fs.lock(&path, LockWait::Fail).unwrap());
    });
}

#[test]
fn s07_a_lock_on_a_removed_folder_does_not_count_for_the_one_made_anew() {
    on_both(|fs, root| {
        let (dir, path) = (root.join("t-0"), root.join("t-0/lock"));
        fs.create_dir_all(&dir).unwrap();
        let _old = fs.lock(&path, LockWait::Fail).unwrap();
        fs.remove_dir_all(&dir).unwrap();
        fs.create_dir_all(&dir).unwrap();
        let _new = fs.lock(&path, LockWait::Fail).unwrap();
        assert_eq!(kind(fs.lock(&path, LockWait::Fail)), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn the_disk_holds_what_the_cache_holds_while_nothing_fails() {
    on_both(|fs, root| {
        let path = root.join("file");
        let bytes: Vec<u8> = (0..10_000).map(|i| (i % 253) as u8).collect();
        let file = fs.open(&path, Open::Create).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        for (position, len) in [(0, 10_000), (1, 5000), (9_999, 10), (10_000, 10), (50_000, 1)] {
            let (mut cached, mut direct) = (vec![0; len], vec![1; len]);
            let read = file.read_at(&mut cached, position).unwrap();
            assert_eq!(fs.read_from_disk(&path, position, &mut direct).unwrap(), read);
            assert_eq!(cached[..read], direct[..read]);
        }
        assert!(fs.free_bytes(root).unwrap() > 0);
        assert_eq!(kind(fs.read_from_disk(&root.join("no"), 0, &mut [0])), io::ErrorKind::NotFound);
    });
}

/// One random call. Paths and open files are picked by number.
#[derive(Clone, Debug)]
enum Call {
    Open(usize, Open),
    Write(usize, u64, Vec<u8>),
    SetLen(usize, u64),
    Allocate(usize, u64),
    Sync(usize),
    Read(usize, u64, usize),
    Close(usize),
    CreateDir(usize),
    Rename(usize, usize),
    RemoveFile(usize),
    RemoveDir(usize),
    List(usize),
    Exists(usize),
    SyncDir(usize),
    ReadFromDisk(usize, u64),
}

fn any_call() -> impl Strategy<Value = Call> {
    let path = || 0_usize..PATHS.len();
    let how = prop::sample::select(vec![Open::Read, Open::ReadWrite, Open::Create, Open::CreateNew]);
    let bytes = prop::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        4 => (path(), how).prop_map(|(at, how)| Call::Open(at, how)),
        4 => (0_usize..8, 0_u64..60, bytes).prop_map(|(file, at, bytes)| Call::Write(file, at, bytes)),
        2 => (0_usize..8, 0_u64..60).prop_map(|(file, len)| Call::SetLen(file, len)),
        1 => (0_usize..8, 1_u64..60).prop_map(|(file, len)| Call::Allocate(file, len)),
        1 => (0_usize..8).prop_map(Call::Sync),
        2 => (0_usize..8, 0_u64..60, 0_usize..60).prop_map(|(file, at, len)| Call::Read(file, at, len)),
        1 => (0_usize..8).prop_map(Call::Close),
        3 => path().prop_map(Call::CreateDir),
        3 => (path(), path()).prop_map(|(from, to)| Call::Rename(from, to)),
        1 => path().prop_map(Call::RemoveFile),
        1 => path().prop_map(Call::RemoveDir),
        2 => path().prop_map(Call::List),
        1 => path().prop_map(Call::Exists),
        1 => path().prop_map(Call::SyncDir),
        2 => (path(), 0_u64..60).prop_map(|(path, at)| Call::ReadFromDisk(path, at)),
    ]
}

const PATHS: [&str; 7] = ["a", "b", "a/a", "a/b", "a/a/a", "b/c", "b/c/d"];

/// One of the two file systems with the files that the calls have opened on it.
struct Side {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    files: Vec<Arc<dyn File>>,
}

impl Side {
    /// Makes a call; the answer as text, to be compared.
    fn answer(&mut self, call: &Call) -> String {
        match self.call(call) {
            Ok(answer) => answer,
            Err(error) => format!("{:?}", error.kind()),
        }
    }

    fn call(&mut self, call: &Call) -> io::Result<String> {
        let at = |path: &usize| self.root.join(PATHS[*path]);
        match call {
            Call::Open(path, how) => {
                let file = self.fs.open(&at(path), *how)?;
                self.files.push(file);
            }
            Call::Write(file, position, bytes) => self.file(*file)?.write_all_at(bytes, *position)?,
            Call::SetLen(file, len) => self.file(*file)?.set_len(*len)?,
            Call::Allocate(file, len) => self.file(*file)?.allocate(1, *len)?,
            Call::Sync(file) => self.file(*file)?.sync_data()?,
            Call::Read(file, position, len) => return read(self.file(*file)?, *position, *len),
            Call::Close(file) if *file < self.files.len() => drop(self.files.remove(*file)),
            Call::Close(_) => {}
            Call::CreateDir(path) => self.fs.create_dir_all(&at(path))?,
            Call::Rename(from, to) => self.fs.rename(&at(from), &at(to))?,
            Call::RemoveFile(path) => self.fs.remove_file(&at(path))?,
            Call::RemoveDir(path) => self.fs.remove_dir_all(&at(path))?,
            Call::List(path) => return Ok(format!("{:?}", self.fs.list(&at(path))?)),
            Call::Exists(path) => return Ok(format!("{}", self.fs.exists(&at(path))?)),
            Call::SyncDir(path) => self.fs.sync_dir(&at(path))?,
            Call::ReadFromDisk(path, position) => {
                let mut buf = [0; 64];
                let read = self.fs.read_from_disk(&at(path), *position, &mut buf)?;
                return Ok(format!("{:?}", &buf[..read]));
            }
        }
        Ok("done".to_owned())
    }

    fn file(&self, file: usize) -> io::Result<&dyn File> {
        self.files.get(file).map(AsRef::as_ref).ok_or_else(|| io::ErrorKind::Other.into())
    }
}

fn read(file: &dyn File, position: u64, len: usize) -> io::Result<String> {
    let mut buf = vec![0; len];
    let read = file.read_at(&mut buf, position)?;
    Ok(format!("{:?} of {}", &buf[..read], file.len()?))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn random_calls_get_the_same_answers(calls in prop::collection::vec(any_call(), 1..80)) {
        let dir = tempfile::tempdir().unwrap();
        let mut real = Side { fs: RealFs::shared(), root: dir.path().to_path_buf(), files: Vec::new() };
        let disk = SimulatedDisk::new(1);
        disk.set_allocates(true);
        let mut simulated = Side { fs: disk.mount(), root: PathBuf::from("/"), files: Vec::new() };
        for (step, call) in calls.iter().enumerate() {
            prop_assert_eq!(real.answer(call), simulated.answer(call), "step {}: {:?}", step, call);
        }
    }
}
