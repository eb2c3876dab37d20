//! What stands between a connection of ours and the `NodeServer`.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ractor_cluster::{
    BoxRead, BoxWrite, ClusterBidiStream, NodeEventSubscription, node::NodeServerSessionInformation,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, split};

use super::{Sessions, table::Unsent};
use crate::actors::cluster_link::LinkStream;

const LABEL: &str = "link ";

/// A connection as the `NodeServer` takes it; its label carries its number.
pub(in crate::actors::cluster_link) struct SessionStream {
    stream: LinkStream,
    ends: EndsSession,
}

impl SessionStream {
    /// Of a connection that was entered under this number.
    pub(in crate::actors::cluster_link) fn new(
        stream: LinkStream,
        link: u64,
        sessions: Arc<Sessions>,
    ) -> Self {
        Self { stream, ends: EndsSession { link, sessions } }
    }
}

impl ClusterBidiStream for SessionStream {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let ends = self.ends;
        let unsent = ends.sessions.unsent(ends.link);
        match self.stream {
            LinkStream::Plain(stream) => {
                let (reader, writer) = stream.into_split();
                (Box::new(Reader { reader, ends }), Box::new(Writer { writer, unsent }))
            }
            LinkStream::Tls(stream) => {
                let (reader, writer) = split(stream);
                (Box::new(Reader { reader, ends }), Box::new(Writer { writer, unsent }))
            }
        }
    }

    fn peer_label(&self) -> Option<String> {
        Some(format!("{LABEL}{}", self.ends.link))
    }
}

/// Ends the session when the connection, or the half of it that is read, is dropped, whatever made its owner end.
struct EndsSession {
    link: u64,
    sessions: Arc<Sessions>,
}

impl Drop for EndsSession {
    fn drop(&mut self) {
        self.sessions.end(self.link);
    }
}

struct Reader<R> {
    reader: R,
    ends: EndsSession,
}

impl<R: AsyncRead + Unpin> AsyncRead for Reader<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        let polled = Pin::new(&mut this.reader).poll_read(cx, into);
        let is_end = match &polled {
            Poll::Pending => false,
            Poll::Ready(read) => read.is_err() || (into.filled().len() == before && into.remaining() > 0),
        };
        if is_end {
            this.ends.sessions.end(this.ends.link);
        }
        polled
    }
}

struct Writer<W> {
    writer: W,
    unsent: Arc<Unsent>,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Writer<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.writer).poll_write(cx, from);
        if let Poll::Ready(Ok(written)) = &polled {
            this.unsent.wrote(*written);
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().writer).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().writer).poll_shutdown(cx)
    }
}

/// What the `NodeServer` tells; it runs inside of its handler, so it only notes.
pub(in crate::actors::cluster_link) struct ServerEvents(pub(in crate::actors::cluster_link) Arc<Sessions>);

impl ServerEvents {
    fn link_of(session: &NodeServerSessionInformation) -> Option<u64> {
        session.peer_addr.strip_prefix(LABEL)?.parse().ok()
    }
}

impl NodeEventSubscription for ServerEvents {
    /// A connection that did not come through our listener came to the server's own: it proved nothing to us.
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        let cell = session.actor.get_cell();
        if !Self::link_of(&session).is_some_and(|link| self.0.opened(link, &cell)) {
            tracing::warn!(peer = %session.peer_addr, "a session that is not ours was cut off");
            cell.kill();
        }
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        if let Some(link) = Self::link_of(&session) {
            self.0.end(link);
        }
    }

    fn node_session_authenticated(&self, _session: NodeServerSessionInformation) {}

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        if let Some(link) = Self::link_of(&session) {
            self.0.ready(link, session.node_id);
        }
    }
}
