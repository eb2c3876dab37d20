//! Asks the leaders on another node what they had served to owners that are lost.
//!
//! Two nodes have no clock in common, so a question says how long ago an owner came, and while it is on its way that
//! becomes too late by as much: what was served in so short a time after the owner came does not count. But a client
//! fetches at once, and what takes it down as a rule does so at once. So what seems not to have been served is asked
//! again: of several questions one is fast, also on a machine that is busy.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    GroupPeers, QUESTIONS_MAX, Served,
    message::{self, Answer, Ask, Query},
};
use crate::{
    actors::group_coordinator::core::AskServed,
    clock::Clock,
    model::{NodeId, Offset},
};

/// How long a leader may take to say what it had served: for so long members wait for their positions.
const SERVED_WITHIN: Duration = Duration::from_secs(1);
/// How long to wait before the question is asked the second time and on.
const AGAIN_AFTER: [Duration; 3] =
    [Duration::from_millis(5), Duration::from_millis(20), Duration::from_millis(80)];

/// Who is asked, and by what clock.
pub(super) struct Asking<'a> {
    pub(super) peers: &'a dyn GroupPeers,
    pub(super) clock: &'a dyn Clock,
    pub(super) node: NodeId,
}

impl Asking<'_> {
    /// Each question with its answer. Who does not answer in time has served nothing that is known.
    pub(super) async fn served(&self, asks: Vec<AskServed>) -> Vec<Served> {
        let deadline = Instant::now() + SERVED_WITHIN;
        let mut told = Vec::with_capacity(asks.len());
        for some in asks.chunks(QUESTIONS_MAX) {
            let offsets = self.some_served(some, deadline).await;
            told.extend(some.iter().cloned().zip(offsets));
        }
        told
    }

    async fn some_served(&self, asks: &[AskServed], deadline: Instant) -> Vec<Option<Offset>> {
        let Some(mut told) = self.ask(asks, deadline).await else {
            tracing::warn!(
                node = %self.node,
                partitions = asks.len(),
                "no word of what was served to lost consumers: that counts as no attempt"
            );
            return vec![None; asks.len()];
        };
        for pause in AGAIN_AFTER {
            if told.iter().all(Option::is_some) {
                break;
            }
            sleep(pause).await;
            // What it has said it has said.
            let Some(again) = self.ask(asks, deadline).await else { break };
            told.iter_mut().zip(again).for_each(|(told, again)| *told = told.or(again));
        }
        told
    }

    async fn ask(&self, asks: &[AskServed], deadline: Instant) -> Option<Vec<Option<Offset>>> {
        let now = self.clock.monotonic();
        let queries = asks.iter().map(|ask| Query::of(ask, now, SERVED_WITHIN)).collect();
        let body = message::encode(&Ask::Served(queries))?;
        let call = self.peers.call(self.node, body, SERVED_WITHIN);
        let answer = timeout_at(deadline, call).await.ok()??;
        match message::decode(&answer)? {
            Answer::Served(offsets) if offsets.len() == asks.len() => Some(offsets),
            Answer::Served(_) | Answer::Buried(_) | Answer::Read(_) | Answer::Ends(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Arc, Mutex},
    };

    use bytes::Bytes;

    use super::*;
    use crate::{
        actors::{
            group_coordinator::core::{Cause, failed_at},
            partition::{self, ClientKey, ServedQuery},
            supervise::BoxFuture,
        },
        clock::ManualClock,
        model::{PartitionIndex, TopicId},
    };

    const MS: Duration = Duration::from_millis(1);
    const BEFORE: Duration = Duration::from_millis(4_998);
    const CAME: Duration = Duration::from_secs(5);

    /// A leader by the same clock; each question takes its time to get there, and the last one gets nowhere.
    struct Leader {
        clock: Arc<ManualClock>,
        served: partition::Served,
        on_the_way: Mutex<VecDeque<Duration>>,
    }

    impl GroupPeers for Leader {
        fn call(&self, _: NodeId, body: Bytes, _: Duration) -> BoxFuture<Option<Bytes>> {
            let Some(takes) = self.on_the_way.lock().unwrap().pop_front() else {
                return Box::pin(async { None });
            };
            self.clock.advance(takes);
            let Some(Ask::Served(queries)) = message::decode(&body) else {
                unreachable!("nothing else is asked")
            };
            let answer = |query: &Query| {
                let by_this_clock = query.at(self.clock.monotonic())?;
                failed_at(query.position, &by_this_clock, &self.served, Offset::ZERO)
            };
            let answer = message::encode(&Answer::Served(queries.iter().map(answer).collect()));
            Box::pin(async { answer })
        }
    }

    fn client(id: &str) -> ClientKey {
        ClientKey::new(id, "host")
    }

    fn ask(id: &str) -> AskServed {
        AskServed {
            group: "g".into(),
            place: ("t".into(), PartitionIndex::new(0)),
            topic: TopicId::random(),
            position: None,
            query: ServedQuery { client: client(id), since: CAME, until: None },
            cause: Cause::SessionEnded,
        }
    }

    /// What is told of one who was given offset 3 two milliseconds after it came, one who was given that as long before it
    /// came, and one who was given nothing; and how many questions were not needed.
    async fn told(on_the_way: &[u32]) -> (Vec<Option<i64>>, usize) {
        let clock = Arc::new(ManualClock::default());
        clock.advance(2 * CAME);
        let served = partition::Served::default();
        for (id, when) in [("soon", CAME + 2 * MS), ("before", BEFORE)] {
            served.record(client(id), Offset::new(3), Offset::new(4), when);
        }
        let on_the_way = Mutex::new(on_the_way.iter().map(|takes| *takes * MS).collect());
        let leader = Leader { clock: Arc::clone(&clock), served, on_the_way };
        let asking = Asking { peers: &leader, clock: &*clock, node: NodeId::new(2) };
        let told = asking.served(["soon", "before", "nobody"].map(ask).to_vec()).await;
        let offsets = told.iter().map(|(_, at)| at.map(Offset::get)).collect();
        (offsets, leader.on_the_way.lock().unwrap().len())
    }

    #[tokio::test(start_paused = true)]
    async fn s22_what_is_served_at_once_counts_though_a_question_is_long_on_its_way() {
        for takes in [&[1][..], &[1, 9, 9, 9], &[9, 1, 9, 9], &[9, 9, 9, 1]] {
            assert_eq!(told(takes).await.0, [Some(3), None, None], "{takes:?}");
        }
        for takes in [&[9, 9, 9, 9][..], &[9], &[]] {
            assert_eq!(told(takes).await.0, [None, None, None], "{takes:?}");
        }
        assert_eq!(told(&[9; 6]).await.1, 2, "it is not asked for ever");
    }
}
