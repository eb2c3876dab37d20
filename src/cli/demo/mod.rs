//! `polylogue demo`: a node, a day of a web shop, and proof that all of it is there.
//!
//! Every record read is compared with the one that its number says was sent, which is made again from
//! the seed. The number of the next record of each partition is found by walking the day anew beside
//! the reading, so that no record is kept.

mod check;
mod events;
mod replay;
mod report;
mod write;

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;

use self::{events::Day, report::Report};
use super::connect::explain;
use crate::{
    client::{Admin, Client, ClientConfig, admin::NewTopic},
    local_cluster::{LocalNode, NodeOptions, this_program},
    model::{NodeId, TopicName},
};

/// How long a node may take to start or to stop.
const NODE_TIME: Duration = Duration::from_mins(1);
/// How long nothing may come before something is wrong.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Args, Clone, Debug)]
pub(super) struct Flags {
    /// How many events to write.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// How many partitions the topic has.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=1000))]
    partitions: i32,
    /// What the events are made from; the same seed makes the same events.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Keep the node's folder, and say where it is.
    #[arg(long)]
    keep: bool,
    /// The node's folder, which is kept [default: a temporary one, which is removed]
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
    let mut node = start(&flags, &program)?;
    let outcome = show(&flags, &node).await;
    let stopped = node
        .stop(NODE_TIME)
        .context("the node did not stop")
        .and_then(|status| if status.success() { Ok(()) } else { bail!("the node ended with {status}") });
    if flags.keep || flags.data_dir.is_some() {
        node.folder().keep();
        eprintln!("the node's data and log are kept in {}", node.folder().path().display());
    }
    let report = outcome.with_context(|| format!("the node's log ends with:\n{}", node.log_tail()))?;
    stopped?;
    report.print(&mut io::stdout().lock())?;
    if report.is_right() { Ok(()) } else { bail!("not everything matched") }
}

fn start(flags: &Flags, program: &std::path::Path) -> anyhow::Result<LocalNode> {
    let mut options = NodeOptions::new(program, NodeId::new(1))?;
    if let Some(folder) = &flags.data_dir {
        options = options.folder(folder);
    }
    eprintln!("starting a node ...");
    let mut node = LocalNode::start(options)?;
    node.wait_until_ready(NODE_TIME)?;
    eprintln!("node ready: clients at {}, admin port at {}", node.kafka_address(), node.admin_address());
    Ok(node)
}

async fn show(flags: &Flags, node: &LocalNode) -> anyhow::Result<Report> {
    let demo = Demo {
        client: Client::new(ClientConfig {
            client_id: "polylogue-demo".to_owned(),
            ..ClientConfig::new(&node.kafka_address())
        }),
        // A folder that is used again has the topics of earlier runs.
        topic: TopicName::new(&format!("shop-events-{:08x}", fastrand::u32(..)))?,
        partitions: usize::try_from(flags.partitions)?,
        records: flags.records,
        day: Day::new(flags.seed, flags.records),
    };
    create_topic(&demo, flags).await?;
    let written = demo.write().await?;
    let read = demo.read_all().await?;
    let replayed = demo.replay().await?;
    io::stderr().flush()?;
    let memory = node.resident_bytes()?;
    Ok(Report {
        seed: flags.seed,
        partitions: demo.partitions,
        records: demo.records,
        written,
        read,
        replayed,
        memory,
    })
}

async fn create_topic(demo: &Demo, flags: &Flags) -> anyhow::Result<()> {
    let topic = NewTopic {
        name: demo.topic.clone(),
        partitions: Some(flags.partitions),
        replication_factor: Some(1),
        // The events are of a fixed day, which must not be retention's to delete.
        configs: vec![("retention.ms".to_owned(), "-1".to_owned())],
    };
    Admin::new(&demo.client).create_topic(&topic).await.map_err(explain)?;
    eprintln!("created topic {} with {} partitions, durability=disk", demo.topic, flags.partitions);
    Ok(())
}
