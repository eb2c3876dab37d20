//! What partitions cost that nobody uses, and how long a cluster takes for all of them at once.
//!
//! Three nodes as processes of their own, started anew for each count of partitions, each partition with three replicas,
//! so that every node has a replica of every partition. Memory, files and processor time are read from `/proc`, from
//! outside; processor time is the process's own, so a machine that is busy with other things changes it little.

use std::{env, fs, path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use polylogue::{
    client::{Admin, Client, ClientConfig, Producer, ProducerConfig, ProducerRecord, admin::NewTopic},
    clock::{Clock, SystemClock},
    local_cluster::{LocalCluster, LocalNode},
    model::{NodeId, PartitionIndex, TopicName},
};
use tokio::runtime::Runtime;

use crate::process::{cpu_seconds, resident_mib};

const TOPIC: &str = "partitions";
const NODES: u16 = 3;
const WITHIN: Duration = Duration::from_mins(5);
const POLL: Duration = Duration::from_millis(5);
/// What is still being written in the background when the partitions are there.
const SETTLE: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How many partitions; one row for each, beside one without any.
    #[arg(value_delimiter = ',', default_value = "200,2000")]
    counts: Vec<i32>,
    /// How long nothing is done while processor time is counted, in seconds.
    #[arg(long, default_value_t = 20)]
    idle: u64,
}

/// The node that took most, of each.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    resident_mib: f64,
    files: usize,
    idle_percent: f64,
    resident_written_mib: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    made: Duration,
    written: Duration,
    failed_over: Duration,
    in_sync_again: Duration,
}

