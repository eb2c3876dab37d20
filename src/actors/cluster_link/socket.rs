//! The sockets between nodes: a peer that vanished must be found out in seconds, not minutes.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};

use super::LinkError;
use crate::config::node::HostPort;

/// A silent connection is asked after this time, then each second, three times.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_RETRIES: u32 = 3;
/// What was sent and not acknowledged by the peer's kernel for so long ends the connection.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

/// Sets up a connection, of either end.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    tune_for_linux(&socket)
}

#[cfg(target_os = "linux")]
fn tune_for_linux(socket: &SockRef<'_>) -> io::Result<()> {
    // BBR, the default on some machines, halves what loopback carries; a kernel without cubic keeps what it has.
    let _kept_as_it_is = socket.set_tcp_congestion(b"cubic");
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))
}

#[cfg(not(target_os = "linux"))]
fn tune_for_linux(_socket: &SockRef<'_>) -> io::Result<()> {
    Ok(())
}

/// Connects to the first address of the host that answers.
pub(super) async fn connect(to: &HostPort, loopback_only: bool) -> Result<TcpStream, LinkError> {
    let cause = |source| LinkError::Unreachable { address: to.clone(), source };
    let addresses: Vec<SocketAddr> = lookup_host((to.host.as_str(), to.port)).await.map_err(cause)?.collect();
    if loopback_only && addresses.iter().any(|address| !address.ip().is_loopback()) {
        return Err(LinkError::LoopbackOnly { address: to.clone() });
    }
    let stream = TcpStream::connect(addresses.as_slice()).await.map_err(cause)?;
    tune(&stream).map_err(cause)?;
    Ok(stream)
}
