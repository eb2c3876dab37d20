//! `polylogue cluster`: looks into running nodes through their admin ports.
//!
//! One node's admin port is enough: it tells where those of the others are. A node that does not answer is told as
//! such beside those that do.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{connect::Output, table};
use crate::admin::{
    client::{AdminError, get, get_within},
    cluster::{ClusterReport, Named, NodeReport},
};

/// How long a node that another one has named may take to answer.
const OTHERS_WITHIN: Duration = Duration::from_secs(3);

/// What to look at.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the nodes, the controller, the voters, and the partitions that need care.
    Status(Flags),
    /// Print the tree of actors of each node: path, state, restarts, last failure, queue depth, epoch.
    Tree(Tree),
}

#[derive(Args, Debug)]
pub(super) struct Flags {
    /// The admin port of a node; any one will do.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8092")]
    admin: String,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Args, Debug)]
pub(super) struct Tree {
    #[command(flatten)]
    flags: Flags,
    /// Only the tree of the node that is asked.
    #[arg(long)]
    this_node: bool,
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Status(flags) => status(&flags).await,
        Command::Tree(tree) => {
            let path = match tree.flags.output {
                Output::Table => "/tree?format=text",
                Output::Json => "/tree",
            };
            let nodes = if tree.this_node { Vec::new() } else { report(&tree.flags.admin).await?.nodes };
            if nodes.len() <= 1 {
                return print_body(&ask(&tree.flags.admin, path).await?);
            }
            trees(&nodes, path, tree.flags.output).await
        }
    }
}

async fn trees(nodes: &[NodeReport], path: &'static str, output: Output) -> anyhow::Result<()> {
    let answers = ask_all(nodes, path).await;
    let mut out = io::stdout().lock();
    if output == Output::Json {
        let all = answers.into_iter().map(|(id, answer)| {
            let tree = answer.and_then(|(_, body)| Ok(serde_json::from_slice::<Value>(&body)?));
            tree.map_or_else(
                |error| json!({ "node": id, "error": format!("{error:#}") }),
                |actors| json!({ "node": id, "actors": actors }),
            )
        });
        return Ok(table::print_json(&mut out, &all.collect())?);
    }
    for (id, answer) in answers {
        writeln!(out, "node {id}")?;
        match answer {
            Ok((_, body)) => out.write_all(&body)?,
            Err(error) => writeln!(out, "does not answer: {error:#}")?,
        }
        writeln!(out)?;
    }
    Ok(())
}

async fn status(flags: &Flags) -> anyhow::Result<()> {
    let report = report(&flags.admin).await?;
    let answers = ask_all(&report.nodes, "/ready").await;
    let answers: BTreeMap<i32, String> = answers
        .into_iter()
        .map(|(id, answer)| (id, answer.map_or_else(|_| "no".to_owned(), |(status, _)| readiness(status))))
        .collect();
    let mut out = io::stdout().lock();
    match flags.output {
        Output::Json => {
            let mut value = serde_json::to_value(&report)?;
            for node in value["nodes"].as_array_mut().into_iter().flatten() {
                let id = node["id"].as_i64().and_then(|id| i32::try_from(id).ok());
                node["answers"] = json!(id.and_then(|id| answers.get(&id)));
            }
            table::print_json(&mut out, &value)?;
        }
        Output::Table => print_status(&mut out, &report, &answers)?,
    }
    Ok(())
}

fn readiness(status: u16) -> String {
    if status == 200 { "ready".to_owned() } else { "not ready".to_owned() }
}

fn print_status(
    out: &mut impl Write,
    report: &ClusterReport,
    answers: &BTreeMap<i32, String>,
) -> io::Result<()> {
    let id = report.cluster_id.as_deref().unwrap_or("(not formed)");
    let controller = report.controller.map_or_else(|| "none now".to_owned(), |node| format!("node {node}"));
    let voters: Vec<_> = report.voters.iter().map(ToString::to_string).collect();
    writeln!(out, "cluster     {id}")?;
    writeln!(out, "controller  {controller}")?;
    writeln!(out, "voters      {}", voters.join(", "))?;
    writeln!(out, "metadata    {} entries, as node {} sees it", report.metadata_index, report.told_by)?;
    writeln!(out)?;
    let head = ["node", "state", "answers", "leads", "replicas", "at most", "clients", "admin"];
    let rows = report.nodes.iter().map(|node| {
        let at = |listener: &str| node.endpoints.get(listener).cloned().unwrap_or_else(|| "-".to_owned());
        vec![
            node.id.to_string(),
            format!("{:?}", node.state).to_lowercase(),
            answers.get(&node.id).cloned().unwrap_or_else(|| "no".to_owned()),
            node.leads.to_string(),
            node.replicas.to_string(),
            node.replicas_max.map_or_else(|| "-".to_owned(), |max| max.to_string()),
            at("kafka"),
            at("admin"),
        ]
    });
    table::print(out, &head, &rows.collect::<Vec<_>>())?;
    writeln!(out)?;
    let partitions = &report.partitions;
    writeln!(out, "partitions           {}", partitions.total)?;
    print_named(out, "without a leader", &partitions.without_leader)?;
    if !partitions.waiting_for.is_empty() {
        let nodes: Vec<_> = partitions.waiting_for.iter().map(ToString::to_string).collect();
        writeln!(out, "  which wait for     node {}", nodes.join(", "))?;
    }
    print_named(out, "under-replicated", &partitions.under_replicated)?;
    print_named(out, "below their minimum", &partitions.below_minimum)
}

