//! Who leads a partition, for a client with its own idea of that (KIP-320).

use std::{slice, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    actors::partition::{Leader, PartitionHandle, table::Topic},
    kafka::{Broker, connection::Session},
    model::{LeaderEpoch, PartitionIndex},
    wire::ErrorCode,
};

use super::{metadata::LEADER_WAIT, readiness};

/// How soon a connection may wait for a leader again that did not come.
const VAIN_WAITS_EVERY: Duration = Duration::from_secs(1);

/// One partition of a topic that was looked up.
pub(crate) fn partition(topic: Option<&Topic>, index: PartitionIndex) -> Result<&PartitionHandle, ErrorCode> {
    topic.and_then(|topic| topic.partition(index)).ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// The replica that leads now, if the client's idea of its term is right.
pub(crate) fn leader(partition: &PartitionHandle, known: LeaderEpoch) -> Result<Arc<Leader>, ErrorCode> {
    let leader = partition.leader().ok_or(ErrorCode::NotLeaderOrFollower)?;
    check_epoch(known, leader.epoch)?;
    Ok(leader)
}

/// Waits for a leader where one is a matter of moments. A client that has just been told of a leader comes before that
/// leader has opened its log: refused, it would sleep for longer than that takes. One wait that was in vain is enough
/// for a while, since everything else that the connection sends waits as well.
pub(crate) async fn wait_for(broker: &Broker, session: &mut Session, partition: &PartitionHandle) {
    let now = Instant::now();
    if partition.leader().is_some() || now < session.no_wait_before {
        return;
    }
    let deadline = now + LEADER_WAIT;
    let is_led = readiness::settled(broker, session, slice::from_ref(partition), deadline).await;
    if !is_led && Instant::now() >= deadline {
        session.no_wait_before = Instant::now() + VAIN_WAITS_EVERY;
    }
}

fn check_epoch(known: LeaderEpoch, current: LeaderEpoch) -> Result<(), ErrorCode> {
    if known == LeaderEpoch::NONE || known == current {
        Ok(())
    } else if known < current {
        Err(ErrorCode::FencedLeaderEpoch)
    } else {
        Err(ErrorCode::UnknownLeaderEpoch)
    }
}

#[cfg(test)]
mod tests {
    use super::{check_epoch, leader, partition};
    use crate::{
        actors::partition::PartitionHandle,
        model::{LeaderEpoch, PartitionId, PartitionIndex, TopicId},
        wire::ErrorCode,
    };

    #[test]
    fn a_client_with_an_old_idea_of_the_term_is_fenced_and_one_from_the_future_told_so() {
        let check = |known| check_epoch(LeaderEpoch::new(known), LeaderEpoch::new(5));
        assert_eq!(check(-1), Ok(()));
        assert_eq!(check(5), Ok(()));
        assert_eq!(check(4), Err(ErrorCode::FencedLeaderEpoch));
        assert_eq!(check(6), Err(ErrorCode::UnknownLeaderEpoch));
    }

    #[test]
    fn a_partition_whose_replica_has_not_started_has_no_leader() {
        let index = PartitionIndex::new(0);
        let handle = PartitionHandle::new(PartitionId { topic: TopicId::random(), index });
        let found = leader(&handle, LeaderEpoch::NONE);
        assert_eq!(found.err(), Some(ErrorCode::NotLeaderOrFollower));
        assert_eq!(partition(None, index).err(), Some(ErrorCode::UnknownTopicOrPartition));
    }
}
