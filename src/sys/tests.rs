use std::{
    fs::File,
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::Duration,
};

use super::{
    Cores, FlockWait, fdatasync, flock, free_bytes, fsync_dir, map_populated, open_files_limit, pread,
    pread_cached, pwrite_all, raise_open_files_limit, read_direct, rss_bytes, sendfile, start_writeback,
    total_bytes,
};

fn file_with(bytes: &[u8]) -> (tempfile::TempDir, File) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(true).open(path).unwrap();
    pwrite_all(file.as_fd(), bytes, 0).unwrap();
    (dir, file)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

#[test]
fn a_read_is_short_only_at_the_end_of_the_file() {
    let (_dir, file) = file_with(b"0123456789");
    let mut buf = [0; 8];
    assert_eq!(pread(file.as_fd(), &mut buf, 4).unwrap(), 6);
    assert_eq!(&buf[..6], b"456789");
    assert_eq!(pread(file.as_fd(), &mut buf, 10).unwrap(), 0);
    assert_eq!(pread(file.as_fd(), &mut buf, 1000).unwrap(), 0);
}

#[test]
fn what_was_just_written_is_read_from_the_cache_or_not_told() {
    let data = pattern(20_000);
    let (_dir, file) = file_with(&data);
    let mut buf = vec![0; 30_000];
    if let Some(read) = pread_cached(file.as_fd(), &mut buf, 0).unwrap() {
        assert_eq!(&buf[..read], &data[..read]);
    }
}

#[test]
fn a_direct_read_gives_the_same_bytes_at_any_position_and_length() {
    let data = pattern(2_500_001);
    let (dir, file) = file_with(&data);
    fdatasync(file.as_fd()).unwrap();
    let path = dir.path().join("file");
    for (position, len) in
        [(0, 0), (0, 1), (1, 4096), (4095, 2), (4096, 4096), (777, 2_000_000), (2_499_999, 4), (9_000_000, 8)]
    {
        let mut buf = vec![0; len];
        let read = read_direct(&path, position as u64, &mut buf).unwrap();
        let expected = &data[position.min(data.len())..(position + len).min(data.len())];
        assert_eq!(&buf[..read], expected, "{len} bytes at {position}");
    }
}

#[test]
fn a_lock_shuts_out_a_second_opening_in_the_same_process() {
    let (dir, first) = file_with(b"");
    let second = File::open(dir.path().join("file")).unwrap();
    flock(&first, FlockWait::Fail).unwrap();
    let refused = flock(&second, FlockWait::Fail).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    drop(first);
    flock(&second, FlockWait::Block).unwrap();
}

#[test]
fn a_map_longer_than_its_file_is_an_error_rather_than_a_signal() {
    let data = pattern(70_000);
    let (_dir, file) = file_with(&data);
    assert_eq!(map_populated(&file, 70_000).unwrap().bytes(), &data[..]);
    assert_eq!(map_populated(&file, 0).unwrap().bytes(), b"");
    let refused = map_populated(&file, 70_001).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn sendfile_sends_a_range_and_reports_a_full_socket() {
    let data = pattern(4 << 20);
    let (_dir, file) = file_with(&data);
    let (sender, mut receiver) = UnixStream::pair().unwrap();
    sender.set_nonblocking(true).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut sent = 0;
    let full = loop {
        match sendfile(sender.as_fd(), file.as_fd(), 5 + sent as u64, data.len()) {
            Ok(n) => sent += n,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    let mut got = vec![0; sent];
    receiver.read_exact(&mut got).unwrap();
    assert_eq!(got, &data[5..5 + sent]);
    assert_eq!(sendfile(sender.as_fd(), file.as_fd(), data.len() as u64, 10).unwrap(), 0);
}

#[test]
fn syncing_and_measuring_answer_on_a_real_folder() {
    let (dir, mut file) = file_with(&pattern(10_000));
    file.write_all(b"x").unwrap();
    start_writeback(file.as_fd(), 0, 4096).unwrap();
    start_writeback(file.as_fd(), 0, 0).unwrap();
    fdatasync(file.as_fd()).unwrap();
    fsync_dir(dir.path()).unwrap();
    let free = free_bytes(dir.path()).unwrap();
    assert!(free > 0 && free <= total_bytes(dir.path()).unwrap());
    assert!(rss_bytes().unwrap() > 100_000);
}

#[test]
fn the_limit_of_open_files_is_raised_to_the_highest_that_is_allowed() {
    let (_before, now) = raise_open_files_limit().unwrap();
    assert_eq!(now, rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum);
    assert_eq!(now, open_files_limit());
    assert_eq!(raise_open_files_limit().unwrap(), (now, now), "a second time changes nothing");
}

#[test]
fn a_thread_that_leaves_one_core_to_others_is_followed_by_those_that_it_begins() {
    let outer = thread::spawn(|| {
        let Some(cores) = Cores::all_but_one().unwrap() else {
            println!("skipped: there is one core");
            return;
        };
        cores.confine_this_thread().unwrap();
        let fewer = thread::spawn(|| Cores::all_but_one().unwrap()).join().unwrap();
        assert_eq!(fewer.map_or(0, |fewer| fewer.count()), cores.count() - 1);
        cores.confine_this_thread().unwrap();
        assert_eq!(Cores::all_but_one().unwrap(), fewer, "the same as before");
    });
    outer.join().unwrap();
}
