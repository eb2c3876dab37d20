//! `polylogue cluster`: looks into a running node through its admin port.

use std::io::{self, Write};

use anyhow::bail;
use clap::{Args, Subcommand};

use super::connect::Output;
use crate::admin::client::{AdminError, get};

/// What to look at.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the tree of actors: path, state, restarts, last failure, queue depth, epoch.
    Tree(Tree),
}

#[derive(Args, Debug)]
pub(super) struct Tree {
    /// The node's admin port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8092")]
    admin: String,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    let Command::Tree(flags) = command;
    let path = match flags.output {
        Output::Table => "/tree?format=text",
        Output::Json => "/tree",
    };
    let answer = get(&flags.admin, path).await;
    let (status, body) = answer.map_err(|error| with_advice(error, &flags.admin))?;
    if status != 200 {
        bail!("{} answered {status} to GET {path}: is it the admin port of a node?", flags.admin);
    }
    let mut out = io::stdout().lock();
    out.write_all(&body)?;
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
