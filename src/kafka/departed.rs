//! Brokers that died a moment ago, and are still told of.
//!
//! A client that asks for metadata after a death learns two things from one answer: who leads now, and that a broker is gone.
//! Librdkafka (seen with 2.16) throws that broker away while the partitions that it led are still on their way to the
//! new leader; when the former comes first they end with nobody, until a timer asks again once a second. So the new leaders
//! are told at once, and the broker is missed a little later, when nothing depends on it any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::model::NodeId;

/// How long a broker is told of after it was first seen to be fenced: some times as long as clients take to have moved all
/// that they had there, and less than Kafka needs by default to notice that a broker is dead.
const TOLD_FOR: Duration = Duration::from_secs(5);

/// Since when brokers are fenced, as far as anybody has asked.
#[derive(Debug, Default)]
pub struct Departed(Mutex<BTreeMap<NodeId, Duration>>);

impl Departed {
    /// Which of these, all that are fenced now, are still told of.
    pub(crate) fn still_told(
        &self,
        now: Duration,
        fenced: impl IntoIterator<Item = NodeId>,
    ) -> BTreeSet<NodeId> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *since = fenced.into_iter().map(|node| (node, *since.get(&node).unwrap_or(&now))).collect();
        let is_recent = |since: Duration| now.saturating_sub(since) < TOLD_FOR;
        since.iter().filter(|(_, since)| is_recent(**since)).map(|(node, _)| *node).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Departed, TOLD_FOR};
    use crate::model::NodeId;

    #[test]
    fn a_broker_is_told_of_for_a_while_from_when_it_is_seen_to_be_fenced_and_again_after_it_was_back() {
        let departed = Departed::default();
        let told = |at: Duration, fenced: &[i32]| {
            let told = departed.still_told(at, fenced.iter().copied().map(NodeId::new));
            told.into_iter().map(NodeId::get).collect::<Vec<_>>()
        };
        let begin = Duration::from_secs(100);
        assert_eq!(told(begin, &[2]), [2]);
        assert_eq!(told(begin + TOLD_FOR / 2, &[2, 3]), [2, 3]);
        assert_eq!(told(begin + TOLD_FOR, &[2, 3]), [3]);
        assert_eq!(told(begin + TOLD_FOR, &[3]), [3], "2 is back");
        assert_eq!(told(begin + TOLD_FOR * 2, &[2, 3]), [2]);
    }
}
