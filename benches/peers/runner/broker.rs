//! Brokers as processes: started on free loopback ports over a folder of their own, told to end and
//! waited for, never left behind.

use std::{
    env,
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{admin, disk, kafka::Kafka, rows::Topic};
use crate::driver::now_nanos;

pub(super) const READY_WITHIN: Duration = Duration::from_mins(1);
pub(super) const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// A deleted topic's files must be gone by then, or the next run shares the disk with the deleting.
pub(super) const FREED_WITHIN: Duration = Duration::from_secs(30);
/// What a broker may keep on disk once its topics are deleted.
pub(super) const LEFT_OVER_BYTES: u64 = 64 << 20;
const POLL: Duration = Duration::from_millis(1);
/// Of a node of ours in the rows about groups; Kafka's are beside its other properties.
const GROUP_SETTINGS: [&str; 4] = [
    "groups.offsets-partitions=16",
    "groups.initial-rebalance-delay=0s",
    "groups.consumer-heartbeat-interval=1s",
    "groups.consumer-session-timeout=6s",
];

/// A kind of broker: how it is started and whether topics must be created on it.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// `polylogue serve`.
    Polylogue { program: PathBuf },
    /// Any other broker that takes any topic; `{port}` and `{dir}` in its command are replaced.
    Command { words: Vec<String> },
    /// The ideal server.
    Ideal,
    /// Apache Kafka.
    Kafka(Kafka),
}

/// What a broker is told beside its port.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hints {
    pub(super) partitions: i32,
    /// The row is about consumer groups: no initial delay, heartbeat interval 1 s and session time-out 6 s of the
    /// server-side protocol, 16 partitions for their offsets.
    pub(super) groups: bool,
    /// For the ideal server: answer fetches with copies up to this offset.
    pub(super) serve_copies_to: Option<u64>,
}

/// A broker that runs. Ends with the value.
pub(super) struct Broker {
    kind: Kind,
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Kind {
    /// In tables and on the progress line.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Polylogue { .. } => "ours",
            Self::Command { .. } => "other",
            Self::Ideal => "ideal",
            Self::Kafka(_) => "kafka",
        }
    }

    /// Whether topics are created and deleted; else a broker is started anew instead.
    pub(super) fn has_topics(&self) -> bool {
        matches!(self, Self::Polylogue { .. } | Self::Kafka(_))
    }

    /// The topic's configs for what the row asks; each broker has names of its own.
    pub(super) fn configs(&self, topic: Topic) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Polylogue { .. } => {
                vec![("durability", topic.durability), ("verify.on.read", topic.verify_on_read)]
            }
            Self::Kafka(_) if topic.durability == "disk" => vec![("flush.messages", "1")],
            Self::Kafka(_) | Self::Command { .. } | Self::Ideal => Vec::new(),
        }
    }

    fn command(&self, folder: &Path, address: SocketAddr, hints: Hints) -> Result<Command> {
        match self {
            Self::Polylogue { program } => serve_command(program, folder, address, hints),
            Self::Command { words } => Ok(other_command(words, folder, address)),
            Self::Ideal => ideal_command(folder, address, hints),
            Self::Kafka(kafka) => kafka.command(folder, address, hints.groups),
        }
    }
}

fn serve_command(program: &Path, folder: &Path, address: SocketAddr, hints: Hints) -> Result<Command> {
    let mut command = Command::new(program);
    command.args(["serve", "--node-id", "1", "--data-dir"]).arg(folder);
    command.args(["--kafka-listen", &address.to_string()]);
    command.args(["--admin-listen", &free_address()?.to_string()]);
    command.args(["--cluster-listen", &free_address()?.to_string()]);
    if hints.groups {
        command.args(GROUP_SETTINGS.iter().flat_map(|setting| ["--set", setting]));
    }
    Ok(command)
}

fn other_command(words: &[String], folder: &Path, address: SocketAddr) -> Command {
    let port = address.port().to_string();
    let filled =
        words.iter().map(|word| word.replace("{port}", &port).replace("{dir}", &folder.to_string_lossy()));
    let mut filled = filled.collect::<Vec<_>>().into_iter();
    let mut command = Command::new(filled.next().unwrap_or_default());
    command.args(filled);
    command
}

