//! `polylogue demo`: nodes, a day of a web shop, and proof that all of it is there.
//!
//! Where there are several nodes the one that leads is killed in the middle of the load, and brought back.
//!
//! Every record read is compared with the one that its number says was sent, which is made again from
//! the seed. The number of the next record of each partition is found by walking the day anew beside
//! the reading, so that no record is kept.

mod check;
mod events;
mod replay;
mod report;
mod strike;
mod write;

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use tokio::sync::{oneshot, watch};

use self::{
    events::Day,
    report::Report,
    strike::{Signals, Struck, strike},
    write::Writing,
};
use super::connect::explain;
use crate::{
    client::{Admin, Client, ClientConfig, admin::NewTopic},
    local_cluster::{LocalCluster, LocalNode, this_program},
    model::{NodeId, TopicName},
};

/// How long a node may take to start or to stop.
const NODE_TIME: Duration = Duration::from_mins(1);
/// How long nothing may come before something is wrong.
const PATIENCE: Duration = Duration::from_mins(1);

/// The most replicas that the topic gets.
const MOST_REPLICAS: i16 = 3;

#[derive(Args, Clone, Debug)]
pub(super) struct Flags {
    /// How many nodes to start; of several, one that leads is killed in the middle of the load.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// How many events to write.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// How many partitions the topic has.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=1000))]
    partitions: i32,
    /// What the events are made from; the same seed makes the same events.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Keep the nodes' folders, and say where they are.
    #[arg(long)]
    keep: bool,
    /// The folder of the node, or of folders of nodes, which is kept [default: a temporary one, which is removed]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What the parts of the demo share.
struct Demo {
    client: Client,
    topic: TopicName,
    partitions: usize,
    records: u64,
    day: Day,
}

pub(super) async fn run(flags: Flags) -> anyhow::Result<()> {
    let program = this_program().context("cannot find this program")?;
    let cluster = start(&flags, &program)?;
    let (mut cluster, outcome) = show(&flags, cluster).await;
    let stopped = cluster.stop(NODE_TIME);
    let logs: Vec<_> = cluster.nodes.iter().map(|node| (node.id(), node.log_tail())).collect();
    if flags.keep || flags.data_dir.is_some() {
        for node in &mut cluster.nodes {
            node.folder().keep();
            eprintln!("the node's data and log are kept in {}", node.folder().path().display());
        }
    }
    let tails = || {
        let tail = |(id, log): &(NodeId, String)| format!("the log of node {id} ends with:\n{log}");
        logs.iter().map(tail).collect::<Vec<_>>().join("\n")
    };
    let report = outcome.with_context(tails)?;
    stopped?;
    report.print(&mut io::stdout().lock())?;
    if report.is_right() { Ok(()) } else { bail!("not everything matched") }
}

fn start(flags: &Flags, program: &std::path::Path) -> anyhow::Result<LocalCluster> {
    let alone = flags.nodes == 1;
    eprintln!("{}", if alone { "starting a node ..." } else { "starting nodes ..." });
    let mut cluster = LocalCluster::launch(program, flags.nodes, |options| match &flags.data_dir {
        Some(folder) if alone => options.folder(folder),
        all => options.folder_below(all.as_deref()),
    })?;
    cluster.wait_until_ready(NODE_TIME)?;
    for node in &cluster.nodes {
        let id = if alone { String::new() } else { format!(" {}", node.id()) };
        eprintln!(
            "node{id} ready: clients at {}, admin port at {}",
            node.kafka_address(),
            node.admin_address()
        );
    }
    Ok(cluster)
}

async fn show(flags: &Flags, cluster: LocalCluster) -> (LocalCluster, anyhow::Result<Report>) {
    let demo = match Demo::new(flags, &cluster) {
        Ok(demo) => demo,
        Err(error) => return (cluster, Err(error)),
    };
    if let Err(error) = create_topic(&demo, flags).await {
        return (cluster, Err(error));
    }
    let (cluster, written) = demo.write_and_strike(cluster).await;
    let outcome = async {
        let (written, struck) = written?;
        let read = demo.read_all().await?;
        let replayed = demo.replay().await?;
        io::stderr().flush()?;
        let memory = cluster.nodes.iter().map(LocalNode::resident_bytes).sum::<Result<u64, _>>()?;
        Ok(Report {
            seed: flags.seed,
            partitions: demo.partitions,
            records: demo.records,
            nodes: cluster.nodes.len(),
            replicas: flags.replicas(),
            written,
            struck,
            read,
            replayed,
            memory,
        })
    };
    let outcome = outcome.await;
    (cluster, outcome)
}

impl Flags {
    fn replicas(&self) -> i16 {
        i16::try_from(self.nodes).unwrap_or(MOST_REPLICAS).min(MOST_REPLICAS)
    }
}

impl Demo {
    fn new(flags: &Flags, cluster: &LocalCluster) -> anyhow::Result<Self> {
        let mut config = ClientConfig {
            client_id: "polylogue-demo".to_owned(),
            ..ClientConfig::new(&cluster.bootstrap())
        };
        if flags.nodes > 1 {
            config.connect_timeout = Duration::from_secs(1);
        }
        Ok(Self {
            client: Client::new(config),
            // A folder that is used again has the topics of earlier runs.
            topic: TopicName::new(&format!("shop-events-{:08x}", fastrand::u32(..)))?,
            partitions: usize::try_from(flags.partitions)?,
            records: flags.records,
            day: Day::new(flags.seed, flags.records),
        })
    }

    /// Writes all events; where there are several nodes, one that leads is killed meanwhile.
    async fn write_and_strike(
        &self,
        cluster: LocalCluster,
    ) -> (LocalCluster, anyhow::Result<(Writing, Option<Struck>)>) {
        let (at_half, half) = oneshot::channel();
        let (struck, on_strike) = watch::channel(None);
        if cluster.nodes.len() == 1 {
            return (cluster, self.write(at_half, on_strike).await.map(|written| (written, None)));
        }
        let signals = Signals { half, struck };
        let striking = tokio::spawn(strike(cluster, self.client.clone(), self.topic.clone(), signals));
        let written = self.write(at_half, on_strike).await;
        match striking.await {
            Ok((cluster, struck)) => {
                (cluster, written.and_then(|written| struck.map(|struck| (written, Some(struck)))))
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

async fn create_topic(demo: &Demo, flags: &Flags) -> anyhow::Result<()> {
    let topic = NewTopic {
        name: demo.topic.clone(),
        partitions: Some(flags.partitions),
        replication_factor: Some(flags.replicas()),
        // The events are of a fixed day, which must not be retention's to delete.
        configs: vec![("retention.ms".to_owned(), "-1".to_owned())],
    };
    Admin::new(&demo.client).create_topic(&topic).await.map_err(explain)?;
    eprintln!("created topic {} with {} partitions, durability=disk", demo.topic, flags.partitions);
    Ok(())
}
