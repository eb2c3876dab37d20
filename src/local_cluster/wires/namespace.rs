use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    os::fd::{AsFd as _, AsRawFd as _},
    process::{Child, Command, Stdio},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::WiresError;

/// A network namespace. It is there as long as a thread, a process or a descriptor is in it.
#[derive(Debug)]
pub(super) struct Namespace(File);

impl Namespace {
    /// That of the calling thread.
    pub(super) fn here() -> Result<Self, WiresError> {
        Self::of("thread-self")
    }

    fn of(process: &str) -> Result<Self, WiresError> {
        let path = format!("/proc/{process}/ns/net");
        File::open(&path).map(Self).map_err(|source| WiresError::Namespace { what: path, source })
    }

    /// A new one with its loopback up; a child makes it, since only unsafe code could here.
    pub(super) fn new() -> Result<Self, WiresError> {
        let mut maker = Command::new("unshare");
        maker.args(["--net", "sh", "-c", "ip link set lo up && echo made && read -r _"]);
        maker.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = maker.spawn().map_err(|source| WiresError::Start { program: "unshare", source })?;
        let made = if is_made(&mut child) { Some(Self::of(&child.id().to_string())) } else { None };
        drop(child.stdin.take());
        let failed = |source| WiresError::Start { program: "unshare", source };
        let ended = child.wait_with_output().map_err(failed)?;
        made.unwrap_or_else(|| Err(WiresError::refused("unshare --net", &ended.stderr)))
    }

    /// Moves the calling thread there.
    pub(super) fn enter(&self) -> Result<(), WiresError> {
        let moved = move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network));
        moved.map_err(|error| WiresError::Namespace { what: "setns".to_owned(), source: error.into() })
    }

    /// How other processes name it, as long as this one lives.
    pub(super) fn path(&self) -> String {
        path_of(&self.0)
    }

    /// Runs on a thread that is there, and with it all that is started meanwhile.
    pub(super) fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> Result<T, WiresError> {
        thread::scope(|scope| {
            let there = scope.spawn(|| self.enter().map(|()| what()));
            there.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
        })
    }

    /// Runs `ip` there, with these words behind it.
    pub(super) fn ip(&self, arguments: &str) -> Result<(), WiresError> {
        let run = || Command::new("ip").args(arguments.split(' ')).stdin(Stdio::null()).output();
        let output = self.inside(run)?.map_err(|source| WiresError::Start { program: "ip", source })?;
        if output.status.success() {
            return Ok(());
        }
        Err(WiresError::refused(&format!("ip {arguments}"), &output.stderr))
    }
}

/// How another process names an open file of this one.
pub(super) fn path_of(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

fn is_made(maker: &mut Child) -> bool {
    let Some(out) = maker.stdout.take() else { return false };
    let mut said = String::new();
    let read: io::Result<usize> = BufReader::new(out).read_line(&mut said);
    read.is_ok() && said.trim() == "made"
}
