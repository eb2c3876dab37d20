//! The admin port: what operators and their tools ask a node over HTTP.
//!
//! Liveness, readiness, metrics and the supervision tree, to read only. It is served by a
//! [`listener`](crate::actors::listener) like any other port, on the control runtime, so that it answers
//! when the data path is stuck. Each connection carries one request and ends within a fixed time,
//! whatever the peer does; no request body is read.
//!
//! | path | answer |
//! |---|---|
//! | `/health` | 200 while the process answers |
//! | `/ready` | 200 or 503, a JSON object with the reasons why not |
//! | `/metrics` | the metrics in the `OpenMetrics` text format |
//! | `/cluster` | a JSON object: nodes, controller, voters, partitions that need care, as this node sees them; with `?topic=NAME` that topic's partitions too |
//! | `/tree` | a JSON array of actors; with `?format=text` a drawn tree |

pub mod client;
pub mod cluster;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, fmt, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    actors::{
        group_coordinator::LagMeter,
        listener::{ConnectionContext, Serve, told_to_stop},
        supervise::{Tree, render_tree},
    },
    metrics::{self, Metrics},
};

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Until the peer has sent its request.
    headers: Duration,
    /// In all; bounds a peer that does not read its answer.
    connection: Duration,
}

const TIMES: Times = Times { headers: Duration::from_secs(5), connection: Duration::from_secs(30) };
const HEADERS_MAX: usize = 64;
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// Whether the node can do its work, and if not why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// True once the node serves clients.
    pub ready: bool,
    /// What it waits for, in words; empty when it is ready.
    pub reasons: Vec<String>,
}

impl Readiness {
    /// Ready if nothing is waited for.
    pub fn unless(reasons: Vec<String>) -> Self {
        Self { ready: reasons.is_empty(), reasons }
    }
}

/// Where the answers come from.
#[derive(Clone)]
pub struct AdminSource {
    /// Asked for each `/ready`; must not block.
    pub ready: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// The node's metrics.
    pub metrics: Arc<Metrics>,
    /// Asked for the lag of groups before the metrics are read.
    pub lag: Arc<LagMeter>,
    /// Asked for each `/cluster`; must not block.
    pub cluster: cluster::ClusterSource,
    /// The node's actors.
    pub tree: Tree,
}

impl fmt::Debug for AdminSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminSource")
    }
}

/// What serves a connection of the admin port: for a listener's options.
pub fn serve(source: AdminSource) -> Serve {
    serve_within(source, TIMES)
}

fn serve_within(source: AdminSource, times: Times) -> Serve {
    Arc::new(move |stream, context| Box::pin(serve_connection(source.clone(), times, stream, context)))
}

async fn serve_connection(
    source: AdminSource,
    times: Times,
    stream: TcpStream,
    mut context: ConnectionContext,
) {
    let service = service_fn(|request| {
        let source = &source;
        async move { Ok::<_, Infallible>(source.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(times.headers)
        .keep_alive(false)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let peer = context.peer;
    let served = timeout(times.connection, async {
        let mut connection = pin!(connection);
        tokio::select! {
            served = connection.as_mut() => served,
            () = told_to_stop(&mut context.shutdown) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    });
    match served.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "admin connection failed"),
        Err(_) => tracing::debug!(%peer, "admin connection took too long, closed"),
    }
}

type Answer = Response<Full<Bytes>>;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

#[derive(Serialize)]
struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl AdminSource {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        if *request.method() != Method::GET && *request.method() != Method::HEAD {
            let mut answer = failure(StatusCode::METHOD_NOT_ALLOWED, "only GET is served");
            answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match request.uri().path() {
            "/health" => json(StatusCode::OK, &Message { status: Some("ok"), error: None }),
            "/ready" => self.ready(),
            "/metrics" => self.metrics().await,
            "/cluster" => self.cluster(request.uri().query().unwrap_or_default()),
            "/tree" => self.tree(request.uri().query().unwrap_or_default()),
            _ => failure(StatusCode::NOT_FOUND, "no such path"),
        }
    }

    fn ready(&self) -> Answer {
        let readiness = (self.ready)();
        let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(status, &readiness)
    }

    async fn metrics(&self) -> Answer {
        self.lag.measure().await;
        match self.metrics.text() {
            Ok(text) => answer(StatusCode::OK, metrics::CONTENT_TYPE, text.into()),
            Err(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be written"),
        }
    }

    fn cluster(&self, query: &str) -> Answer {
        let topic = query.split('&').find_map(|parameter| parameter.strip_prefix("topic="));
        json(StatusCode::OK, &(self.cluster)(topic))
    }

    fn tree(&self, query: &str) -> Answer {
        let actors = self.tree.snapshot();
        if query.split('&').any(|parameter| parameter == "format=text") {
            return answer(StatusCode::OK, TEXT, render_tree(&actors).into());
        }
        json(StatusCode::OK, &actors)
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => answer(status, JSON, body.into()),
        Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, JSON, Bytes::from_static(b"{}")),
    }
}

fn failure(status: StatusCode, error: &str) -> Answer {
    json(status, &Message { status: None, error: Some(error) })
}

fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    answer
}
