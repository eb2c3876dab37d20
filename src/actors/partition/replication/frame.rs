//! The frames of a replication stream.
//!
//! Each side begins with `PLrs` and the version, two bytes. Then frames, all integers big-endian:
//!
//! ```text
//! offset size
//!      0    4  bytes that follow
//!      4    1  kind
//!      5       body
//!
//! follower to leader
//!   1 subscribe     channel 4, topic id 16, partition 4, node 4, broker epoch 8, session 8, leader epoch 4,
//!                   epoch of the last record 4, log end 8, flushed 8
//!   2 positions     each: channel 4, session 8, appended 8, flushed 8
//!   3 unsubscribe   channel 4, session 8
//!   4 credit        bytes of data that have been appended, or thrown away 4
//!   5 ask copy      topic id 16, partition 4, from 8, to 8
//! leader to follower
//!  16 verdict       channel 4, session 8, what 1 (0 follows, 1 diverges, 2 starts anew, 3 the epoch is stale,
//!                   4 the epoch is unknown, 5 stale, 6 no replica), epoch 4, offset 8
//!  17 data          channel 4, session 8, from 8, end 8, high watermark 8, log start 8, batches
//!  18 watermarks    each: channel 4, session 8, high watermark 8, log start 8
//!  19 resigned      channel 4, session 8
//!  20 copy          what 1 (0 has it, 1 has it not, 2 cannot say now), next 8, compacted to 8, batches
//! ```
//!
//! The follower names the channels. `from` of data is where the leader read from and `end` where it goes on: what the
//! batches do not cover of it the leader has not. A frame that makes no sense ends the stream.
//!
//! A copy is asked of any replica, leader or not, to mend damage, on a stream that is opened for that alone: who does not
//! know the frame ends the stream, and nothing else is on it. The batches are whole, cover the offsets from the one asked
//! for to `next`, and may begin before it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{
    actors::partition::core::{Session, Subscription, SubscriptionRefusal, Verdict},
    model::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionId, PartitionIndex, TopicId},
};

/// What each side sends first.
pub const PREAMBLE: [u8; 6] = *b"PLrs\x00\x01";
/// The most bytes of a frame. A batch may be as large as a segment.
pub const MAX_FRAME: usize = 256 << 20;
const POSITION: usize = 28;
/// Of a copy, without its batches.
const COPY: usize = 17;

/// A partition on one stream; the follower gives the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(pub u32);

/// How far a follower is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Of which partition.
    pub channel: Channel,
    /// In which subscription.
    pub session: Session,
    /// The log's end.
    pub appended: Offset,
    /// What of it is on disk.
    pub flushed: Offset,
}

/// What a leader has besides its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Of which partition.
    pub channel: Channel,
    /// For which subscription.
    pub session: Session,
    /// How far is committed.
    pub high_watermark: Offset,
    /// Nothing below is kept.
    pub log_start: Offset,
}

/// From the follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToLeader {
    /// Send what comes after my end.
    Subscribe {
        /// Under this number.
        channel: Channel,
        /// Of this partition.
        partition: PartitionId,
        /// To me, as I am.
        subscription: Subscription,
    },
    /// So far am I.
    Positions(Vec<Position>),
    /// Send nothing more.
    Unsubscribe {
        /// Of this partition.
        channel: Channel,
        /// For this subscription.
        session: Session,
    },
    /// So many bytes more may be sent.
    Credit(u32),
    /// Send what your replica has of these offsets, once.
    AskCopy {
        /// Of this partition.
        partition: PartitionId,
        /// The first.
        from: Offset,
        /// The one behind the last.
        to: Offset,
    },
}

/// What a replica has of offsets that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copy {
    /// These batches, at least one.
    Has {
        /// The offset behind the last of them.
        next: Offset,
        /// Up to where its log was compacted.
        cleaned_to: Offset,
        /// Whole batches.
        batches: Bytes,
    },
    /// They are not in its log, or hit as well.
    HasNot,
    /// Its log is not open, or does not reach so far yet.
    NotNow,
}

