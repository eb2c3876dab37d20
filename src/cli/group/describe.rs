//! `polylogue group describe`.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    configs, end_with, explain_for,
    lag::{self, LogEnds, Row},
    or_nothing,
};
use crate::{
    cli::{
        connect::{Connect, Output, explain},
        table,
    },
    client::{
        Admin, Client, ClientError,
        admin::groups::{
            CommittedOffset, Described, FailedAttempts, GroupDescription, GroupFilter, GroupMember,
            OwnedPartitions,
        },
    },
    model::{NodeId, Offset},
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Flags {
    /// The groups' names.
    #[arg(value_name = "GROUP", required_unless_present = "all")]
    names: Vec<String>,
    /// All groups.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    #[command(flatten)]
    view: ViewFlags,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args, Debug)]
#[group(multiple = false)]
#[allow(clippy::struct_excessive_bools, reason = "one flag each, of which clap lets one be given")]
struct ViewFlags {
    /// Only partitions: committed offset, log end, lag and owner.
    #[arg(long)]
    offsets: bool,
    /// Only members, with what they own.
    #[arg(long)]
    members: bool,
    /// Only the state of each group.
    #[arg(long)]
    state: bool,
    /// Only the configs of each group.
    #[arg(long)]
    configs: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    Summary,
    Offsets,
    Members,
    State,
    Configs,
}

impl ViewFlags {
    fn view(&self) -> View {
        match self {
            Self { offsets: true, .. } => View::Offsets,
            Self { members: true, .. } => View::Members,
            Self { state: true, .. } => View::State,
            Self { configs: true, .. } => View::Configs,
            Self { .. } => View::Summary,
        }
    }
}

impl View {
    const fn shows_offsets(self) -> bool {
        matches!(self, Self::Summary | Self::Offsets)
    }
}

/// A group with what the view shows of it.
struct Shown {
    group: GroupDescription,
    coordinator: String,
    committed: Vec<CommittedOffset>,
    attempts: Vec<FailedAttempts>,
}

impl Shown {
    fn rows(&self, ends: &LogEnds) -> Vec<Row<'_>> {
        lag::rows(&self.group, &self.committed, &self.attempts, ends)
    }
}

pub(super) async fn run(flags: Flags) -> anyhow::Result<()> {
    let client = flags.connect.client();
    let (admin, view) = (Admin::new(&client), flags.view.view());
    if view == View::Configs {
        let names = names(&admin, flags.names).await.map_err(explain)?;
        return configs::show(&admin, &names, flags.output).await;
    }
    let (mut shown, mut failures, mut ends) = (Vec::new(), Vec::new(), LogEnds::default());
    for (id, described) in described(&admin, &flags).await.map_err(explain)? {
        let looked_up = match described {
            Ok(group) => look_up(&client, view, group, &mut ends).await,
            Err(error) => Err(error),
        };
        match looked_up {
            Ok(group) => shown.push(group),
            Err(error) => failures.push(format!("group {id} not described: {}", explain_for(&id, error))),
        }
    }
    let mut out = io::stdout().lock();
    match flags.output {
        Output::Json => {
            table::print_json(&mut out, &shown.iter().map(|one| to_json(view, one, &ends)).collect())?;
        }
        // An empty table would say nothing that the error does not.
        Output::Table if shown.is_empty() && !failures.is_empty() => {}
        Output::Table => print(&mut out, view, &shown, &ends)?,
    }
    drop(out);
    end_with(&failures)
}

/// The groups that are named, or all there are.
async fn names(admin: &Admin, named: Vec<String>) -> Result<Vec<String>, ClientError> {
    if !named.is_empty() {
        return Ok(named);
    }
    let mut names: Vec<_> =
        admin.list_groups(&GroupFilter::default()).await?.into_iter().map(|group| group.id).collect();
    names.sort_unstable();
    Ok(names)
}

async fn described(admin: &Admin, flags: &Flags) -> Result<Vec<Described>, ClientError> {
    if !flags.all {
        return admin.describe_groups(&flags.names).await;
    }
    let listed = admin.list_groups(&GroupFilter::default()).await?;
    let mut described = admin.describe_listed(&listed).await?;
    described.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(described)
}

