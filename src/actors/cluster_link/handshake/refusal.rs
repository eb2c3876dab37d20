//! Why a connection is refused, in words that an operator can act on; they travel to the dialler, which logs them.

use std::fmt;

use bytes::{Buf, BufMut};
use uuid::Uuid;

use super::{Expected, HandshakeError, VERSION};
use crate::{actors::cluster_link::Peer, model::NodeId};

/// The longest reason that is read.
const REASON_BYTES_MAX: usize = 512;

/// What a program can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCode {
    /// Another version of the handshake.
    Version,
    /// Without cookie and certificates only peers on this machine are taken.
    NotLoopback,
    /// One end has a cookie and the other has none.
    OneCookie,
    /// The cookies differ.
    WrongCookie,
    /// The other end belongs to another cluster.
    ForeignCluster,
    /// The other end bears our own node id.
    SameNode,
    /// We are not who the dialler wanted.
    NotExpected,
    /// This start of the node has been succeeded by another.
    StaleBoot,
    /// Nobody serves this kind of connection here.
    NotServed,
    /// The lower node id dials: we dial back.
    LowerDials,
    /// There is a session with this node already.
    Connected,
    /// Too many connections are in their handshake, or open.
    Busy,
    /// A code of a later version.
    Other,
}

const CODES: [(RefusalCode, u8); 12] = [
    (RefusalCode::Version, 1),
    (RefusalCode::NotLoopback, 2),
    (RefusalCode::OneCookie, 3),
    (RefusalCode::WrongCookie, 4),
    (RefusalCode::ForeignCluster, 5),
    (RefusalCode::SameNode, 6),
    (RefusalCode::NotExpected, 7),
    (RefusalCode::StaleBoot, 8),
    (RefusalCode::NotServed, 9),
    (RefusalCode::LowerDials, 10),
    (RefusalCode::Connected, 11),
    (RefusalCode::Busy, 12),
];

/// A refusal with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Refusal {
    /// A refusal for this reason.
    pub fn new(code: RefusalCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    pub(super) fn of_version(version: u8) -> Option<Self> {
        let reason = || format!("the link's version is {version}, and this node speaks {VERSION}");
        (version != VERSION).then(|| Self::new(RefusalCode::Version, reason()))
    }

    pub(super) fn of_cookies(theirs: bool, ours: bool) -> Option<Self> {
        let reason = match (theirs, ours) {
            (true, true) | (false, false) => return None,
            (true, false) => "this node has no cookie: start it with --cluster-cookie-file too",
            (false, true) => {
                "this node asks for the cluster's cookie: start the other with --cluster-cookie-file"
            }
        };
        Some(Self::new(RefusalCode::OneCookie, reason))
    }

    pub(super) fn of_kind(kind: u8) -> Self {
        Self::new(RefusalCode::NotServed, format!("connections of kind {kind} are not known here"))
    }

    pub(super) fn wrong_cookie(at: &Peer) -> Self {
        Self::new(RefusalCode::WrongCookie, format!("{at} has another cookie"))
    }

    pub(super) fn foreign_cluster(peer: &Peer, theirs: Uuid, ours: Uuid) -> Self {
        let reason = format!("{peer} belongs to cluster {theirs}, this is {ours}");
        Self::new(RefusalCode::ForeignCluster, reason)
    }

    /// Another node under our number, or ourselves.
    pub(super) fn same_node(peer: &Peer, me: &Peer) -> Self {
        let reason = if peer.boot == me.boot {
            format!(
                "node {} dials itself at {}: an address of its own is among its seeds",
                me.node, me.address
            )
        } else if peer.raft_id == me.raft_id {
            format!("node {} runs twice on one data folder, or on a copy of it", me.node)
        } else {
            format!(
                "two nodes have the id {}: {} and {}; give one another --node-id",
                me.node, peer.address, me.address
            )
        };
        Self::new(RefusalCode::SameNode, reason)
    }

    pub(super) fn of_expected(found: &Peer, expected: Expected) -> Option<Self> {
        let other_node = expected.node.is_some_and(|node| node != found.node);
        let other_folder = expected.raft_id.is_some_and(|raft_id| raft_id != found.raft_id);
        let reason = match (other_node, other_folder) {
            (false, false) => return None,
            (true, _) => {
                let wanted = expected.node.unwrap_or(NodeId::new(-1));
                format!("{} is node {}, not node {wanted}", found.address, found.node)
            }
            (false, true) => format!("{found} has another data folder than the one that is a member"),
        };
        Some(Self::new(RefusalCode::NotExpected, reason))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let code = CODES.iter().find(|(code, _)| *code == self.code).map_or(u8::MAX, |(_, byte)| *byte);
        let mut cut = self.reason.len().min(REASON_BYTES_MAX);
        while !self.reason.is_char_boundary(cut) {
            cut -= 1;
        }
        let mut bytes = vec![code];
        bytes.put_slice(self.reason.get(..cut).unwrap_or_default().as_bytes());
        bytes
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, HandshakeError> {
        let code = bytes.try_get_u8().map_err(|_| HandshakeError::Malformed("a refusal without a code"))?;
        let code = CODES.iter().find(|(_, byte)| *byte == code).map_or(RefusalCode::Other, |(code, _)| *code);
        // It goes to the log: no control characters of a stranger's.
        let reason: String = String::from_utf8_lossy(bytes.get(..REASON_BYTES_MAX).unwrap_or(bytes))
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        Ok(Self { code, reason })
    }
}
