//! Apache Kafka as a peer: fetched with Maven, formatted, and started as its own scripts start it.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::broker::free_address;

/// What fetches Kafka for the tests.
#[allow(dead_code, clippy::unwrap_used, reason = "the tests use all of it, and fail by panicking")]
#[path = "../../../tests/support"]
mod support {
    pub(super) mod java;
    pub(super) mod skip;
}

/// The heap that `kafka-server-start.sh` gives a node; three on one machine have half of it each.
const HEAP: &str = "1G";
const HEAP_OF_THREE: &str = "512m";
/// What `kafka-run-class.sh` and `kafka-server-start.sh` of Kafka 4.1.1 give the JVM beside its heap.
const JVM: [&str; 7] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
    "-Djava.awt.headless=true",
];

/// The threads and buffers of the `server.properties` that Kafka comes with, one node that is broker and
/// controller, and files of deleted topics gone after a second rather than a minute, so that the next run has the
/// disk to itself.
const PROPERTIES: &str = "process.roles=broker,controller
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
num.recovery.threads.per.data.dir=1
log.segment.delete.delay.ms=1000
";

/// Of a node that is alone.
const ALONE: &str = "node.id=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
";

/// For the rows about consumer groups; what a node of ours is told stands in `broker`.
const GROUP_PROPERTIES: &str = "offsets.topic.num.partitions=16
group.initial.rebalance.delay.ms=0
group.consumer.heartbeat.interval.ms=1000
group.consumer.min.heartbeat.interval.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=6000
";

/// Where the jars are.
#[derive(Clone, Debug)]
pub(crate) struct Kafka(support::java::Kafka);

impl Kafka {
    /// Fetches what is not there yet.
    pub(crate) fn fetch() -> Result<Self> {
        support::java::find("--beside-kafka").map(Self).context(
            "Apache Kafka cannot be had: the line above says why (Java 17, Maven and a network are needed)",
        )
    }

    /// For other programs than the broker's, written with Kafka's client.
    pub(crate) fn class_path(&self) -> OsString {
        self.0.class_path()
    }

    /// About to start a broker on a folder, which is formatted if it is new.
    pub(super) fn command(&self, folder: &Path, address: SocketAddr, groups: bool) -> Result<Command> {
        let (properties, controller) = (beside(folder, "properties"), beside(folder, "controller"));
        let is_new = !folder.join("meta.properties").exists();
        if is_new {
            fs::write(&controller, free_address()?.to_string())?;
        }
        // A quorum remembers where its voters are.
        let controller = fs::read_to_string(&controller).context("the folder is another program's")?;
        let more = if groups { GROUP_PROPERTIES } else { "" };
        let listeners = format!("PLAINTEXT://{address},CONTROLLER://{controller}");
        fs::write(
            &properties,
            format!(
                "{PROPERTIES}{ALONE}{more}listeners={listeners}\nadvertised.listeners={listeners}\n\
                 controller.quorum.bootstrap.servers={controller}\nlog.dirs={}\n",
                folder.display()
            ),
        )?;
        if is_new {
            self.format(&properties, &["--standalone"])?;
        }
        let mut command = self.java(HEAP);
        command.arg("kafka.Kafka").arg(properties);
        Ok(command)
    }

    /// About to start node `id` of several, on a folder that is new or was formatted for it. `voters` are the addresses of
    /// all their controllers, by node id from 1.
    pub(super) fn node_command(
        &self,
        folder: &Path,
        id: usize,
        address: SocketAddr,
        voters: &[SocketAddr],
    ) -> Result<Command> {
        let properties = beside(folder, "properties");
        let controller = voters.get(id - 1).context("a node without a controller")?;
        let each = voters.iter().enumerate().map(|(index, address)| format!("{}@{address}", index + 1));
        let voters = each.collect::<Vec<_>>().join(",");
        let listeners = format!("PLAINTEXT://{address},CONTROLLER://{controller}");
        fs::write(
            &properties,
            format!(
                "{PROPERTIES}node.id={id}\nlisteners={listeners}\nadvertised.listeners={listeners}\n\
                 controller.quorum.voters={voters}\nlog.dirs={}\n",
                folder.display()
            ),
        )?;
        if !folder.join("meta.properties").exists() {
            self.format(&properties, &[])?;
        }
        let mut command = self.java(HEAP_OF_THREE);
        command.arg("kafka.Kafka").arg(properties);
        Ok(command)
    }

    fn format(&self, properties: &Path, more: &[&str]) -> Result<()> {
        let mut format = self.java(HEAP);
        format.args(["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk"]).args(more);
        let output = format.arg("-c").arg(properties).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "Kafka's storage tool ended with {}: {said}", output.status);
        Ok(())
    }

    fn java(&self, heap: &str) -> Command {
        let mut java = Command::new("java");
        java.args([format!("-Xmx{heap}"), format!("-Xms{heap}")])
            .args(JVM)
            .arg("-cp")
            .arg(self.0.class_path());
        java
    }
}

fn beside(folder: &Path, extension: &str) -> PathBuf {
    folder.with_extension(extension)
}
