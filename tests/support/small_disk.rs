//! A disk so small that a test can fill it: a `tmpfs`, which only root may mount.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use super::skip::{run, skip};

/// A small disk, unmounted on drop.
#[derive(Debug)]
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of this many MiB at `path`; `None` after having said that it is skipped.
    #[track_caller]
    pub(crate) fn mount(path: &Path, mebibytes: usize, test: &str) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={mebibytes}m");
        match run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "polylogue-test"]).arg(path)) {
            Ok(_) => Some(Self(path.to_owned())),
            Err(why) => {
                skip(test, "small disk", &why);
                None
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A file that takes space and belongs to nobody.
    pub(crate) fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes all that is left.
    #[track_caller]
    pub(crate) fn fill(&self) {
        let mut ballast = OpenOptions::new().create(true).append(true).open(self.ballast()).unwrap();
        for piece in [&vec![0; 64 << 10][..], &[0]] {
            let full = loop {
                if let Err(error) = ballast.write_all(piece) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull);
        }
    }

    /// Gives back all that was taken by [`fill`](Self::fill).
    #[track_caller]
    pub(crate) fn clear(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Where it stays mounted its folder cannot be removed either, and that is seen.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
