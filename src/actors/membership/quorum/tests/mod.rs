//! One quorum, and three in one process over a network that loses, delays and parts.

mod alone;
mod net;
mod suite;
mod three;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;
use uuid::Uuid;

use super::{Proposal, Proposed, Quorum, QuorumArgs, QuorumError, RaftNode, RaftPeers};
use crate::{
    actors::membership::{MetadataImage, MetadataRecord, core::FEATURE_LEVEL},
    config::node::QuorumPace,
    model::{NodeId, RaftId},
    storage::fs::{Fs, LockWait},
};

/// Nothing here takes this long unless it hangs.
const LONG: Duration = Duration::from_secs(20);

fn args(fs: Arc<dyn Fs>, data_dir: PathBuf, peers: Arc<dyn RaftPeers>) -> QuorumArgs {
    let (published, _) = watch::channel(Arc::new(MetadataImage::default()));
    let (wait, pace) = (LockWait::Block, QuorumPace::default());
    QuorumArgs { fs, data_dir, wait, pace, peers, published: Arc::new(published) }
}

fn raft_node(node: i32) -> RaftNode {
    RaftNode { node: NodeId::new(node), address: format!("node-{node}:9192") }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// Waits until it leads.
async fn leads(quorum: &Quorum) {
    let mut leadership = quorum.leadership();
    soon("leading", leadership.wait_for(|now| now.is_self)).await.unwrap();
}

/// Begins as the controller, and makes a cluster if there is none; its epoch.
async fn control(quorum: &Quorum) -> Result<u64, QuorumError> {
    let elected = quorum.propose(Proposal::Elected { node: NodeId::new(1) }).await?;
    let Proposed::Applied { index: controller_epoch } = elected else { panic!("an election is never stale") };
    if quorum.image().cluster_id().is_nil() {
        let cluster_id = Uuid::from_u128(7);
        let records = vec![MetadataRecord::ClusterCreated { cluster_id, feature_level: FEATURE_LEVEL }];
        quorum.propose(Proposal::Records { controller_epoch, records }).await?;
    }
    Ok(controller_epoch)
}

/// Sets a config of a group: a record that can be made any number of times, and shows.
fn set(controller_epoch: u64, group: &str, value: u64) -> Proposal {
    let configs = BTreeMap::from([("v".to_owned(), value.to_string())]);
    let records = vec![MetadataRecord::GroupConfigsReplaced { group: group.to_owned(), configs }];
    Proposal::Records { controller_epoch, records }
}

fn get(image: &MetadataImage, group: &str) -> Option<u64> {
    image.configs_of_group(group).get("v").map(|value| value.parse().unwrap())
}

/// Waits until the member's state has it.
async fn has(quorum: &Quorum, group: &str, value: u64) {
    let mut image = quorum.watch_image();
    soon("a state", image.wait_for(|image| get(image, group) == Some(value))).await.unwrap();
}

fn only(quorum: &Quorum) -> BTreeMap<RaftId, RaftNode> {
    BTreeMap::from([(quorum.id(), raft_node(1))])
}
