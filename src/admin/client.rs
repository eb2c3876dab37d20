//! Asks a node's admin port: for the command line and for whoever waits until a node is ready.

use std::{error::Error, io, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// How long an answer may take in all, unless the caller says otherwise.
const WITHIN: Duration = Duration::from_secs(10);
/// The largest answer taken; a tree of many thousand actors is a few MiB.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The node could not be reached.
    #[error("cannot reach {address}")]
    Connect {
        /// The address asked.
        address: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The path or address does not make a request.
    #[error("bad request")]
    Request(#[from] hyper::http::Error),
    /// The connection broke, or what came over it is not HTTP.
    #[error("talking to the node failed")]
    Http(#[from] hyper::Error),
    /// The answer is larger than any the node gives, or broke off.
    #[error("answer was cut short or too large")]
    Body(#[source] Box<dyn Error + Send + Sync>),
    /// No whole answer in the time allowed.
    #[error("no answer within {after:?}")]
    Timeout {
        /// The time allowed.
        after: Duration,
    },
}

impl AdminError {
    /// True if the answer was larger than what is taken.
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::Body(source) if source.is::<LengthLimitError>())
    }
}

/// Gets `path` (with its query) from the admin port at `address` (`host:port`) within 10 s: the status
/// and the body.
pub async fn get(address: &str, path: &str) -> Result<(u16, Bytes), AdminError> {
    get_within(address, path, WITHIN).await
}

/// Like [`get`], with another time for the whole.
pub async fn get_within(address: &str, path: &str, after: Duration) -> Result<(u16, Bytes), AdminError> {
    timeout(after, exchange(address, path)).await.map_err(|_| AdminError::Timeout { after })?
}

async fn exchange(address: &str, path: &str) -> Result<(u16, Bytes), AdminError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| AdminError::Connect { address: address.to_owned(), source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header(header::HOST, address).body(Empty::<Bytes>::new())?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(AdminError::Body)?;
        Ok((head.status.as_u16(), body.to_bytes()))
    };
    // The connection does the talking; it has to be driven beside the exchange, and ends with it.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = exchange.as_mut() => answer,
        ended = connection.as_mut() => {
            ended?;
            exchange.await
        }
    }
}
