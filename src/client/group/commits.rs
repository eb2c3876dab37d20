//! What a member says of the records that it was given: done, or refused.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{
    Delivery, GroupConsumer, GroupError,
    calls::is_unsettled,
    places::{Place, Reading, by_topic},
};
use crate::{
    client::{ClientError, StartAt},
    model::Offset,
    wire::{
        ApiKey, ErrorCode, Str,
        api::{
            offset_commit::{
                Nack, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
                OffsetCommitResponse, OffsetCommitResponsePartition,
            },
            offset_fetch::{
                OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
            },
        },
    },
};

/// How long another epoch may take to be known here after the coordinator has refused the one that is.
const NEXT_EPOCH: Duration = Duration::from_secs(5);
/// Of what is wrong with a record, the bytes that are sent.
const CAUSE_BYTES: usize = 1024;

/// What came of a failed delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nacked {
    /// How often the record's deliveries have failed by now; 0: that is not counted of this topic, or the group was
    /// past the record already.
    pub attempts: u32,
    /// The group goes on behind it, once it is in the topic of dead letters. If not, it is delivered again.
    pub given_up: bool,
    /// So many records in a row have failed that no more are given up for now.
    pub dead_letters_stopped: bool,
}

impl GroupConsumer {
    /// This record is done, and all before it in its partition. It is committed with [`Self::commit`], when the
    /// partition is given back, and when the member is closed.
    pub fn ack(&mut self, delivery: &Delivery) -> Result<(), GroupError> {
        self.check(delivery)?;
        if let Some(owned) = self.places.get_mut(&delivery.place()) {
            owned.done = owned.done.max(Some(delivery.record.offset.plus(1)));
        }
        Ok(())
    }

    /// Commits all that is acknowledged. Asks nobody where nothing new is.
    pub async fn commit(&mut self) -> Result<(), GroupError> {
        let all: Vec<_> = self.places.iter().map(|(place, _)| place.clone()).collect();
        self.commit_of(&all).await
    }

    /// The delivery of this record has failed: that is one attempt on it, as is a member that is lost with it
    /// (`max.delivery.attempts`). All before it in its partition is done. It is delivered again after a pause, to this
    /// member or whoever has the partition then; or, after too many attempts, it becomes a dead letter, and the
    /// partition goes on behind it. What was delivered behind it in the partition is delivered again, and can be
    /// acknowledged only then.
    ///
    /// Where the answer is lost the error says so; to say it again is safe, for it is counted once.
    pub async fn nack(&mut self, delivery: &Delivery, cause: &str) -> Result<Nacked, GroupError> {
        self.check(delivery)?;
        let (place, offset) = (delivery.place(), delivery.record.offset);
        let Some(owned) = self.places.get(&place) else { return Err(self.void(&place, offset)) };
        if owned.done.is_some_and(|done| done > offset) {
            let (topic, partition) = place;
            return Err(GroupError::Passed { topic, partition, offset });
        }
        let cause = Str::from(&cause[..cause.floor_char_boundary(CAUSE_BYTES)]);
        let attempt = i32::try_from(owned.attempts(offset).saturating_add(1)).unwrap_or(i32::MAX);
        let nack = Nack { attempt, cause };
        let answer = loop {
            let epoch = self.epoch();
            let answer = self.send(epoch, vec![(place.clone(), offset, Some(nack.clone()))]).await?;
            let answer = answer_of(&answer, &place)?;
            if answer.error_code != ErrorCode::StaleMemberEpoch || !self.another_epoch(epoch).await {
                break answer;
            }
        };
        self.refusal(&place, offset, answer.error_code)?;
        self.on_nacked(&place, offset, answer)
    }

    fn on_nacked(
        &mut self,
        place: &Place,
        offset: Offset,
        answer: OffsetCommitResponsePartition,
    ) -> Result<Nacked, GroupError> {
        let known = answer.nacked.map(|nacked| Nacked {
            attempts: nacked.attempts.unsigned_abs(),
            given_up: nacked.given_up,
            dead_letters_stopped: nacked.dead_letters_stopped,
        });
        let (attempts, given_up) = known.map_or((0, false), |nacked| (nacked.attempts, nacked.given_up));
        let now = Instant::now();
        self.stop(place);
        let mut reading = Reading::Ask(now);
        if let Some(owned) = self.places.get_mut(place) {
            let pause = self.config.pause_after(owned.refuse(offset).max(attempts));
            if !given_up {
                reading = Reading::From(StartAt::Offset(offset), now + pause);
            }
            owned.failed = (attempts > 0).then_some((offset, attempts));
            let done = (!given_up).then_some(offset);
            (owned.done, owned.committed) = (done, done);
        }
        self.places.read_again(place, reading);
        known.ok_or(GroupError::NackUnknown)
    }

