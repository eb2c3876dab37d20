//! `polylogue group alter`.

use std::io::{self, Write};

use anyhow::{Context, bail};
use clap::Args;

use super::explain_for;
use crate::{
    cli::{connect::Connect, key_value},
    client::{Admin, admin::ConfigChange},
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Flags {
    /// The group's name. It need not exist yet.
    #[arg(value_name = "GROUP")]
    name: String,
    /// A config to set, such as assignor=exclusive; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// A config to take back to its default; may be given several times.
    #[arg(long = "unset", value_name = "KEY")]
    unset: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

pub(super) async fn run(flags: Flags) -> anyhow::Result<()> {
    let set = flags.set.into_iter().map(|(name, value)| ConfigChange::Set { name, value });
    let unset = flags.unset.into_iter().map(|name| ConfigChange::Delete { name });
    let changes: Vec<_> = set.chain(unset).collect();
    if changes.is_empty() {
        bail!("nothing to alter: give --set KEY=VALUE or --unset KEY");
    }
    let admin = Admin::new(&flags.connect.client());
    let altered = admin.alter_group_configs(&flags.name, &changes).await;
    altered
        .map_err(|error| explain_for(&flags.name, error))
        .with_context(|| format!("group {} not altered", flags.name))?;
    writeln!(io::stdout(), "altered group {}", flags.name)?;
    Ok(())
}
