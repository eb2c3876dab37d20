mod alone;
mod follower;
mod leader;

use std::time::Duration;

use super::{Carried, Generation, PartitionState, Session};
use crate::model::{LeaderEpoch, NodeId, Offset};

fn at(offset: i64) -> Offset {
    Offset::new(offset)
}

fn node(id: i32) -> NodeId {
    NodeId::new(id)
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(node).collect()
}

fn epoch(epoch: i32) -> LeaderEpoch {
    LeaderEpoch::new(epoch)
}

fn session(number: u64) -> Session {
    Session::new(number)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Replicas 1, 2 and 3 in leader epoch 5.
fn partition(partition_epoch: i32, in_sync: &[i32], electable: &[i32]) -> PartitionState {
    PartitionState {
        partition_epoch,
        leader_epoch: epoch(5),
        replicas: nodes(&[1, 2, 3]),
        in_sync: nodes(in_sync),
        electable: nodes(electable),
        on_disk: true,
    }
}

fn carried(log_end: i64, flushed: i64, high_watermark: i64) -> Carried {
    Carried {
        log_start: at(0),
        log_end: at(log_end),
        flushed: at(flushed),
        high_watermark: at(high_watermark),
        generation: Generation::new(0),
    }
}
