//! The ideal server: what this machine, its loopback and librdkafka allow when a broker does nothing
//! but receive a batch, write it and answer. It is the yardstick of every row, so it must be simple
//! enough that nobody could be faster with the same promises: a thread per connection, blocking calls,
//! no checks, no index, no sync, no memory of what it wrote but what a fetch needs.

mod connection;
mod topics;
mod wire;

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::Arc,
    thread,
};

use anyhow::Result;
use clap::Args;
use socket2::SockRef;

use topics::{Serve, Topics};

/// How the ideal server is started.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9092")]
    listen: SocketAddr,
    /// Write each batch to a file in this folder; without it nothing is written.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Partitions of every topic.
    #[arg(long, default_value_t = 1)]
    partitions: usize,
    /// Answer fetches with copies of the largest batch up to this offset, instead of with the latest
    /// batches; produce before consuming.
    #[arg(long)]
    serve_copies_to: Option<i64>,
    /// Congestion control of accepted sockets; empty for the machine's default.
    #[arg(long, default_value = "cubic")]
    congestion: String,
}

/// Serves until the process is ended.
pub(crate) fn main(options: &Options) -> Result<()> {
    let serve = options.serve_copies_to.map_or(Serve::Recent, |end| Serve::Copies { end });
    let topics = Arc::new(Topics::new(options.data_dir.clone(), options.partitions, serve)?);
    let listener = TcpListener::bind(options.listen)?;
    eprintln!("ideal server on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = tuned(stream?, &options.congestion)?;
        let topics = Arc::clone(&topics);
        thread::spawn(move || report(connection::serve(stream, &topics)));
    }
    Ok(())
}

/// No waiting for more to send, and a congestion control that does not pace loopback.
fn tuned(stream: TcpStream, congestion: &str) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    if !congestion.is_empty() {
        SockRef::from(&stream).set_tcp_congestion(congestion.as_bytes())?;
    }
    Ok(stream)
}

fn report(end: io::Result<()>) {
    match end {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => eprintln!("connection closed: {error}"),
        Ok(()) | Err(_) => {} // the client left
    }
}
