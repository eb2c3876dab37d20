//! The sockets: how a port is bound and how an accepted connection is set up.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// How many connections the kernel keeps ready to be accepted.
const BACKLOG: i32 = 1024;

/// A dead peer is found after two minutes of silence.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 6;

/// A bound, listening port that outlives the actor which accepts on it.
#[derive(Debug)]
pub struct BoundPort {
    address: SocketAddr,
    listener: Mutex<Option<StdListener>>,
}

impl BoundPort {
    /// Binds and listens. Port 0 takes a free one, which [`Self::address`] then tells.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        Ok(Self { address, listener: Mutex::new(Some(listener)) })
    }

    /// The address with the port that was really taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A socket to accept on, for the current runtime; binds again after [`Self::close`].
    pub(super) fn open(&self) -> io::Result<TcpListener> {
        let mut bound = self.bound();
        let listener = match bound.take() {
            Some(listener) => listener,
            None => listen(self.address)?,
        };
        let socket = listener.try_clone();
        *bound = Some(listener);
        TcpListener::from_std(socket?)
    }

    /// Gives the port up, once the last socket that was opened from it is closed too.
    pub fn close(&self) {
        *self.bound() = None;
    }

    fn bound(&self) -> MutexGuard<'_, Option<StdListener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without it a restarted node waits a minute for the connections of its predecessor to expire.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Sets up an accepted connection: no delay before small answers, and a peer that vanished is noticed.
pub(super) fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    set_congestion_control(&socket);
    Ok(())
}

/// Chooses cubic: where BBR is the default it halves what a connection within one machine carries, at
/// twice the cost. A kernel without it keeps what it has.
#[cfg(target_os = "linux")]
fn set_congestion_control(socket: &SockRef<'_>) {
    let _kept_as_it_is = socket.set_tcp_congestion(b"cubic");
}

#[cfg(not(target_os = "linux"))]
fn set_congestion_control(_socket: &SockRef<'_>) {}

/// Closes a connection by a reset, so that a flood of refused ones leaves nothing behind in the kernel.
pub(super) fn reset(stream: TcpStream) {
    let _closed_anyway = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}
