//! A member of the server-side protocol (KIP-848): says that it lives at the interval that it is told, takes the
//! assignment that it is given, and says so at once.

use std::time::Duration;

use anyhow::{Result, ensure};
use polylogue::wire::{
    Str,
    api::consumer_group_heartbeat::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
    },
};

use tokio::{sync::oneshot, time::sleep};
use uuid::Uuid;

use super::{REBALANCE_TIMEOUT, connection::Connection, group::Seat};

const HEARTBEAT: i16 = 1;
const JOINS: i32 = 0;
const LEAVES: i32 = -1;

struct Member {
    seat: Seat,
    connection: Connection,
    id: Str,
    epoch: i32,
    owned: Vec<TopicPartitions>,
}

/// Takes the seat until told to leave.
pub(super) async fn live(seat: Seat, mut leave: oneshot::Receiver<()>) -> Result<()> {
    let connection = Connection::open(seat.broker).await?;
    let id = Uuid::new_v4().to_string().into();
    let mut member = Member { seat, connection, id, epoch: JOINS, owned: Vec::new() };
    let mut answer = member.beat(member.join_request()).await?;
    loop {
        let interval = Duration::from_millis(u64::try_from(answer.heartbeat_interval_ms)?);
        if member.takes(answer) {
            answer = member.beat(member.acknowledgement()).await?;
            continue;
        }
        tokio::select! {
            _ = &mut leave => break,
            () = sleep(interval) => {}
        }
        answer = member.beat(member.request()).await?;
    }
    member.seat.owners.remove(member.seat.number);
    member.epoch = LEAVES;
    member.beat(member.request()).await.map(drop)
}

impl Member {
    fn request(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: self.seat.group.clone(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            ..ConsumerGroupHeartbeatRequest::default()
        }
    }

    fn join_request(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            rebalance_timeout_ms: REBALANCE_TIMEOUT.as_millis() as i32,
            subscribed_topic_names: Some(vec![self.seat.topic.clone()]),
            topic_partitions: Some(Vec::new()),
            ..self.request()
        }
    }

    fn acknowledgement(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest { topic_partitions: Some(self.owned.clone()), ..self.request() }
    }

    async fn beat(
        &mut self,
        request: ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse> {
        let answer = self.connection.call(HEARTBEAT, &request).await?;
        let (error, why) = (answer.error_code, answer.error_message.as_deref().unwrap_or_default());
        ensure!(error.is_none(), "heartbeat: {}: {why}", error.message());
        Ok(answer)
    }

    /// Whether that changes what it owns. What is to be given back is given back at once: nothing is being
    /// worked on here.
    fn takes(&mut self, answer: ConsumerGroupHeartbeatResponse) -> bool {
        self.epoch = answer.member_epoch;
        let assigned = answer.assignment.map(|assignment| assignment.topic_partitions);
        let Some(assigned) = assigned.filter(|assigned| *assigned != self.owned) else { return false };
        self.owned = assigned;
        let partitions = self.owned.iter().flat_map(|topic| topic.partitions.iter().copied());
        self.seat.owners.set(self.seat.number, self.epoch, partitions.collect());
        true
    }
}
