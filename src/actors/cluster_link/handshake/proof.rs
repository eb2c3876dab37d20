//! The proof that both ends know the cookie, and the name of the connection that comes out of it.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Bytes of a nonce.
pub(super) const NONCE_BYTES: usize = 32;
/// Bytes of a proof.
pub(super) const PROOF_BYTES: usize = 32;

const DIALLER: &[u8] = b"polylogue link 1: dialler";
const ACCEPTOR: &[u8] = b"polylogue link 1: acceptor";
const SESSION: &[u8] = b"polylogue link 1: session";
const INNER: &[u8] = b"polylogue link 1: inner sessions";

/// What all nodes of a cluster know and nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie(Vec<u8>);

impl Cookie {
    /// The shortest that is taken.
    pub const BYTES_MIN: usize = 16;

    /// Takes the content of a cookie file, without the white space around it; `None` if it is too short to be a secret.
    pub fn new(content: &[u8]) -> Option<Self> {
        let trimmed = content.trim_ascii();
        (trimmed.len() >= Self::BYTES_MIN).then(|| Self(trimmed.to_vec()))
    }

    /// The cookie for the sessions of `ractor_cluster`, which run on connections that have been proved already.
    pub(in crate::actors::cluster_link) fn of_inner_sessions(cookie: Option<&Self>) -> String {
        hex(&tag(cookie.map_or(&[][..], |cookie| &cookie.0), &[INNER]))
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(hidden)")
    }
}

/// Names one connection between two nodes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; Self::BYTES]);

impl SessionId {
    /// How long it is.
    pub const BYTES: usize = 16;

    /// As it is sent.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0
    }

    /// As it came.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for SessionId {
    /// Not the whole of it: who knows it can speak in the name of a peer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({}..)", hex(self.0.get(..4).unwrap_or_default()))
    }
}

/// Fresh for each connection.
pub(super) fn nonce() -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    // Two UUIDs of version 4: 244 bits of the system's randomness, without a further crate.
    for half in nonce.chunks_exact_mut(16) {
        half.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    }
    nonce
}

/// All that both ends have said before anybody proves anything.
#[derive(Debug)]
pub(super) struct Transcript<'a> {
    cookie: Option<&'a Cookie>,
    hello: &'a [u8],
    challenge: &'a [u8],
}

impl<'a> Transcript<'a> {
    pub(super) fn new(cookie: Option<&'a Cookie>, hello: &'a [u8], challenge: &'a [u8]) -> Self {
        Self { cookie, hello, challenge }
    }

    pub(super) fn of_dialler(&self) -> [u8; PROOF_BYTES] {
        self.proof(DIALLER)
    }

    pub(super) fn of_acceptor(&self) -> [u8; PROOF_BYTES] {
        self.proof(ACCEPTOR)
    }

    pub(super) fn is_diallers(&self, proof: &[u8]) -> bool {
        self.is(DIALLER, proof)
    }

    pub(super) fn is_acceptors(&self, proof: &[u8]) -> bool {
        self.is(ACCEPTOR, proof)
    }

    pub(super) fn id(&self) -> SessionId {
        let whole = tag(self.key(), &self.parts(SESSION));
        let mut id = [0; SessionId::BYTES];
        for (to, from) in id.iter_mut().zip(whole) {
            *to = from;
        }
        SessionId(id)
    }

    fn key(&self) -> &[u8] {
        self.cookie.map_or(&[], |cookie| &cookie.0)
    }

    fn parts(&self, label: &'static [u8]) -> [&[u8]; 3] {
        [label, self.hello, self.challenge]
    }

    /// Zeros where there is no cookie: nothing is proved then, and nothing seems to be.
    fn proof(&self, label: &'static [u8]) -> [u8; PROOF_BYTES] {
        if self.cookie.is_none() { [0; PROOF_BYTES] } else { tag(self.key(), &self.parts(label)) }
    }

    fn is(&self, label: &'static [u8], proof: &[u8]) -> bool {
        if self.cookie.is_none() {
            return proof.len() == PROOF_BYTES;
        }
        // In constant time.
        mac(self.key(), &self.parts(label)).is_some_and(|mac| mac.verify_slice(proof).is_ok())
    }
}

/// The parts are hashed first, each by itself, so that no two lists of parts are the same bytes.
fn mac(key: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in parts {
        mac.update(&Sha256::digest(part));
    }
    Some(mac)
}

fn tag(key: &[u8], parts: &[&[u8]]) -> [u8; PROOF_BYTES] {
    // HMAC takes keys of any length, so there is always one.
    mac(key, parts).map(|mac| mac.finalize().into_bytes().into()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
