use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

use crate::model::NodeId;

/// Why a node did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum LocalNodeError {
    /// No port on loopback could be taken.
    #[error("no free port on 127.0.0.1: {0}")]
    NoPort(#[source] io::Error),
    /// The node's folder or log cannot be made or read.
    #[error("folder {}: {source}", path.display())]
    Folder {
        /// Which file or folder.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The program cannot be started.
    #[error("cannot start {}: {source}", binary.display())]
    Start {
        /// Which program.
        binary: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The process ended while something was expected of it.
    #[error("node {node} ended with {status}; its log ends with:\n{log}")]
    Ended {
        /// Which node.
        node: NodeId,
        /// How.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// The process runs but did not get so far.
    #[error("node {node}: {missing} within {within:?}; its log ends with:\n{log}")]
    TooLate {
        /// Which node.
        node: NodeId,
        /// What was waited for.
        missing: &'static str,
        /// For how long.
        within: Duration,
        /// The last lines of its log.
        log: String,
    },
    /// It is started already.
    #[error("node {node} is running")]
    Running {
        /// Which node.
        node: NodeId,
    },
    /// It is not running, so there is nothing to signal or to measure.
    #[error("node {node} is not running")]
    NotRunning {
        /// Which node.
        node: NodeId,
    },
    /// A signal, a wait or a look into `/proc` failed.
    #[error("node {node}: {what}: {source}")]
    Process {
        /// Which node.
        node: NodeId,
        /// What was tried.
        what: &'static str,
        /// What failed.
        source: io::Error,
    },
    /// There is no node.
    #[error("there is no node to ask")]
    Nobody,
    /// A topic did not get so far.
    #[error("topic {topic}: {missing} within {within:?}; the logs end with:\n{log}")]
    Topic {
        /// Which.
        topic: String,
        /// What was waited for.
        missing: &'static str,
        /// For how long.
        within: Duration,
        /// The last lines of all logs.
        log: String,
    },
    /// The admin port did not answer as asked.
    #[error("node {node}: GET {path}: {source}")]
    Admin {
        /// Which node.
        node: NodeId,
        /// What was asked for.
        path: String,
        /// What failed.
        source: io::Error,
    },
}
