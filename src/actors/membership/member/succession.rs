//! Has the quorum's leader succeeded as soon as its process is known to be gone.

use std::sync::Arc;

use tokio::sync::watch;

use crate::actors::{
    cluster_link::liveness::LeaseTable,
    membership::{forward::Leadership, registry::RegistryHandle},
};

/// Runs for as long as the node does.
pub(super) async fn run(registry: RegistryHandle, mut leases: watch::Receiver<Arc<LeaseTable>>) {
    let mut leadership = registry.leadership();
    loop {
        let leader = leadership.borrow_and_update().clone();
        let table = Arc::clone(&leases.borrow_and_update());
        if let Leadership::Peer(node) = leader
            && table.has_ended(node)
            && let Some(quorum) = registry.quorum()
        {
            tracing::info!(%node, "the leader of the metadata quorum is gone: an election begins");
            quorum.succeed(node).await;
        }
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { return },
            changed = leases.changed() => if changed.is_err() { return },
        }
    }
}
