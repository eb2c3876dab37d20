//! `polylogue group list`.

use std::{collections::HashMap, io};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::or_nothing;
use crate::{
    cli::{
        connect::{Connect, Output, explain},
        table,
    },
    client::{
        Admin,
        admin::groups::{GroupFilter, GroupKind, GroupListing},
    },
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Flags {
    /// Only groups in this state, such as Stable or Empty; may be given several times.
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<String>,
    /// Only groups of this type.
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Kind>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A member assigns the partitions.
    Classic,
    /// The coordinator does.
    Consumer,
}

impl From<Kind> for GroupKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Classic => Self::Classic,
            Kind::Consumer => Self::Consumer,
        }
    }
}

pub(super) async fn run(flags: Flags) -> anyhow::Result<()> {
    let admin = Admin::new(&flags.connect.client());
    let filter = GroupFilter { states: flags.states, kind: flags.kind.map(GroupKind::from) };
    let groups = admin.list_groups(&filter).await.map_err(explain)?;
    let members = members(&admin, &groups).await?;
    let mut out = io::stdout().lock();
    match flags.output {
        Output::Json => {
            let one = |group: &GroupListing| {
                json!({
                    "name": group.id,
                    "type": group.kind.name(),
                    "protocol_type": group.protocol_type,
                    "state": group.state,
                    "members": members.get(&group.id),
                    "coordinator": group.coordinator.get(),
                })
            };
            table::print_json(&mut out, &groups.iter().map(one).collect())?;
        }
        Output::Table => {
            let row = |group: &GroupListing| {
                vec![
                    group.id.clone(),
                    group.kind.name().to_owned(),
                    or_nothing(Some(&group.protocol_type).filter(|kind| !kind.is_empty())),
                    or_nothing(Some(&group.state).filter(|state| !state.is_empty())),
                    or_nothing(members.get(&group.id)),
                    group.coordinator.to_string(),
                ]
            };
            let head = ["group", "type", "protocol", "state", "members", "coordinator"];
            table::print(&mut out, &head, &groups.iter().map(row).collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// How many members each has; a group that went away meanwhile is not among them.
async fn members(admin: &Admin, groups: &[GroupListing]) -> anyhow::Result<HashMap<String, usize>> {
    let described = admin.describe_listed(groups).await.map_err(explain)?;
    let known = described.into_iter().filter_map(|(id, group)| Some((id, group.ok()?.members.len())));
    Ok(known.collect())
}
