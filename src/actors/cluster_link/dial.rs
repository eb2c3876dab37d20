//! Connections that we begin.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    Expected, Handshake, Kind, LinkError, LinkStream, Peer, To, handshake::Us, shared::Shared, socket,
};
use crate::config::node::HostPort;

/// The largest hello, and the largest answer to one.
pub const HELLO_BYTES_MAX: usize = 1 << 20;

/// Connects, secures and proves, all within this time.
pub(super) async fn dial(
    shared: &Shared,
    to: &HostPort,
    kind: Kind,
    expected: Expected,
    within: Duration,
) -> Result<(LinkStream, Handshake), LinkError> {
    let silent = |_| LinkError::Silent { to: To::from(to), after: within };
    timeout(within, dial_patiently(shared, to, kind, expected)).await.map_err(silent)?
}

async fn dial_patiently(
    shared: &Shared,
    to: &HostPort,
    kind: Kind,
    expected: Expected,
) -> Result<(LinkStream, Handshake), LinkError> {
    let security = &shared.security;
    let stream = socket::connect(to, security.is_loopback_only()).await?;
    let tls = |source| LinkError::Tls { address: to.clone(), source };
    let mut stream = security.wrap_dialled(stream, &to.host).await.map_err(tls)?;
    let me = shared.me();
    let us = Us { me: &me, cookie: security.cookie() };
    let done = us.dial(&mut stream, kind, expected).await;
    let done = done.map_err(|source| LinkError::Handshake { address: to.clone(), source })?;
    Ok((stream, done))
}

/// Asks a node one thing, before there is a session.
pub(super) async fn hello(
    shared: &Shared,
    to: &HostPort,
    body: &[u8],
    within: Duration,
) -> Result<(Arc<Peer>, Bytes), LinkError> {
    if body.len() > HELLO_BYTES_MAX {
        return Err(LinkError::TooLarge { bytes: body.len(), max: HELLO_BYTES_MAX });
    }
    let asked = async {
        let (mut stream, done) = dial_patiently(shared, to, Kind::Hello, Expected::default()).await?;
        let broken = |source| LinkError::Broken { address: to.clone(), source };
        write_body(&mut stream, body).await.map_err(broken)?;
        let answer = read_body(&mut stream).await.map_err(broken)?;
        Ok((Arc::new(done.peer), answer))
    };
    timeout(within, asked).await.map_err(|_| LinkError::Silent { to: To::from(to), after: within })?
}

/// A length of four bytes, then the body.
pub(super) async fn write_body(stream: &mut LinkStream, body: &[u8]) -> io::Result<()> {
    stream.write_u32(body.len() as u32).await?;
    stream.write_all(body).await?;
    stream.flush().await
}

pub(super) async fn read_body(stream: &mut LinkStream) -> io::Result<Bytes> {
    let len = stream.read_u32().await? as usize;
    if len > HELLO_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a hello that is too large"));
    }
    // Grows as it comes: a length is not yet a reason to take memory.
    let mut body = Vec::new();
    let read = stream.take(len as u64).read_to_end(&mut body).await?;
    if read < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(body.into())
}
