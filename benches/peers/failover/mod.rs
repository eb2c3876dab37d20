//! How long clients wait when a node dies, is paused, cut off or restarted: ours, librdkafka and Kafka's Java client.
//!
//! `polylogue chaos failover` starts the nodes, strikes them and judges what was written; here it is given one client after
//! the other, and what it found is put into one table beside what is to be reached.

mod producer;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

pub(crate) use self::producer::{Options as ProducerOptions, main as produce};
use crate::runner::{self, kafka::Kafka};

/// How long clients wait for a connection or an answer; part of every figure.
const SOCKET_TIMEOUT_MS: u64 = 1000;
/// The Java program, which the JVM compiles by itself.
const JAVA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/failover/FailOverProducer.java");

/// What is measured.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Which clients write, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Client::Ours, Client::Librdkafka, Client::Java])]
    clients: Vec<Client>,
    /// What is done to nodes, separated by commas, as `polylogue chaos failover --fault` takes it.
    #[arg(long, value_delimiter = ',', default_values_t = ["kill", "pause", "rolling"].map(str::to_owned))]
    faults: Vec<String>,
    /// To whom, separated by commas; restarts strike all nodes anyway.
    #[arg(long, value_delimiter = ',', default_values_t = ["leader", "controller"].map(str::to_owned))]
    targets: Vec<String>,
    /// How often each fault is made; a rolling restart a tenth as often.
    #[arg(long, default_value_t = 30)]
    runs: u32,
    /// Where every single gap goes.
    #[arg(long, default_value_os_t = runner::default_folder().join("fail-over.json"))]
    json: PathBuf,
    /// End with an error when a target is not met.
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Client {
    Ours,
    Librdkafka,
    Java,
}

impl Client {
    const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Librdkafka => "librdkafka",
            Self::Java => "java",
        }
    }

    /// The command that writes; none is built into the node's program.
    fn command(self) -> Result<Option<String>> {
        let words: Vec<OsString> = match self {
            Self::Ours => return Ok(None),
            Self::Librdkafka => vec![std::env::current_exe()?.into(), "fail-over-producer".into()],
            Self::Java => vec![
                "java".into(),
                "-Xmx256m".into(),
                "-XX:+UseSerialGC".into(),
                "-cp".into(),
                Kafka::fetch()?.class_path(),
                JAVA.into(),
            ],
        };
        let words: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
        let words = words.context("a path is not UTF-8")?;
        ensure!(words.iter().all(|word| !word.contains(' ')), "a path has a space in it: {words:?}");
        Ok(Some(format!("{} {SOCKET_TIMEOUT_MS}", words.join(" "))))
    }
}

/// What `polylogue chaos failover --output json` prints, as far as it is used.
#[derive(Debug, Deserialize, Serialize)]
struct Report {
    nodes: u64,
    replicas: u64,
    socket_timeout_ms: f64,
    acknowledged: u64,
    lost: u64,
    duplicates: u64,
    out_of_order: u64,
    failed: u64,
    faults: Vec<Runs>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Runs {
    fault: String,
    controllers_node: bool,
    gaps_ms: Vec<f64>,
    median_ms: f64,
    p99_ms: f64,
    worst_ms: f64,
}

/// What one client met.
#[derive(Debug, Serialize)]
struct Finding {
    client: Client,
    arguments: Vec<String>,
    report: Report,
}

/// Milliseconds: what is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Goal {
    median: Option<f64>,
    worst: f64,
}

impl Runs {
    fn goal(&self) -> Goal {
        match (self.fault.as_str(), self.controllers_node) {
            ("kill -9 of the leader", false) => Goal { median: Some(300.0), worst: 1000.0 },
            ("kill -9 of the leader", true) => Goal { median: Some(300.0), worst: 1500.0 },
            ("SIGSTOP of the leader" | "cut of the leader's network", _) => {
                Goal { median: None, worst: 3000.0 }
            }
            _ => Goal { median: None, worst: 300.0 },
        }
    }

