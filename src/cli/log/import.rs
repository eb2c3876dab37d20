//! `polylogue log import`: brings a topic in that another broker has written.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use serde_json::{Value, json};

use super::progress::Bytes;
use crate::{
    cli::{connect::Output, key_value, table, topic_name},
    model::{NodeId, PartitionIndex, TopicName},
    node::offline::{ImportReport, ImportRequest, import},
    storage::import::Survey,
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Flags {
    /// A partition's folder (orders-0), or the folder that holds the topic's: log.dirs of Kafka, or logs of a
    /// back-up.
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// The data folder that the topic is brought into; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "./polylogue-data")]
    data_dir: PathBuf,
    /// Which topic of FROM [default: the only one]
    #[arg(long, value_name = "NAME", value_parser = topic_name)]
    topic: Option<TopicName>,
    /// The topic's name here [default: the one it has]
    #[arg(long = "as", value_name = "NAME", value_parser = topic_name)]
    name: Option<TopicName>,
    /// A topic config by Kafka's key; may be given several times. The source's own are not in its folders.
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// Whose data folder it becomes if it is new [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    node_id: Option<i32>,
    /// Leave out batches that are damaged, instead of ending there.
    #[arg(long)]
    skip_damaged: bool,
    /// Make partitions empty that are not in FROM, instead of ending there.
    #[arg(long)]
    fill_missing: bool,
    /// Read and check everything, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(flags: &Flags) -> anyhow::Result<()> {
    let request = ImportRequest {
        from: flags.from.clone(),
        topic: flags.topic.clone(),
        name: flags.name.clone(),
        data_dir: flags.data_dir.clone(),
        node: flags.node_id.map(NodeId::new),
        configs: flags.configs.iter().cloned().collect(),
        skip_damaged: flags.skip_damaged,
        fill_missing: flags.fill_missing,
        dry_run: flags.dry_run,
    };
    let mut progress = Bytes::new("reading");
    let report = import(&request, &mut |what, bytes| progress.add(what, bytes))?;
    progress.finish();
    let mut out = io::stdout().lock();
    match flags.output {
        Output::Table => print(&mut out, &report, flags.dry_run)?,
        Output::Json => table::print_json(&mut out, &json_of(&report, flags.dry_run))?,
    }
    for (index, survey) in &report.partitions {
        warn(*index, survey.as_ref())?;
    }
    if report.expires {
        writeln!(
            io::stderr(),
            "some of it is older than retention.ms: the node will delete it; --config retention.ms=-1 keeps it"
        )?;
    }
    Ok(())
}

fn warn(index: PartitionIndex, survey: Option<&Survey>) -> io::Result<()> {
    let Some(survey) = survey else { return Ok(()) };
    let mut err = io::stderr();
    if let Some((file, damage)) = &survey.torn {
        let (bytes, file) = (damage.len, file.display());
        writeln!(err, "partition {index}: {bytes} bytes at the end of {file} are no whole batch; left out")?;
    }
    for (file, damage) in &survey.damaged {
        let (first, last, file) = (damage.first, damage.next.plus(-1), file.display());
        writeln!(err, "partition {index}: offsets {first} to {last} of {file} are damaged; left out")?;
    }
    Ok(())
}

fn print(out: &mut impl Write, report: &ImportReport, dry_run: bool) -> io::Result<()> {
    let row = |(index, survey): &(PartitionIndex, Option<Survey>)| {
        let number = |of: fn(&Survey) -> String| survey.as_ref().map_or_else(|| "0".to_owned(), of);
        vec![
            index.to_string(),
            number(|survey| survey.start.to_string()),
            number(|survey| survey.end.to_string()),
            number(|survey| survey.batches.to_string()),
            number(|survey| survey.records.to_string()),
            number(|survey| survey.bytes.to_string()),
            number(|survey| survey.left_out.to_string()),
        ]
    };
    let head = ["partition", "log start", "log end", "batches", "records", "bytes", "left out"];
    table::print(out, &head, &report.partitions.iter().map(row).collect::<Vec<_>>())?;
    let (topic, partitions) = (&report.topic, report.partitions.len());
    let done = if dry_run { "could be imported" } else { "imported" };
    writeln!(out, "{done}: topic {topic} with {partitions} partitions")
}

fn json_of(report: &ImportReport, dry_run: bool) -> Value {
    let partition = |(index, survey): &(PartitionIndex, Option<Survey>)| match survey {
        None => json!({ "partition": index.get(), "log_start": 0, "log_end": 0, "batches": 0, "records": 0 }),
        Some(survey) => json!({
            "partition": index.get(),
            "log_start": survey.start.get(),
            "log_end": survey.end.get(),
            "batches": survey.batches,
            "records": survey.records,
            "bytes": survey.bytes,
            "left_out_batches": survey.left_out,
            "missing_offsets": survey.missing,
            "damaged": survey.damaged.len(),
            "torn_bytes": survey.torn.as_ref().map_or(0, |(_, damage)| damage.len),
        }),
    };
    json!({
        "topic": report.topic.as_str(),
        "imported": !dry_run,
        "partitions": report.partitions.iter().map(partition).collect::<Vec<_>>(),
    })
}
