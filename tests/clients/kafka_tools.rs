//! Kafka's own command-line tools against a node: each does its work, or says clearly what is not there.
//!
//! A test begins with a node of its own and runs one tool after the other; no two JVMs run at a time.

mod cluster;
mod configs;
mod groups;
mod records;
mod topics;

use std::{
    io::Write,
    process::{Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::support::{self, TestNode, java};

/// A heap that is small and that every tool is content with.
const HEAP_MB: u32 = 256;

/// A tool by its class, as `bin/kafka-*.sh` name them.
mod class {
    pub(super) const API_VERSIONS: &str = "org.apache.kafka.tools.BrokerApiVersionsCommand";
    pub(super) const CLUSTER: &str = "org.apache.kafka.tools.ClusterTool";
    pub(super) const CONFIGS: &str = "kafka.admin.ConfigCommand";
    pub(super) const CONSUMER_GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    pub(super) const CONSOLE_CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    pub(super) const CONSOLE_PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
    pub(super) const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
    pub(super) const GET_OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
    pub(super) const GROUPS: &str = "org.apache.kafka.tools.GroupsCommand";
    pub(super) const LEADER_ELECTION: &str = "org.apache.kafka.tools.LeaderElectionCommand";
    pub(super) const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";
    pub(super) const PRODUCER_PERFORMANCE: &str = "org.apache.kafka.tools.ProducerPerformance";
    pub(super) const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
    pub(super) const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
    pub(super) const VERIFIABLE_PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
    pub(super) const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";
}

/// Kafka's tools, and the node that they are pointed at.
struct Tools {
    kafka: java::Kafka,
    node: TestNode,
    _alone: MutexGuard<'static, ()>,
}

/// How a tool ended.
#[derive(Debug)]
struct Ran {
    done: bool,
    out: String,
    errors: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { done: output.status.success(), out: text(&output.stdout), errors: text(&output.stderr) }
    }

    fn says(&self, text: &str) -> bool {
        self.out.contains(text) || self.errors.contains(text)
    }
}

/// Held while JVMs run: each takes more than a core to start.
pub(crate) fn one_jvm_at_a_time() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tools {
    /// `None` after having said what is skipped.
    #[track_caller]
    fn find(test: &str) -> Option<Self> {
        let alone = one_jvm_at_a_time();
        let kafka = java::find(test)?;
        Some(Self { kafka, node: support::start_node(), _alone: alone })
    }

    /// Runs a tool with the node's address behind its arguments.
    fn run(&self, class: &str, arguments: &[&str]) -> Ran {
        let address = self.node.kafka_address();
        self.run_with(class, &[&["--bootstrap-server", address.as_str()], arguments].concat(), "")
    }

    /// Runs a tool with these arguments alone, and gives it something to read.
    fn run_with(&self, class: &str, arguments: &[&str], input: &str) -> Ran {
        let mut java = self.kafka.java(class, HEAP_MB);
        java.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = java.spawn().unwrap();
        // Dropped at once: the tool reads the end of its input. One that reads none has closed it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::of(&child.wait_with_output().unwrap())
    }

    /// Runs a tool that is to succeed, and gives what it printed.
    #[track_caller]
    fn must(&self, class: &str, arguments: &[&str]) -> String {
        let ran = self.run(class, arguments);
        assert!(ran.done && !ran.errors.contains("Exception"), "{class} {arguments:?}: {ran:#?}");
        ran.out
    }

    /// Runs a tool that is to fail for this reason.
    #[track_caller]
    fn refused(&self, class: &str, arguments: &[&str], reason: &str) {
        let ran = self.run(class, arguments);
        assert!(!ran.done && ran.says(reason), "{class} {arguments:?}, not {reason:?}: {ran:#?}");
    }
}