/// From the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToFollower {
    /// The answer to a subscription.
    Verdict {
        /// Of which partition.
        channel: Channel,
        /// To which subscription.
        session: Session,
        /// The answer.
        verdict: Verdict,
    },
    /// Batches.
    Data {
        /// With the leader's watermark and start.
        head: Watermark,
        /// Where they were read from.
        from: Offset,
        /// Where the next ones are read from.
        end: Offset,
        /// Whole batches.
        batches: Bytes,
    },
    /// Nothing new but these.
    Watermarks(Vec<Watermark>),
    /// The answer to what asks for a copy.
    Copy(Copy),
    /// This node leads no more.
    Resigned {
        /// Which partition.
        channel: Channel,
        /// For which subscription.
        session: Session,
    },
}

/// Why a stream is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Another protocol, or another version of it.
    #[error("stream begins with another protocol or version")]
    Preamble,
    /// A length that no frame has.
    #[error("frame claims {0} bytes")]
    Length(u32),
    /// No such kind.
    #[error("frame of kind {0} is not known")]
    Kind(u8),
    /// The body is not what the kind says.
    #[error("body of a frame of kind {0} makes no sense")]
    Body(u8),
}

/// The bytes of the first whole frame, without its length; `None` as long as it is not here. What of the next one is
/// missing is answered by [`missing`].
pub fn split(input: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
    let Some(length) = input.first_chunk().map(|length| u32::from_be_bytes(*length)) else { return Ok(None) };
    if length == 0 || length as usize > MAX_FRAME {
        return Err(FrameError::Length(length));
    }
    if input.len() < 4 + length as usize {
        return Ok(None);
    }
    input.advance(4);
    Ok(Some(input.split_to(length as usize).freeze()))
}

/// How many bytes of the next frame are not here yet; of one whose length is not here, those of its head.
pub fn missing(input: &BytesMut) -> usize {
    let length = input.first_chunk().map_or(1, |length| u32::from_be_bytes(*length) as usize);
    (4 + length).saturating_sub(input.len()).max(1)
}

fn frame(out: &mut BytesMut, kind: u8, body: usize) {
    out.put_u32(body as u32 + 1);
    out.put_u8(kind);
}

fn put_channel(out: &mut BytesMut, channel: Channel, session: Session) {
    out.put_u32(channel.0);
    out.put_u64(session.get());
}

impl ToLeader {
    /// Appends the frame.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Subscribe { channel, partition, subscription } => {
                frame(out, 1, 68);
                out.put_u32(channel.0);
                out.put_slice(&partition.topic.to_bytes());
                out.put_i32(partition.index.get());
                out.put_i32(subscription.node.get());
                out.put_i64(subscription.broker_epoch.get());
                out.put_u64(subscription.session.get());
                out.put_i32(subscription.leader_epoch.get());
                out.put_i32(subscription.last_epoch.get());
                out.put_i64(subscription.end.get());
                out.put_i64(subscription.flushed.get());
            }
            Self::Positions(positions) => {
                frame(out, 2, positions.len() * POSITION);
                for position in positions {
                    put_channel(out, position.channel, position.session);
                    out.put_i64(position.appended.get());
                    out.put_i64(position.flushed.get());
                }
            }
            Self::Unsubscribe { channel, session } => {
                frame(out, 3, 12);
                put_channel(out, *channel, *session);
            }
            Self::Credit(bytes) => {
                frame(out, 4, 4);
                out.put_u32(*bytes);
            }
            Self::AskCopy { partition, from, to } => {
                frame(out, 5, 36);
                out.put_slice(&partition.topic.to_bytes());
                out.put_i32(partition.index.get());
                out.put_i64(from.get());
                out.put_i64(to.get());
            }
        }
    }

    /// Takes the bytes of a frame apart.
    pub fn decode(frame: Bytes) -> Result<Self, FrameError> {
        let (kind, mut body) = open(frame)?;
        let decoded = match kind {
            1 if body.len() == 68 => {
                let channel = Channel(body.get_u32());
                let partition = get_partition(&mut body);
                Self::Subscribe { channel, partition, subscription: subscription(&mut body) }
            }
            2 if body.len().is_multiple_of(POSITION) => {
                let mut positions = Vec::with_capacity(body.len() / POSITION);
                while body.has_remaining() {
                    let (channel, session) = get_channel(&mut body);
                    let (appended, flushed) = (get_offset(&mut body), get_offset(&mut body));
                    positions.push(Position { channel, session, appended, flushed });
                }
                Self::Positions(positions)
            }
            3 if body.len() == 12 => {
                let (channel, session) = get_channel(&mut body);
                Self::Unsubscribe { channel, session }
            }
            4 if body.len() == 4 => Self::Credit(body.get_u32()),
            5 if body.len() == 36 => {
                let partition = get_partition(&mut body);
                let (from, to) = (get_offset(&mut body), get_offset(&mut body));
                Self::AskCopy { partition, from, to }
            }
            1..=5 => return Err(FrameError::Body(kind)),
            _ => return Err(FrameError::Kind(kind)),
        };
        Ok(decoded)
    }
}

