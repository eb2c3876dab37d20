//! The driver of the rows about consumer groups: members that speak the protocol themselves, byte by byte, so that
//! both brokers see the same requests at the same moments. It runs in the runner's process: it does next to
//! nothing.

mod classic;
mod commits;
mod connection;
mod consumer;
mod group;
mod owners;
mod topics;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Result;
use polylogue::wire::Str;
use tokio::time::{Instant, sleep};

pub(crate) use commits::{all_listed, commit_to_all, first_commit};
pub(crate) use topics::topic_made;

use crate::process::CpuMeter;
use group::{Group, Seat};
use owners::Owners;

const REBALANCE_TIMEOUT: Duration = Duration::from_mins(1);
/// Heartbeats that a group is left alone before something happens to it.
const RESTING_HEARTBEATS: f64 = 2.0;

/// How members talk to their coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Classic,
    /// Server-side, KIP-848.
    Consumer,
}

/// A group of one topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) broker: SocketAddr,
    /// The topic, and the group too.
    pub(crate) name: &'a str,
    pub(crate) protocol: Protocol,
    pub(crate) members: usize,
    pub(crate) partitions: usize,
    pub(crate) heartbeat: Duration,
    pub(crate) session_timeout: Duration,
}

/// How long it took until every partition had one owner again and everybody some.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rebalances {
    pub(crate) join: Duration,
    /// What of that came after the last of the others had heard of it; nothing where nobody joins again.
    pub(crate) settle: Option<Duration>,
    pub(crate) leave: Duration,
    pub(crate) kill: Duration,
}

/// The last member joins a group of all the others; leaves; another joins and is killed. Each happens this share of a
/// heartbeat interval after the group has rested, since it is by heartbeats that the others hear of it.
pub(crate) fn rebalances(setup: Setup<'_>, share: f64) -> Result<Rebalances> {
    block_on(async {
        let mut group = setup.group().await?;
        let rest = || sleep(setup.heartbeat.mul_f64(RESTING_HEARTBEATS + share));
        group.fill(setup.members - 1).await;
        group.shared().await?;
        rest().await;
        let start = Instant::now();
        group.add();
        group.shared().await?;
        let (join, settle) = (start.elapsed(), group.since_all_heard());
        rest().await;
        let start = Instant::now();
        group.leave()?;
        group.shared().await?;
        let leave = start.elapsed();
        group.add();
        group.shared().await?;
        rest().await;
        let start = Instant::now();
        group.kill()?;
        group.shared().await?;
        let kill = start.elapsed();
        group.disband().await?;
        Ok(Rebalances { join, settle, leave, kill })
    })
}

/// Percent of a core that a process uses while nothing happens in the group but heartbeats.
pub(crate) fn idle_percent(setup: Setup<'_>, broker_pid: u32, during: Duration) -> Result<f64> {
    block_on(async {
        let mut group = setup.group().await?;
        group.fill(setup.members).await;
        group.together().await?;
        sleep(setup.heartbeat.mul_f64(RESTING_HEARTBEATS)).await;
        let meter = CpuMeter::start(broker_pid)?;
        sleep(during).await;
        let used = meter.seconds()?;
        group.together().await?; // and nobody was lost
        group.disband().await?;
        Ok(used / during.as_secs_f64() * 100.0)
    })
}

impl Setup<'_> {
    async fn group(&self) -> Result<Group> {
        let name = Str::from(self.name);
        commits::coordinator_found(self.broker, &name).await?;
        let seat = Seat {
            broker: self.broker,
            group: name.clone(),
            topic: name,
            partitions: self.partitions,
            heartbeat: self.heartbeat,
            session_timeout: self.session_timeout,
            owners: Arc::new(Owners::new()),
            number: 0,
        };
        Ok(Group::new(self.protocol, seat))
    }
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
