//! `polylogue topic`: creates, lists, describes, alters and deletes topics.

use std::io::{self, Write};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    connect::{Connect, Output, explain},
    key_value, table, topic_name,
};
use crate::{
    client::{
        Admin, ClientError, PartitionMetadata, TopicMetadata,
        admin::{Config, ConfigChange, ConfigSource, NewTopic},
    },
    model::{NodeId, PartitionIndex, TopicName},
    wire::ErrorCode,
};

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a topic.
    Create(Create),
    /// List all topics.
    List(List),
    /// Show partitions and configs of one topic, or the partitions of all.
    Describe(Describe),
    /// Change configs of a topic, or add partitions.
    Alter(Alter),
    /// Elect leaders anew: the first replicas, or whoever is there.
    Elect(Elect),
    /// Delete a topic with all its records.
    Delete(Delete),
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// The topic's name: 1 to 249 of the characters a-z A-Z 0-9 . _ -
    #[arg(value_parser = topic_name)]
    name: TopicName,
    /// How many partitions [default: as the cluster is configured]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many replicas of each partition [default: as the cluster is configured]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A config by Kafka's key, such as retention.ms=86400000; may be given several times.
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// Succeed if there is a topic of that name already.
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args, Debug)]
pub(super) struct List {
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args, Debug)]
pub(super) struct Describe {
    /// The topic's name [default: all topics, without their configs]
    #[arg(value_parser = topic_name)]
    name: Option<TopicName>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args, Debug)]
pub(super) struct Alter {
    /// The topic's name.
    #[arg(value_parser = topic_name)]
    name: TopicName,
    /// A config to set, by Kafka's key; may be given several times.
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// A config to take back to its default; may be given several times.
    #[arg(long = "delete-config", value_name = "KEY")]
    deleted_configs: Vec<String>,
    /// The number of partitions there shall be in all; it can only grow, and keys then land elsewhere.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args, Debug)]
pub(super) struct Elect {
    /// The topic's name.
    #[arg(value_parser = topic_name)]
    name: TopicName,
    /// A partition; may be given several times [default: all of the topic's]
    #[arg(long = "partition", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partitions: Vec<i32>,
    /// Where there is no leader, elect whoever is there: records that only others have are lost.
    #[arg(long)]
    unclean: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args, Debug)]
pub(super) struct Delete {
    /// The topic's name.
    #[arg(value_parser = topic_name)]
    name: TopicName,
    /// Succeed if there is no such topic.
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create(flags) => create(flags).await,
        Command::List(flags) => list(flags).await,
        Command::Describe(flags) => describe(flags).await,
        Command::Alter(flags) => alter(flags).await,
        Command::Elect(flags) => elect(flags).await,
        Command::Delete(flags) => delete(flags).await,
    }
}

/// A partition that needs no election is as it was asked for.
async fn elect(flags: Elect) -> anyhow::Result<()> {
    let admin = Admin::new(&flags.connect.client());
    let mut partitions: Vec<_> = flags.partitions.iter().copied().map(PartitionIndex::new).collect();
    if partitions.is_empty() {
        let topic = admin.describe_topic(&flags.name).await.map_err(explain)?;
        partitions = topic.partitions.iter().map(|partition| partition.index).collect();
    }
    let results = admin.elect_leaders(&flags.name, partitions, flags.unclean).await.map_err(explain)?;
    let mut refused = 0;
    for (partition, outcome) in results {
        let name = format!("{}-{partition}", flags.name);
        match outcome {
            Ok(()) => writeln!(io::stdout(), "{name}: leader elected")?,
            Err(error) if refused_as(&error, ErrorCode::ElectionNotNeeded) => {
                writeln!(io::stdout(), "{name}: no election needed")?;
            }
            Err(error) => {
                refused += 1;
                writeln!(io::stdout(), "{name}: no leader elected: {error}")?;
            }
        }
    }
    if refused > 0 {
        bail!("{refused} partitions have no such leader: is a replica in sync and its node live?");
    }
    Ok(())
}

fn refused_as(error: &ClientError, code: ErrorCode) -> bool {
    error.code() == Some(code)
}

async fn create(flags: Create) -> anyhow::Result<()> {
    let admin = Admin::new(&flags.connect.client());
    let topic = NewTopic {
        name: flags.name.clone(),
        partitions: flags.partitions,
        replication_factor: flags.replication_factor,
        configs: flags.configs,
    };
    match admin.create_topic(&topic).await {
        Ok(_) => writeln!(io::stdout(), "created topic {}", flags.name)?,
        Err(error) if flags.if_not_exists && refused_as(&error, ErrorCode::TopicAlreadyExists) => {
            writeln!(io::stdout(), "topic {} exists", flags.name)?;
        }
        Err(error) => return Err(explain(error)).context(format!("topic {} not created", flags.name)),
    }
    Ok(())
}

async fn list(flags: List) -> anyhow::Result<()> {
    let topics = Admin::new(&flags.connect.client()).list_topics().await.map_err(explain)?;
    let mut out = io::stdout().lock();
    match flags.output {
        Output::Json => table::print_json(&mut out, &topics.iter().map(topic_summary).collect())?,
        Output::Table => {
            let row = |topic: &TopicMetadata| {
                let (partitions, replicas) = (topic.partitions.len(), replication_factor(topic));
                vec![topic.name.to_string(), partitions.to_string(), replicas.to_string()]
            };
            let rows: Vec<_> = topics.iter().map(row).collect();
            table::print(&mut out, &["topic", "partitions", "replicas"], &rows)?;
        }
    }
    Ok(())
}

