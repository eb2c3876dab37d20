//! `polylogue log repair`: mends what `verify` finds.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{
    Where,
    progress::Bytes,
    shown,
    verify::{finding_json, flushed_text, line},
};
use crate::{
    cli::{connect::Output, table},
    model::Offset,
    node::offline::{OfflineData, OfflinePartition},
    storage::inspect::{self, FolderReport, Mended, RepairOptions},
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Flags {
    #[command(flatten)]
    place: Where,
    /// A folder with copies of the partitions' folders, such as `logs` of a back-up or of another data folder:
    /// lost batches are taken from the one of the same name.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Give up the batches that are to be had nowhere, for good: empty ones take their place.
    #[arg(long)]
    drop_damaged: bool,
    /// Only say what is wrong and what would be done about it.
    #[arg(long)]
    dry_run: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What came of one partition.
struct Done {
    name: String,
    trouble: Option<String>,
    mended: Vec<Mended>,
    /// What was found before anything was mended, where the folder could be read.
    report: Option<FolderReport>,
}

impl Done {
    fn is_whole(&self) -> bool {
        self.trouble.is_none() && !self.mended.iter().any(|mended| matches!(mended, Mended::Left(_)))
    }
}

pub(super) fn run(flags: &Flags) -> anyhow::Result<()> {
    let data = OfflineData::open(&flags.place.data_dir)?;
    if !data.is_alone() {
        bail!(
            "{} belongs to a node of a cluster of several: what is damaged there is taken from other replicas, and \
             must not be mended behind their backs",
            flags.place.data_dir.display()
        );
    }
    let mut progress = Bytes::new("verifying");
    let mut all = Vec::new();
    let mut wrong = 0;
    for partition in flags.place.partitions(&data)? {
        if partition.trouble.is_some() || !data.fs().exists(&partition.dir)? {
            all.push(Done {
                name: partition.name,
                trouble: partition.trouble,
                mended: Vec::new(),
                report: None,
            });
            continue;
        }
        let (report, mended) = one(flags, &data, &partition, &mut progress)
            .with_context(|| format!("{} could not be mended", partition.name))?;
        wrong += report.findings.iter().filter(|finding| !finding.flaw.is_note()).count();
        all.push(Done { name: partition.name, trouble: None, mended, report: Some(report) });
    }
    progress.finish();
    let mut out = io::stdout().lock();
    match flags.output {
        Output::Table => print(&mut out, &all, flags.dry_run)?,
        Output::Json => table::print_json(&mut out, &all.iter().map(json_of).collect())?,
    }
    let left = all.iter().filter(|done| !done.is_whole()).count();
    if left > 0 {
        bail!(
            "{left} partitions are not whole: give a copy (--from), or give up what is lost (--drop-damaged)"
        );
    }
    if flags.dry_run && wrong > 0 {
        writeln!(io::stderr(), "nothing was changed; run again without --dry-run")?;
    }
    Ok(())
}

fn one(
    flags: &Flags,
    data: &OfflineData,
    partition: &OfflinePartition,
    progress: &mut Bytes,
) -> anyhow::Result<(FolderReport, Vec<Mended>)> {
    let mut on_bytes = |bytes| progress.add("verifying", bytes);
    let from = match &flags.from {
        Some(from) => {
            let copy = from.join(&partition.name);
            data.fs().exists(&copy)?.then_some(copy)
        }
        None => None,
    };
    let options =
        RepairOptions { from: from.as_deref(), drop_damaged: flags.drop_damaged, dry_run: flags.dry_run };
    Ok(inspect::repair(data.fs(), &partition.dir, options, &mut on_bytes)?)
}

fn print(out: &mut impl Write, all: &[Done], dry_run: bool) -> io::Result<()> {
    let would = if dry_run { "would be " } else { "" };
    for done in all {
        if let Some(trouble) = &done.trouble {
            writeln!(out, "{}: {trouble}", done.name)?;
        }
        for mended in &done.mended {
            match mended {
                Mended::Restored { file, first, next } => {
                    let last = next.plus(-1);
                    writeln!(
                        out,
                        "{}: offsets {first} to {last} {would}restored from the copy",
                        shown(file)
                    )?;
                }
                Mended::Dropped { file, first, next, kept } => {
                    let last = next.plus(-1);
                    let kept = kept.as_ref().map(|kept| format!("; what stood there is in {}", shown(kept)));
                    let kept = kept.unwrap_or_default();
                    writeln!(out, "{}: offsets {first} to {last} {would}given up{kept}", shown(file))?;
                }
                Mended::Removed { file } => {
                    writeln!(out, "{}: {would}removed, made anew when needed", shown(file))?;
                }
                Mended::Left(finding) => writeln!(out, "{}", line(finding))?,
            }
        }
        if let Some(report) = done.report.as_ref().filter(|report| report.is_hit()) {
            writeln!(out, "{}: {}", done.name, flushed_text(report.flushed))?;
        }
    }
    let whole = all.iter().filter(|done| done.is_whole()).count();
    writeln!(out, "{whole} of {} partitions {}whole", all.len(), if dry_run { "would be " } else { "are " })
}

fn json_of(done: &Done) -> Value {
    let mended = done.mended.iter().map(|mended| match mended {
        Mended::Restored { file, first, next } => json!({
            "done": "restored", "file": shown(file), "first_offset": first.get(), "next_offset": next.get(),
        }),
        Mended::Dropped { file, first, next, kept } => json!({
            "done": "dropped", "file": shown(file), "first_offset": first.get(), "next_offset": next.get(),
            "kept": kept.as_ref().map(|kept| shown(kept)),
        }),
        Mended::Removed { file } => json!({ "done": "removed", "file": shown(file) }),
        Mended::Left(finding) => json!({ "done": "nothing", "finding": finding_json(finding) }),
    });
    json!({
        "partition": done.name,
        "whole": done.is_whole(),
        "trouble": done.trouble,
        "flushed": done.report.as_ref().and_then(|report| report.flushed).map(Offset::get),
        "mended": mended.collect::<Vec<_>>(),
    })
}
