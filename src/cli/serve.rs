//! `polylogue serve`: runs a node.

use std::path::PathBuf;

use clap::Args;

use crate::{
    config::node::{NodeConfig, NodeFlags, Surroundings},
    node,
    telemetry::{self, LogFormat},
};

/// The flags of `serve`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// This broker's id, 0 or more.
    #[arg(long)]
    node_id: Option<i32>,
    /// The folder for everything that is kept.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Where clients connect, HOST:PORT.
    #[arg(long)]
    kafka_listen: Option<String>,
    /// What clients are told to connect to.
    #[arg(long)]
    kafka_advertise: Option<String>,
    /// Health, metrics and the actor tree.
    #[arg(long)]
    admin_listen: Option<String>,
    /// For other nodes.
    #[arg(long)]
    cluster_listen: Option<String>,
    /// What other nodes are told.
    #[arg(long)]
    cluster_advertise: Option<String>,
    /// A node to join; refused until there is a cluster.
    #[arg(long)]
    seed: Vec<String>,
    /// A TOML file.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Any setting by its full name, KEY=VALUE.
    #[arg(long = "set", value_parser = setting)]
    settings: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is expected")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Runs until it is told to stop.
pub fn run(flags: Flags) -> anyhow::Result<()> {
    telemetry::init(LogFormat::Human, None)?;
    let file = flags.config.clone();
    let flags = NodeFlags {
        node_id: flags.node_id,
        data_dir: flags.data_dir,
        kafka_listen: flags.kafka_listen,
        kafka_advertise: flags.kafka_advertise,
        admin_listen: flags.admin_listen,
        cluster_listen: flags.cluster_listen,
        cluster_advertise: flags.cluster_advertise,
        seeds: flags.seed,
        settings: flags.settings,
    };
    let config = NodeConfig::load(&flags, file.as_deref(), &Surroundings::of_this_process())?;
    node::run(&config)?;
    Ok(())
}
