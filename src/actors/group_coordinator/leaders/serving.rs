//! What other nodes ask of the leaders on this one.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::{
    Leaders,
    message::{Answer, Ask, Burial, Outcome, Query, decode, encode},
};
use crate::{
    actors::group_coordinator::core::failed_at,
    model::{Offset, PartitionId},
};

/// How long a dead letter may take here, less than who asks for it waits.
const BURY_WITHIN: Duration = Duration::from_secs(8);

impl Leaders {
    /// Answers another node; with nothing, where the question is not understood.
    pub async fn serve(&self, body: &[u8]) -> Bytes {
        let answer = match decode::<Ask>(body) {
            Some(Ask::Served(queries)) => {
                Answer::Served(queries.iter().map(|query| self.had_served(query)).collect())
            }
            Some(Ask::Bury(burial)) => Answer::Buried(self.bury_in_time(&burial).await),
            Some(Ask::Read(piece)) => Answer::Read(self.give(piece).await),
            Some(Ask::Ends(partitions)) => Answer::Ends(partitions.iter().map(|id| self.end(*id)).collect()),
            None => return Bytes::new(),
        };
        encode(&answer).unwrap_or_default()
    }

    fn had_served(&self, query: &Query) -> Option<Offset> {
        let partition = self.handle(query.partition)?;
        let log_start = partition.leader()?.reader.log_start_offset();
        let by_our_clock = query.at(self.args.clock.monotonic())?;
        failed_at(query.position, &by_our_clock, partition.served(), log_start)
    }

    fn end(&self, id: PartitionId) -> Option<Offset> {
        Some(self.handle(id)?.leader()?.high_watermark())
    }

    async fn bury_in_time(&self, burial: &Burial) -> Outcome {
        let late = |_| Outcome::Failed(format!("not done within {BURY_WITHIN:?}: outcome unknown"));
        timeout(BURY_WITHIN, self.bury_here(burial)).await.unwrap_or_else(late)
    }
}
