//! The bytes of the handshake's frames.
//!
//! All numbers are big-endian. What comes after the fields of this version is skipped, so that a later one may say more.

use bytes::{Buf, BufMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

use super::{Expected, HandshakeError, VERSION, proof::NONCE_BYTES};
use crate::{
    actors::cluster_link::Peer,
    config::node::HostPort,
    model::{BootId, NodeId, RaftId},
};

const MAGIC: [u8; 4] = *b"PLGL";
/// The longest frame; those of this version are below 450 bytes, refusals below 520.
const FRAME_BYTES_MAX: u16 = 1024;
const HAS_COOKIE: u8 = 1;
const ANY_NODE: i32 = -1;

const CUT_SHORT: HandshakeError = HandshakeError::Malformed("a frame of the handshake is cut short");
const NOT_OURS: HandshakeError =
    HandshakeError::Malformed("the other end does not speak the cluster link's protocol");
const TOO_LONG: HandshakeError = HandshakeError::Malformed("a frame of the handshake is too long");

/// What a frame after the first is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Challenge,
    Proof,
    Accepted,
    Refused,
}

impl Tag {
    fn to_wire(self) -> u8 {
        match self {
            Self::Challenge => 1,
            Self::Proof => 2,
            Self::Accepted => 3,
            Self::Refused => 4,
        }
    }
}

/// What the dialler says first.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) kind: u8,
    pub(super) has_cookie: bool,
    pub(super) nonce: [u8; NONCE_BYTES],
    pub(super) me: Peer,
    pub(super) expected: Expected,
}

impl Hello {
    /// The whole first frame, magic and length among it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = vec![self.kind, if self.has_cookie { HAS_COOKIE } else { 0 }];
        body.put_slice(&self.nonce);
        put_peer(&mut body, &self.me);
        body.put_i32(self.expected.node.map_or(ANY_NODE, NodeId::get));
        body.put_u64(self.expected.raft_id.map_or(0, RaftId::get));
        let mut frame = MAGIC.to_vec();
        frame.put_u8(VERSION);
        frame.put_u16(body.len() as u16);
        frame.put_slice(&body);
        frame
    }

    /// Reads the whole first frame.
    pub(super) fn decode(frame: &[u8]) -> Result<Self, HandshakeError> {
        let mut body = frame.get(MAGIC.len() + 3..).ok_or(CUT_SHORT)?;
        let from = &mut body;
        let kind = from.try_get_u8().map_err(|_| CUT_SHORT)?;
        let flags = from.try_get_u8().map_err(|_| CUT_SHORT)?;
        let nonce = take(from)?;
        let me = get_peer(from)?;
        let node = from.try_get_i32().map_err(|_| CUT_SHORT)?;
        let raft_id = from.try_get_u64().map_err(|_| CUT_SHORT)?;
        let expected = Expected {
            node: (node != ANY_NODE).then(|| NodeId::new(node)),
            raft_id: (raft_id != 0).then(|| RaftId::new(raft_id)),
        };
        Ok(Self { kind, has_cookie: flags & HAS_COOKIE != 0, nonce, me, expected })
    }
}

/// Reads the first frame: its version, and all of it.
pub(super) async fn read_hello<S>(stream: &mut S) -> Result<(u8, Vec<u8>), HandshakeError>
where
    S: AsyncRead + Unpin,
{
    let mut head = [0; MAGIC.len() + 3];
    stream.read_exact(&mut head).await?;
    let [m0, m1, m2, m3, version, high, low] = head;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(NOT_OURS);
    }
    let mut frame = head.to_vec();
    frame.extend(read_body(stream, u16::from_be_bytes([high, low])).await?);
    Ok((version, frame))
}

/// The body of a challenge.
pub(super) fn challenge(nonce: &[u8; NONCE_BYTES], me: &Peer) -> Vec<u8> {
    let mut body = nonce.to_vec();
    put_peer(&mut body, me);
    body
}

/// Who speaks in a challenge.
pub(super) fn challenge_of(body: &[u8]) -> Result<Peer, HandshakeError> {
    get_peer(&mut body.get(NONCE_BYTES..).ok_or(CUT_SHORT)?)
}

pub(super) async fn write<S>(stream: &mut S, tag: Tag, body: &[u8]) -> Result<(), HandshakeError>
where
    S: AsyncWrite + Unpin,
{
    let mut frame = vec![tag.to_wire()];
    frame.put_u16(body.len() as u16);
    frame.put_slice(body);
    stream.write_all(&frame).await?;
    stream.flush().await?;
    Ok(())
}

pub(super) async fn read<S>(stream: &mut S) -> Result<(Tag, Vec<u8>), HandshakeError>
where
    S: AsyncRead + Unpin,
{
    let tag = stream.read_u8().await?;
    let all = [Tag::Challenge, Tag::Proof, Tag::Accepted, Tag::Refused];
    let tag = all.into_iter().find(|known| known.to_wire() == tag).ok_or(NOT_OURS)?;
    let len = stream.read_u16().await?;
    Ok((tag, read_body(stream, len).await?))
}

async fn read_body<S>(stream: &mut S, len: u16) -> Result<Vec<u8>, HandshakeError>
where
    S: AsyncRead + Unpin,
{
    if len > FRAME_BYTES_MAX {
        return Err(TOO_LONG);
    }
    let mut body = vec![0; len.into()];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

fn put_peer(to: &mut Vec<u8>, peer: &Peer) {
    to.put_i32(peer.node.get());
    to.put_u64(peer.raft_id.get());
    to.put_slice(&peer.boot.to_bytes());
    to.put_slice(peer.cluster_id.unwrap_or(Uuid::nil()).as_bytes());
    to.put_u16(peer.address.port);
    // A host name has at most 253 bytes; the setting is checked.
    let host = peer.address.host.as_bytes();
    let host = host.get(..host.len().min(255)).unwrap_or_default();
    to.put_u8(host.len() as u8);
    to.put_slice(host);
}

fn get_peer(from: &mut &[u8]) -> Result<Peer, HandshakeError> {
    let node = NodeId::new(from.try_get_i32().map_err(|_| CUT_SHORT)?);
    let raft_id = RaftId::new(from.try_get_u64().map_err(|_| CUT_SHORT)?);
    let boot = BootId::from_bytes(take(from)?);
    let cluster_id = Some(Uuid::from_bytes(take(from)?)).filter(|id| !id.is_nil());
    let port = from.try_get_u16().map_err(|_| CUT_SHORT)?;
    let len = usize::from(from.try_get_u8().map_err(|_| CUT_SHORT)?);
    let (host, rest) = from.split_at_checked(len).ok_or(CUT_SHORT)?;
    *from = rest;
    let host = std::str::from_utf8(host).ok().filter(|host| is_host(host));
    let host = host.ok_or(HandshakeError::Malformed("an address that is none"))?;
    if node.get() < 0 || raft_id.get() == 0 || boot.is_nil() {
        return Err(HandshakeError::Malformed("an identity that is none"));
    }
    Ok(Peer { node, raft_id, boot, cluster_id, address: HostPort::new(host, port) })
}

/// It goes to logs and resolvers.
fn is_host(host: &str) -> bool {
    !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'))
}

fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], HandshakeError> {
    let (taken, rest) = from.split_first_chunk().ok_or(CUT_SHORT)?;
    *from = rest;
    Ok(*taken)
}
