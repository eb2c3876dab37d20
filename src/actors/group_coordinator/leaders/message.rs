//! What coordinators ask of leaders on other nodes, as bytes.
//!
//! Clocks of two nodes have nothing in common, so times go as how long ago they are. What that lacks in precision is
//! taken from the side on which less counts: the question ages on its way.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::partition_of;
use crate::{
    actors::{
        group_coordinator::core::{AskServed, DeadLetter},
        partition::{ClientKey, ServedQuery},
    },
    model::{LeaderEpoch, Offset, PartitionId, ProducerId, TimestampMs},
    storage::metadata_log::codec,
};

/// The version of what is sent. A node that does not know it does not answer.
const VERSION: u8 = 1;

/// A question. Variants at the end only: the encoding knows them by their place.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Which record had each of these clients been given?
    Served(Vec<Query>),
    /// Append this record to the topic of dead letters.
    Bury(Box<Burial>),
    /// Give a piece of a record.
    Read(Piece),
    /// How far may consumers read?
    Ends(Vec<PartitionId>),
}

/// An answer, in the order of [`Ask`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    Served(Vec<Option<Offset>>),
    Buried(Outcome),
    Read(Given),
    Ends(Vec<Option<Offset>>),
}

/// What a lost owner is asked about by.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Query {
    pub(super) partition: PartitionId,
    pub(super) position: Option<Offset>,
    pub(super) client: ClientKey,
    since_ago: Duration,
    until_ago: Option<Duration>,
}

/// A record that is to be a dead letter, where to, and whose mark it gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Burial {
    pub(in super::super) to: PartitionId,
    pub(in super::super) producer: ProducerId,
    pub(in super::super) group: String,
    pub(in super::super) topic: String,
    pub(in super::super) from: PartitionId,
    pub(in super::super) offset: Offset,
    pub(in super::super) attempts: u32,
    pub(in super::super) first: TimestampMs,
    pub(in super::super) last: TimestampMs,
    pub(in super::super) cause: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) enum Outcome {
    /// It is there, on disk.
    Written {
        /// Where.
        at: Offset,
        /// Which record it was.
        record: Offset,
        /// And its leader epoch.
        leader_epoch: LeaderEpoch,
    },
    /// The record is not there any more to be read.
    Gone,
    /// It is not written, or nobody knows.
    Failed(String),
}

/// A piece of the first record at or behind an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) partition: PartitionId,
    pub(super) offset: Offset,
    pub(super) skip: u64,
}

/// What there is of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Given {
    /// Bytes of the encoded record at this offset, and how many there are in all.
    Part { record: Offset, total: u64, bytes: Vec<u8> },
    /// It is gone or damaged.
    Gone,
    /// It cannot be read now.
    Failed(String),
}

impl Query {
    /// `within` is how long the question may be on its way: what was served so late before the end does not count.
    pub(super) fn of(ask: &AskServed, now: Duration, within: Duration) -> Self {
        let ago = |then: Duration| now.saturating_sub(then);
        Self {
            partition: partition_of(ask),
            position: ask.position,
            client: ask.query.client,
            since_ago: ago(ask.query.since),
            until_ago: ask.query.until.map(|until| ago(until) + within),
        }
    }

    /// The same by the clock of who is asked. What lies before that clock's beginning was never served.
    pub(super) fn at(&self, now: Duration) -> Option<ServedQuery> {
        let until = match self.until_ago {
            Some(ago) => Some(now.checked_sub(ago)?),
            None => None,
        };
        Some(ServedQuery { client: self.client, since: now.saturating_sub(self.since_ago), until })
    }
}

impl Burial {
    pub(in super::super) fn new(letter: &DeadLetter, to: PartitionId) -> Self {
        let text = |text: &crate::wire::Str| text.as_str().to_owned();
        Self {
            to,
            producer: letter.mark,
            group: text(&letter.group),
            topic: text(&letter.place.0),
            from: PartitionId { topic: letter.topic, index: letter.place.1 },
            offset: letter.offset,
            attempts: letter.attempts,
            first: letter.first,
            last: letter.last,
            cause: text(&letter.cause),
        }
    }
}

pub(super) fn encode<T: Serialize>(value: &T) -> Option<Bytes> {
    let mut body = vec![VERSION];
    body.extend_from_slice(&codec::encode(value).ok()?);
    Some(body.into())
}

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    match body.split_first() {
        Some((&VERSION, rest)) => codec::decode(rest).ok(),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        actors::group_coordinator::core::Cause,
        model::{PartitionIndex, TopicId},
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn ask(since: Duration, until: Option<Duration>) -> AskServed {
        AskServed {
            group: "g".into(),
            place: ("t".into(), PartitionIndex::new(2)),
            topic: TopicId::random(),
            position: Some(Offset::new(7)),
            query: ServedQuery { client: ClientKey::new("c", "h"), since, until },
            cause: Cause::SessionEnded,
        }
    }

    #[test]
    fn s22_a_question_that_was_long_on_its_way_asks_for_less_never_for_more() {
        let (asked_at, theirs) = (100 * SECOND, 5000 * SECOND);
        let query = Query::of(&ask(90 * SECOND, Some(95 * SECOND)), asked_at, SECOND);
        let at_once = query.at(theirs).unwrap();
        assert_eq!((at_once.since, at_once.until), (4990 * SECOND, Some(4994 * SECOND)));
        let late = query.at(theirs + SECOND).unwrap();
        assert_eq!((late.since, late.until), (4991 * SECOND, Some(4995 * SECOND)));
    }

    #[test]
    fn who_began_after_the_owner_was_lost_has_served_it_nothing() {
        let query = Query::of(&ask(90 * SECOND, Some(95 * SECOND)), 100 * SECOND, SECOND);
        assert_eq!(query.at(3 * SECOND), None);
        let open = Query::of(&ask(90 * SECOND, None), 100 * SECOND, SECOND);
        assert_eq!(open.at(3 * SECOND).map(|query| query.since), Some(Duration::ZERO));
    }

    #[test]
    fn a_question_is_read_as_it_was_written_and_an_unknown_version_is_not() {
        let asked = Ask::Served(vec![Query::of(&ask(SECOND, None), 2 * SECOND, SECOND)]);
        let body = encode(&asked).unwrap();
        assert_eq!(decode::<Ask>(&body), Some(asked));
        let mut other = body.to_vec();
        other[0] = VERSION + 1;
        assert_eq!(decode::<Ask>(&other), None);
        assert_eq!(decode::<Ask>(&[]), None);
        assert_eq!(decode::<Ask>(&body[..body.len() - 1]), None);
    }
}
