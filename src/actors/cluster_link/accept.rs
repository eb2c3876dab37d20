//! Connections that other nodes begin: each is proved in a task of its own, and its kind says who serves it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use super::{
    HANDSHAKE_WITHIN, Handshake, HandshakeError, Kind, LinkStream, Refusal, RefusalCode,
    dial::{read_body, write_body},
    handshake::Us,
    shared::Shared,
    socket,
};
use crate::actors::listener::{ConnectionContext, Serve, told_to_stop};

/// How long a hello may take to come, and then its answer to go.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// What the cluster listener does with a connection.
pub(super) fn serve(shared: Arc<Shared>) -> Serve {
    Arc::new(move |stream, context| {
        let shared = Arc::clone(&shared);
        Box::pin(async move { serve_one(&shared, stream, context).await })
    })
}

async fn serve_one(shared: &Arc<Shared>, stream: TcpStream, mut context: ConnectionContext) {
    let peer = context.peer;
    let proving = timeout(HANDSHAKE_WITHIN, prove(shared, stream, peer));
    let proved = tokio::select! {
        proved = proving => proved,
        () = told_to_stop(&mut context.shutdown) => return,
    };
    let (stream, handshake) = match proved {
        Ok(Ok(proved)) => proved,
        Ok(Err(error)) => return log_refused(peer, &error),
        Err(_) => {
            return tracing::info!(%peer, "a connection to the cluster listener said too little in time");
        }
    };
    match handshake.kind {
        Kind::Session => serve_session(shared, stream, handshake, context).await,
        Kind::Hello => {
            let answered = timeout(HELLO_WITHIN, answer_hello(shared, stream, handshake)).await;
            if !matches!(answered, Ok(Ok(()))) {
                tracing::info!(%peer, "a hello was not answered");
            }
        }
        Kind::Heartbeat | Kind::Replication => serve_stream(shared, stream, handshake, context).await,
    }
}

/// That a node dials although we have a session with it, or although we are to dial, is no news.
fn log_refused(peer: SocketAddr, error: &HandshakeError) {
    let expected = [RefusalCode::LowerDials, RefusalCode::Connected, RefusalCode::NotServed];
    match error {
        HandshakeError::Refuses(refusal) if expected.contains(&refusal.code) => {
            tracing::debug!(%peer, %refusal, "a connection to the cluster listener was refused");
        }
        HandshakeError::Refuses(_) => {
            tracing::warn!(%peer, %error, "a connection to the cluster listener was refused");
        }
        HandshakeError::Io(_) | HandshakeError::Malformed(_) | HandshakeError::Refused { .. } => {
            tracing::info!(%peer, %error, "a connection to the cluster listener came to nothing");
        }
    }
}

async fn prove(
    shared: &Arc<Shared>,
    stream: TcpStream,
    from: SocketAddr,
) -> Result<(LinkStream, Handshake), HandshakeError> {
    socket::tune(&stream)?;
    let slot = shared.handshakes.try_acquire();
    let foreign = shared.security.is_loopback_only() && !from.ip().to_canonical().is_loopback();
    let bar = match (&slot, foreign) {
        (Err(_), _) => Some(Refusal::new(RefusalCode::Busy, "too many connections are in their handshake")),
        (Ok(_), true) => {
            let reason = "without a cookie or certificates only nodes on the same machine are taken: start all with \
                          --cluster-cookie-file";
            Some(Refusal::new(RefusalCode::NotLoopback, reason))
        }
        (Ok(_), false) => None,
    };
    let mut stream = shared.security.wrap_accepted(stream).await?;
    let me = shared.me();
    let us = Us { me: &me, cookie: shared.security.cookie() };
    let handshake = us.accept(&mut stream, bar, |peer, kind| shared.admit(peer, kind)).await?;
    Ok((stream, handshake))
}

/// The connection counts for as long as its session lives.
async fn serve_session(
    shared: &Arc<Shared>,
    stream: LinkStream,
    handshake: Handshake,
    mut context: ConnectionContext,
) {
    let Ok(link) = shared.begin_session(stream, handshake, None) else { return };
    tokio::select! {
        () = shared.session_ended(link) => (),
        () = told_to_stop(&mut context.shutdown) => shared.sessions.end(link),
    }
}

async fn answer_hello(
    shared: &Arc<Shared>,
    mut stream: LinkStream,
    handshake: Handshake,
) -> std::io::Result<()> {
    let Some(handler) = shared.hello_handler() else { return Ok(()) };
    let body = read_body(&mut stream).await?;
    let answer = handler(Arc::new(handshake.peer), body).await;
    write_body(&mut stream, &answer).await
}

async fn serve_stream(
    shared: &Arc<Shared>,
    stream: LinkStream,
    handshake: Handshake,
    mut context: ConnectionContext,
) {
    let Some(handler) = shared.stream_handler(handshake.kind) else { return };
    tokio::select! {
        () = handler(Arc::new(handshake.peer), stream) => (),
        () = told_to_stop(&mut context.shutdown) => (),
    }
}