fn replication_factor(topic: &TopicMetadata) -> usize {
    topic.partitions.first().map_or(0, |partition| partition.replicas.len())
}

fn topic_summary(topic: &TopicMetadata) -> Value {
    json!({
        "name": topic.name.as_str(),
        "id": topic.id.to_string(),
        "internal": topic.is_internal,
        "partitions": topic.partitions.len(),
        "replication_factor": replication_factor(topic),
    })
}

async fn describe(flags: Describe) -> anyhow::Result<()> {
    let admin = Admin::new(&flags.connect.client());
    let mut out = io::stdout().lock();
    let Some(name) = flags.name else {
        let topics = admin.list_topics().await.map_err(explain)?;
        return match flags.output {
            Output::Json => Ok(table::print_json(&mut out, &topics.iter().map(described).collect())?),
            Output::Table => Ok(print_partitions(&mut out, &topics)?),
        };
    };
    let topic = admin.describe_topic(&name).await.map_err(explain)?;
    let configs = admin.topic_configs(&name).await.map_err(explain)?;
    match flags.output {
        Output::Json => {
            let mut value = described(&topic);
            if let Some(object) = value.as_object_mut() {
                object.insert("configs".to_owned(), configs.iter().map(config_json).collect());
            }
            table::print_json(&mut out, &value)?;
        }
        Output::Table => {
            writeln!(out, "topic {}, id {}\n", topic.name, topic.id)?;
            print_partitions(&mut out, std::slice::from_ref(&topic))?;
            writeln!(out)?;
            print_configs(&mut out, &configs)?;
        }
    }
    Ok(())
}

fn ids(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(",")
}

fn print_partitions(out: &mut impl Write, topics: &[TopicMetadata]) -> io::Result<()> {
    let row = |topic: &TopicMetadata, partition: &PartitionMetadata| {
        vec![
            topic.name.to_string(),
            partition.index.to_string(),
            partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
            partition.leader_epoch.to_string(),
            ids(&partition.replicas),
            ids(&partition.in_sync),
        ]
    };
    let rows = topics.iter().flat_map(|topic| topic.partitions.iter().map(move |each| row(topic, each)));
    let head = ["topic", "partition", "leader", "epoch", "replicas", "in sync"];
    table::print(out, &head, &rows.collect::<Vec<_>>())
}

fn print_configs(out: &mut impl Write, configs: &[Config]) -> io::Result<()> {
    let row = |config: &Config| {
        let value = config.value.clone().unwrap_or_else(|| "(secret)".to_owned());
        vec![config.name.clone(), value, source(config.source).to_owned()]
    };
    table::print(out, &["config", "value", "from"], &configs.iter().map(row).collect::<Vec<_>>())
}

pub(super) const fn source(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::Topic => "topic",
        ConfigSource::Group => "group",
        ConfigSource::Broker => "broker",
        ConfigSource::Default => "default",
        ConfigSource::Unknown => "unknown",
    }
}

pub(super) fn config_json(config: &Config) -> Value {
    json!({
        "name": config.name,
        "value": config.value,
        "from": source(config.source),
        "read_only": config.read_only,
        "documentation": config.documentation,
    })
}

fn described(topic: &TopicMetadata) -> Value {
    let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect::<Vec<_>>();
    let partition = |partition: &PartitionMetadata| {
        json!({
            "partition": partition.index.get(),
            "leader": partition.leader.map(NodeId::get),
            "leader_epoch": partition.leader_epoch.get(),
            "replicas": numbers(&partition.replicas),
            "in_sync": numbers(&partition.in_sync),
            "offline": numbers(&partition.offline),
        })
    };
    json!({
        "name": topic.name.as_str(),
        "id": topic.id.to_string(),
        "internal": topic.is_internal,
        "partitions": topic.partitions.iter().map(partition).collect::<Vec<_>>(),
    })
}

async fn alter(flags: Alter) -> anyhow::Result<()> {
    let set = flags.configs.into_iter().map(|(name, value)| ConfigChange::Set { name, value });
    let deleted = flags.deleted_configs.into_iter().map(|name| ConfigChange::Delete { name });
    let changes: Vec<_> = set.chain(deleted).collect();
    if changes.is_empty() && flags.partitions.is_none() {
        bail!("nothing to alter: give --config, --delete-config or --partitions");
    }
    let admin = Admin::new(&flags.connect.client());
    let failed = || format!("topic {} not altered", flags.name);
    if !changes.is_empty() {
        admin.alter_topic_configs(&flags.name, &changes).await.map_err(explain).with_context(failed)?;
    }
    if let Some(partitions) = flags.partitions {
        let grown = admin.create_partitions(&flags.name, partitions).await.map_err(explain);
        grown.with_context(|| format!("partitions of topic {} not added", flags.name))?;
    }
    writeln!(io::stdout(), "altered topic {}", flags.name)?;
    Ok(())
}

async fn delete(flags: Delete) -> anyhow::Result<()> {
    let admin = Admin::new(&flags.connect.client());
    match admin.delete_topic(&flags.name).await {
        Ok(()) => writeln!(io::stdout(), "deleted topic {}", flags.name)?,
        Err(error) if flags.if_exists && refused_as(&error, ErrorCode::UnknownTopicOrPartition) => {
            writeln!(io::stdout(), "there is no topic {}", flags.name)?;
        }
        Err(error) => return Err(explain(error)).context(format!("topic {} not deleted", flags.name)),
    }
    Ok(())
}
