//! One connection to a broker and one request in flight on it, as a group's member has it; in the node's own
//! codec, because librdkafka decides by itself when it joins, waits and tries again.

use std::{io, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use polylogue::wire::{Message, Reader, Request, Str, frame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CLIENT_ID: Str = Str::from_static("peers");

pub(super) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    next_id: i32,
}

impl Connection {
    pub(super) async fn open(broker: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(broker).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::new(), next_id: 0 })
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        self.next_id += 1;
        self.buffer.clear();
        frame::encode_request(&mut self.buffer, version, self.next_id, Some(&CLIENT_ID), request)?;
        self.stream.write_all(&self.buffer).await?;
        let answer = self.receive().await.with_context(|| format!("the answer to {:?}", R::API))?;
        let mut reader = Reader::new(answer);
        let id = frame::decode_response_header(&mut reader, R::API, version)?;
        ensure!(id == self.next_id, "an answer to request {id} instead of {}", self.next_id);
        Ok(R::Response::decode(&mut reader, version)?)
    }

    async fn receive(&mut self) -> Result<Bytes> {
        let size = self.stream.read_i32().await?;
        let mut answer = vec![0; usize::try_from(size)?];
        self.stream.read_exact(&mut answer).await?;
        Ok(answer.into())
    }
}