fn subscription(body: &mut Bytes) -> Subscription {
    Subscription {
        node: NodeId::new(body.get_i32()),
        broker_epoch: BrokerEpoch::new(body.get_i64()),
        session: Session::new(body.get_u64()),
        leader_epoch: LeaderEpoch::new(body.get_i32()),
        last_epoch: LeaderEpoch::new(body.get_i32()),
        end: get_offset(body),
        flushed: get_offset(body),
    }
}

impl ToFollower {
    /// Appends the frame.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Verdict { channel, session, verdict } => {
                frame(out, 16, 25);
                put_channel(out, *channel, *session);
                let (what, epoch, offset) = verdict_fields(verdict);
                out.put_u8(what);
                out.put_i32(epoch.get());
                out.put_i64(offset.get());
            }
            Self::Data { head, from, end, batches } => {
                put_data_head(out, head, *from, *end, batches.len());
                out.put_slice(batches);
            }
            Self::Watermarks(watermarks) => {
                frame(out, 18, watermarks.len() * POSITION);
                for watermark in watermarks {
                    put_channel(out, watermark.channel, watermark.session);
                    out.put_i64(watermark.high_watermark.get());
                    out.put_i64(watermark.log_start.get());
                }
            }
            Self::Copy(copy) => {
                let nothing = (Offset::new(-1), Offset::ZERO, Bytes::new());
                let (what, (next, cleaned_to, batches)) = match copy {
                    Copy::Has { next, cleaned_to, batches } => (0, (*next, *cleaned_to, batches.clone())),
                    Copy::HasNot => (1, nothing),
                    Copy::NotNow => (2, nothing),
                };
                frame(out, 20, COPY + batches.len());
                out.put_u8(what);
                out.put_i64(next.get());
                out.put_i64(cleaned_to.get());
                out.put_slice(&batches);
            }
            Self::Resigned { channel, session } => {
                frame(out, 19, 12);
                put_channel(out, *channel, *session);
            }
        }
    }

    /// Takes the bytes of a frame apart. The batches are a slice of it.
    pub fn decode(frame: Bytes) -> Result<Self, FrameError> {
        let (kind, mut body) = open(frame)?;
        let decoded = match kind {
            16 if body.len() == 25 => {
                let (channel, session) = get_channel(&mut body);
                let (what, epoch) = (body.get_u8(), LeaderEpoch::new(body.get_i32()));
                let verdict = verdict(what, epoch, get_offset(&mut body)).ok_or(FrameError::Body(kind))?;
                Self::Verdict { channel, session, verdict }
            }
            17 if body.len() >= 44 => {
                let (channel, session) = get_channel(&mut body);
                let (from, end) = (get_offset(&mut body), get_offset(&mut body));
                let (high_watermark, log_start) = (get_offset(&mut body), get_offset(&mut body));
                let head = Watermark { channel, session, high_watermark, log_start };
                Self::Data { head, from, end, batches: body }
            }
            18 if body.len().is_multiple_of(POSITION) => {
                let mut watermarks = Vec::with_capacity(body.len() / POSITION);
                while body.has_remaining() {
                    let (channel, session) = get_channel(&mut body);
                    let (high_watermark, log_start) = (get_offset(&mut body), get_offset(&mut body));
                    watermarks.push(Watermark { channel, session, high_watermark, log_start });
                }
                Self::Watermarks(watermarks)
            }
            19 if body.len() == 12 => {
                let (channel, session) = get_channel(&mut body);
                Self::Resigned { channel, session }
            }
            20 if body.len() >= COPY => {
                let (what, next, cleaned_to) = (body.get_u8(), get_offset(&mut body), get_offset(&mut body));
                Self::Copy(match what {
                    0 => Copy::Has { next, cleaned_to, batches: body },
                    1 => Copy::HasNot,
                    2 => Copy::NotNow,
                    _ => return Err(FrameError::Body(kind)),
                })
            }
            16..=20 => return Err(FrameError::Body(kind)),
            _ => return Err(FrameError::Kind(kind)),
        };
        Ok(decoded)
    }
}

