//! The accept loop.

use std::{io, net::SocketAddr, os::fd::AsRawFd as _, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinError, JoinSet},
    time::timeout,
};

use super::{
    ConnectionContext, ListenerOptions, Refusal,
    bounds::Connections,
    socket::{reset, set_up},
    told_to_stop,
};
use crate::{clock::Clock, metrics::Counter};

const ERROR_WAIT_MIN: Duration = Duration::from_millis(10);
const ERROR_WAIT_MAX: Duration = Duration::from_secs(1);
/// At most one log line about refusals, and one about errors, in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Where connections come from; a socket, but for tests.
pub(super) trait Accept: Send {
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

pub(super) struct AcceptLoop {
    name: Arc<str>,
    options: ListenerOptions,
    connections: Arc<Connections>,
    accepted: Counter,
    errors: Counter,
    shutdown: watch::Receiver<bool>,
    tasks: JoinSet<()>,
    next_id: u64,
    error_wait: Duration,
    refusals_logged: Paced,
    errors_logged: Paced,
}

impl AcceptLoop {
    pub(super) fn new(name: Arc<str>, options: ListenerOptions, shutdown: watch::Receiver<bool>) -> Self {
        let (metrics, label) = (&options.metrics, [name.to_string()]);
        let open = metrics.connections.of(label.clone());
        Self {
            connections: Connections::new(options.bounds.clone(), open),
            accepted: metrics.connections_accepted.of(label.clone()),
            errors: metrics.accept_errors.of(label),
            name,
            options,
            shutdown,
            tasks: JoinSet::new(),
            next_id: 0,
            error_wait: ERROR_WAIT_MIN,
            refusals_logged: Paced::default(),
            errors_logged: Paced::default(),
        }
    }

    /// Accepts until told to stop, then lets the connections end.
    pub(super) async fn run(mut self, mut socket: impl Accept) {
        let mut shutdown = self.shutdown.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = told_to_stop(&mut shutdown) => break,
                Some(ended) = self.tasks.join_next() => {
                    self.on_connection_ended(ended);
                    continue;
                }
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.on_accepted(stream, peer),
                Err(error) => {
                    let wait = self.on_error(&error);
                    let _told_while_waiting = timeout(wait, told_to_stop(&mut shutdown)).await;
                }
            }
        }
        drop(socket);
        self.end_connections().await;
    }

    fn on_accepted(&mut self, stream: TcpStream, peer: SocketAddr) {
        self.error_wait = ERROR_WAIT_MIN;
        let guard =
            match self.connections.spare(stream.as_raw_fd()).and_then(|()| self.connections.admit(peer.ip()))
            {
                Ok(guard) => guard,
                Err(refusal) => return self.refuse(stream, peer, refusal),
            };
        if let Err(error) = set_up(&stream) {
            // The peer has gone already, most likely.
            tracing::debug!(listener = %self.name, %peer, %error, "connection could not be set up");
            return;
        }
        self.accepted.inc();
        let id = self.next_id;
        self.next_id += 1;
        let listener = Arc::clone(&self.name);
        let shutdown = self.shutdown.clone();
        let context = ConnectionContext { id, peer, listener, shutdown, guard };
        self.tasks.spawn((self.options.serve)(stream, context));
    }

    fn refuse(&mut self, stream: TcpStream, peer: SocketAddr, refusal: Refusal) {
        let labels = [self.name.to_string(), refusal.label().to_owned()];
        // First: who hears of the refusal may look at the metric.
        self.options.metrics.connections_refused.of(labels).inc();
        reset(stream);
        if let Some(more) = self.refusals_logged.due(&*self.options.clock) {
            tracing::warn!(listener = %self.name, %peer, %refusal, more, "connection refused");
        }
    }

    /// Takes note of a failed accept and says how long to wait: without file descriptors or memory the
    /// next attempt fails as well, and a connection that went away before it was accepted says nothing
    /// about the next.
    fn on_error(&mut self, error: &io::Error) -> Duration {
        self.errors.inc();
        if let Some(more) = self.errors_logged.due(&*self.options.clock) {
            tracing::warn!(listener = %self.name, %error, more, "accepting a connection failed");
        }
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return Duration::ZERO;
        }
        let wait = self.error_wait;
        self.error_wait = (wait * 2).min(ERROR_WAIT_MAX);
        wait
    }

    fn on_connection_ended(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            let labels = [self.name.to_string(), "panic".to_owned()];
            self.options.metrics.connections_dropped.of(labels).inc();
            tracing::error!(listener = %self.name, %error, "connection panicked");
        }
    }

    /// Waits for the connections, which have been told, and cuts off those that take too long.
    async fn end_connections(mut self) {
        let grace = self.options.grace;
        let all_ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                self.on_connection_ended(ended);
            }
        };
        if timeout(grace, all_ended).await.is_err() {
            let connections = self.tasks.len();
            tracing::warn!(listener = %self.name, connections, ?grace, "connections cut off");
            self.tasks.shutdown().await;
        }
    }
}

/// Lets one log line through per [`LOG_INTERVAL`] and counts the others.
#[derive(Debug, Default)]
struct Paced {
    last: Option<Duration>,
    held_back: u64,
}

impl Paced {
    /// How many lines were held back since the last one, if another is due now.
    fn due(&mut self, clock: &dyn Clock) -> Option<u64> {
        let now = clock.monotonic();
        if self.last.is_some_and(|last| now.saturating_sub(last) < LOG_INTERVAL) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::ManualClock, model::TimestampMs};

    #[test]
    fn one_log_line_per_interval_tells_how_many_were_held_back() {
        let clock = ManualClock::at(TimestampMs::new(0));
        let mut paced = Paced::default();
        assert_eq!(paced.due(&clock), Some(0));
        assert_eq!((paced.due(&clock), paced.due(&clock)), (None, None));
        clock.advance(LOG_INTERVAL);
        assert_eq!(paced.due(&clock), Some(2));
        assert_eq!(paced.due(&clock), None);
    }
}