    fn meets(&self) -> bool {
        let Goal { median, worst } = self.goal();
        median.is_none_or(|median| self.median_ms < median) && self.worst_ms < worst
    }
}

impl Goal {
    fn text(self) -> String {
        let worst = format!("worst < {}", self.worst);
        self.median.map_or_else(|| worst.clone(), |median| format!("median < {median}, {worst}"))
    }
}

/// Measures client by client; prints the table even when one of them fails half way.
pub(crate) fn main(options: &Options) -> Result<()> {
    let program = runner::polylogue()?;
    let mut findings = Vec::new();
    let mut failure = Ok(());
    for client in &options.clients {
        for target in targets(options) {
            eprintln!("{}, {}", client.name(), target.join(" "));
            match measure(&program, options, *client, &target) {
                Ok(finding) => findings.push(finding),
                Err(error) => failure = Err(error.context(client.name())),
            }
            fs::write(&options.json, serde_json::to_vec_pretty(&findings)?)?;
        }
    }
    println!("{}", render(&findings));
    eprintln!("all runs: {}", options.json.display());
    failure?;
    let missed = findings.iter().flat_map(|finding| &finding.report.faults).filter(|runs| !runs.meets());
    let missed = missed.count();
    ensure!(!options.strict || missed == 0, "{missed} targets not met");
    Ok(())
}

/// What each run is told of faults. What is done to all nodes in turn is done once; nodes that can be cut off are not on
/// loopback, so the other faults have runs of their own.
fn targets(options: &Options) -> Vec<Vec<String>> {
    let (rolling, one_node): (Vec<_>, Vec<_>) =
        options.faults.iter().cloned().partition(|fault| fault == "rolling");
    let (cut, others): (Vec<_>, Vec<_>) = one_node.into_iter().partition(|fault| fault == "cut");
    let with = |target: &str, faults: &[String]| {
        let faults = faults.iter().flat_map(|fault| ["--fault".to_owned(), fault.clone()]);
        ["--target".to_owned(), target.to_owned()].into_iter().chain(faults).collect()
    };
    let to_each = |faults: &[String]| -> Vec<_> {
        options.targets.iter().filter(|_| !faults.is_empty()).map(|target| with(target, faults)).collect()
    };
    let rolling = (!rolling.is_empty()).then(|| with("leader", &rolling));
    to_each(&others).into_iter().chain(to_each(&cut)).chain(rolling).collect()
}

fn measure(program: &Path, options: &Options, client: Client, target: &[String]) -> Result<Finding> {
    let mut command = Command::new(program);
    command.args(["chaos", "failover", "--output", "json", "--runs", &options.runs.to_string()]);
    command.args(["--socket-timeout", &format!("{SOCKET_TIMEOUT_MS}ms")]).args(target);
    if let Some(stock) = client.command()? {
        command.args(["--stock-client", &stock]);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    let report = serde_json::from_slice::<Report>(&output.stdout);
    ensure!(output.status.success(), "it ended with {}: {report:?}", output.status);
    Ok(Finding { client, arguments: target.to_owned(), report: report? })
}

/// The table in Markdown, times in milliseconds.
fn render(findings: &[Finding]) -> String {
    let mut lines = vec![
        "| client | fault | controller's node | runs | median | p99 | worst | to reach | |".to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for Finding { client, report, .. } in findings {
        lines.extend(report.faults.iter().map(|runs| {
            format!(
                "| {} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {} | {} |",
                client.name(),
                runs.fault,
                if runs.controllers_node { "yes" } else { "no" },
                runs.gaps_ms.len(),
                runs.median_ms,
                runs.p99_ms,
                runs.worst_ms,
                runs.goal().text(),
                if runs.meets() { "met" } else { "NOT MET" },
            )
        }));
    }
    lines.join("\n")
}
