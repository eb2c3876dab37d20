//! One TCP connection to one broker, with many requests on their way at once.
//!
//! A broker answers in the order of the requests. So answers are matched by position and the
//! correlation id only confirms it: an answer out of order means that the two sides no longer agree
//! on what is said, and ends the connection. So does an answer that does not come in time, since no
//! later one can come before it.
//!
//! A reader and a writer task serve the connection; they end with it, and it ends with the last
//! reference to it.

mod queue;
mod versions;

use std::{io, marker::PhantomData, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use self::queue::{Answer, Queue};
pub use self::versions::Versions;
use super::{ClientConfig, ConnectionError};
use crate::wire::{
    ApiKey, DecodeError, ErrorCode, Message, Reader, Request, Str,
    api::api_versions::{ApiVersionsRequest, ApiVersionsResponse},
    frame,
};

/// Room that a read finds at least, in bytes.
const READ_BYTES: usize = 64 * 1024;
/// The most that is reserved because a length says so, in bytes; beyond, memory is taken as it fills.
const RESERVE_BYTES: usize = 1 << 20;

/// A connection whose versions are known. Cheap to share by `Arc`; all methods take `&self`.
pub struct Connection {
    queue: Arc<Queue>,
    room: Arc<Semaphore>,
    versions: Versions,
    request_timeout: Duration,
    tasks: [JoinHandle<()>; 2],
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("address", &self.queue.address).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Connection {
    /// Connects to `host:port` and asks for its versions, within the connect time-out.
    pub async fn open(address: &str, config: &ClientConfig) -> Result<Self, ConnectionError> {
        let after = config.connect_timeout;
        let late = |_| ConnectionError::ConnectTimedOut { address: address.to_owned(), after };
        timeout(after, Self::open_and_negotiate(address, config)).await.map_err(late)?
    }

    async fn open_and_negotiate(address: &str, config: &ClientConfig) -> Result<Self, ConnectionError> {
        let failed =
            |source| ConnectionError::Connect { address: address.to_owned(), source: Arc::new(source) };
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut connection = Self::over(stream, address, config);
        // Nothing but a handshake was sent: whatever broke, there is no connection.
        connection.versions = connection.negotiate().await.map_err(|error| {
            if matches!(error, ConnectionError::Closed { .. }) {
                return failed(io::ErrorKind::ConnectionReset.into());
            }
            if let ConnectionError::Io { source, .. } = error {
                return ConnectionError::Connect { address: address.to_owned(), source };
            }
            error
        })?;
        Ok(connection)
    }

    fn over(stream: TcpStream, address: &str, config: &ClientConfig) -> Self {
        let queue = Queue::new(address.to_owned(), &config.client_id);
        let (reading, writing) = stream.into_split();
        let tasks = [
            tokio::spawn(read(Arc::clone(&queue), reading, config.max_frame_bytes)),
            tokio::spawn(write(Arc::clone(&queue), writing, config.request_timeout)),
        ];
        Self {
            queue,
            room: Arc::new(Semaphore::new(config.max_in_flight)),
            versions: Versions::default(),
            request_timeout: config.request_timeout,
            tasks,
        }
    }

    /// The exchange of KIP-511: our highest version first; who does not know it answers in version 0
    /// with what it knows.
    async fn negotiate(&self) -> Result<Versions, ConnectionError> {
        let ours = *ApiKey::ApiVersions.served().end();
        let mut version = ours;
        loop {
            let response = self.ask_versions(version).await?;
            let known = Versions::new(&response);
            if response.error_code.is_none() {
                return Ok(known);
            }
            let lower = known.highest(ApiKey::ApiVersions, version - 1);
            let refused = response.error_code == ErrorCode::UnsupportedVersion;
            version = lower.filter(|_| refused).ok_or_else(|| self.no_version(ApiKey::ApiVersions))?;
        }
    }

    async fn ask_versions(&self, version: i16) -> Result<ApiVersionsResponse, ConnectionError> {
        let request = ApiVersionsRequest {
            client_software_name: Str::from_static("polylogue"),
            client_software_version: Str::from_static(env!("CARGO_PKG_VERSION")),
        };
        let room = self.take_room().await?;
        let pending: Pending<ApiVersionsResponse> =
            self.push(&request, version, self.request_timeout, room)?;
        let frame = pending.frame().await?;
        let refused = frame.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes());
        decode(frame, if refused { 0 } else { version }).map_err(|source| self.unreadable(source))
    }

    fn unreadable(&self, source: DecodeError) -> ConnectionError {
        ConnectionError::Decode { address: self.queue.address.clone(), api: ApiKey::ApiVersions, source }
    }

    fn no_version(&self, api: ApiKey) -> ConnectionError {
        ConnectionError::NoCommonVersion { address: self.queue.address.clone(), api }
    }

    /// Who is at the other end, `host:port`.
    pub fn address(&self) -> &str {
        &self.queue.address
    }

    /// What the broker serves.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Whether it has ended; a new one is needed then.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Whether an answer has been due for so long without any other having come: the broker may be dead, stopped or
    /// cut off.
    pub fn is_silent(&self, within: Duration) -> bool {
        self.queue.owed_for() >= within
    }

    /// How many more requests would be queued at once.
    pub fn room(&self) -> usize {
        self.room.available_permits()
    }

    /// Ends it. Requests on their way fail with [`ConnectionError::Closed`].
    pub fn close(&self) {
        self.queue.close(&ConnectionError::Closed { address: self.queue.address.clone() });
    }

    /// Sends a request in the highest common version and waits for its answer.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, ConnectionError> {
        self.start(request, i16::MAX, self.request_timeout).await?.answer().await
    }

    /// Queues a request, in the highest common version up to `version_cap`, behind those before it
    /// (waiting while too many are on their way) and returns what to await its answer with.
    ///
    /// The time-out counts from here.
    pub async fn start<R: Request>(
        &self,
        request: &R,
        version_cap: i16,
        within: Duration,
    ) -> Result<Pending<R::Response>, ConnectionError> {
        let version = self.version(R::API, version_cap)?;
        let room = self.take_room().await?;
        self.push(request, version, within, room)
    }

    /// The same at once or not at all: [`Connection::room`] says whether there is room.
    pub fn start_now<R: Request>(
        &self,
        request: &R,
        version_cap: i16,
    ) -> Result<Pending<R::Response>, ConnectionError> {
        let version = self.version(R::API, version_cap)?;
        let room = Arc::clone(&self.room).try_acquire_owned();
        let busy = |_| ConnectionError::Busy { address: self.queue.address.clone() };
        self.push(request, version, self.request_timeout, room.map_err(busy)?)
    }

    /// Queues a request that has no answer (`acks=0`).
    pub fn tell<R: Request>(&self, request: &R, version_cap: i16) -> Result<(), ConnectionError> {
        let version = self.version(R::API, version_cap)?;
        self.queue.push(request, version, None).map(drop)
    }

    /// The highest common version up to `cap`.
    pub fn version(&self, api: ApiKey, cap: i16) -> Result<i16, ConnectionError> {
        self.versions.highest(api, cap).ok_or_else(|| self.no_version(api))
    }

    async fn take_room(&self) -> Result<OwnedSemaphorePermit, ConnectionError> {
        let room = timeout(self.request_timeout, Arc::clone(&self.room).acquire_owned()).await;
        let late = || ConnectionError::RequestTimedOut {
            address: self.queue.address.clone(),
            after: self.request_timeout,
        };
        room.map_err(|_| late())?.map_err(|_| late())
    }

    fn push<R: Request>(
        &self,
        request: &R,
        version: i16,
        within: Duration,
        room: OwnedSemaphorePermit,
    ) -> Result<Pending<R::Response>, ConnectionError> {
        let answer = self.queue.push(request, version, Some(room))?;
        let queue = Arc::clone(&self.queue);
        let deadline = Instant::now() + within;
        Ok(Pending { answer, queue, version, within, deadline, message: PhantomData })
    }
}

