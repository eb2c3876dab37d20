//! Three nodes as one side of the comparison: ours by `local_cluster`, as every test starts them, Kafka's as three brokers
//! that are controllers too.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use polylogue::local_cluster::{LocalCluster, LocalNode, NodeOptions};

use crate::{
    driver::Report,
    groups,
    process::resident_mib,
    runner::{
        admin,
        broker::{
            Broker, ENDED_WITHIN, FREED_WITHIN, Kind, LEFT_OVER_BYTES, READY_WITHIN, free_address, wait_until,
        },
        disk,
        rows::{DISK, REPLICATED, Topic},
        stage::{Aim, report_of},
    },
};

/// Nodes of each side, and replicas of each partition.
pub(super) const NODES: usize = 3;
/// Enough for a majority, as operators set it; the node that leads waits for all that are in sync, on either side.
const MIN_IN_SYNC: &str = "2";
/// Made and deleted again once the nodes answer.
const READY_TOPIC: &str = "ready";

/// Three nodes that have not been started: their folders are empty (formatted, as Kafka wants it), their ports chosen.
pub(super) enum Prepared {
    Ours { program: PathBuf, folder: PathBuf },
    Kafka { kind: Kind, folder: PathBuf, nodes: Vec<(PathBuf, SocketAddr, Command)> },
}

/// Three nodes that run. End with the value.
pub(super) struct Side {
    nodes: Nodes,
    kind: Kind,
    folder: PathBuf,
    topics_so_far: u32,
}

enum Nodes {
    Ours(LocalCluster),
    Kafka(Vec<Broker>),
}

impl Prepared {
    pub(super) fn new(kind: &Kind, folder: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let folder = folder.to_owned();
        match kind {
            Kind::Polylogue { program } => Ok(Self::Ours { program: program.clone(), folder }),
            Kind::Kafka(kafka) => {
                let voters = (0..NODES).map(|_| free_address()).collect::<Result<Vec<_>>>()?;
                let node = |id: usize| {
                    let (folder, address) = (folder.join(format!("node{id}")), free_address()?);
                    let command = kafka.node_command(&folder, id, address, &voters)?;
                    Ok((folder, address, command))
                };
                let nodes = (1..=NODES).map(node).collect::<Result<_>>()?;
                Ok(Self::Kafka { kind: kind.clone(), folder, nodes })
            }
            Kind::Command { .. } | Kind::Ideal => bail!("{} has no cluster", kind.label()),
        }
    }

    /// Starts them all and waits for none.
    pub(super) fn start(self) -> Result<Side> {
        match self {
            Self::Ours { program, folder } => {
                let own = |options: NodeOptions| {
                    options.clone().folder(&folder.join(format!("node{}", options.id())))
                };
                let cluster = LocalCluster::launch(&program, NODES as u16, own)?;
                let kind = Kind::Polylogue { program };
                Ok(Side { nodes: Nodes::Ours(cluster), kind, folder, topics_so_far: 0 })
            }
            Self::Kafka { kind, folder, nodes } => {
                let spawn = |(folder, address, command): (PathBuf, SocketAddr, Command)| {
                    Broker::spawn(&kind, &folder, address, command)
                };
                let brokers = nodes.into_iter().map(spawn).collect::<Result<_>>()?;
                Ok(Side { nodes: Nodes::Kafka(brokers), kind, folder, topics_so_far: 0 })
            }
        }
    }
}

impl Side {
    /// Starts three nodes on empty folders and waits until they answer.
    pub(super) fn start(kind: &Kind, folder: &Path) -> Result<Self> {
        let mut side = Prepared::new(kind, folder)?.start()?;
        match &mut side.nodes {
            Nodes::Ours(cluster) => cluster.wait_until_ready(READY_WITHIN)?,
            Nodes::Kafka(brokers) => brokers.iter_mut().try_for_each(Broker::wait_until_ready)?,
        }
        // Topics of three replicas can be had once all nodes have registered.
        side.first_topic(READY_TOPIC)?;
        admin::delete_topic(&side.bootstrap(), READY_TOPIC)?;
        Ok(side)
    }

