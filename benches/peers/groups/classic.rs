//! A member of the classic protocol: joins, syncs, says every interval that it lives, and when it hears of a
//! rebalance gives everything back and joins again, as clients do that rebalance eagerly.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use polylogue::{
    model::PartitionIndex,
    wire::{
        ErrorCode, Str,
        api::{
            heartbeat::HeartbeatRequest,
            join_group::{
                JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
            },
            leave_group::{LeaveGroupRequest, MemberIdentity},
            sync_group::{SyncGroupRequest, SyncGroupRequestAssignment},
        },
        consumer_protocol::{self, PROTOCOL_TYPE, PartitionsByName, Subscription},
    },
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::{REBALANCE_TIMEOUT, connection::Connection, group::Seat};

const JOIN: i16 = 9;
const SYNC: i16 = 5;
const HEARTBEAT: i16 = 4;
const LEAVE: i16 = 5;
const ASSIGNOR: Str = Str::from_static("roundrobin");

struct Member {
    seat: Seat,
    connection: Connection,
    id: Str,
    generation: i32,
}

/// What ends a stay in a generation.
enum Ended {
    Rebalance,
    Leave,
}

/// Takes the seat until told to leave.
pub(super) async fn live(seat: Seat, mut leave: oneshot::Receiver<()>) -> Result<()> {
    let connection = Connection::open(seat.broker).await?;
    let mut member = Member { seat, connection, id: Str::default(), generation: -1 };
    loop {
        member.join().await?;
        let ended = member.stay(&mut leave).await?;
        member.seat.owners.remove(member.seat.number);
        if matches!(ended, Ended::Leave) {
            return member.leave().await;
        }
    }
}

impl Member {
    /// Until it has an assignment.
    async fn join(&mut self) -> Result<()> {
        loop {
            let answer = self.connection.call(JOIN, &self.join_request()?).await?;
            let is_invited = answer.error_code == ErrorCode::MemberIdRequired;
            ensure!(is_invited || answer.error_code.is_none(), "join: {}", answer.error_code.message());
            self.id = answer.member_id.clone();
            self.generation = answer.generation_id;
            if !is_invited && self.sync(&answer).await? {
                return Ok(());
            }
        }
    }

    fn join_request(&self) -> Result<JoinGroupRequest> {
        let subscription = Subscription { topics: vec![self.seat.topic.clone()], ..Subscription::default() };
        let metadata = consumer_protocol::encode_subscription(&subscription)?;
        Ok(JoinGroupRequest {
            group_id: self.seat.group.clone(),
            session_timeout_ms: self.seat.session_timeout.as_millis() as i32,
            rebalance_timeout_ms: REBALANCE_TIMEOUT.as_millis() as i32,
            member_id: self.id.clone(),
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: vec![JoinGroupRequestProtocol { name: ASSIGNOR, metadata }],
            ..JoinGroupRequest::default()
        })
    }

    /// Whether the group is still in that generation.
    async fn sync(&mut self, joined: &JoinGroupResponse) -> Result<bool> {
        let leads = joined.leader == joined.member_id;
        let request = SyncGroupRequest {
            group_id: self.seat.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: None,
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: Some(ASSIGNOR),
            assignments: if leads { self.assigned(joined)? } else { Vec::new() },
        };
        let answer = self.connection.call(SYNC, &request).await?;
        if answer.error_code == ErrorCode::RebalanceInProgress {
            return Ok(false);
        }
        ensure!(answer.error_code.is_none(), "sync: {}", answer.error_code.message());
        let assignment = consumer_protocol::assignment(&answer.assignment)?;
        let owned = assignment.partitions().into_values().flatten().collect();
        self.seat.owners.set(self.seat.number, self.generation, owned);
        Ok(true)
    }

    /// Every partition in turn to the next member.
    fn assigned(&self, joined: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>> {
        let (members, partitions) = (joined.members.len(), self.seat.partitions);
        let assignment = |(turn, member): (usize, &JoinGroupResponseMember)| {
            let owned = (turn..partitions).step_by(members).map(|index| PartitionIndex::new(index as i32));
            let owned = PartitionsByName::from([(self.seat.topic.clone(), owned.collect::<BTreeSet<_>>())]);
            let assignment = consumer_protocol::encode_assignment(&owned, None)?;
            Ok(SyncGroupRequestAssignment { member_id: member.member_id.clone(), assignment })
        };
        joined.members.iter().enumerate().map(assignment).collect()
    }

    async fn stay(&mut self, leave: &mut oneshot::Receiver<()>) -> Result<Ended> {
        loop {
            let due = Instant::now() + self.seat.heartbeat;
            tokio::select! {
                _ = &mut *leave => return Ok(Ended::Leave),
                () = sleep_until(due) => {}
            }
            let request = HeartbeatRequest {
                group_id: self.seat.group.clone(),
                generation_id: self.generation,
                member_id: self.id.clone(),
                group_instance_id: None,
            };
            let error = self.connection.call(HEARTBEAT, &request).await?.error_code;
            if error == ErrorCode::RebalanceInProgress {
                return Ok(Ended::Rebalance);
            }
            ensure!(error.is_none(), "heartbeat: {}", error.message());
        }
    }

    async fn leave(&mut self) -> Result<()> {
        let member = MemberIdentity { member_id: self.id.clone(), ..MemberIdentity::default() };
        let request = LeaveGroupRequest {
            group_id: self.seat.group.clone(),
            members: vec![member],
            ..LeaveGroupRequest::default()
        };
        let error = self.connection.call(LEAVE, &request).await?.error_code;
        ensure!(error.is_none(), "leave: {}", error.message());
        Ok(())
    }
}