/// Bytes of the head of a frame of data.
pub(super) const DATA_HEAD: usize = 4 + 1 + 44;

/// The head of a frame of data; so many bytes of batches are to follow it.
pub(super) fn put_data_head(out: &mut BytesMut, head: &Watermark, from: Offset, end: Offset, batches: usize) {
    frame(out, 17, 44 + batches);
    put_channel(out, head.channel, head.session);
    for offset in [from, end, head.high_watermark, head.log_start] {
        out.put_i64(offset.get());
    }
}

fn verdict_fields(verdict: &Verdict) -> (u8, LeaderEpoch, Offset) {
    let nothing = (LeaderEpoch::NONE, Offset::new(-1));
    match verdict {
        Verdict::Follows => (0, nothing.0, nothing.1),
        Verdict::Diverges { epoch, end } => (1, *epoch, *end),
        Verdict::StartsAnew { log_start } => (2, nothing.0, *log_start),
        Verdict::Refused(SubscriptionRefusal::StaleLeaderEpoch) => (3, nothing.0, nothing.1),
        Verdict::Refused(SubscriptionRefusal::UnknownLeaderEpoch) => (4, nothing.0, nothing.1),
        Verdict::Refused(SubscriptionRefusal::Stale) => (5, nothing.0, nothing.1),
        Verdict::Refused(SubscriptionRefusal::NotReplica) => (6, nothing.0, nothing.1),
    }
}

fn verdict(what: u8, epoch: LeaderEpoch, offset: Offset) -> Option<Verdict> {
    Some(match what {
        0 => Verdict::Follows,
        1 | 2 if offset < Offset::ZERO => return None,
        1 => Verdict::Diverges { epoch, end: offset },
        2 => Verdict::StartsAnew { log_start: offset },
        3 => Verdict::Refused(SubscriptionRefusal::StaleLeaderEpoch),
        4 => Verdict::Refused(SubscriptionRefusal::UnknownLeaderEpoch),
        5 => Verdict::Refused(SubscriptionRefusal::Stale),
        6 => Verdict::Refused(SubscriptionRefusal::NotReplica),
        _ => return None,
    })
}

fn open(mut frame: Bytes) -> Result<(u8, Bytes), FrameError> {
    if frame.is_empty() {
        return Err(FrameError::Length(0));
    }
    let kind = frame.get_u8();
    Ok((kind, frame))
}

fn get_channel(body: &mut Bytes) -> (Channel, Session) {
    (Channel(body.get_u32()), Session::new(body.get_u64()))
}

fn get_partition(body: &mut Bytes) -> PartitionId {
    let mut topic = [0; 16];
    body.copy_to_slice(&mut topic);
    PartitionId { topic: TopicId::from_bytes(topic), index: PartitionIndex::new(body.get_i32()) }
}

fn get_offset(body: &mut Bytes) -> Offset {
    Offset::new(body.get_i64())
}
