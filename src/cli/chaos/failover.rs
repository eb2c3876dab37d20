//! How long no record is acknowledged when the node that leads is killed, paused or restarted.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep},
};

use super::{
    faults::{FIRST, Fault, NODE_TIME, Struck, Target},
    load::{Acks, Load, verify},
    report::{Report, Runs},
    stock::Stock,
};
use crate::{
    cli::{
        connect::{Output, block_on, explain},
        table,
    },
    client::{Admin, Client, ClientConfig, admin::NewTopic},
    local_cluster::{LocalCluster, Wires, this_program},
    model::TopicName,
};

/// How long the cluster is left alone between two faults.
const REST: Duration = Duration::from_millis(500);
/// The same where clients remember longer what they met with.
const REST_OF_OTHERS: Duration = Duration::from_secs(11);
/// The most replicas that the topic gets.
const MOST_REPLICAS: i16 = 3;

#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct Flags {
    /// How many nodes to start.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// How often each fault is made; a rolling restart a tenth as often.
    #[arg(long, alias = "rounds", value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// What is done, may be given several times [default: kill, pause, rolling]
    #[arg(long, value_enum, value_name = "FAULT")]
    fault: Vec<Fault>,
    /// To whom it is done.
    #[arg(long, value_enum, value_name = "TARGET", default_value_t)]
    target: Target,
    /// How many partitions are written to; at least one for each node, where the controller is the target.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=100))]
    partitions: i32,
    /// How long a client waits for a connection or an answer before it gives them up, with a unit.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    socket_timeout: Duration,
    /// A program that writes with another client in the place of ours. It is given the bootstrap addresses, the topic
    /// and the number of partitions; docs/OPERATIONS.md says what it is to do.
    #[arg(long, value_name = "COMMAND")]
    stock_client: Option<String>,
    /// How long the cluster is left alone between two faults, each restart being one [default: 500ms; 11s for another
    /// client]. Librdkafka doubles its wait each time that it connects to a node again, and forgets that only after
    /// 10 s: without a rest each fault would be charged with those before it.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    rest: Option<Duration>,
    /// A folder that the nodes' data and logs are kept in [default: a temporary one, which is removed]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Who writes.
enum Writer {
    Ours(Load),
    Stock(Stock),
}

impl Writer {
    fn acks(&self) -> Arc<Acks> {
        match self {
            Self::Ours(load) => Arc::clone(&load.acks),
            Self::Stock(stock) => Arc::clone(&stock.acks),
        }
    }

    async fn stop(self) -> anyhow::Result<Arc<Acks>> {
        match self {
            Self::Ours(load) => load.stop().await,
            Self::Stock(stock) => stock.stop(),
        }
    }
}

impl Flags {
    fn faults(&self) -> Vec<(Fault, u32)> {
        let all = [Fault::Kill, Fault::Pause, Fault::Rolling];
        let faults = if self.fault.is_empty() { &all[..] } else { &self.fault };
        let runs = |fault: &Fault| match fault {
            Fault::Kill | Fault::Pause | Fault::Cut | Fault::Term => (*fault, self.runs),
            Fault::Rolling => (*fault, self.runs.div_ceil(10)),
        };
        faults.iter().map(runs).collect()
    }

    /// The controller has to lead one.
    fn partitions(&self) -> i32 {
        match self.target {
            Target::Leader => self.partitions,
            Target::Controller => self.partitions.max(self.nodes.into()),
        }
    }

    fn replicas(&self) -> i16 {
        i16::try_from(self.nodes).unwrap_or(MOST_REPLICAS).min(MOST_REPLICAS)
    }

    fn rest(&self) -> Duration {
        let usual = if self.stock_client.is_some() { REST_OF_OTHERS } else { REST };
        self.rest.unwrap_or(usual)
    }

    /// None where nothing is to be cut.
    fn wires(&self) -> anyhow::Result<Option<Wires>> {
        if !self.fault.contains(&Fault::Cut) {
            return Ok(None);
        }
        let wires = Wires::lay(u8::try_from(self.nodes)?);
        wires.map(Some).context(
            "nodes that can be cut off need network namespaces. Run this as root (CAP_SYS_ADMIN and CAP_NET_ADMIN \
             suffice), with unshare and nsenter (util-linux) and ip (iproute2) in the PATH",
        )
    }