/// A request on its way. Dropping it does not take the request back.
pub struct Pending<M> {
    answer: oneshot::Receiver<Answer>,
    queue: Arc<Queue>,
    version: i16,
    within: Duration,
    deadline: Instant,
    message: PhantomData<fn() -> M>,
}

impl<M: Message> Pending<M> {
    /// The version that was sent and is answered.
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// Waits for the answer, up to the request's time-out.
    pub async fn answer(self) -> Result<M, ConnectionError> {
        let version = self.version;
        let queue = Arc::clone(&self.queue);
        let frame = self.frame().await?;
        decode(frame, version).map_err(|source| {
            let error = ConnectionError::Decode { address: queue.address.clone(), api: M::API, source };
            queue.close(&error);
            error
        })
    }

    async fn frame(self) -> Answer {
        let address = || self.queue.address.clone();
        match timeout_at(self.deadline, self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ConnectionError::Closed { address: address() }),
            Err(_) => {
                let error = ConnectionError::RequestTimedOut { address: address(), after: self.within };
                self.queue.close(&error);
                Err(error)
            }
        }
    }
}

fn decode<M: Message>(frame: Bytes, version: i16) -> Result<M, DecodeError> {
    let mut reader = Reader::new(frame);
    frame::decode_response_header(&mut reader, M::API, version)?;
    let message = M::decode(&mut reader, version)?;
    reader.finish()?;
    Ok(message)
}

