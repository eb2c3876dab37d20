//! What one node can ask of another, and the envelope in which it asks.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};

use super::{Peer, SessionId};
use crate::actors::supervise::BoxFuture;

/// The most that a call or its answer carries: a frame of `ractor_cluster` above its limit ends the session with every
/// call on it.
pub const BODY_BYTES_MAX: usize = 2 << 20;
/// Inbound frames of a session.
pub(super) const FRAME_BYTES_MAX: u64 = 4 << 20;

/// One gateway on each node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The link's own: answers nothing with nothing, to see whether a session lives.
    Link,
    /// Messages of the metadata quorum.
    Raft,
    /// Who is a member, and joining.
    Membership,
    /// Commands for the controller.
    Controller,
    /// Consumer groups that span nodes.
    Groups,
    /// Faults that are asked for.
    Chaos,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Link, Self::Raft, Self::Membership, Self::Controller, Self::Groups, Self::Chaos];

    /// The name of its gateway.
    pub fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Raft => "raft",
            Self::Membership => "membership",
            Self::Controller => "controller",
            Self::Groups => "groups",
            Self::Chaos => "chaos",
        }
    }
}

/// Answers a call of a peer. It must answer, and within the caller's patience; what it needs longer for it says so.
pub type ServiceHandler = Arc<dyn Fn(Arc<Peer>, Bytes) -> BoxFuture<Bytes> + Send + Sync>;

/// A service that is offered.
#[derive(Clone)]
pub(super) struct Offer {
    pub(super) handler: ServiceHandler,
    /// How many calls of it may be under way; one more is answered "busy".
    pub(super) calls_max: usize,
}

pub(super) type Offers = BTreeMap<Service, Offer>;

/// How a gateway answers; the first byte of every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Answered,
    Busy,
    NotServed,
    UnknownSession,
    HandlerFailed,
    AnswerTooLarge,
}

const STATUSES: [(Status, u8); 6] = [
    (Status::Answered, 0),
    (Status::Busy, 1),
    (Status::NotServed, 2),
    (Status::UnknownSession, 3),
    (Status::HandlerFailed, 4),
    (Status::AnswerTooLarge, 5),
];

/// The call of a session: which one, so that the gateway knows who asks, then the body.
pub(super) fn request(session: SessionId, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SessionId::BYTES + body.len());
    bytes.put_slice(&session.to_bytes());
    bytes.put_slice(body);
    bytes
}

pub(super) fn open_request(bytes: Vec<u8>) -> Option<(SessionId, Bytes)> {
    let mut bytes = Bytes::from(bytes);
    let id = bytes.get(..SessionId::BYTES).and_then(|id| id.try_into().ok())?;
    let body = bytes.split_off(SessionId::BYTES);
    Some((SessionId::from_bytes(id), body))
}

pub(super) fn answer(status: Status, body: &[u8]) -> Vec<u8> {
    let code = STATUSES.iter().find(|(known, _)| *known == status).map_or(u8::MAX, |(_, code)| *code);
    let mut bytes = BytesMut::with_capacity(1 + body.len());
    bytes.put_u8(code);
    bytes.put_slice(body);
    bytes.into()
}

pub(super) fn open_answer(bytes: Vec<u8>) -> Option<(Status, Bytes)> {
    let mut bytes = Bytes::from(bytes);
    let code = *bytes.first()?;
    let (status, _) = STATUSES.iter().find(|(_, known)| *known == code)?;
    Some((*status, bytes.split_off(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_an_answer_are_read_as_they_were_written() {
        let id = SessionId::from_bytes([7; 16]);
        let (read, body) = open_request(request(id, b"body")).unwrap();
        assert_eq!((read, &body[..]), (id, &b"body"[..]));
        assert!(open_request(vec![1; 15]).is_none());
        for (status, _) in STATUSES {
            assert_eq!(open_answer(answer(status, b"x")).unwrap(), (status, Bytes::from_static(b"x")));
        }
        assert!(open_answer(Vec::new()).is_none() && open_answer(vec![250]).is_none());
    }

    #[test]
    fn the_largest_call_fits_into_a_frame_of_the_session() {
        let frame = FRAME_BYTES_MAX as usize;
        assert!(BODY_BYTES_MAX + SessionId::BYTES + 4096 < frame);
    }
}