async fn look_up(
    client: &Client,
    view: View,
    group: GroupDescription,
    ends: &mut LogEnds,
) -> Result<Shown, ClientError> {
    let admin = Admin::new(client);
    let coordinator = address(client, group.coordinator);
    let mut shown = Shown { group, coordinator, committed: Vec::new(), attempts: Vec::new() };
    if view.shows_offsets() {
        (shown.committed, shown.attempts) = admin.offsets_and_attempts(&shown.group.id).await?;
        for topic in lag::topics(&shown.group, &shown.committed) {
            ends.ask(client, &topic).await?;
        }
    }
    Ok(shown)
}

fn address(client: &Client, node: NodeId) -> String {
    let metadata = client.metadata();
    metadata.brokers.get(&node).map(|broker| broker.address.clone()).unwrap_or_default()
}

fn print(out: &mut impl Write, view: View, shown: &[Shown], ends: &LogEnds) -> io::Result<()> {
    let rows = |row: &dyn Fn(&Shown) -> Vec<Vec<String>>| shown.iter().flat_map(row).collect::<Vec<_>>();
    match view {
        View::Summary => print_summaries(out, shown, ends),
        View::Offsets => {
            let of = |one: &Shown| one.rows(ends).iter().map(offset_cells).collect();
            let of_group = |one: &Shown| named(&one.group.id, of(one));
            table::print(out, &with_group(OFFSETS_HEAD), &rows(&of_group))
        }
        View::Members => {
            let of_group =
                |one: &Shown| named(&one.group.id, one.group.members.iter().map(member_cells).collect());
            table::print(out, &with_group(MEMBERS_HEAD), &rows(&of_group))
        }
        View::State => {
            let head = ["type", "state", "assignor", "coordinator", "address", "epoch", "members"];
            table::print(out, &with_group(&head), &rows(&|one| named(&one.group.id, vec![state_cells(one)])))
        }
        // Shown without the groups.
        View::Configs => Ok(()),
    }
}

const OFFSETS_HEAD: &[&str] =
    &["topic", "partition", "committed", "log end", "lag", "attempts", "member", "client", "host"];
const MEMBERS_HEAD: &[&str] = &["member", "instance", "client", "host", "epoch", "partitions", "owns"];

fn with_group<'a>(head: &[&'a str]) -> Vec<&'a str> {
    [&["group"], head].concat()
}

fn named(group: &str, mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    for row in &mut rows {
        row.insert(0, group.to_owned());
    }
    rows
}

fn print_summaries(out: &mut impl Write, shown: &[Shown], ends: &LogEnds) -> io::Result<()> {
    for (at, one) in shown.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}\n", headline(one))?;
        let rows = one.rows(ends);
        table::print(out, OFFSETS_HEAD, &rows.iter().map(offset_cells).collect::<Vec<_>>())?;
        writeln!(out, "\n{}", totals(&rows))?;
    }
    Ok(())
}

fn headline(one: &Shown) -> String {
    let group = &one.group;
    let assignor = if group.assignor.is_empty() { "no assignor" } else { group.assignor.as_str() };
    let epoch = group.epochs.map(|epochs| format!(", epoch {}", epochs.group)).unwrap_or_default();
    let (members, s) = (group.members.len(), if group.members.len() == 1 { "" } else { "s" });
    format!(
        "group {}: {} ({}, {assignor}){epoch}, {members} member{s}, coordinator {} at {}",
        group.id,
        group.state,
        group.kind.name(),
        group.coordinator,
        one.coordinator
    )
}

