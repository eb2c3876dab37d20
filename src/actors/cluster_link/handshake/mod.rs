//! The head of every connection between nodes: who speaks, what for, and the proof that both know the cookie.
//!
//! `ractor_cluster` proves a cookie too, but neither the kind of connection nor who is expected is part of what it proves,
//! it says nothing to the refused, and it blocks its listener while one peer is silent. So each connection of ours begins
//! with four small frames (drawn in `docs/FORMAT.md`): hello, challenge, proof, verdict. The dialler proves itself first,
//! so that nobody learns anything that depends on the cookie by merely connecting; each proof is an HMAC over all that both have
//! said, nonces, identities and the kind of connection among it, so that it is worth nothing on another connection.
//!
//! Pure of sockets and time-outs: any stream will do, and the caller bounds the time.

mod frames;
mod proof;
mod refusal;
#[cfg(test)]
mod tests;

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use self::frames::{Hello, Tag};
pub use self::{
    proof::{Cookie, SessionId},
    refusal::{Refusal, RefusalCode},
};
use super::Peer;
use crate::model::{NodeId, RaftId};

/// The version of these frames.
const VERSION: u8 = 1;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Calls, by `ractor_cluster`; at most one for a pair of nodes.
    Session,
    /// Heartbeats and nothing else: they queue behind nothing.
    Heartbeat,
    /// Batches from a leader to a follower.
    Replication,
    /// One request and one answer, before there is a cluster.
    Hello,
}

impl Kind {
    fn to_wire(self) -> u8 {
        match self {
            Self::Session => 1,
            Self::Heartbeat => 2,
            Self::Replication => 3,
            Self::Hello => 4,
        }
    }

    fn from_wire(byte: u8) -> Option<Self> {
        [Self::Session, Self::Heartbeat, Self::Replication, Self::Hello]
            .into_iter()
            .find(|kind| kind.to_wire() == byte)
    }
}

/// Whom the dialler wants to reach; what is not known is left open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The node.
    pub node: Option<NodeId>,
    /// Its data folder.
    pub raft_id: Option<RaftId>,
}

/// What both ends know when a handshake has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The other end.
    pub peer: Peer,
    /// What the connection is for.
    pub kind: Kind,
    /// Names this connection; known to its two ends alone where there is a cookie.
    pub id: SessionId,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection broke, or the other end closed it.
    #[error("connection broke during the handshake: {0}")]
    Io(#[from] io::Error),
    /// The other end is no cluster listener of ours, or garbled.
    #[error("{0}")]
    Malformed(&'static str),
    /// The other end refused us.
    #[error("refused: {refusal}")]
    Refused {
        /// Who, if it said so before.
        by: Option<NodeId>,
        /// Why.
        refusal: Refusal,
    },
    /// We refused the other end.
    #[error("we refuse it: {0}")]
    Refuses(Refusal),
}

/// Our side of a handshake.
#[derive(Clone, Copy, Debug)]
pub struct Us<'a> {
    /// Who we are.
    pub me: &'a Peer,
    /// What both ends must know; without it nothing is proved.
    pub cookie: Option<&'a Cookie>,
}

