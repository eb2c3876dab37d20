//! `polylogue group reset-offsets`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::{
    end_with, explain_for, or_nothing,
    plan::{Known, Plan, Target, plan},
    selection::{self, Selection},
    stop_members,
};
use crate::{
    cli::{
        connect::{Connect, Output},
        consume::parse_time,
        table,
    },
    client::{
        Admin, Client, ClientError, FoundOffset, OffsetSpec,
        admin::groups::{CommittedOffset, OffsetToCommit},
    },
    model::{Offset, PartitionIndex, TimestampMs, TopicName},
    wire::ErrorCode,
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Flags {
    /// The group's name. It must have no members; it need not exist yet.
    #[arg(value_name = "GROUP")]
    name: String,
    #[command(flatten)]
    topics: Topics,
    #[command(flatten)]
    target: TargetFlags,
    /// Show what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Topics {
    /// A topic, or some partitions of it as in orders:0,3-5; may be given several times.
    #[arg(long = "topic", value_name = "TOPIC[:PARTITIONS]", value_parser = selection::parse)]
    topics: Vec<Selection>,
    /// Every partition that the group has committed an offset of.
    #[arg(long)]
    all_topics: bool,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct TargetFlags {
    /// To the first record there is.
    #[arg(long)]
    to_earliest: bool,
    /// To the end: what is there now is not read.
    #[arg(long)]
    to_latest: bool,
    /// To the first record of this time or later: an RFC 3339 time or milliseconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to_time: Option<TimestampMs>,
    /// To this offset.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// So many records on, or back with a minus.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    shift_by: Option<i64>,
}

impl TargetFlags {
    /// Clap sees to it that there is just one.
    fn target(&self) -> Target {
        if let Some(time) = self.to_time {
            Target::Time(time)
        } else if let Some(offset) = self.to_offset {
            Target::Offset(Offset::new(offset))
        } else if let Some(by) = self.shift_by {
            Target::Shift(by)
        } else if self.to_latest {
            Target::Latest
        } else {
            Target::Earliest
        }
    }
}

/// One partition with what is to happen to it.
struct Step {
    topic: TopicName,
    partition: PartitionIndex,
    from: Option<Offset>,
    plan: Plan,
}

pub(super) async fn run(flags: Flags) -> anyhow::Result<()> {
    let client = flags.connect.client();
    let admin = Admin::new(&client);
    let group = flags.name.as_str();
    let failed = |error| explain_for(group, error);
    let not_reset = || format!("offsets of group {group} not reset");
    refuse_members(&admin, group).await.with_context(not_reset)?;
    let committed = admin.committed_offsets(group).await.map_err(failed).with_context(not_reset)?;
    let wanted = wanted(&client, &flags.topics, &committed).await.map_err(failed).with_context(not_reset)?;
    if wanted.is_empty() {
        bail!("group {group} has committed no offset: name what to set with --topic");
    }
    let committed = committed.into_iter().map(|at| ((at.topic, at.partition), at.offset)).collect();
    let mut steps = Vec::new();
    for (topic, partitions) in wanted {
        let planned = steps_of(&client, &topic, &partitions, flags.target.target(), &committed).await;
        steps.extend(planned.map_err(failed).with_context(not_reset)?);
    }
    let failures = if flags.dry_run { Vec::new() } else { carry_out(&admin, group, &steps).await? };
    print(flags.output, &steps)?;
    end_with(&failures)
}

async fn refuse_members(admin: &Admin, group: &str) -> anyhow::Result<()> {
    let described = admin.describe_groups(&[group.to_owned()]).await;
    let described = described.map_err(|error| explain_for(group, error))?;
    for (_, described) in described {
        match described {
            Ok(found) if !found.members.is_empty() => {
                bail!(
                    "it has {} members, who would go on from where they are\n{}",
                    found.members.len(),
                    stop_members(group)
                )
            }
            Ok(_) => {}
            // One that is not there yet is begun with these offsets.
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {}
            Err(error) => return Err(explain_for(group, error)),
        }
    }
    Ok(())
}

type Wanted = BTreeMap<TopicName, BTreeSet<PartitionIndex>>;

async fn wanted(
    client: &Client,
    topics: &Topics,
    committed: &[CommittedOffset],
) -> Result<Wanted, ClientError> {
    let mut wanted = Wanted::new();
    if topics.all_topics {
        for at in committed {
            wanted.entry(at.topic.clone()).or_default().insert(at.partition);
        }
    }
    for Selection { topic, partitions } in &topics.topics {
        let known = client.topic(topic).await?;
        let of_topic = wanted.entry(topic.clone()).or_default();
        match partitions {
            Some(partitions) => of_topic.extend(partitions),
            None => of_topic.extend(known.partitions.iter().map(|partition| partition.index)),
        }
    }
    Ok(wanted)
}

async fn steps_of(
    client: &Client,
    topic: &TopicName,
    partitions: &BTreeSet<PartitionIndex>,
    target: Target,
    committed: &BTreeMap<(TopicName, PartitionIndex), Offset>,
) -> Result<Vec<Step>, ClientError> {
    let at = async |spec| {
        let wanted: Vec<_> = partitions.iter().map(|partition| (*partition, spec)).collect();
        client.offsets(topic, &wanted).await
    };
    let (starts, ends) = (at(OffsetSpec::Earliest).await?, at(OffsetSpec::Latest).await?);
    let at_time = match target {
        Target::Time(time) => at(OffsetSpec::AtTime(time)).await?,
        Target::Earliest | Target::Latest | Target::Offset(_) | Target::Shift(_) => Vec::new(),
    };
    let step = |(start, end): (FoundOffset, FoundOffset)| {
        let partition = start.partition;
        let from = committed.get(&(topic.clone(), partition)).copied();
        let found = at_time.iter().find(|found| found.partition == partition);
        // Without a time the end was answered, for there is no such record.
        let at_time = found.filter(|found| found.timestamp.is_some()).map(|found| found.offset);
        let known = Known { committed: from, start: start.offset, end: end.offset, at_time };
        Step { topic: topic.clone(), partition, from, plan: plan(target, &known) }
    };
    Ok(starts.into_iter().zip(ends).map(step).collect())
}

/// Commits what is planned, and returns what failed.
async fn carry_out(admin: &Admin, group: &str, steps: &[Step]) -> anyhow::Result<Vec<String>> {
    let offsets = steps.iter().filter_map(|step| {
        let offset = step.plan.to?;
        Some(OffsetToCommit { topic: step.topic.clone(), partition: step.partition, offset })
    });
    let offsets: Vec<_> = offsets.collect();
    if offsets.is_empty() {
        return Ok(vec![format!(
            "group {group} has committed no offset there: set one with --to-offset first"
        )]);
    }
    let outcomes = admin.commit_offsets(group, &offsets).await;
    let outcomes = outcomes
        .map_err(|error| explain_for(group, error))
        .with_context(|| format!("offsets of group {group} not reset"))?;
    let failure = |(place, error): (String, ClientError)| {
        format!("offset of group {group} in {place} not set: {}", explain_for(group, error))
    };
    let failed = outcomes.into_iter().filter_map(|outcome| {
        let place = format!("{}-{}", outcome.topic, outcome.partition);
        outcome.outcome.err().map(|error| (place, error))
    });
    Ok(failed.map(failure).collect())
}

fn print(output: Output, steps: &[Step]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Output::Json => {
            let one = |step: &Step| {
                json!({
                    "topic": step.topic.as_str(),
                    "partition": step.partition.get(),
                    "from": step.from.map(Offset::get),
                    "to": step.plan.to.map(Offset::get),
                    "note": step.plan.note.map(|note| note.to_string()),
                })
            };
            table::print_json(&mut out, &steps.iter().map(one).collect())?;
        }
        Output::Table => {
            let row = |step: &Step| {
                vec![
                    step.topic.to_string(),
                    step.partition.to_string(),
                    or_nothing(step.from),
                    or_nothing(step.plan.to),
                    step.plan.note.map(|note| note.to_string()).unwrap_or_default(),
                ]
            };
            let rows: Vec<_> = steps.iter().map(row).collect();
            table::print(&mut out, &["topic", "partition", "from", "to", "note"], &rows)?;
        }
    }
    out.flush()
}
