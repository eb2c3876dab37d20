//! Reaching a cluster, and saying what to do where that fails.

use std::{future::Future, io, time::Duration};

use anyhow::{Context, anyhow};
use clap::Args;

use crate::{
    client::{Client, ClientConfig, ClientError, ConnectionError},
    wire::ErrorCode,
};

/// How a cluster is reached.
#[derive(Args, Clone, Debug)]
pub(super) struct Connect {
    /// Where to reach the cluster; several addresses are parted by commas.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092", global = true)]
    bootstrap: String,
    /// How long to wait for an answer or a leader, with a unit: 500ms, 10s, 2m.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration, global = true)]
    timeout: Duration,
}

impl Connect {
    pub(super) fn client(&self) -> Client {
        Client::new(ClientConfig {
            client_id: "polylogue-cli".to_owned(),
            connect_timeout: self.timeout,
            request_timeout: self.timeout,
            metadata_timeout: self.timeout,
            ..ClientConfig::new(&self.bootstrap)
        })
    }
}

/// Runs a command to its end.
pub(super) fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(command);
    // A thread that still waits for standard input would hold the end up for ever.
    runtime.shutdown_background();
    outcome
}

/// The error, with what to do about it where that is known.
pub(super) fn explain(error: ClientError) -> anyhow::Error {
    match advice(&error) {
        Some(advice) => anyhow!("{error}\n{advice}"),
        None => error.into(),
    }
}

fn advice(error: &ClientError) -> Option<String> {
    match error {
        ClientError::Unreachable { last, .. } | ClientError::Connection(last) => unreachable_advice(last),
        ClientError::UnknownTopic(topic) => {
            Some(format!("see `polylogue topic list`, or make it with `polylogue topic create {topic}`"))
        }
        ClientError::NoBootstrap => Some("name a node with --bootstrap HOST:PORT".to_owned()),
        ClientError::OutcomeUnknown(_) => {
            Some("look with `polylogue topic list` or `describe` before trying again".to_owned())
        }
        ClientError::Refused { code: ErrorCode::InvalidReplicationFactor, .. } => {
            Some("there are as many replicas as nodes at most: try --replication-factor 1".to_owned())
        }
        ClientError::Refused { .. }
        | ClientError::UnknownPartition { .. }
        | ClientError::NoLeader { .. }
        | ClientError::UnknownNode(_)
        | ClientError::Incomplete(_)
        | ClientError::Records { .. } => None,
    }
}

fn unreachable_advice(last: &ConnectionError) -> Option<String> {
    let ConnectionError::Connect { address, source } = last else { return None };
    let kind = source.kind();
    let advice = if kind == io::ErrorKind::ConnectionRefused {
        format!(
            "nobody listens at {address}: is the node running? start one with `polylogue serve`, or name \
             another address with --bootstrap HOST:PORT"
        )
    } else if kind == io::ErrorKind::ConnectionReset {
        format!("who listens at {address} hangs up: is it the Kafka port of a node?")
    } else {
        format!("is {address} the right address? name another with --bootstrap HOST:PORT")
    };
    Some(advice)
}

/// How tables are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// Columns for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use super::explain;
    use crate::client::{ClientError, ConnectionError};

    #[test]
    fn a_refused_connection_asks_for_the_node_and_names_the_address() {
        let address = "127.0.0.1:9092".to_owned();
        let source = Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused));
        let last = ConnectionError::Connect { address: address.clone(), source };
        let text = explain(ClientError::Unreachable { addresses: vec![address], last }).to_string();
        assert!(text.contains("is the node running?") && text.contains("127.0.0.1:9092"), "{text}");
    }
}