fn totals(rows: &[Row<'_>]) -> String {
    let lag: i64 = rows.iter().filter_map(Row::lag).sum();
    format!("lag {lag} in all; {} of {} partitions without an owner", without_owner(rows), rows.len())
}

fn without_owner(rows: &[Row<'_>]) -> usize {
    rows.iter().filter(|row| row.owner.is_none()).count()
}

fn offset_cells(row: &Row<'_>) -> Vec<String> {
    vec![
        row.topic.to_string(),
        row.partition.to_string(),
        or_nothing(row.committed),
        or_nothing(row.end),
        or_nothing(row.lag()),
        or_nothing(row.attempts.map(attempts_text)),
        or_nothing(row.owner.map(|owner| &owner.id)),
        or_nothing(row.owner.map(|owner| &owner.client_id)),
        or_nothing(row.owner.map(|owner| &owner.host)),
    ]
}

/// How often, and with which offset: `2 at 17`.
fn attempts_text(failed: &FailedAttempts) -> String {
    let stopped = if failed.dead_letters_stopped { " (dead letters stopped)" } else { "" };
    format!("{} at {}{stopped}", failed.attempts, failed.offset)
}

fn member_cells(member: &GroupMember) -> Vec<String> {
    let partitions: usize = member.owned.values().map(Vec::len).sum();
    vec![
        member.id.clone(),
        or_nothing(member.instance_id.as_ref()),
        member.client_id.clone(),
        member.host.clone(),
        or_nothing(member.epoch),
        partitions.to_string(),
        or_nothing(Some(owned_text(&member.owned)).filter(|text| !text.is_empty())),
    ]
}

/// `orders:0,1 payments:2`
fn owned_text(owned: &OwnedPartitions) -> String {
    let of_topic = |(topic, partitions): (&String, &Vec<_>)| {
        let partitions: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        format!("{topic}:{}", partitions.join(","))
    };
    owned.iter().map(of_topic).collect::<Vec<_>>().join(" ")
}

fn state_cells(one: &Shown) -> Vec<String> {
    let group = &one.group;
    vec![
        group.kind.name().to_owned(),
        group.state.clone(),
        or_nothing(Some(&group.assignor).filter(|assignor| !assignor.is_empty())),
        group.coordinator.to_string(),
        one.coordinator.clone(),
        or_nothing(group.epochs.map(|epochs| epochs.group)),
        group.members.len().to_string(),
    ]
}

fn to_json(view: View, one: &Shown, ends: &LogEnds) -> Value {
    let group = &one.group;
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("name", json!(group.id));
    put("type", json!(group.kind.name()));
    put("protocol_type", json!(group.protocol_type));
    put("state", json!(group.state));
    put("assignor", json!(Some(&group.assignor).filter(|assignor| !assignor.is_empty())));
    put("coordinator", json!({ "node": group.coordinator.get(), "address": one.coordinator }));
    put("group_epoch", json!(group.epochs.map(|epochs| epochs.group)));
    put("assignment_epoch", json!(group.epochs.map(|epochs| epochs.assignment)));
    if matches!(view, View::Summary | View::Members) {
        put("members", group.members.iter().map(member_json).collect());
    }
    if view.shows_offsets() {
        let rows = one.rows(ends);
        put("lag", json!(rows.iter().filter_map(Row::lag).sum::<i64>()));
        put("partitions_without_owner", json!(without_owner(&rows)));
        put("partitions", rows.iter().map(row_json).collect());
    }
    Value::Object(object)
}

fn member_json(member: &GroupMember) -> Value {
    let partitions = |owned: &OwnedPartitions| -> Map<String, Value> {
        let of_topic = |(topic, partitions): (&String, &Vec<crate::model::PartitionIndex>)| {
            let numbers: Vec<i32> = partitions.iter().map(|partition| partition.get()).collect();
            (topic.clone(), json!(numbers))
        };
        owned.iter().map(of_topic).collect()
    };
    json!({
        "id": member.id,
        "instance_id": member.instance_id,
        "client_id": member.client_id,
        "host": member.host,
        "epoch": member.epoch,
        "topics": member.topics,
        "owns": partitions(&member.owned),
        "is_to_own": member.target.as_ref().map(partitions),
    })
}

fn row_json(row: &Row<'_>) -> Value {
    json!({
        "topic": row.topic.as_str(),
        "partition": row.partition.get(),
        "committed": row.committed.map(Offset::get),
        "log_end": row.end.map(Offset::get),
        "lag": row.lag(),
        "attempts": row.attempts.map_or(0, |failed| failed.attempts),
        "attempted_offset": row.attempts.map(|failed| failed.offset.get()),
        "dead_letters_stopped": row.attempts.is_some_and(|failed| failed.dead_letters_stopped),
        "member": row.owner.map(|owner| &owner.id),
        "client_id": row.owner.map(|owner| &owner.client_id),
        "host": row.owner.map(|owner| &owner.host),
    })
}
