//! Keeps a member in its group while the application works: a task that sends the heartbeats.

use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    GroupError,
    calls::Calls,
    member::{Heard, Member, Partitions, Share},
};
use crate::{
    client::{ClientError, ConnectionError},
    wire::{ErrorCode, Str, api::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse},
};

/// What the member is told: its share, or that there will be none any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) share: Share,
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
    /// What times of the member are counted from.
    began: Instant,
}

impl Keeper {
    pub(super) fn new(member: Member, calls: Calls, group: Str) -> Self {
        Self { member, calls, group, began: Instant::now() }
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
            let wait = self.member.due().saturating_sub(self.began.elapsed());
            select! {
                biased;
                changed = held.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let Held { round, partitions } = held.borrow_and_update().clone();
                    self.member.holds(self.began.elapsed(), round, partitions);
                }
                () = sleep(wait) => {
                    let ended = self.beat().await.err();
                    let is_over = ended.is_some();
                    let share = self.member.share();
                    told.send_if_modified(|told| {
                        let is_news = is_over || told.share != *share;
                        told.share.clone_from(share);
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
