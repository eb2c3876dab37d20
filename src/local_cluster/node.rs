use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Answer, Folder, LocalNodeError, NodeOptions, http, usage};
use crate::{
    admin::cluster::ClusterReport,
    clock::{Clock, SystemClock},
    model::NodeId,
};

/// How often a condition is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(2);
/// How long one step of a question to the admin port may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of a log is kept in an error.
const LOG_LINES_IN_ERRORS: usize = 20;
/// The file of what a node prints.
const LOG: &str = "log";

/// One node: a process, its ports and its folder, over any number of starts.
#[derive(Debug)]
pub struct LocalNode {
    options: NodeOptions,
    // Declared before the folder, so that the process is gone before its files are.
    process: Process,
    folder: Folder,
    /// How much log there was before, in bytes: a folder may have been used before.
    log_began: u64,
    clock: SystemClock,
}

/// The child, if there is one; dropping it kills and reaps it.
#[derive(Debug, Default)]
struct Process(Option<Child>);

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended by itself; nothing else can go wrong with a child of our own.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl LocalNode {
    /// Starts the process; [`LocalNode::wait_until_ready`] says when it serves.
    pub fn start(options: NodeOptions) -> Result<Self, LocalNodeError> {
        let folder = Folder::open(options.folder.as_deref(), options.id)?;
        let log_began = folder.path().join(LOG).metadata().map_or(0, |log| log.len());
        let (process, clock) = (Process::default(), SystemClock::new());
        let mut node = Self { options, process, folder, log_began, clock };
        node.start_again()?;
        Ok(node)
    }

    /// Starts the process anew on the same ports and folder, after it ended.
    pub fn start_again(&mut self) -> Result<(), LocalNodeError> {
        if self.is_running() {
            return Err(LocalNodeError::Running { node: self.id() });
        }
        let path = self.log_path();
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let logs = log.and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = logs.map_err(|source| LocalNodeError::Folder { path, source })?;
        let child = self.command().stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let binary = self.options.binary.clone();
        let child = child.map_err(|source| LocalNodeError::Start { binary, source })?;
        self.process = Process(Some(child));
        Ok(())
    }

    fn command(&self) -> Command {
        let options = &self.options;
        let mut words = options.through.iter().cloned().chain([options.binary.clone().into_os_string()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg("serve").args(["--node-id", &options.id.to_string()]);
        command.arg("--data-dir").arg(self.data_folder());
        command.args(["--kafka-listen", &options.kafka.to_string()]);
        command.args(["--admin-listen", &options.admin.to_string()]);
        command.args(["--cluster-listen", &options.cluster.to_string()]);
        for seed in &options.seeds {
            command.args(["--seed", &seed.to_string()]);
        }
        // What tests read, and nodes would take for a misspelt setting.
        command.env_remove("POLYLOGUE_SEED").env_remove("POLYLOGUE_SEEDS");
        command.args(&options.arguments).envs(options.environment.iter().cloned());
        command
    }

    /// Waits until the client listener accepts and the admin port's `/ready` says 200.
    pub fn wait_until_ready(&mut self, within: Duration) -> Result<(), LocalNodeError> {
        let kafka = self.options.kafka;
        self.wait_for("its Kafka port did not accept", within, |_| {
            Ok(TcpStream::connect_timeout(&kafka, ADMIN_TIMEOUT).is_ok())
        })?;
        self.wait_for("GET /ready did not say 200", within, |node| {
            Ok(node.get("/ready").is_ok_and(|answer| answer.status == 200))
        })
    }

    /// Polls a condition up to a deadline, and gives up early where the process has ended.
    pub fn wait_for(
        &mut self,
        missing: &'static str,
        within: Duration,
        mut holds: impl FnMut(&mut Self) -> Result<bool, LocalNodeError>,
    ) -> Result<(), LocalNodeError> {
        let deadline = self.clock.monotonic() + within;
        loop {
            if holds(self)? {
                return Ok(());
            }
            if let Some(status) = self.exit_status()? {
                return Err(LocalNodeError::Ended { node: self.id(), status, log: self.log_tail() });
            }
            if self.clock.monotonic() >= deadline {
                return Err(LocalNodeError::TooLate {
                    node: self.id(),
                    missing,
                    within,
                    log: self.log_tail(),
                });
            }
            thread::sleep(POLL);
        }
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) -> Result<(), LocalNodeError> {
        let node = self.id();
        let failed = |what| move |source| LocalNodeError::Process { node, what, source };
        let child = self.process.0.as_mut().ok_or(LocalNodeError::NotRunning { node })?;
        child.kill().map_err(failed("SIGKILL"))?;
        child.wait().map_err(failed("wait"))?;
        self.process.0 = None;
        Ok(())
    }

    /// SIGSTOP, and waits until every thread rests: the ports stay open and nobody answers.
    pub fn pause(&mut self) -> Result<(), LocalNodeError> {
        self.signal(Signal::STOP, "SIGSTOP")?;
        self.wait_for("SIGSTOP did not stop it", ADMIN_TIMEOUT, |node| {
            let pid = node.pid()?;
            usage::is_stopped(pid).map_err(|source| node.failed("/proc stat", source))
        })
    }

    /// Whether it rests, by a SIGSTOP of anybody.
    pub fn is_paused(&self) -> bool {
        self.pid().is_ok_and(|pid| usage::is_stopped(pid).unwrap_or_default())
    }

    /// SIGCONT.
    pub fn resume(&mut self) -> Result<(), LocalNodeError> {
        self.signal(Signal::CONT, "SIGCONT")
    }

    /// SIGTERM, and waits for the end: how an operator stops a node.
    ///
    /// Where it does not end in time the process is left running.
    pub fn stop(&mut self, within: Duration) -> Result<ExitStatus, LocalNodeError> {
        self.signal(Signal::TERM, "SIGTERM")?;
        match self.wait_for("it did not end on SIGTERM", within, |_| Ok(false)) {
            Err(LocalNodeError::Ended { status, .. }) => {
                self.process.0 = None;
                Ok(status)
            }
            Err(other) => Err(other),
            Ok(()) => Err(LocalNodeError::Running { node: self.id() }),
        }
    }

    fn signal(&self, signal: Signal, what: &'static str) -> Result<(), LocalNodeError> {
        kill_process(self.pid()?, signal).map_err(|error| self.failed(what, error.into()))
    }

    /// The cluster, as this node sees it.
    pub fn report(&self) -> Result<ClusterReport, LocalNodeError> {
        self.cluster("/cluster")
    }

    pub(super) fn cluster(&self, path: &str) -> Result<ClusterReport, LocalNodeError> {
        let answer = self.get(path)?;
        serde_json::from_str(&answer.body).map_err(|error| LocalNodeError::Admin {
            node: self.id(),
            path: path.to_owned(),
            source: error.into(),
        })
    }

    /// How the process ended, if it has; `None` also where none was started since the last kill.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>, LocalNodeError> {
        let node = self.id();
        let Some(child) = &mut self.process.0 else { return Ok(None) };
        child.try_wait().map_err(|source| LocalNodeError::Process { node, what: "wait", source })
    }

    /// Whether there is a process that has not ended; a paused one counts.
    pub fn is_running(&mut self) -> bool {
        self.process.0.is_some() && matches!(self.exit_status(), Ok(None))
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        self.options.id
    }

    /// The process's id.
    pub fn pid(&self) -> Result<Pid, LocalNodeError> {
        let child = self.process.0.as_ref();
        child
            .and_then(|child| Pid::from_raw(child.id() as i32))
            .ok_or(LocalNodeError::NotRunning { node: self.id() })
    }

    /// Where clients connect, as they take it.
    pub fn kafka_address(&self) -> String {
        self.options.kafka.to_string()
    }

    /// Where the admin port is.
    pub fn admin_address(&self) -> SocketAddr {
        self.options.admin
    }

    /// Where other nodes connect.
    pub fn cluster_address(&self) -> SocketAddr {
        self.options.cluster
    }

    /// The folder that holds data and log.
    pub fn folder(&mut self) -> &mut Folder {
        &mut self.folder
    }

    /// The node's `--data-dir`.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder of one partition's log.
    pub fn partition_folder(&self, topic: &str, partition: i32) -> PathBuf {
        self.data_folder().join("logs").join(format!("{topic}-{partition}"))
    }

    /// What the node printed, over all of its starts.
    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join(LOG)
    }

    /// Where in its log this run of it begins.
    pub(super) fn log_began(&self) -> u64 {
        self.log_began
    }

    /// The last lines of its log; what went wrong where it cannot be read.
    pub fn log_tail(&self) -> String {
        last_lines(&self.log_path(), LOG_LINES_IN_ERRORS).unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// Asks the admin port.
    pub fn get(&self, path: &str) -> Result<Answer, LocalNodeError> {
        http::get(self.options.admin, path, ADMIN_TIMEOUT).map_err(|source| LocalNodeError::Admin {
            node: self.id(),
            path: path.to_owned(),
            source,
        })
    }

    /// A metric's value, summed over its labels; `None` where the node does not have it.
    pub fn metric(&self, name: &str) -> Result<Option<f64>, LocalNodeError> {
        Ok(http::metric(&self.get("/metrics")?.body, name))
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> Result<u64, LocalNodeError> {
        usage::resident_bytes(self.pid()?).map_err(|source| self.failed("/proc status", source))
    }

    /// Processor time of this process since it started, all threads together.
    pub fn cpu_time(&self) -> Result<Duration, LocalNodeError> {
        usage::cpu_time(self.pid()?).map_err(|source| self.failed("/proc stat", source))
    }

    fn failed(&self, what: &'static str, source: io::Error) -> LocalNodeError {
        LocalNodeError::Process { node: self.id(), what, source }
    }
}

fn last_lines(path: &Path, count: usize) -> io::Result<String> {
    const LOOK_BACK: u64 = 64 * 1024;
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(LOOK_BACK)))?;
    let mut bytes = Vec::new();
    file.take(LOOK_BACK).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(count)..].join("\n"))
}
