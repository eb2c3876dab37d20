//! From "the metadata says so" to "it can be used".
//!
//! The registry answers once a change is durable; this node's replicas follow a moment later. Clients
//! produce to a topic right after they were told that it was made, so who makes or removes one waits
//! for the replicas, within a bound.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    actors::partition::{
        PartitionHandle,
        table::{Topic, TopicTable},
    },
    model::TopicId,
};

/// How long an administrator's request waits at most, whatever it allows.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// When a request with this time-out stops waiting.
pub(crate) fn deadline(timeout_ms: i32) -> Instant {
    let asked = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    Instant::now() + asked.min(LONGEST_WAIT)
}

/// The topic, once the table has it with so many partitions.
pub(crate) async fn until_known(
    topics: &TopicTable,
    id: TopicId,
    partitions: usize,
    deadline: Instant,
) -> Option<Arc<Topic>> {
    let grown = |topics: &TopicTable| topics.by_id(id).filter(|topic| topic.partitions().len() >= partitions);
    topics.until(deadline, grown).await
}

/// Whether the table has the topic, with so many partitions and a leader for each.
pub(crate) async fn until_led(
    topics: &TopicTable,
    id: TopicId,
    partitions: usize,
    deadline: Instant,
) -> bool {
    match until_known(topics, id, partitions, deadline).await {
        Some(topic) => led(topic.partitions(), deadline).await,
        None => false,
    }
}

/// Whether the table has lost the topic.
pub(crate) async fn until_gone(topics: &TopicTable, id: TopicId, deadline: Instant) -> bool {
    let gone = |topics: &TopicTable| topics.by_id(id).is_none().then_some(());
    topics.until(deadline, gone).await.is_some()
}

/// Waits until each of the partitions has a leader, all of them within one deadline.
pub(crate) async fn led(partitions: &[PartitionHandle], deadline: Instant) -> bool {
    for partition in partitions {
        let left = deadline.saturating_duration_since(Instant::now());
        if partition.leader_within(left).await.is_none() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{LONGEST_WAIT, deadline, led, until_gone, until_known};
    use crate::{
        actors::partition::{PartitionHandle, table::TopicTable},
        model::{PartitionId, PartitionIndex, TopicId},
    };

    #[tokio::test(start_paused = true)]
    async fn a_client_cannot_have_a_request_wait_for_ever() {
        assert_eq!(deadline(i32::MAX) - Instant::now(), LONGEST_WAIT);
        assert_eq!(deadline(-1), Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_is_not_there_is_gone_and_does_not_come() {
        let (topics, id) = (TopicTable::default(), TopicId::random());
        assert!(until_gone(&topics, id, deadline(0)).await);
        assert!(until_known(&topics, id, 1, deadline(10)).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn many_partitions_without_a_leader_cost_one_wait_in_all() {
        let topic = TopicId::random();
        let partition =
            |index| PartitionHandle::new(PartitionId { topic, index: PartitionIndex::new(index) });
        let partitions: Vec<_> = (0..100).map(partition).collect();
        let began = Instant::now();
        assert!(!led(&partitions, deadline(150)).await);
        assert!(began.elapsed() < Duration::from_millis(200));
    }
}
