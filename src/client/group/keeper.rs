//! Keeps a member in its group while the application works: a task that sends the heartbeats. One whose application does
//! not come back for records in time is taken out of the group, until it does.

use std::{sync::Arc, time::Duration};

use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    GroupError,
    calls::Calls,
    member::{Heard, Member, Partitions, Share},
    polls::Polls,
};
use crate::{
    client::{ClientError, ConnectionError},
    wire::{ErrorCode, Str, api::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse},
};

/// What the member is told: its share, or that there will be none any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) share: Share,
    /// It has left since nobody polled, and comes back when somebody does.
    pub(super) is_out: bool,
    pub(super) ended: Option<GroupError>,
}

/// What whoever reads holds, in which round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) round: u64,
    pub(super) partitions: Partitions,
}

pub(super) struct Keeper {
    member: Member,
    calls: Calls,
    group: Str,
    polls: Arc<Polls>,
    /// What times of the member are counted from.
    began: Instant,
}

impl Keeper {
    pub(super) fn new(member: Member, calls: Calls, group: Str, polls: Arc<Polls>) -> Self {
        Self { member, calls, group, polls, began: Instant::now() }
    }

    /// The first heartbeat, until it is answered.
    pub(super) async fn join(&mut self) -> Result<Share, GroupError> {
        let request = self.member.heartbeat();
        let code = |answer: &ConsumerGroupHeartbeatResponse| answer.error_code;
        let answer = self.calls.settled(&request, code).await?;
        match self.member.answered(self.began.elapsed(), &answer) {
            Heard::GoOn | Heard::FindCoordinator => Ok(self.member.share().clone()),
            Heard::Ended { code, message } => Err(self.ended(code, message)),
        }
    }

    /// Heartbeats until nobody reads any more, or the group will not have the member.
    pub(super) async fn run(mut self, told: watch::Sender<Told>, mut held: watch::Receiver<Held>) {
        loop {
            select! {
                biased;
                changed = held.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let Held { round, partitions } = held.borrow_and_update().clone();
                    self.member.holds(self.began.elapsed(), round, partitions);
                }
                () = sleep(self.wait()) => {
                    if self.is_over() {
                        self.step_out(&told).await;
                        continue;
                    }
                    if self.member.due() > self.began.elapsed() {
                        continue;
                    }
                    let ended = self.beat().await.err();
                    let is_over = ended.is_some();
                    let share = self.member.share();
                    told.send_if_modified(|told| {
                        let is_news = is_over || told.share != *share || told.is_out;
                        told.share.clone_from(share);
                        told.is_out = false;
                        told.ended = ended;
                        is_news
                    });
                    if is_over {
                        return;
                    }
                }
            }
        }
    }

    /// Until there is something to do, as far as is known now.
    fn wait(&self) -> Duration {
        let until_due = self.member.due().saturating_sub(self.began.elapsed());
        if self.member.is_out() { until_due } else { until_due.min(self.polls.left()) }
    }

    /// Whether the application has been away for too long.
    fn is_over(&self) -> bool {
        !self.member.is_out() && self.polls.left().is_zero()
    }

    /// Leaves the group until the application polls again. Where that cannot be said, the group misses it when its session is
    /// over, for there are no more heartbeats.
    async fn step_out(&mut self, told: &watch::Sender<Told>) {
        self.member.step_out();
        told.send_modify(|told| {
            told.share.clone_from(self.member.share());
            told.is_out = true;
        });
        let (group, member, limit) = (&self.group, self.member.id(), self.polls.limit());
        tracing::warn!(%group, %member, ?limit, "nothing was polled for too long, the member leaves its group until it is");
        let farewell = Member::farewell(self.member.profile());
        let code = |answer: &ConsumerGroupHeartbeatResponse| answer.error_code;
        if let Err(error) = self.calls.settled(&farewell, code).await {
            tracing::debug!(%group, %member, %error, "the group was not told that the member has left");
        }
    }

    async fn beat(&mut self) -> Result<(), GroupError> {
        let request = self.member.heartbeat();
        let answer = self.calls.once(&request).await;
        let now = self.began.elapsed();
        match answer {
            Ok(answer) => match self.member.answered(now, &answer) {
                Heard::GoOn => Ok(()),
                Heard::FindCoordinator => {
                    self.calls.forget();
                    Ok(())
                }
                Heard::Ended { code, message } => Err(self.ended(code, message)),
            },
            Err(error @ ClientError::Connection(ConnectionError::NoCommonVersion { .. })) => {
                Err(error.into())
            }
            Err(error) => {
                tracing::debug!(group = %self.group, member = %self.member.id(), %error, "heartbeat without answer");
                self.member.unanswered(now);
                Ok(())
            }
        }
    }

    fn ended(&self, code: ErrorCode, message: Option<String>) -> GroupError {
        GroupError::Ended { group: self.group.as_str().to_owned(), code, message }
    }
}
