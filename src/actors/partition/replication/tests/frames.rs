//! Frames on their way through bytes.

use bytes::{Bytes, BytesMut};

use super::super::frame::{
    Channel, Copy, FrameError, MAX_FRAME, Position, ToFollower, ToLeader, Watermark, missing, split,
};
use crate::{
    actors::partition::core::{Session, Subscription, SubscriptionRefusal, Verdict},
    model::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionId, PartitionIndex, TopicId},
};

fn session(number: u64) -> (Channel, Session) {
    (Channel(7), Session::new(number))
}

fn to_leader() -> Vec<ToLeader> {
    let (channel, session) = session(1 << 40);
    let subscription = Subscription {
        node: NodeId::new(3),
        broker_epoch: BrokerEpoch::new(99),
        session,
        leader_epoch: LeaderEpoch::new(5),
        last_epoch: LeaderEpoch::NONE,
        end: Offset::new(12),
        flushed: Offset::new(10),
    };
    let partition = PartitionId { topic: TopicId::from_bytes([9; 16]), index: PartitionIndex::new(4) };
    let position =
        |appended| Position { channel, session, appended: Offset::new(appended), flushed: Offset::ZERO };
    vec![
        ToLeader::Subscribe { channel, partition, subscription },
        ToLeader::Positions(vec![position(1), position(i64::MAX)]),
        ToLeader::Unsubscribe { channel, session },
        ToLeader::Credit(u32::MAX),
        ToLeader::AskCopy { partition, from: Offset::new(3), to: Offset::new(1 << 40) },
    ]
}

fn to_follower() -> Vec<ToFollower> {
    let (channel, session) = session(u64::MAX);
    let head = Watermark { channel, session, high_watermark: Offset::new(8), log_start: Offset::new(2) };
    let verdicts = [
        Verdict::Follows,
        Verdict::Diverges { epoch: LeaderEpoch::new(2), end: Offset::new(77) },
        Verdict::StartsAnew { log_start: Offset::new(50) },
        Verdict::Refused(SubscriptionRefusal::StaleLeaderEpoch),
        Verdict::Refused(SubscriptionRefusal::UnknownLeaderEpoch),
        Verdict::Refused(SubscriptionRefusal::Stale),
        Verdict::Refused(SubscriptionRefusal::NotReplica),
    ];
    let mut all: Vec<_> =
        verdicts.into_iter().map(|verdict| ToFollower::Verdict { channel, session, verdict }).collect();
    let (from, end) = (Offset::new(5), Offset::new(9));
    all.push(ToFollower::Data { head, from, end, batches: Bytes::from_static(b"batches") });
    all.push(ToFollower::Data { head, from, end, batches: Bytes::new() });
    all.push(ToFollower::Watermarks(vec![head, head]));
    all.push(ToFollower::Resigned { channel, session });
    let (next, cleaned_to, batches) = (Offset::new(7), Offset::new(3), Bytes::from_static(b"batches"));
    all.extend([Copy::Has { next, cleaned_to, batches }, Copy::HasNot, Copy::NotNow].map(ToFollower::Copy));
    all
}

#[test]
fn every_frame_comes_back_however_it_is_cut_into_pieces() {
    let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
    for frame in to_leader() {
        frame.encode(&mut up);
    }
    for frame in to_follower() {
        frame.encode(&mut down);
    }
    for step in 1..40 {
        let frames = |bytes: &BytesMut| {
            let (mut input, mut found) = (BytesMut::new(), Vec::new());
            for piece in bytes.chunks(step) {
                input.extend_from_slice(piece);
                while let Some(frame) = split(&mut input).unwrap() {
                    found.push(frame);
                }
                assert!(missing(&input) > 0);
            }
            assert!(input.is_empty());
            found
        };
        let back: Vec<_> = frames(&up).into_iter().map(|frame| ToLeader::decode(frame).unwrap()).collect();
        assert_eq!(back, to_leader());
        let back: Vec<_> =
            frames(&down).into_iter().map(|frame| ToFollower::decode(frame).unwrap()).collect();
        assert_eq!(back, to_follower());
    }
}

#[test]
fn no_bytes_at_all_make_the_parser_panic_or_believe_a_length() {
    for length in [0, MAX_FRAME as u32 + 1, u32::MAX] {
        let mut input = BytesMut::from(&length.to_be_bytes()[..]);
        assert_eq!(split(&mut input), Err(FrameError::Length(length)));
    }
    let mut rng = fastrand::Rng::with_seed(5);
    let mut bytes = BytesMut::new();
    for frame in to_leader() {
        frame.encode(&mut bytes);
    }
    for frame in to_follower() {
        frame.encode(&mut bytes);
    }
    for _ in 0..20_000 {
        let mut hurt = bytes.clone();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(0..hurt.len());
            hurt[at] = rng.u8(..);
        }
        hurt.truncate(rng.usize(0..=hurt.len()));
        while let Ok(Some(frame)) = split(&mut hurt) {
            let _ = ToLeader::decode(frame.clone());
            let _ = ToFollower::decode(frame);
        }
    }
    for kind in 0..=u8::MAX {
        for len in 0..100 {
            let frame: Bytes =
                std::iter::once(kind).chain(std::iter::repeat_with(|| rng.u8(..)).take(len)).collect();
            let _ = ToLeader::decode(frame.clone());
            let _ = ToFollower::decode(frame);
        }
    }
}
