//! A TCP server that speaks as it is told.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
};

use crate::wire::{
    ApiKey, ErrorCode, Message, Reader, Request,
    api::api_versions::{ApiVersion, ApiVersionsResponse},
    frame::{self, RequestHeader},
};

/// A request that came.
pub(super) struct Call {
    /// Counts connections from 0.
    pub(super) connection: usize,
    pub(super) header: RequestHeader,
    body: Reader,
}

impl Call {
    pub(super) fn api(&self) -> ApiKey {
        self.header.api().unwrap()
    }

    pub(super) fn decode<R: Request>(&self) -> R {
        R::decode(&mut self.body.clone(), self.header.api_version).unwrap()
    }

    pub(super) fn answer<M: Message>(&self, message: &M) -> Reply {
        Reply::to(self.header.correlation_id, self.header.api_version, message)
    }
}

/// What to do about a request.
pub(super) enum Reply {
    Frame(Bytes),
    /// The same, one byte at a time.
    Trickle(Bytes),
    /// The same, once the other side of the channel says so.
    When(oneshot::Receiver<()>, Bytes),
    Silence,
    Close,
}

impl Reply {
    /// An answer to the request of this id, whichever that is.
    pub(super) fn to<M: Message>(correlation_id: i32, version: i16, message: &M) -> Self {
        let mut out = BytesMut::new();
        frame::encode_response(&mut out, version, correlation_id, message).unwrap();
        Self::Frame(out.freeze())
    }

    pub(super) fn when(self, released: oneshot::Receiver<()>) -> Self {
        if let Self::Frame(bytes) = self { Self::When(released, bytes) } else { self }
    }
}

type Handler = Arc<Mutex<dyn FnMut(&Call) -> Reply + Send>>;

pub(super) struct FakeBroker {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl FakeBroker {
    /// Answers `ApiVersions` with all that the codec has, and asks `handler` for all else.
    pub(super) async fn start(mut handler: impl FnMut(&Call) -> Reply + Send + 'static) -> Self {
        Self::start_raw(move |call| {
            if call.api() == ApiKey::ApiVersions { call.answer(&all_versions()) } else { handler(call) }
        })
        .await
    }

    /// Asks `handler` for everything.
    pub(super) async fn start_raw(handler: impl FnMut(&Call) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler: Handler = Arc::new(Mutex::new(handler));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, handler));
        Self { address, _tasks: tasks }
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }
}

pub(super) fn all_versions() -> ApiVersionsResponse {
    let versions = |api: &ApiKey| ApiVersion {
        api_key: api.code(),
        min_version: *api.served().start(),
        max_version: *api.served().end(),
    };
    let api_keys = ApiKey::ALL.iter().map(versions).collect();
    ApiVersionsResponse { error_code: ErrorCode::None, api_keys, ..ApiVersionsResponse::default() }
}

async fn accept(listener: TcpListener, handler: Handler) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        connections.spawn(serve(stream, number, Arc::clone(&handler)));
    }
}

async fn serve(mut stream: TcpStream, connection: usize, handler: Handler) {
    let mut buffer = BytesMut::new();
    loop {
        while let Some(request) = frame::take(&mut buffer, usize::MAX).unwrap() {
            let mut body = Reader::new(request);
            let header = RequestHeader::decode(&mut body).unwrap();
            let reply = (handler.lock().unwrap())(&Call { connection, header, body });
            let sent = match reply {
                Reply::Frame(bytes) => stream.write_all(&bytes).await,
                Reply::Trickle(bytes) => trickle(&mut stream, &bytes).await,
                Reply::When(released, bytes) => {
                    let _ = released.await;
                    stream.write_all(&bytes).await
                }
                Reply::Silence => Ok(()),
                Reply::Close => return,
            };
            if sent.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut buffer).await {
            Ok(read) if read > 0 => {}
            Ok(_) | Err(_) => return,
        }
    }
}

async fn trickle(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}