    /// Whether the record was delivered since its partition was taken or last read again.
    fn check(&self, delivery: &Delivery) -> Result<(), GroupError> {
        let place = delivery.place();
        let is_of_now = self.told.borrow().share.round == self.places.round;
        let current = self.places.get(&place).filter(|owned| is_of_now && owned.turn == delivery.turn);
        current.map(|_| ()).ok_or_else(|| self.void(&place, delivery.record.offset))
    }

    /// Why what is said of this offset does not count.
    fn void(&self, (topic, partition): &Place, offset: Offset) -> GroupError {
        let (topic, partition) = (topic.clone(), *partition);
        if self.told.borrow().is_out {
            return GroupError::PollTimedOut {
                topic,
                partition,
                offset,
                limit: self.config.max_poll_interval,
            };
        }
        GroupError::Outdated { topic, partition, offset }
    }

    /// What a refused offset means.
    fn refusal(&self, place: &Place, offset: Offset, code: ErrorCode) -> Result<(), GroupError> {
        use ErrorCode::{
            FencedInstanceId, FencedMemberEpoch, IllegalGeneration, StaleMemberEpoch, UnknownMemberId,
        };
        if code.is_none() {
            return Ok(());
        }
        let fenced =
            [FencedInstanceId, FencedMemberEpoch, IllegalGeneration, StaleMemberEpoch, UnknownMemberId];
        if fenced.contains(&code) {
            return Err(self.void(place, offset));
        }
        let (topic, partition) = place.clone();
        Err(GroupError::NotKept { topic, partition, code })
    }

    pub(super) async fn commit_of(&mut self, places: &[Place]) -> Result<(), GroupError> {
        loop {
            let left = places.iter().filter_map(|place| {
                let offset = self.places.get(place)?.to_commit()?;
                Some((place.clone(), offset, None))
            });
            let left: Vec<_> = left.collect();
            let Some((first, offset, _)) = left.first().cloned() else { return Ok(()) };
            let epoch = self.epoch();
            if self.told.borrow().share.round != self.places.round {
                return Err(self.void(&first, offset));
            }
            let answer = self.send(epoch, left.clone()).await?;
            let (mut stale, mut refused) = (false, Ok(()));
            for (place, offset, _) in left {
                let code = answer_of(&answer, &place)?.error_code;
                if code == ErrorCode::StaleMemberEpoch {
                    stale = true;
                } else if !code.is_none() {
                    refused = refused.and(self.refusal(&place, offset, code));
                } else if let Some(owned) = self.places.get_mut(&place) {
                    owned.committed = Some(offset);
                }
            }
            refused?;
            if stale && !self.another_epoch(epoch).await {
                return Err(self.void(&first, offset));
            }
        }
    }

    fn epoch(&self) -> i32 {
        self.told.borrow().share.epoch
    }

    /// Waits until the member has another epoch than this one, in the same round. The coordinator may have raised it
    /// before the heartbeat's answer is here.
    async fn another_epoch(&mut self, than: i32) -> bool {
        let round = self.places.round;
        let mut told = self.told.clone();
        let other = told
            .wait_for(|told| told.ended.is_some() || told.share.round != round || told.share.epoch != than);
        let other = timeout(NEXT_EPOCH, other).await;
        other.is_ok_and(|told| told.is_ok_and(|told| told.ended.is_none() && told.share.round == round))
    }

    async fn send(
        &self,
        epoch: i32,
        offsets: Vec<(Place, Offset, Option<Nack>)>,
    ) -> Result<OffsetCommitResponse, GroupError> {
        let one = |((topic, partition_index), committed_offset, nack)| {
            let rest = OffsetCommitRequestPartition::default();
            (topic, OffsetCommitRequestPartition { partition_index, committed_offset, nack, ..rest })
        };
        let of_topic = |(topic, partitions)| OffsetCommitRequestTopic { name: Str::from(&topic), partitions };
        let topics = by_topic(offsets.into_iter().map(one)).into_iter().map(of_topic).collect();
        let request = OffsetCommitRequest {
            group_id: self.profile.group.clone(),
            generation_id_or_member_epoch: epoch,
            member_id: self.profile.id.clone(),
            group_instance_id: self.profile.instance.clone(),
            topics,
            ..OffsetCommitRequest::default()
        };
        Ok(self.calls.settled(&request, unsettled_commit).await?)
    }

