//! What ends a node whose disk has failed under records that memory was to keep.
//!
//! On a `durability=replicated` topic a record is acknowledged once every member of the in-sync set has it in memory. A replica
//! whose flush fails recovers what its disk has (S13), which may be less; and yet its node is alive, its registration is good,
//! and it may be chosen to lead. Only a new registration takes a node out of the sets in which it counts with what it no longer
//! has (S11), and lets leaders tell it from the one that they fed before. So the process ends, as Kafka's does without a log
//! folder that works, and whoever looks after it starts it again.

use std::sync::Arc;

use tokio::sync::watch;

use super::core::PartitionState;

/// Heard by whoever can end the node. Clones share it.
#[derive(Clone, Debug)]
pub struct DiskAlarm(Arc<watch::Sender<Option<Arc<str>>>>);

impl Default for DiskAlarm {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl DiskAlarm {
    /// A write or a flush of this partition's log has failed.
    pub(super) fn log_failed(&self, partition: &Arc<str>, state: &PartitionState) {
        if !state.on_disk && state.replicas.len() > 1 {
            self.0.send_if_modified(|raised| {
                let is_first = raised.is_none();
                raised.get_or_insert_with(|| Arc::clone(partition));
                is_first
            });
        }
    }

    /// Resolves when the node has to end, with the first partition that says so.
    pub async fn raised(&self) -> Arc<str> {
        let mut raised = self.0.subscribe();
        // The sender is ours, so it is there for as long as this is.
        let found = raised.wait_for(Option::is_some).await.ok().and_then(|raised| raised.clone());
        found.unwrap_or_default()
    }
}
