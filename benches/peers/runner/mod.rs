//! One command that runs a node beside the ideal server and says what was reached.

mod admin;
mod broker;
mod cluster;
mod disk;
mod groups;
pub(crate) mod kafka;
mod kafka_rows;
mod machine;
mod measure;
mod rows;
mod stage;
mod table;

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use polylogue::clock::{Clock, SystemClock};
use serde::Serialize;

use broker::Kind;
use cluster::Clusters;
use kafka::Kafka;
use machine::Machine;
use measure::{Bench, Effort};
use rows::{Beside, Load, ROWS, Row};
use table::Figure;

/// What is run, and against what.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct Options {
    /// Only these rows, by name, separated by commas.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Print the names of the rows and end.
    #[arg(long)]
    list: bool,
    /// A fifth of the work and two runs: to see that it works, not to write figures down.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// As many runs of the 5 GB row as of the others, instead of one.
    #[arg(long)]
    full: bool,
    /// Measured runs of each side.
    #[arg(long)]
    runs: Option<usize>,
    /// Where brokers keep their data; the disk that is measured.
    #[arg(long, default_value_os_t = default_folder().to_owned())]
    dir: PathBuf,
    /// Where the figures of all runs go; `peers.json` beside the data otherwise.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure beside Apache Kafka 4.1.1 instead of the ideal server: one node of each, Kafka's own recommended heap
    /// and collector, memory against memory and disk against disk. Maven fetches it.
    #[arg(long, conflicts_with_all = ["command", "ideal_twice"])]
    beside_kafka: bool,
    /// Measure three nodes beside three of Apache Kafka 4.1.1, each partition on all of them, `acks=all`.
    #[arg(long, conflicts_with_all = ["command", "ideal_twice", "beside_kafka", "full"])]
    cluster: bool,
    /// End with an error when a target is not met.
    #[arg(long)]
    strict: bool,
    /// Put the ideal server in our place: what the comparison itself is worth here.
    #[arg(long, conflicts_with = "command")]
    ideal_twice: bool,
    /// Put another broker in our place, one that takes any topic: a command with `{port}` and `{dir}`.
    #[arg(long, value_delimiter = ' ')]
    command: Vec<String>,
}

/// Everything that was found, as it is kept.
#[derive(Serialize)]
struct Findings<'a> {
    started_unix_ms: i64,
    machine: &'a Machine,
    quick: bool,
    /// Beside whom.
    theirs: &'a str,
    figures: &'a [Figure],
}

/// Measures the rows that were asked for; prints the table even when one of them fails half way.
pub(crate) fn main(options: &Options) -> Result<()> {
    if options.list {
        for name in names_of(options) {
            println!("{name}");
        }
        return Ok(());
    }
    ensure!(!cfg!(debug_assertions), "figures of a debug build say nothing: run `cargo bench --bench peers`");
    let ours = contender(options)?;
    let beside_kafka = options.beside_kafka || options.cluster;
    let theirs = if beside_kafka { Kind::Kafka(Kafka::fetch()?) } else { Kind::Ideal };
    let names = wanted(options)?;
    let folder = Folder::claim(&options.dir)?;
    let machine = Machine::here(folder.path());
    let started_unix_ms = SystemClock::new().wall().get();
    let json = options.json.clone().unwrap_or_else(|| options.dir.join("peers.json"));
    eprintln!("{}", machine.line());
    let mut figures = Vec::new();
    let mut failure = None;
    for (index, name) in names.iter().enumerate() {
        eprintln!("[{} of {}] {name}", index + 1, names.len());
        match measure(options, name, (&ours, &theirs), folder.path()) {
            Ok(measured) => figures.extend(measured),
            Err(error) => {
                eprintln!("  {name} failed: {error:#}");
                match folder.set_aside() {
                    Ok(kept) => eprintln!("  its folders and logs are kept in {}", kept.display()),
                    Err(error) => eprintln!("  its folders and logs are not kept: {error:#}"),
                }
                failure.get_or_insert(*name);
            }
        }
        let quick = options.quick;
        let theirs = theirs.label();
        let findings = Findings { started_unix_ms, machine: &machine, quick, theirs, figures: &figures };
        fs::write(&json, serde_json::to_vec_pretty(&findings)?)?;
    }
    drop(folder);
    println!("{}\n\n{}", machine.line(), table::render(&figures, theirs.label()));
    eprintln!("all runs: {}", json.display());
    verdict(options, &figures, failure)
}