    pub(super) fn label(&self) -> &'static str {
        self.kind.label()
    }

    pub(super) fn bootstrap(&self) -> String {
        match &self.nodes {
            Nodes::Ours(cluster) => cluster.bootstrap(),
            Nodes::Kafka(brokers) => {
                brokers.iter().map(|broker| broker.address().to_string()).collect::<Vec<_>>().join(",")
            }
        }
    }

    fn pids(&self) -> Result<Vec<u32>> {
        match &self.nodes {
            Nodes::Ours(cluster) => {
                let pid = |node: &LocalNode| Ok(u32::try_from(node.pid()?.as_raw_nonzero().get())?);
                cluster.nodes.iter().map(pid).collect()
            }
            Nodes::Kafka(brokers) => Ok(brokers.iter().map(Broker::pid).collect()),
        }
    }

    /// Resident memory of one node, the mean of all.
    pub(super) fn resident_mib(&self) -> Result<f64> {
        let each = self.pids()?.into_iter().map(resident_mib).collect::<Result<Vec<_>>>()?;
        Ok(each.iter().sum::<f64>() / each.len() as f64)
    }

    /// A topic that nobody has written to, each partition on all nodes.
    pub(super) fn fresh_topic(&mut self, partitions: i32, on_disk: bool) -> Result<String> {
        self.topics_so_far += 1;
        let name = format!("peers-{}", self.topics_so_far);
        let topic = if on_disk { DISK } else { REPLICATED };
        let configs = self.configs(topic, MIN_IN_SYNC);
        admin::create_topic(&self.bootstrap(), &name, (partitions, NODES as i32), &configs)?;
        if let Nodes::Ours(cluster) = &self.nodes {
            cluster.until_in_sync(&name, READY_WITHIN)?;
        }
        Ok(name)
    }

    /// The topic whose record is the first of all; made as soon as the cluster makes one.
    pub(super) fn first_topic(&self, name: &str) -> Result<()> {
        let bootstrap = self.bootstrap();
        let first = bootstrap.split(',').next().context("no node")?.parse()?;
        // All three must have the record, or it is not acknowledged.
        let configs = self.configs(REPLICATED, "3");
        groups::topic_made(first, name, NODES as i16, &configs)
    }

    fn configs(&self, topic: Topic, min_in_sync: &'static str) -> Vec<(&'static str, &'static str)> {
        let mut configs = self.kind.configs(topic);
        configs.push(("min.insync.replicas", min_in_sync));
        configs
    }

    /// Runs the driver to its end.
    pub(super) fn drive(&self, topic: &str, partitions: i32, load: &[&str]) -> Result<Report> {
        let (brokers, pids) = (self.bootstrap(), self.pids()?);
        let aim = Aim { brokers: &brokers, pids: &pids, topic, partitions, acks: "all" };
        report_of(aim.driver(load)?, self.label())
    }

    /// Frees what the run wrote.
    pub(super) fn clear(&self, topic: &str) -> Result<()> {
        admin::delete_topic(&self.bootstrap(), topic)?;
        let most = LEFT_OVER_BYTES * NODES as u64;
        if !wait_until(FREED_WITHIN, || disk::bytes_below(&self.folder) < most) {
            eprintln!("  {topic}: deleted, but the files are still there after {FREED_WITHIN:?}");
        }
        Ok(())
    }

    /// Ends the nodes as an operator would and removes their folders.
    pub(super) fn close(self) -> Result<()> {
        match self.nodes {
            Nodes::Ours(mut cluster) => cluster.stop(ENDED_WITHIN)?,
            // One that is alone of three waits long for the others before it ends; its data go anyway.
            Nodes::Kafka(brokers) => drop(brokers),
        }
        fs::remove_dir_all(&self.folder)?;
        Ok(())
    }
}
