//! What replicas need of other nodes, for tests of a node whose partitions have one replica each.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::Replication;
use crate::{
    actors::partition::{
        Answer, DiskAlarm, Proposer,
        core::{SetAnswer, SetChange},
        replication::{ConnectError, Connecting, Connector, Streams},
    },
    model::{BrokerEpoch, NodeId, PartitionId},
};

impl Replication {
    /// No other node is ever reached, and no controller answers.
    pub(crate) fn with_nobody() -> Self {
        Self {
            streams: Streams::new(Arc::new(Nobody), Handle::current()),
            proposer: Arc::new(Nobody),
            broker_epoch: Arc::new(|| BrokerEpoch::new(1)),
            lag_time_max: Duration::from_mins(1),
            alarm: DiskAlarm::default(),
        }
    }
}

#[derive(Debug)]
struct Nobody;

impl Connector for Nobody {
    fn connect(&self, _leader: NodeId) -> Connecting {
        Box::pin(async { Err(ConnectError("there is no other node".to_owned())) })
    }
}

impl Proposer for Nobody {
    fn propose(&self, _partition: PartitionId, _change: SetChange, answer: Answer) {
        answer(SetAnswer::Unknown);
    }

    fn give_up(&self, _partition: PartitionId) {}
}