    fn start(&self, wires: Option<&Wires>) -> anyhow::Result<LocalCluster> {
        let program = this_program().context("cannot find this program")?;
        let options = match wires {
            Some(wires) => wires.options(&program)?,
            None => LocalCluster::options(&program, self.nodes)?,
        };
        let folder = self.data_dir.as_deref();
        let options = options.into_iter().map(|options| options.folder_below(folder));
        let mut cluster = LocalCluster::launch_these(options)?;
        cluster.wait_until_ready(NODE_TIME)?;
        Ok(cluster)
    }

    fn client(&self, cluster: &LocalCluster) -> Client {
        Client::new(ClientConfig {
            client_id: "polylogue-failover".to_owned(),
            connect_timeout: self.socket_timeout,
            request_timeout: self.socket_timeout,
            ..ClientConfig::new(&cluster.bootstrap())
        })
    }
}

pub(super) fn run(flags: &Flags) -> anyhow::Result<()> {
    // Laid while there is no other thread: all that come, and the other client's program, are on the clients' side.
    let wires = flags.wires()?;
    block_on(strike(flags, wires.as_ref()))
}

async fn strike(flags: &Flags, wires: Option<&Wires>) -> anyhow::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let began = Instant::now();
    let mut cluster = flags.start(wires)?;
    let report = tokio::select! {
        report = measure(flags, &mut cluster, wires, began) => report?,
        _ = interrupted.recv() => bail!("interrupted"),
        _ = terminated.recv() => bail!("terminated"),
    };
    cluster.stop(NODE_TIME)?;
    let mut out = io::stdout().lock();
    match flags.output {
        Output::Table => report.print(&mut out)?,
        Output::Json => table::print_json(&mut out, &report.json())?,
    }
    if report.is_right() {
        Ok(())
    } else {
        bail!("not everything that was acknowledged is there, once and in order")
    }
}

async fn measure(
    flags: &Flags,
    cluster: &mut LocalCluster,
    wires: Option<&Wires>,
    began: Instant,
) -> anyhow::Result<Report> {
    let client = flags.client(cluster);
    let topic = create_topic(flags, &client).await?;
    let writer = match &flags.stock_client {
        Some(command) => {
            Writer::Stock(Stock::start(command, &cluster.bootstrap(), &topic, flags.partitions())?)
        }
        None => Writer::Ours(Load::start(&client, &topic, flags.partitions())),
    };
    let acks = writer.acks();
    let began_after = acks.gap_after(FIRST, began, NODE_TIME).await?;
    cluster.until_in_sync(topic.as_str(), NODE_TIME)?;
    let mut runs = Vec::new();
    for (fault, times) in flags.faults() {
        let mut gaps = Vec::new();
        for run in 1..=times {
            let (target, rest) = (flags.target, flags.rest());
            let mut struck = Struck { cluster, wires, topic: &topic, acks: &acks, target, rest };
            let gap = struck.run(fault).await?;
            sleep(flags.rest()).await;
            let whose = if gap.of_controller { ", the controller's node" } else { "" };
            eprintln!("{} {run} of {times}: {:.0} ms{whose}", fault.name(), gap.time.as_secs_f64() * 1e3);
            gaps.push(gap);
        }
        runs.extend(Runs::of(fault, &gaps));
    }
    let acks = writer.stop().await?;
    eprintln!("reading {} records back ...", acks.count());
    let verdict = verify(&client, &topic, flags.partitions(), &acks).await?;
    let state = acks.lock();
    Ok(Report {
        client: flags.stock_client.clone().unwrap_or_else(|| "our client".to_owned()),
        timeouts: flags.socket_timeout,
        rest: flags.rest(),
        nodes: cluster.nodes.len(),
        on_wires: wires.is_some(),
        replicas: flags.replicas(),
        began_after,
        runs,
        failed: state.failed,
        first_failure: state.first_failure.clone(),
        verdict,
    })
}

async fn create_topic(flags: &Flags, client: &Client) -> anyhow::Result<TopicName> {
    // A folder that is used again has the topics of earlier runs.
    let name = TopicName::new(&format!("failover-{:08x}", fastrand::u32(..)))?;
    let topic = NewTopic {
        name: name.clone(),
        partitions: Some(flags.partitions()),
        replication_factor: Some(flags.replicas()),
        configs: Vec::new(),
    };
    Admin::new(client).create_topic(&topic).await.map_err(explain)?;
    Ok(name)
}