fn print_named(out: &mut impl Write, what: &str, named: &Named) -> io::Result<()> {
    const MOST: usize = 5;
    let mut first = named.first.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    if named.count > MOST {
        first.push_str(", ...");
    }
    let line = format!("{what:<19}  {}  {first}", named.count);
    writeln!(out, "{}", line.trim_end())
}

/// Asks the node that was named for the others.
async fn report(admin: &str) -> anyhow::Result<ClusterReport> {
    let body = ask(admin, "/cluster").await?;
    serde_json::from_slice(&body).with_context(|| format!("{admin} does not tell of a cluster"))
}

async fn ask(admin: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let (status, body) = get(admin, path).await.map_err(|error| with_advice(error, admin))?;
    if status != 200 {
        bail!("{admin} answered {status} to GET {path}: is it the admin port of a node?");
    }
    Ok(body.to_vec())
}

type Asked = anyhow::Result<(u16, Vec<u8>)>;

/// Asks all of them at once; by id.
async fn ask_all(nodes: &[NodeReport], path: &'static str) -> BTreeMap<i32, Asked> {
    let mut asking = JoinSet::new();
    for node in nodes {
        let (id, admin) = (node.id, node.admin().map(str::to_owned));
        asking.spawn(async move { (id, ask_one(admin, path).await) });
    }
    asking.join_all().await.into_iter().collect()
}

async fn ask_one(admin: Option<String>, path: &str) -> Asked {
    let admin = admin.context("it has registered no admin port")?;
    let (status, body) = get_within(&admin, path, OTHERS_WITHIN).await?;
    Ok((status, body.to_vec()))
}

fn print_body(body: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(body)?;
    if !body.ends_with(b"\n") {
        writeln!(out)?;
    }
    Ok(())
}

fn with_advice(error: AdminError, address: &str) -> anyhow::Error {
    let refused = matches!(&error, AdminError::Connect { source, .. }
        if source.kind() == io::ErrorKind::ConnectionRefused);
    let text = anyhow::Error::from(error);
    if refused {
        text.context(format!(
            "nobody listens at {address}: is the node running? its admin port is --admin-listen of `serve`"
        ))
    } else {
        text.context(format!("asking the admin port at {address}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{ClusterReport, NodeReport, print_status};
    use crate::admin::cluster::{Named, PartitionsReport};

    #[test]
    fn a_node_that_does_not_answer_and_partitions_that_need_care_are_named() {
        let endpoints = |port| BTreeMap::from([("kafka".to_owned(), format!("h:{port}"))]);
        let node = |id, port| NodeReport { id, endpoints: endpoints(port), ..NodeReport::default() };
        let named = (0..7).map(|index| format!("t-{index}")).collect::<Vec<_>>();
        let partitions = PartitionsReport {
            total: 9,
            under_replicated: Named { count: 7, first: named },
            ..PartitionsReport::default()
        };
        let report = ClusterReport {
            told_by: 2,
            nodes: vec![node(1, 9), NodeReport { replicas_max: Some(170), ..node(2, 19) }],
            partitions,
            ..ClusterReport::default()
        };
        let mut out = Vec::new();
        print_status(&mut out, &report, &BTreeMap::from([(2, "ready".to_owned())])).unwrap();
        let text = String::from_utf8(out).unwrap();
        for line in [
            "controller  none now",
            "1     live   no       0      0         -        h:9      -",
            "2     live   ready    0      0         170      h:19     -",
            "under-replicated     7  t-0, t-1, t-2, t-3, t-4, ...",
            "without a leader     0",
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line:?} in\n{text}");
        }
    }
}
