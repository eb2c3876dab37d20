//! Deliveries that consumers refuse.
//!
//! Who is lost with a record says nothing, so that is inferred ([`super::attempts`]). A consumer of ours says it itself:
//! with its commit of the record's own offset, since all before it is done. That is one attempt as any other, under the same
//! limit, and past it the record goes the same way. Only the partition's owner may say so, in its current epoch (S21).
//!
//! An answer may be lost and the nack be sent again. It bears the number of the attempt, so what is counted is not counted
//! twice; one of a record that the group is past by now counts nothing and moves nothing back. What cannot be known is
//! whether the group was brought back to the record in between, by a reset: then a nack from before counts anew.

use super::{
    Coordinator, Effect, Now, Place, Ticket,
    attempts::Failed,
    offsets::Committed,
    request::{Answer, Commit, PerPartition},
};
use crate::{
    model::{Offset, PartitionIndex, TopicId},
    wire::{
        ErrorCode, Str,
        api::offset_commit::{Nack, Nacked, OffsetCommitRequestPartition},
    },
};

/// Of what a consumer says is wrong, the bytes that are kept.
const CAUSE_BYTES: usize = 1024;

/// One record whose delivery has failed.
struct Refused {
    place: Place,
    topic: TopicId,
    offset: Offset,
    attempt: u32,
    cause: Str,
}

impl Coordinator {
    pub(super) fn on_nack(
        &mut self,
        now: Now,
        ticket: Ticket,
        version: i16,
        mut commit: Commit,
        effects: &mut Vec<Effect>,
    ) {
        let id = Str::from(commit.group.as_str());
        let refused = refused_of(&commit);
        self.keep_from_going_back(&mut commit);
        let codes = if commit.generation < 0 || commit.member_id.is_empty() {
            // Whoever is no member was delivered nothing.
            all(&commit, ErrorCode::UnknownMemberId)
        } else {
            self.commit(now, version, commit, effects)
        };
        let mut answer: PerPartition<(ErrorCode, Option<Nacked>)> = Vec::with_capacity(codes.len());
        for (topic, codes) in codes {
            let mut outcomes = Vec::with_capacity(codes.len());
            for (index, code) in codes {
                let of_it = |one: &&Refused| one.place.0 == topic && one.place.1 == index;
                let one = refused.iter().find(of_it).filter(|_| code == ErrorCode::None);
                outcomes.push((index, (code, one.map(|one| self.nack(now, &id, one, effects)))));
            }
            answer.push((topic, outcomes));
        }
        self.count_stopped();
        effects.push(Effect::Answer(ticket, Answer::Nack(answer)));
    }

    /// A nack of a record that the group is past is from before: its position stays, whatever else comes of it.
    fn keep_from_going_back(&self, commit: &mut Commit) {
        let Some(group) = self.groups.get(&commit.group) else { return };
        for topic in &mut commit.topics {
            let known = group.offsets.by_topic().get(&topic.name);
            for partition in topic.partitions.iter_mut().filter(|partition| partition.nack.is_some()) {
                let committed = known.and_then(|known| known.get(&partition.partition_index));
                let ahead = committed.filter(|committed| {
                    committed.offset > partition.committed_offset && committed.is_of(topic.id)
                });
                if let Some(committed) = ahead {
                    stay(partition, committed);
                }
            }
        }
    }

    fn nack(&mut self, now: Now, id: &Str, refused: &Refused, effects: &mut Vec<Effect>) -> Nacked {
        let Refused { place, topic, offset, attempt, cause } = refused;
        let Some(group) = self.groups.get_mut(id) else { return Nacked::default() };
        if group.offsets.position(place, *topic).is_some_and(|position| position > *offset) {
            return Nacked { given_up: true, ..Nacked::default() };
        }
        let delivery = self.image.topics.get(&place.0).filter(|known| known.id == *topic);
        let Some(delivery) = delivery.map(|known| &known.delivery) else { return Nacked::default() };
        let failed = Failed { group: &group.id, place, topic: *topic, offset: *offset, cause: cause.clone() };
        let (is_news, nacked) = group.attempts.nacked(now, failed, *attempt, delivery, effects);
        self.counts.attempts += u64::from(is_news);
        nacked
    }
}

fn stay(partition: &mut OffsetCommitRequestPartition, committed: &Committed) {
    partition.committed_offset = committed.offset;
    partition.committed_leader_epoch = committed.leader_epoch;
    partition.committed_metadata = Some(committed.metadata.clone());
}

fn refused_of(commit: &Commit) -> Vec<Refused> {
    let mut found = Vec::new();
    for topic in &commit.topics {
        for partition in &topic.partitions {
            let Some(Nack { attempt, cause }) = &partition.nack else { continue };
            found.push(Refused {
                place: (Str::from(topic.name.as_str()), partition.partition_index),
                topic: topic.id,
                offset: partition.committed_offset,
                attempt: u32::try_from(*attempt).unwrap_or(0),
                cause: bounded(cause),
            });
        }
    }
    found
}

/// The consumer's own words, as many as are kept.
fn bounded(cause: &Str) -> Str {
    let cause = cause.as_str();
    if cause.is_empty() {
        return Str::from_static("the consumer refused the record");
    }
    Str::from(&cause[..cause.floor_char_boundary(CAUSE_BYTES)])
}

fn all(commit: &Commit, code: ErrorCode) -> PerPartition<ErrorCode> {
    let of = |partition: &OffsetCommitRequestPartition| (partition.partition_index, code);
    let topics = commit.topics.iter();
    topics
        .map(|topic| {
            (topic.name.clone(), topic.partitions.iter().map(of).collect::<Vec<(PartitionIndex, _)>>())
        })
        .collect()
}
