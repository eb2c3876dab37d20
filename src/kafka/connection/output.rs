//! Answers onto a socket, to peers that may read slowly or not at all.

use std::{
    io::{self, IoSlice},
    ops::Range,
    os::fd::AsFd,
    time::Duration,
};

use bytes::Bytes;
use tokio::{io::Interest, net::TcpStream, time::timeout};

use crate::{actors::partition::FileRange, sys};

/// A piece of an answer, in the order in which the pieces are sent.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Bytes of its own.
    Bytes(Bytes),
    /// A range of the connection's read buffer.
    Buffer(Range<usize>),
    /// A range of a segment, sent from the page cache without passing this process (`sendfile`).
    File(FileRange),
}

/// The most pieces that one system call takes.
const MOST_SLICES: usize = 64;

/// Sends all pieces; how many bytes that were. A peer that takes nothing for `patience` is given up.
pub(super) async fn send(
    stream: &TcpStream,
    pieces: &[Piece],
    buffer: &[u8],
    patience: Duration,
) -> io::Result<u64> {
    let mut sent = 0;
    let mut run: Vec<&[u8]> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => run.push(bytes),
            Piece::Buffer(range) => run.push(buffer.get(range.clone()).unwrap_or_default()),
            Piece::File(range) => {
                sent += send_bytes(stream, &mut run, patience).await?;
                sent += send_file(stream, range, patience).await?;
            }
        }
    }
    Ok(sent + send_bytes(stream, &mut run, patience).await?)
}

/// Sends the bytes of `run` and empties it.
async fn send_bytes(stream: &TcpStream, run: &mut Vec<&[u8]>, patience: Duration) -> io::Result<u64> {
    let mut sent = 0;
    let mut next = 0;
    while let Some(rest) = run.get_mut(next..).filter(|rest| !rest.is_empty()) {
        let tried = if let [one] = rest {
            stream.try_write(one)
        } else {
            let slices: Vec<_> = rest.iter().take(MOST_SLICES).map(|bytes| IoSlice::new(bytes)).collect();
            stream.try_write_vectored(&slices)
        };
        match tried {
            Ok(0) if rest.iter().all(|bytes| bytes.is_empty()) => break,
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                sent += n as u64;
                next += advance(rest, n);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => writable(stream, patience).await?,
            Err(e) => return Err(e),
        }
    }
    run.clear();
    Ok(sent)
}

/// Takes `by` bytes off the front; how many slices are through.
fn advance(rest: &mut [&[u8]], mut by: usize) -> usize {
    let mut through = 0;
    for slice in rest {
        let step = by.min(slice.len());
        *slice = slice.get(step..).unwrap_or_default();
        by -= step;
        if !slice.is_empty() {
            break;
        }
        through += 1;
    }
    through
}

async fn send_file(stream: &TcpStream, range: &FileRange, patience: Duration) -> io::Result<u64> {
    let Some(file) = range.file.descriptor() else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "segment has no descriptor to send from"));
    };
    let (mut position, mut left) = (range.position, range.len);
    while left > 0 {
        match stream.try_io(Interest::WRITABLE, || sys::sendfile(stream.as_fd(), file, position, left)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                position += n as u64;
                left -= n;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => writable(stream, patience).await?,
            Err(e) => return Err(e),
        }
    }
    Ok(range.len as u64)
}

async fn writable(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    match timeout(patience, stream.writable()).await {
        Ok(ready) => ready,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "peer does not read its answers")),
    }
}
