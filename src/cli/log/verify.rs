//! `polylogue log verify`: reads everything and says what is wrong.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{Where, progress::Bytes, shown};
use crate::{
    cli::{connect::Output, table},
    model::Offset,
    node::offline::OfflineData,
    storage::{
        fs::{Fs, real::RealFs},
        inspect::{self, Finding, Flaw, FolderReport},
    },
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Flags {
    /// One partition's folder, wherever it is, instead of those of a data folder.
    #[arg(value_name = "FOLDER", conflicts_with_all = ["topic", "partition"])]
    folder: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// One folder's result.
pub(super) struct Verified {
    pub(super) name: String,
    pub(super) trouble: Option<String>,
    pub(super) report: Option<FolderReport>,
}

impl Verified {
    /// How many things are wrong, notes left out.
    pub(super) fn problems(&self) -> usize {
        let findings = self.report.iter().flat_map(|report| &report.findings);
        findings.filter(|finding| !finding.flaw.is_note()).count() + usize::from(self.trouble.is_some())
    }
}

pub(super) fn run(flags: &Flags) -> anyhow::Result<()> {
    let mut progress = Bytes::new("verifying");
    let verified = match &flags.folder {
        Some(folder) => vec![one(folder, &mut progress)?],
        None => all(&flags.place, &mut progress)?,
    };
    progress.finish();
    let mut out = io::stdout().lock();
    match flags.output {
        Output::Table => print(&mut out, &verified)?,
        Output::Json => table::print_json(&mut out, &verified.iter().map(json_of).collect())?,
    }
    let problems: usize = verified.iter().map(Verified::problems).sum();
    if problems > 0 {
        let hit = verified.iter().filter(|each| each.problems() > 0).count();
        bail!(
            "{problems} problems in {hit} of {} partitions; see `polylogue log repair --help`",
            verified.len()
        );
    }
    Ok(())
}

fn one(folder: &Path, progress: &mut Bytes) -> anyhow::Result<Verified> {
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    let what = || format!("cannot read {}", folder.display());
    if inspect::segments(fs.as_ref(), folder).with_context(what)?.is_empty() {
        bail!("{} is no partition's folder: there is no .log file in it", folder.display());
    }
    let report =
        inspect::verify(&fs, folder, &mut |bytes| progress.add("verifying", bytes)).with_context(what)?;
    Ok(Verified { name: shown(folder), trouble: None, report: Some(report) })
}

fn all(place: &Where, progress: &mut Bytes) -> anyhow::Result<Vec<Verified>> {
    let data = OfflineData::open(&place.data_dir)?;
    let mut verified = Vec::new();
    for partition in place.partitions(&data)? {
        let readable = partition.trouble.is_none() && data.fs().exists(&partition.dir)?;
        let report = if readable {
            let read =
                inspect::verify(data.fs(), &partition.dir, &mut |bytes| progress.add("verifying", bytes));
            Some(read.with_context(|| format!("cannot read {}", partition.dir.display()))?)
        } else {
            None
        };
        verified.push(Verified { name: partition.name, trouble: partition.trouble, report });
    }
    Ok(verified)
}

fn state(verified: &Verified) -> &'static str {
    match &verified.report {
        _ if verified.trouble.is_some() => "wrong",
        None => "empty",
        Some(report) if report.findings.iter().any(|finding| finding.flaw.loses_records()) => "damaged",
        Some(report) if !report.is_sound() => "wrong",
        Some(_) => "sound",
    }
}

fn print(out: &mut impl Write, verified: &[Verified]) -> io::Result<()> {
    let row = |each: &Verified| {
        let mut row = vec![each.name.clone(), state(each).to_owned()];
        let number =
            |of: fn(&FolderReport) -> String| each.report.as_ref().map_or_else(|| "-".to_owned(), of);
        row.push(number(|report| report.segments.to_string()));
        row.push(number(|report| report.bytes.to_string()));
        row.push(number(|report| report.batches.to_string()));
        row.push(number(|report| report.records.to_string()));
        row.push(number(|report| report.log_start.to_string()));
        row.push(number(|report| report.log_end.to_string()));
        row
    };
    let head = ["partition", "state", "segments", "bytes", "batches", "records", "log start", "log end"];
    table::print(out, &head, &verified.iter().map(row).collect::<Vec<_>>())?;
    for each in verified {
        if let Some(trouble) = &each.trouble {
            writeln!(out, "{}: {trouble}", each.name)?;
        }
        for finding in each.report.iter().flat_map(|report| &report.findings) {
            writeln!(out, "{}", line(finding))?;
        }
        if let Some(report) = each.report.as_ref().filter(|report| report.is_hit()) {
            writeln!(out, "{}: {}", each.name, flushed_text(report.flushed))?;
        }
    }
    Ok(())
}

/// How much of a log that was hit its node had promised.
pub(super) fn flushed_text(flushed: Option<Offset>) -> String {
    let known = |flushed| format!("all below offset {flushed} was on disk for certain");
    flushed.map_or_else(|| "no checkpoint says how far it was on disk".to_owned(), known)
}

/// A finding for people.
pub(super) fn line(finding: &Finding) -> String {
    let note = if finding.flaw.is_note() { " (note)" } else { "" };
    format!("{}{note}: {}", shown(&finding.file), finding.flaw)
}

fn json_of(verified: &Verified) -> Value {
    let mut value =
        json!({ "partition": verified.name, "state": state(verified), "trouble": verified.trouble });
    if let (Some(report), Some(object)) = (&verified.report, value.as_object_mut()) {
        object.extend([
            ("segments".to_owned(), json!(report.segments)),
            ("bytes".to_owned(), json!(report.bytes)),
            ("batches".to_owned(), json!(report.batches)),
            ("records".to_owned(), json!(report.records)),
            ("log_start".to_owned(), json!(report.log_start.get())),
            ("log_end".to_owned(), json!(report.log_end.get())),
            ("flushed".to_owned(), json!(report.flushed.map(Offset::get))),
            ("findings".to_owned(), report.findings.iter().map(finding_json).collect()),
        ]);
    }
    value
}

/// A finding for programs.
pub(super) fn finding_json(finding: &Finding) -> Value {
    let mut value = json!({
        "file": shown(&finding.file),
        "what": finding.flaw.to_string(),
        "note": finding.flaw.is_note(),
        "loses_records": finding.flaw.loses_records(),
    });
    if let (Flaw::Damaged(damage), Some(object)) = (&finding.flaw, value.as_object_mut()) {
        object.extend([
            ("position".to_owned(), json!(damage.position)),
            ("bytes".to_owned(), json!(damage.len)),
            ("first_offset".to_owned(), json!(damage.first.get())),
            ("next_offset".to_owned(), json!(damage.next.get())),
        ]);
    }
    value
}
