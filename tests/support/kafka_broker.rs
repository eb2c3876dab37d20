//! A broker of Apache Kafka: one process of `KRaft` over a folder of its own, gone with the value.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use rdkafka::consumer::Consumer;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{eventually, java::Kafka, rdkafka::consumer};

/// A JVM starts slowly, more so where all of a machine's cores are busy.
const READY_WITHIN: Duration = Duration::from_mins(2);
const HEAP_MB: u32 = 512;

/// Runs until it is told to stop, or dropped.
#[derive(Debug)]
pub(crate) struct KafkaBroker {
    child: Child,
    folder: TempDir,
    address: String,
}

impl KafkaBroker {
    /// Formats a folder and starts on it, up and ready.
    pub(crate) fn start(kafka: &Kafka) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [clients, controllers] = [free_address(), free_address()];
        let settings = folder.path().join("server.properties");
        fs::write(&settings, properties(folder.path(), &clients, &controllers)).unwrap();
        let mut format = kafka.java("kafka.tools.StorageTool", HEAP_MB);
        format.args(["format", "--standalone", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c"]).arg(&settings);
        let formatted = format.output().unwrap();
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        let mut broker = kafka.java("kafka.Kafka", HEAP_MB);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        broker.arg(&settings).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = broker.spawn().unwrap();
        let broker = Self { child, folder, address: clients };
        let consumer = consumer(&broker.address);
        eventually("Kafka is up", READY_WITHIN, || {
            consumer.fetch_metadata(None, Duration::from_secs(1)).ok()
        });
        broker
    }

    /// Where its clients reach it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Where its partitions' folders are.
    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Lets it end in order; its files stay for as long as what is given back.
    pub(crate) fn stop(mut self) -> Stopped {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        eventually("Kafka's end", READY_WITHIN, || self.child.try_wait().unwrap());
        Stopped { logs: self.logs(), _broker: self }
    }
}

/// What a broker has left.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) logs: PathBuf,
    _broker: KafkaBroker,
}

impl Drop for KafkaBroker {
    fn drop(&mut self) {
        let _ = self.child.kill(); // an error means that it has ended already
        let _ = self.child.wait();
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn properties(folder: &Path, clients: &str, controllers: &str) -> String {
    let data = folder.join("data");
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.bootstrap.servers={controllers}\n\
         listeners=PLAINTEXT://{clients},CONTROLLER://{controllers}\n\
         advertised.listeners=PLAINTEXT://{clients},CONTROLLER://{controllers}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=1\n",
        data.display()
    )
}
