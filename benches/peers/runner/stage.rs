//! One side of the comparison while a row is measured: its broker, its folder and the topics of the
//! run. A node of ours lives through the row and gets a fresh topic for each run; a broker without
//! topics is started anew instead, which is the nearest to it.

use std::{
    env, fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{
    broker::{Broker, Hints, Kind, free_address},
    rows::Topic,
};
use crate::driver::Report;

/// One side of a row.
pub(super) struct Stage {
    kind: Kind,
    folder: PathBuf,
    hints: Hints,
    topic: Topic,
    broker: Option<Broker>,
    topics_so_far: u32,
}

/// A driver in the background; ended when this goes.
pub(super) struct Background(Child);

impl Stage {
    pub(super) fn new(kind: &Kind, folder: PathBuf, hints: Hints, topic: Topic) -> Self {
        Self { kind: kind.clone(), folder, hints, topic, broker: None, topics_so_far: 0 }
    }

    pub(super) fn label(&self) -> &'static str {
        self.kind.label()
    }

    /// How many it has made.
    pub(super) fn topics_so_far(&self) -> usize {
        self.topics_so_far as usize
    }

    /// A topic that nobody has written to, on a broker that runs.
    pub(super) fn fresh_topic(&mut self) -> Result<String> {
        if self.broker.is_none() {
            self.broker = Some(Broker::start(&self.kind, &self.folder, self.hints)?);
        }
        self.topics_so_far += 1;
        let name = format!("peers-{}", self.topics_so_far);
        self.broker()?.create_topic(&name, self.hints.partitions.max(1), self.topic)?;
        Ok(name)
    }

    /// Frees what the run wrote.
    pub(super) fn clear(&mut self, topics: &[String]) -> Result<()> {
        if self.kind.has_topics() {
            return self.broker()?.delete_topics(topics);
        }
        self.close()
    }

    /// Ends the broker and leaves its folder as it is.
    pub(super) fn end_keeping_data(&mut self) -> Result<()> {
        self.broker.take().map_or(Ok(()), Broker::stop)
    }

    /// Starts a broker on the folder as it is, without waiting for it.
    pub(super) fn launch(&self) -> Result<Broker> {
        Broker::launch(&self.kind, &self.folder, free_address()?, self.hints)
    }

    /// Starts a broker on the folder as it is, to be this side's, without waiting for it.
    pub(super) fn relaunch(&mut self) -> Result<()> {
        self.broker = Some(self.launch()?);
        Ok(())
    }

    /// Ends the broker by `kill -9` and starts another on its folder at once.
    pub(super) fn kill_and_relaunch(&mut self) -> Result<()> {
        drop(self.broker.take());
        self.relaunch()
    }

    /// Ends the broker and removes its folder.
    pub(super) fn close(&mut self) -> Result<()> {
        let ended = self.end_keeping_data();
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        ended
    }

    pub(super) fn broker(&self) -> Result<&Broker> {
        self.broker.as_ref().context("no broker runs")
    }

    /// Runs the driver to its end.
    pub(super) fn drive(&self, topic: &str, load: &[&str]) -> Result<Report> {
        report_of(self.driver(topic, load)?, self.label())
    }

    /// Starts the driver and leaves it running.
    pub(super) fn drive_in_background(&self, topic: &str, load: &[&str]) -> Result<Background> {
        Ok(Background(self.driver(topic, load)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }

    fn driver(&self, topic: &str, load: &[&str]) -> Result<Command> {
        let broker = self.broker()?;
        let aim = Aim {
            brokers: &broker.address().to_string(),
            pids: &[broker.pid()],
            topic,
            partitions: self.hints.partitions.max(1),
            acks: self.topic.acks(),
        };
        aim.driver(load)
    }
}

/// What the driver is let loose on.
pub(super) struct Aim<'a> {
    /// Addresses, parted by commas.
    pub(super) brokers: &'a str,
    pub(super) pids: &'a [u32],
    pub(super) topic: &'a str,
    pub(super) partitions: i32,
    pub(super) acks: &'a str,
}

impl Aim<'_> {
    pub(super) fn driver(&self, load: &[&str]) -> Result<Command> {
        let pids = self.pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let mut command = Command::new(env::current_exe()?);
        command.arg("driver").args(load).args(["--brokers", self.brokers]);
        command.args(["--topic", self.topic, "--partitions", &self.partitions.to_string()]);
        command.args(["--broker-pid", &pids]);
        command.args(["--set", &format!("p.acks={}", self.acks)]);
        Ok(command)
    }
}

/// Runs a driver to its end; an error where one message failed.
pub(super) fn report_of(mut driver: Command, label: &str) -> Result<Report> {
    let output = driver.stderr(Stdio::inherit()).output()?;
    let report: Report = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the driver ended with {} and no report: {driver:?}", output.status))?;
    ensure!(
        report.failed == 0,
        "{} of {} messages failed on {label}, the first: {:?}",
        report.failed,
        report.failed + report.messages,
        report.first_error
    );
    Ok(report)
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill(); // an error means that it has ended already
        let _ = self.0.wait();
    }
}