/// Prints a table as Markdown; progress goes to standard error.
pub(crate) fn main(options: &Options) -> Result<()> {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    println!(
        "Build: {profile}. Of three nodes the one that took most; each keeps a replica of every partition.\n"
    );
    println!(
        "| partitions x 3 | resident | per partition | after a record in each | open files | idle, of a core | made and in \
         sync | a record to each | all led after `kill -9` | all in sync again |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let (empty, _) = measure(options, 0)?;
    println!("{}", row(0, empty, empty, Times::default()));
    for count in &options.counts {
        let (cost, times) = measure(options, *count)?;
        println!("{}", row(*count, cost, empty, times));
    }
    Ok(())
}

fn row(count: i32, cost: Cost, empty: Cost, times: Times) -> String {
    let per_partition = |resident: f64| match count {
        0 => "-".to_owned(),
        _ => format!("{:.0} KiB", (resident - empty.resident_mib) * 1024.0 / f64::from(count)),
    };
    let time = |time: Duration| if count == 0 { "-".to_owned() } else { format!("{time:.2?}") };
    format!(
        "| {count} | {:.0} MiB | {} | {} | {} | {:.1} % | {} | {} | {} | {} |",
        cost.resident_mib,
        per_partition(cost.resident_mib),
        per_partition(cost.resident_written_mib),
        cost.files,
        cost.idle_percent,
        time(times.made),
        time(times.written),
        time(times.failed_over),
        time(times.in_sync_again),
    )
}

fn measure(options: &Options, count: i32) -> Result<(Cost, Times)> {
    eprintln!("{count} partitions");
    let built = option_env!("CARGO_BIN_EXE_polylogue").map(Into::into);
    let program = env::var_os("POLYLOGUE_BIN").or(built);
    let program = program.context("no polylogue: build with the feature `server` or set POLYLOGUE_BIN")?;
    let mut cluster = LocalCluster::start(Path::new(&program), NODES, WITHIN)?;
    let mut times = Times::default();
    if count > 0 {
        times.made = timed(|| make(&cluster, count))?;
    }
    thread::sleep(SETTLE);
    let mut cost = Cost {
        resident_mib: most(&cluster, |node| resident_mib(pid(node)?))?,
        idle_percent: idle_percent(&cluster, Duration::from_secs(options.idle))?,
        files: open_files(&cluster)?,
        resident_written_mib: 0.0,
    };
    if count > 0 {
        times.written = timed(|| write(&cluster.bootstrap(), count))?;
        cost.resident_written_mib = most(&cluster, |node| resident_mib(pid(node)?))?;
        let victim = cluster.leader_of(TOPIC, 0)?.context("no leader")?;
        times.failed_over = timed(|| fail_over(&mut cluster, victim))?;
        times.in_sync_again = timed(|| {
            cluster.node(victim).context("no such node")?.start_again()?;
            Ok(cluster.until_in_sync(TOPIC, WITHIN)?)
        })?;
    }
    cluster.stop(WITHIN)?;
    Ok((cost, times))
}

fn timed(step: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let clock = SystemClock::new();
    step()?;
    Ok(clock.monotonic())
}

fn make(cluster: &LocalCluster, count: i32) -> Result<()> {
    let topic = NewTopic {
        name: TopicName::new(TOPIC)?,
        partitions: Some(count),
        replication_factor: Some(3),
        configs: Vec::new(),
    };
    let config = ClientConfig { request_timeout: WITHIN, ..ClientConfig::new(&cluster.bootstrap()) };
    Runtime::new()?.block_on(Admin::new(&Client::new(config)).create_topic(&topic))?;
    Ok(cluster.until_in_sync(TOPIC, WITHIN)?)
}

/// One record to each partition, acknowledged by all replicas.
fn write(bootstrap: &str, count: i32) -> Result<()> {
    let topic = TopicName::new(TOPIC)?;
    Runtime::new()?.block_on(async {
        let producer = Producer::new(&Client::new(ClientConfig::new(bootstrap)), ProducerConfig::default());
        let mut deliveries = Vec::new();
        for partition in (0..count).map(PartitionIndex::new) {
            let value: Option<&[u8]> = Some(b"one");
            let record = ProducerRecord { partition: Some(partition), value, ..ProducerRecord::default() };
            deliveries.push(producer.send(&topic, record).await?);
        }
        for delivery in deliveries {
            delivery.await?;
        }
        producer.close().await;
        Ok(())
    })
}

/// Kills a node and waits until others lead what it led.
fn fail_over(cluster: &mut LocalCluster, victim: NodeId) -> Result<()> {
    cluster.node(victim).context("no such node")?.kill()?;
    let clock = SystemClock::new();
    loop {
        let partitions = cluster.partitions(TOPIC).unwrap_or_default();
        let is_led = |leader: Option<i32>| leader.is_some_and(|leader| leader != victim.get());
        if !partitions.is_empty() && partitions.iter().all(|partition| is_led(partition.leader)) {
            return Ok(());
        }
        ensure!(clock.monotonic() < WITHIN, "some partitions have no leader within {WITHIN:?}");
        thread::sleep(POLL);
    }
}

fn idle_percent(cluster: &LocalCluster, time: Duration) -> Result<f64> {
    let used = || cluster.nodes.iter().map(|node| cpu_seconds(pid(node)?)).collect::<Result<Vec<_>>>();
    let (clock, before) = (SystemClock::new(), used()?);
    thread::sleep(time);
    let (after, elapsed) = (used()?, clock.monotonic());
    let most = before.iter().zip(&after).map(|(before, after)| after - before).fold(0.0, f64::max);
    Ok(100.0 * most / elapsed.as_secs_f64())
}

fn open_files(cluster: &LocalCluster) -> Result<usize> {
    let of = |node: &LocalNode| {
        let folder = format!("/proc/{}/fd", pid(node)?);
        Ok(fs::read_dir(Path::new(&folder)).with_context(|| folder.clone())?.count())
    };
    let counts = cluster.nodes.iter().map(of).collect::<Result<Vec<_>>>()?;
    Ok(counts.into_iter().max().unwrap_or_default())
}

fn most(cluster: &LocalCluster, of: impl Fn(&LocalNode) -> Result<f64>) -> Result<f64> {
    cluster.nodes.iter().map(of).try_fold(0.0, |most, value| Ok(f64::max(most, value?)))
}

fn pid(node: &LocalNode) -> Result<u32> {
    Ok(node.pid()?.as_raw_nonzero().get().cast_unsigned())
}