async fn read(queue: Arc<Queue>, mut stream: OwnedReadHalf, limit: usize) {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let error = loop {
        if let Err(error) = hand_out(&queue, &mut buffer, limit) {
            break error;
        }
        make_room(&mut buffer, limit);
        match stream.read_buf(&mut buffer).await {
            Ok(0) => break ConnectionError::Closed { address: queue.address.clone() },
            Ok(_) => {}
            Err(source) => break io_error(&queue, source),
        }
    };
    queue.close(&error);
}

fn hand_out(queue: &Queue, buffer: &mut BytesMut, limit: usize) -> Result<(), ConnectionError> {
    let broken = |source| ConnectionError::Frame { address: queue.address.clone(), source };
    while let Some(frame) = frame::take(buffer, limit).map_err(broken)? {
        queue.answer(frame)?;
    }
    Ok(())
}

/// Room for the rest of the frame that has begun, as far as bytes that came vouch for it.
fn make_room(buffer: &mut BytesMut, limit: usize) {
    let claimed = frame::claimed_size(buffer, limit).ok().flatten().unwrap_or(0);
    let missing = (claimed + frame::SIZE_LEN).saturating_sub(buffer.len());
    let room = missing.min(RESERVE_BYTES.max(buffer.len())).max(READ_BYTES / 4);
    if buffer.capacity() - buffer.len() < room {
        buffer.reserve(room.max(READ_BYTES));
    }
}

async fn write(queue: Arc<Queue>, mut stream: OwnedWriteHalf, within: Duration) {
    while let Some(mut chunks) = queue.take_outgoing() {
        if !bytes::Buf::has_remaining(&chunks) {
            queue.changed.notified().await;
            continue;
        }
        match timeout(within, stream.write_all_buf(&mut chunks)).await {
            Ok(Ok(())) => {}
            Ok(Err(source)) => queue.close(&io_error(&queue, source)),
            Err(_) => queue
                .close(&ConnectionError::RequestTimedOut { address: queue.address.clone(), after: within }),
        }
    }
    // The reader's half may still be open: the other side is to see the end now.
    let _ = stream.shutdown().await;
}

fn io_error(queue: &Queue, source: io::Error) -> ConnectionError {
    ConnectionError::Io { address: queue.address.clone(), source: Arc::new(source) }
}
