//! `polylogue group delete`.

use std::io::{self, Write};

use clap::Args;

use super::{
    end_with, explain_for,
    selection::{self, Selection},
};
use crate::{
    cli::connect::Connect,
    client::{Admin, ClientError, admin::groups::PartitionOutcome},
    model::{PartitionIndex, TopicName},
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Flags {
    /// The groups' names. They must have no members.
    #[arg(required = true, value_name = "GROUP")]
    names: Vec<String>,
    /// Delete committed offsets of the topics given, and leave the group.
    #[arg(long, requires = "topics")]
    offsets: bool,
    /// A topic, or some partitions of it as in orders:0,3-5; may be given several times.
    #[arg(long = "topic", value_name = "TOPIC[:PARTITIONS]", value_parser = selection::parse, requires = "offsets")]
    topics: Vec<Selection>,
    #[command(flatten)]
    connect: Connect,
}

pub(super) async fn run(flags: Flags) -> anyhow::Result<()> {
    let admin = Admin::new(&flags.connect.client());
    let mut failures = Vec::new();
    for name in &flags.names {
        if flags.offsets {
            failures.extend(delete_offsets(&admin, name, &flags.topics).await?);
            continue;
        }
        match admin.delete_group(name).await {
            Ok(()) => writeln!(io::stdout(), "deleted group {name}")?,
            Err(error) => failures.push(not_deleted(name, error)),
        }
    }
    end_with(&failures)
}

fn not_deleted(group: &str, error: ClientError) -> String {
    format!("group {group} not deleted: {}", explain_for(group, error))
}

/// Says what was done, and returns what failed.
async fn delete_offsets(admin: &Admin, group: &str, topics: &[Selection]) -> anyhow::Result<Vec<String>> {
    let outcomes = match try_delete_offsets(admin, group, topics).await {
        Ok(outcomes) => outcomes,
        Err(error) => return Ok(vec![format!("offsets of {}", not_deleted(group, error))]),
    };
    let mut failures = Vec::new();
    for topic in topics {
        let of_topic = |outcome: &&PartitionOutcome| topic.includes(&outcome.topic, outcome.partition);
        if !outcomes.iter().any(|outcome| of_topic(&outcome)) {
            failures.push(format!(
                "group {group} has no committed offsets of {}: see `polylogue group describe {group}`",
                topic.topic
            ));
        }
    }
    for PartitionOutcome { topic, partition, outcome } in outcomes {
        match outcome {
            Ok(()) => writeln!(io::stdout(), "deleted the offset of group {group} in {topic}-{partition}")?,
            Err(error) => {
                let why = explain_for(group, error);
                failures.push(format!("offset of group {group} in {topic}-{partition} not deleted: {why}"));
            }
        }
    }
    Ok(failures)
}

async fn try_delete_offsets(
    admin: &Admin,
    group: &str,
    topics: &[Selection],
) -> Result<Vec<PartitionOutcome>, ClientError> {
    let committed = admin.committed_offsets(group).await?;
    let wanted = committed.into_iter().map(|at| (at.topic, at.partition));
    let wanted: Vec<(TopicName, PartitionIndex)> = wanted
        .filter(|(topic, partition)| topics.iter().any(|chosen| chosen.includes(topic, *partition)))
        .collect();
    if wanted.is_empty() { Ok(Vec::new()) } else { admin.delete_offsets(group, &wanted).await }
}
