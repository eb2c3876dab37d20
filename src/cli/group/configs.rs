//! `polylogue group describe --configs`: a group has configs whether there is such a group or not.

use std::io;

use serde_json::{Value, json};

use super::{end_with, explain_for};
use crate::{
    cli::{connect::Output, table, topic},
    client::{Admin, admin::Config},
};

/// Shows the configs of these groups.
pub(super) async fn show(admin: &Admin, names: &[String], output: Output) -> anyhow::Result<()> {
    let (mut shown, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match admin.group_configs(name).await {
            Ok(configs) => shown.push((name, configs)),
            Err(error) => failures.push(format!("group {name} not described: {}", explain_for(name, error))),
        }
    }
    let mut out = io::stdout().lock();
    match output {
        Output::Json => {
            let one = |(name, configs): &(&String, Vec<Config>)| -> Value {
                json!({ "name": name, "configs": configs.iter().map(topic::config_json).collect::<Value>() })
            };
            table::print_json(&mut out, &shown.iter().map(one).collect())?;
        }
        Output::Table if shown.is_empty() && !failures.is_empty() => {}
        Output::Table => {
            let row = |name: &str, config: &Config| {
                let value = config.value.clone().unwrap_or_else(|| "(secret)".to_owned());
                vec![name.to_owned(), config.name.clone(), value, topic::source(config.source).to_owned()]
            };
            let rows: Vec<_> = shown
                .iter()
                .flat_map(|(name, configs)| configs.iter().map(|config| row(name, config)))
                .collect();
            table::print(&mut out, &["group", "config", "value", "from"], &rows)?;
        }
    }
    drop(out);
    end_with(&failures)
}