fn ideal_command(folder: &Path, address: SocketAddr, hints: Hints) -> Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["ideal-server", "--listen", &address.to_string(), "--data-dir"]).arg(folder);
    command.args(["--partitions", &hints.partitions.max(1).to_string()]);
    if let Some(end) = hints.serve_copies_to {
        command.args(["--serve-copies-to", &end.to_string()]);
    }
    Ok(command)
}

impl Broker {
    /// Starts on an empty folder and waits until it takes connections.
    pub(super) fn start(kind: &Kind, folder: &Path, hints: Hints) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        let mut broker = Self::launch(kind, folder, free_address()?, hints)?;
        broker.wait_until_ready()?;
        Ok(broker)
    }

    /// Starts on the folder as it is and returns at once.
    pub(super) fn launch(kind: &Kind, folder: &Path, address: SocketAddr, hints: Hints) -> Result<Self> {
        Self::spawn(kind, folder, address, kind.command(folder, address, hints)?)
    }

    /// Starts what serves on the folder and the address.
    pub(super) fn spawn(
        kind: &Kind,
        folder: &Path,
        address: SocketAddr,
        mut command: Command,
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let log = File::options().create(true).append(true).open(log_path(folder))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Self { kind: kind.clone(), child, folder: folder.to_owned(), address })
    }

    pub(super) fn wait_until_ready(&mut self) -> Result<()> {
        let (mut connected, mut ended) = (false, None);
        let address = self.address;
        wait_until(READY_WITHIN, || {
            connected = TcpStream::connect(address).is_ok();
            ended = self.child.try_wait().ok().flatten();
            connected || ended.is_some()
        });
        if let Some(status) = ended {
            bail!("{} ended at once with {status}: {}", self.kind.label(), self.last_words());
        }
        ensure!(connected, "{} took no connection within {READY_WITHIN:?}", self.kind.label());
        // Kafka takes connections long before it answers.
        if self.kind.has_topics() {
            admin::wait_until_answered(&address.to_string(), READY_WITHIN)
        } else {
            Ok(())
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Creates the topic where the broker has such a thing.
    pub(super) fn create_topic(&self, name: &str, partitions: i32, topic: Topic) -> Result<()> {
        if !self.kind.has_topics() {
            return Ok(());
        }
        admin::create_topic(&self.address.to_string(), name, (partitions, 1), &self.kind.configs(topic))
            .with_context(|| format!("create topic {name}; the broker's last words: {}", self.last_words()))
    }

    /// Deletes the topics and waits until their files are gone.
    pub(super) fn delete_topics(&self, names: &[String]) -> Result<()> {
        let address = self.address.to_string();
        names.iter().try_for_each(|name| admin::delete_topic(&address, name))?;
        if !wait_until(FREED_WITHIN, || disk::bytes_below(&self.folder) < LEFT_OVER_BYTES) {
            let names = names.join(", ");
            eprintln!("  {names}: deleted, but the files are still there after {FREED_WITHIN:?}");
        }
        Ok(())
    }

    /// Ends it as an operator would; an exit code other than 0 of a node of ours is an error.
    pub(super) fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM);
        let mut status = None;
        wait_until(ENDED_WITHIN, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        match status {
            None => bail!("{} did not end within {ENDED_WITHIN:?} of SIGTERM", self.kind.label()),
            Some(status) if self.must_end_well() && !status.success() => {
                bail!("{} ended with {status}: {}", self.kind.label(), self.last_words())
            }
            Some(_) => Ok(()),
        }
    }

    /// A JVM that was told to end says 143.
    fn must_end_well(&self) -> bool {
        matches!(self.kind, Kind::Polylogue { .. })
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal); // it may have ended by itself, which the caller sees
        }
    }

    /// The end of what it printed.
    fn last_words(&self) -> String {
        let text = fs::read_to_string(log_path(&self.folder)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" / ")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill(); // an error means that it has ended already
        let _ = self.child.wait();
    }
}

/// Beside the data folder, not in it.
fn log_path(folder: &Path) -> PathBuf {
    folder.with_extension("log")
}

/// A loopback port that nobody listens on at this moment.
pub(super) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Asks again and again; whether it came true in time.
pub(super) fn wait_until(limit: Duration, mut come_true: impl FnMut() -> bool) -> bool {
    let start = now_nanos();
    loop {
        if come_true() {
            return true;
        }
        if now_nanos() - start > limit.as_nanos() as u64 {
            return false;
        }
        thread::sleep(POLL);
    }
}