impl Us<'_> {
    /// Begins a connection and resolves when the other end has accepted it and proved itself.
    pub async fn dial<S>(
        self,
        stream: &mut S,
        kind: Kind,
        expected: Expected,
    ) -> Result<Handshake, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = Hello {
            kind: kind.to_wire(),
            has_cookie: self.cookie.is_some(),
            nonce: proof::nonce(),
            me: self.me.clone(),
            expected,
        };
        let hello = hello.encode();
        stream.write_all(&hello).await?;
        stream.flush().await?;
        let challenge = read_expected(stream, Tag::Challenge, None).await?;
        let peer = frames::challenge_of(&challenge)?;
        self.judge(&peer, kind, expected).map_err(HandshakeError::Refuses)?;
        let transcript = proof::Transcript::new(self.cookie, &hello, &challenge);
        frames::write(stream, Tag::Proof, &transcript.of_dialler()).await?;
        let verdict = read_expected(stream, Tag::Accepted, Some(peer.node)).await?;
        if !transcript.is_acceptors(&verdict) {
            return Err(HandshakeError::Refuses(Refusal::wrong_cookie(&peer)));
        }
        Ok(Handshake { peer, kind, id: transcript.id() })
    }

    /// Takes a connection that another node began. `bar` refuses it before anything is asked; `admit` judges who has proved
    /// itself.
    pub async fn accept<S>(
        self,
        stream: &mut S,
        bar: Option<Refusal>,
        admit: impl FnOnce(&Peer, Kind) -> Result<(), Refusal>,
    ) -> Result<Handshake, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (version, hello) = frames::read_hello(stream).await?;
        if let Some(refusal) = bar.or_else(|| Refusal::of_version(version)) {
            return refuse(stream, refusal).await;
        }
        let said = Hello::decode(&hello)?;
        let refusal = Refusal::of_cookies(said.has_cookie, self.cookie.is_some());
        let kind = Kind::from_wire(said.kind);
        let (Some(kind), None) = (kind, &refusal) else {
            return refuse(stream, refusal.unwrap_or_else(|| Refusal::of_kind(said.kind))).await;
        };
        let challenge = frames::challenge(&proof::nonce(), self.me);
        frames::write(stream, Tag::Challenge, &challenge).await?;
        let transcript = proof::Transcript::new(self.cookie, &hello, &challenge);
        let proof = read_expected(stream, Tag::Proof, None).await?;
        if !transcript.is_diallers(&proof) {
            return refuse(stream, Refusal::wrong_cookie(self.me)).await;
        }
        let peer = said.me;
        let expected = Refusal::of_expected(self.me, said.expected);
        let judged = expected.map_or(Ok(()), Err).and_then(|()| self.judge(&peer, kind, Expected::default()));
        if let Err(refusal) = judged.and_then(|()| admit(&peer, kind)) {
            return refuse(stream, refusal).await;
        }
        frames::write(stream, Tag::Accepted, &transcript.of_acceptor()).await?;
        Ok(Handshake { peer, kind, id: transcript.id() })
    }

    /// What either end refuses in the other. By a hello nodes find out that they are of different clusters, and which.
    fn judge(self, peer: &Peer, kind: Kind, expected: Expected) -> Result<(), Refusal> {
        if let (Some(ours), Some(theirs)) = (self.me.cluster_id, peer.cluster_id)
            && ours != theirs
        {
            let foreign = Refusal::foreign_cluster(peer, theirs, ours);
            return if kind == Kind::Hello { Ok(()) } else { Err(foreign) };
        }
        if peer.node == self.me.node {
            return Err(Refusal::same_node(peer, self.me));
        }
        Refusal::of_expected(peer, expected).map_or(Ok(()), Err)
    }
}

async fn refuse<S>(stream: &mut S, refusal: Refusal) -> Result<Handshake, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    frames::write(stream, Tag::Refused, &refusal.encode()).await?;
    // So that closing does not reset what the peer has yet to read.
    stream.shutdown().await?;
    let _rest = stream.read(&mut [0; 256]).await;
    Err(HandshakeError::Refuses(refusal))
}

/// Reads a frame of this kind, or the refusal in its place.
async fn read_expected<S>(stream: &mut S, wanted: Tag, by: Option<NodeId>) -> Result<Vec<u8>, HandshakeError>
where
    S: AsyncRead + Unpin,
{
    let (tag, body) = frames::read(stream).await?;
    match tag {
        tag if tag == wanted => Ok(body),
        Tag::Refused => Err(HandshakeError::Refused { by, refusal: Refusal::decode(&body)? }),
        Tag::Challenge | Tag::Proof | Tag::Accepted => {
            Err(HandshakeError::Malformed("the handshake's frames came out of order"))
        }
    }
}
