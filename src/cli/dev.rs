//! `polylogue dev`: nodes on this machine in one terminal, to try things on.
//!
//! Every node is a process of its own, started with the flags that an operator would use, on free ports of loopback.
//! What they log is printed as it comes, each line behind the number of its node. Ctrl-C stops them, as SIGTERM does.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    local_cluster::{LocalCluster, LocalNode, Tail, this_program},
    model::NodeId,
};

/// How long nodes may take to become ready, and to stop.
const NODE_TIME: Duration = Duration::from_mins(1);
/// How often nodes and their logs are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Args, Clone, Debug)]
pub(super) struct Flags {
    /// How many nodes to start.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// A folder that the nodes' data and logs are kept in [default: a temporary one, which is removed]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Any setting of each node by its full name, may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

pub(super) async fn run(flags: Flags) -> anyhow::Result<()> {
    let program = this_program().context("cannot find this program")?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut dev = Dev::start(&flags, &program)?;
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let outcome = loop {
        tokio::select! {
            _ = interrupted.recv() => break Ok(()),
            _ = terminated.recv() => break Ok(()),
            _ = looks.tick() => {}
        }
        if let Err(error) = dev.look() {
            break Err(error);
        }
    };
    eprintln!("stopping ...");
    let stopped = dev.cluster.stop(NODE_TIME);
    dev.print_logs()?;
    outcome?;
    Ok(stopped?)
}

/// The nodes, and how far they are.
struct Dev {
    cluster: LocalCluster,
    logs: Vec<(NodeId, Tail)>,
    ready: bool,
    began: Instant,
}

impl Dev {
    fn start(flags: &Flags, program: &std::path::Path) -> anyhow::Result<Self> {
        let cluster = LocalCluster::launch(program, flags.nodes, |options| {
            let options = options.folder_below(flags.data_dir.as_deref());
            let set = |options: crate::local_cluster::NodeOptions, setting: &String| {
                options.argument("--set").argument(setting)
            };
            flags.settings.iter().fold(options, set)
        })?;
        let logs = cluster.nodes.iter().map(|node| (node.id(), Tail::from_launch(node))).collect();
        Ok(Self { cluster, logs, ready: false, began: Instant::now() })
    }

    fn look(&mut self) -> anyhow::Result<()> {
        self.print_logs()?;
        for node in &mut self.cluster.nodes {
            if let Some(status) = node.exit_status()? {
                let id = node.id();
                self.print_logs()?;
                bail!("node {id} ended by itself, with {status}");
            }
        }
        if self.ready {
            return Ok(());
        }
        if self.cluster.nodes.iter().all(is_ready) {
            self.ready = true;
            self.announce()?;
        } else if self.began.elapsed() > NODE_TIME {
            bail!("not all nodes were ready within {NODE_TIME:?}");
        }
        Ok(())
    }

    /// On standard output, alone there, so that a script can read it.
    fn announce(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "ready after {:.1?}", self.began.elapsed())?;
        writeln!(out, "bootstrap {}", self.cluster.bootstrap())?;
        for node in &self.cluster.nodes {
            writeln!(
                out,
                "node {}: clients {}, admin {}, data {}",
                node.id(),
                node.kafka_address(),
                node.admin_address(),
                node.data_folder().display()
            )?;
        }
        out.flush()
    }

    fn print_logs(&mut self) -> io::Result<()> {
        let mut out = io::stderr().lock();
        for (id, tail) in &mut self.logs {
            for line in tail.lines()? {
                writeln!(out, "{id} | {line}")?;
            }
        }
        Ok(())
    }
}

fn is_ready(node: &LocalNode) -> bool {
    node.get("/ready").is_ok_and(|answer| answer.status == 200)
}