    /// Asks the coordinator where these partitions begin, once; those that it does not tell are asked for again later.
    pub(super) async fn ask_positions(&mut self, places: &[Place]) -> Result<(), GroupError> {
        let of_topic = |(topic, partition_indexes)| OffsetFetchRequestTopics {
            name: Str::from(&topic),
            partition_indexes,
        };
        let topics = by_topic(places.iter().cloned()).into_iter().map(of_topic).collect();
        let group = OffsetFetchRequestGroup {
            group_id: self.profile.group.clone(),
            member_id: Some(self.profile.id.clone()),
            member_epoch: self.epoch(),
            topics: Some(topics),
        };
        let request =
            OffsetFetchRequest { groups: vec![group], with_attempts: true, ..OffsetFetchRequest::default() };
        let answer = self.calls.once(&request).await;
        let now = Instant::now();
        let code = match &answer {
            Ok(answer) => answer.groups.first().map_or(answer.error_code, |group| group.error_code),
            Err(error) if error.is_retriable() || matches!(error, ClientError::OutcomeUnknown(_)) => {
                ErrorCode::CoordinatorNotAvailable
            }
            Err(error) => return Err(error.clone().into()),
        };
        match answer {
            Ok(answer) if code.is_none() => self.on_positions(places, &answer, now),
            // The next heartbeat says what becomes of a member that the coordinator does not know so.
            _ if may_be_told_later(code) => {
                if code == ErrorCode::NotCoordinator {
                    self.calls.forget();
                }
                for place in places {
                    self.places.not_told(place, now);
                }
                Ok(())
            }
            _ => Err(ClientError::refused(ApiKey::OffsetFetch, code, None).into()),
        }
    }

    fn on_positions(
        &mut self,
        places: &[Place],
        answer: &OffsetFetchResponse,
        now: Instant,
    ) -> Result<(), GroupError> {
        let topics: Vec<_> = answer.groups.iter().flat_map(|group| &group.topics).collect();
        for place in places {
            let of_topic = topics.iter().filter(|topic| topic.name == *place.0.as_str());
            let found =
                of_topic.flat_map(|topic| &topic.partitions).find(|one| one.partition_index == place.1);
            let found = found.ok_or(ClientError::Incomplete(ApiKey::OffsetFetch))?;
            if !found.error_code.is_none() {
                return Err(ClientError::refused(ApiKey::OffsetFetch, found.error_code, None).into());
            }
            let committed = found.committed_offset;
            let start = if committed.get() >= 0 { StartAt::Offset(committed) } else { self.config.start };
            if let Some(owned) = self.places.get_mut(place) {
                (owned.reading, owned.asked) = (Reading::From(start, now), 0);
                let failed = (found.attempted_offset, found.attempts.unsigned_abs());
                owned.failed = (found.attempts > 0).then_some(failed);
            }
        }
        Ok(())
    }
}

fn answer_of(
    answer: &OffsetCommitResponse,
    (topic, partition): &Place,
) -> Result<OffsetCommitResponsePartition, GroupError> {
    let of_topic = answer.topics.iter().filter(|answered| answered.name == *topic.as_str());
    let mut partitions = of_topic.flat_map(|answered| &answered.partitions);
    let found = partitions.find(|answered| answered.partition_index == *partition);
    Ok(found.cloned().ok_or(ClientError::Incomplete(ApiKey::OffsetCommit))?)
}

fn unsettled_commit(answer: &OffsetCommitResponse) -> ErrorCode {
    let codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|one| one.error_code);
    codes.into_iter().find(|code| is_unsettled(*code)).unwrap_or(ErrorCode::None)
}

fn may_be_told_later(code: ErrorCode) -> bool {
    use ErrorCode::{FencedMemberEpoch, StaleMemberEpoch, UnknownMemberId};
    is_unsettled(code) || [FencedMemberEpoch, StaleMemberEpoch, UnknownMemberId].contains(&code)
}
