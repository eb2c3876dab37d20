//! The death of a node in the middle of the load: what the demo is about where there are several.

use std::time::Duration;

use anyhow::Context;
use tokio::{
    sync::{oneshot, watch},
    task::spawn_blocking,
    time::Instant,
};

use super::NODE_TIME;
use crate::{
    client::Client,
    local_cluster::LocalCluster,
    model::{NodeId, PartitionIndex, TopicName},
};

/// How a strike went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Struck {
    /// Who was killed.
    pub(super) node: NodeId,
    /// How long it was away until it served again.
    pub(super) back_after: Duration,
}

/// When the strike is to come, and when it came.
pub(super) struct Signals {
    /// Half of the records are on their way.
    pub(super) half: oneshot::Receiver<()>,
    /// The moment of the kill.
    pub(super) struck: watch::Sender<Option<Instant>>,
}

/// Kills the node that leads the first partition once half of the load is on its way, and starts it again. The cluster
/// comes back in any case, so that it is stopped in order.
pub(super) async fn strike(
    mut cluster: LocalCluster,
    client: Client,
    topic: TopicName,
    signals: Signals,
) -> (LocalCluster, anyhow::Result<Struck>) {
    let leader = match leader(&client, &topic, signals.half).await {
        Ok(leader) => leader,
        Err(error) => return (cluster, Err(error)),
    };
    // It waits for processes, which is no worker's to do.
    let striking = spawn_blocking(move || {
        let outcome = kill_and_restart(&mut cluster, leader, &signals.struck);
        (cluster, outcome)
    });
    match striking.await {
        Ok(struck) => struck,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn leader(client: &Client, topic: &TopicName, half: oneshot::Receiver<()>) -> anyhow::Result<NodeId> {
    half.await.context("writing ended before half of it was done")?;
    client.refresh(client.metadata().generation).await?;
    Ok(client.leader(topic, PartitionIndex::new(0)).await?.node)
}

fn kill_and_restart(
    cluster: &mut LocalCluster,
    leader: NodeId,
    struck: &watch::Sender<Option<Instant>>,
) -> anyhow::Result<Struck> {
    let node = cluster.node(leader).context("the leader is none of our nodes")?;
    let killed_at = Instant::now();
    node.kill()?;
    struck.send_replace(Some(killed_at));
    eprintln!("killed node {leader}, which led partition 0");
    node.start_again()?;
    node.wait_until_ready(NODE_TIME)?;
    eprintln!("node {leader} is back");
    Ok(Struck { node: leader, back_after: killed_at.elapsed() })
}