fn verdict(options: &Options, figures: &[Figure], failure: Option<&str>) -> Result<()> {
    if let Some(row) = failure {
        bail!("{row} could not be measured");
    }
    let missed = figures.iter().filter(|figure| figure.met == Some(false)).count();
    ensure!(!options.strict || missed == 0, "{missed} targets not met");
    Ok(())
}

/// A node of ours unless something else was asked for. Cargo has built it with this program.
fn contender(options: &Options) -> Result<Kind> {
    if options.ideal_twice {
        return Ok(Kind::Ideal);
    }
    if !options.command.is_empty() {
        return Ok(Kind::Command { words: options.command.clone() });
    }
    Ok(Kind::Polylogue { program: polylogue()? })
}

/// The node's program.
pub(crate) fn polylogue() -> Result<PathBuf> {
    let given = env::var_os("POLYLOGUE_BIN").map(PathBuf::from);
    let program = given.or_else(|| option_env!("CARGO_BIN_EXE_polylogue").map(PathBuf::from));
    let program = program.context("no polylogue: build with the feature `server` or set POLYLOGUE_BIN")?;
    ensure!(program.is_file(), "{} is not there", program.display());
    Ok(program)
}

/// Measures the row of this name.
fn measure(
    options: &Options,
    name: &str,
    (ours, theirs): (&Kind, &Kind),
    folder: &Path,
) -> Result<Vec<Figure>> {
    if options.cluster {
        let row = cluster::rows::ROWS.iter().find(|row| row.name == name).context("no such row")?;
        let effort = usual_effort(options, false);
        return Clusters { ours, kafka: theirs, folder, effort }.measure(row);
    }
    let row = rows_of(options).iter().find(|row| row.name == name).context("no such row")?;
    Bench { ours, theirs, folder, effort: effort(options, row) }.measure(row)
}

fn rows_of(options: &Options) -> &'static [Row] {
    if options.beside_kafka { &kafka_rows::ROWS } else { &ROWS }
}

fn names_of(options: &Options) -> Vec<&'static str> {
    if options.cluster {
        return cluster::rows::ROWS.iter().map(|row| row.name).collect();
    }
    rows_of(options).iter().map(|row| row.name).collect()
}

fn wanted(options: &Options) -> Result<Vec<&'static str>> {
    let all = names_of(options);
    if options.rows.is_empty() {
        let much: Vec<_> =
            rows_of(options).iter().filter(|row| writes_much(row)).map(|row| row.name).collect();
        return Ok(all.into_iter().filter(|name| !(options.quick && much.contains(name))).collect());
    }
    let named = |name: &String| {
        let found = all.iter().copied().find(|row| row == name);
        found.with_context(|| format!("no row {name}; --list names them"))
    };
    options.rows.iter().map(named).collect()
}

fn writes_much(row: &Row) -> bool {
    let much = |beside| matches!(beside, Beside::JustWritten { .. } | Beside::ReaderBehind { .. });
    matches!(row.load, Load::EndToEnd { beside, .. } if much(beside))
}

fn effort(options: &Options, row: &Row) -> Effort {
    // Beside another broker every row is a median of five.
    usual_effort(options, writes_much(row) && !options.full && !options.beside_kafka)
}

fn usual_effort(options: &Options, once: bool) -> Effort {
    let usual = if options.quick { 2 } else { 5 };
    Effort {
        runs: options.runs.unwrap_or(if once { 1 } else { usual }),
        warm_up: !once,
        divisor: if options.quick { 5 } else { 1 },
        seconds: if options.quick { 3 } else { 8 },
    }
}

/// A folder on the disk of the build, which Cargo gives to benches.
pub(crate) fn default_folder() -> &'static Path {
    Path::new(option_env!("CARGO_TARGET_TMPDIR").unwrap_or("target/tmp"))
}

/// The folder that brokers write to. Empty when it is claimed, also after a run that was cut off, and
/// removed at the end; claimed by one run at a time, because two would measure each other.
struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    fn claim(parent: &Path) -> Result<Self> {
        fs::create_dir_all(parent)?;
        let lock = File::create(parent.join("peers.lock"))?;
        lock.try_lock().with_context(|| format!("another run is going on in {}", parent.display()))?;
        let path = parent.join("peers");
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(Self { path, _lock: lock })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    /// Moves what is in it to where it stays until the next row that fails.
    fn set_aside(&self) -> Result<PathBuf> {
        let kept = self.path.with_extension("failed");
        if kept.exists() {
            fs::remove_dir_all(&kept)?;
        }
        fs::rename(&self.path, &kept)?;
        fs::create_dir_all(&self.path)?;
        Ok(kept)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("process {}: {} is left behind: {error}", process::id(), self.path.display());
        }
    }
}
