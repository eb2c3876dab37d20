//! `polylogue serve`: runs a node.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::key_value;
use crate::{
    config::node::{NodeConfig, NodeFlags, Surroundings},
    node,
    telemetry::{self, LogFormat},
};

/// The flags of `serve`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    #[command(flatten)]
    settings: SettingFlags,
    /// What is logged, by target and level, such as `info,polylogue::kafka=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How log lines look on standard error.
    #[arg(long, value_enum, default_value_t)]
    log_format: Format,
}

/// Where settings come from; `polylogue config` takes the same.
#[derive(Args, Clone, Debug)]
pub(super) struct SettingFlags {
    /// This node's id, 0 or more [default: 1]
    #[arg(long, value_name = "N")]
    node_id: Option<i32>,
    /// The folder for everything that is kept [default: ./polylogue-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen for clients [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    kafka_listen: Option<String>,
    /// What clients are told to connect to [default: where we listen]
    #[arg(long, value_name = "HOST:PORT")]
    kafka_advertise: Option<String>,
    /// Where health, metrics and the actor tree are served over HTTP [default: 127.0.0.1:8092]
    #[arg(long, value_name = "HOST:PORT")]
    admin_listen: Option<String>,
    /// Where to listen for other nodes [default: 127.0.0.1:7092]
    #[arg(long, value_name = "HOST:PORT")]
    cluster_listen: Option<String>,
    /// What other nodes are told to connect to [default: where we listen]
    #[arg(long, value_name = "HOST:PORT")]
    cluster_advertise: Option<String>,
    /// A file with a secret that all nodes of the cluster know [default: only nodes on this machine]
    #[arg(long, value_name = "FILE")]
    cluster_cookie_file: Option<PathBuf>,
    /// A node to form a cluster with or to join one through, by its cluster address; may be given several times, and may be this node
    #[arg(long, value_name = "HOST:PORT")]
    seed: Vec<String>,
    /// A TOML file with settings; flags go before it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any setting by its full name, may be given several times; goes before the file.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    settings: Vec<(String, String)>,
}

impl SettingFlags {
    /// What was given, and the file.
    pub(super) fn split(self) -> (NodeFlags, Option<PathBuf>) {
        let flags = NodeFlags {
            node_id: self.node_id,
            data_dir: self.data_dir,
            kafka_listen: self.kafka_listen,
            kafka_advertise: self.kafka_advertise,
            admin_listen: self.admin_listen,
            cluster_listen: self.cluster_listen,
            cluster_advertise: self.cluster_advertise,
            cluster_cookie_file: self.cluster_cookie_file,
            seeds: self.seed,
            settings: self.settings,
        };
        (flags, self.config)
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object for each.
    Json,
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Human,
            Format::Json => Self::Json,
        }
    }
}

/// Runs until it is told to stop.
pub fn run(flags: Flags) -> anyhow::Result<()> {
    let levels = telemetry::init(flags.log_format.into(), flags.log.as_deref())?;
    let (flags, file) = flags.settings.split();
    let config = NodeConfig::load(&flags, file.as_deref(), &Surroundings::of_this_process())?;
    node::run(&config, levels)?;
    Ok(())
}
