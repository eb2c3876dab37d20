//! `polylogue config`: what a node would run with, and who said so; nothing is started or touched.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{serve::SettingFlags, table};
use crate::config::{
    node::{InForce, NodeConfig, SettingValue, Surroundings, variable_of},
    topic::{self, Rule, TopicKey},
};

/// With the options, file and environment that `serve` would be given. Exit code 2: some are refused.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Flags {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    settings: SettingFlags,
    /// Only what somebody has set.
    #[arg(long)]
    only_changed: bool,
    /// How to print; toml is a file that --config takes.
    #[arg(long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print every config of topics: type, values, default, what it does.
    Topic(Topic),
}

#[derive(Args, Debug)]
struct Topic {
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: super::connect::Output,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
    /// A settings file.
    Toml,
}

pub(super) fn run(flags: Flags) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if let Some(What::Topic(flags)) = flags.what {
        return print_topic_configs(&mut out, flags.output);
    }
    let (node_flags, file) = flags.settings.split();
    let around = Surroundings::of_this_process();
    let (config, mut settings) = NodeConfig::in_force(&node_flags, file.as_deref(), &around)?;
    for warning in &config.warnings {
        writeln!(io::stderr(), "polylogue: warning: {warning}")?;
    }
    if flags.only_changed {
        settings.retain(InForce::is_given);
    }
    match flags.output {
        Format::Table => table::print(&mut out, &["SETTING", "VALUE", "FROM"], &rows(&settings))?,
        Format::Json => table::print_json(&mut out, &settings.iter().map(as_json).collect())?,
        Format::Toml => out.write_all(as_toml(&settings).as_bytes())?,
    }
    Ok(())
}

fn rows(settings: &[InForce]) -> Vec<Vec<String>> {
    let value =
        |setting: &InForce| setting.value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    settings.iter().map(|s| vec![s.key.clone(), value(s), s.origin.clone()]).collect()
}

fn as_json(setting: &InForce) -> Value {
    let value = match &setting.value {
        None => Value::Null,
        Some(SettingValue::Number(number)) => json!(number),
        Some(SettingValue::Switch(switch)) => json!(switch),
        Some(SettingValue::Text(text)) => json!(text),
    };
    json!({
        "key": setting.key,
        "value": value,
        "from": setting.origin,
        "changed": setting.is_given(),
        "default": setting.default,
        "takes": setting.takes,
        "variable": variable_of(&setting.key),
        "documentation": setting.doc,
    })
}

/// Tables after the keys that stand in none. Names of topic configs keep their dots in quotes.
fn as_toml(settings: &[InForce]) -> String {
    let mut tables: BTreeMap<String, String> = BTreeMap::new();
    for setting in settings {
        let Some(value) = &setting.value else { continue };
        let (table, name) = place_of(&setting.key);
        let text = match value {
            SettingValue::Number(_) | SettingValue::Switch(_) => value.to_string(),
            // A JSON string is a TOML string.
            SettingValue::Text(text) => Value::from(text.as_str()).to_string(),
        };
        let line = format!("# {} (from: {})\n{name} = {text}\n", setting.doc, setting.origin);
        *tables.entry(table).or_default() += &line;
    }
    let written = tables
        .into_iter()
        .map(|(table, lines)| if table.is_empty() { lines } else { format!("[{table}]\n{lines}") });
    written.collect::<Vec<_>>().join("\n")
}

fn place_of(key: &str) -> (String, String) {
    if let Some(config) = key.strip_prefix("topic.defaults.") {
        return ("topic.defaults".to_owned(), format!("{config:?}"));
    }
    match key.rsplit_once('.') {
        Some((table, name)) => (table.to_owned(), name.to_owned()),
        None => (String::new(), key.to_owned()),
    }
}

fn print_topic_configs(out: &mut impl Write, output: super::connect::Output) -> anyhow::Result<()> {
    match output {
        super::connect::Output::Table => {
            let row = |key: &TopicKey| {
                vec![
                    key.name.to_owned(),
                    kind_of(key),
                    values_of(key),
                    key.default.to_owned(),
                    key.doc.to_owned(),
                ]
            };
            let rows: Vec<_> = topic::TABLE.iter().map(row).collect();
            table::print(out, &["CONFIG", "TYPE", "VALUES", "DEFAULT", "WHAT IT DOES"], &rows)?;
        }
        super::connect::Output::Json => {
            let entry = |key: &TopicKey| {
                json!({
                    "name": key.name,
                    "type": kind_of(key),
                    "values": values_of(key),
                    "default": key.default,
                    "documentation": key.doc,
                    "broker_name": key.broker_name,
                    "known_to_kafka": !key.ours,
                })
            };
            table::print_json(out, &topic::TABLE.iter().map(entry).collect())?;
        }
    }
    Ok(())
}

fn kind_of(key: &TopicKey) -> String {
    format!("{:?}", key.kind).to_ascii_lowercase()
}

fn values_of(key: &TopicKey) -> String {
    match key.rule {
        Rule::Range { min, max } if max == i64::MAX || max == i64::from(i32::MAX) => format!("{min} and up"),
        Rule::Range { min, max } => format!("{min} to {max}"),
        Rule::Share => "0 to 1".to_owned(),
        Rule::OneOf(words) | Rule::Only { served: words, .. } => words.join(", "),
        Rule::TopicOrNone => "a topic's name".to_owned(),
        Rule::PerPartition => "partition:number, ...".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::as_toml;
    use crate::config::node::{NodeConfig, NodeFlags, Surroundings};

    #[test]
    fn what_is_printed_as_toml_can_be_fed_back_and_means_the_same() {
        let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let settings = vec![
            set("data-dir", "/with \"quotes\" and \\ in it"),
            set("listeners.internal.listen", "127.0.0.1:9093"),
            set("listeners.internal.connections", "12"),
            set("limits.idle-timeout", "1h 30m"),
            set("storage.scrub-bytes-per-second", "0"),
            set("topic.defaults.retention.ms", "5000"),
        ];
        let flags = NodeFlags { settings, ..NodeFlags::default() };
        let around = Surroundings::default();
        let (config, shown) = NodeConfig::in_force(&flags, None, &around).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("printed.toml");
        let changed: Vec<_> = shown.iter().filter(|setting| setting.is_given()).cloned().collect();
        assert_eq!(changed.len(), flags.settings.len());
        fs::write(&path, as_toml(&changed)).unwrap();
        assert_eq!(NodeConfig::load(&NodeFlags::default(), Some(&path), &around).unwrap(), config);
        // With the defaults written out too, topics' among them.
        fs::write(&path, as_toml(&shown)).unwrap();
        let (fed_back, shown_again) =
            NodeConfig::in_force(&NodeFlags::default(), Some(&path), &around).unwrap();
        assert_eq!(fed_back.kafka_listeners(), config.kafka_listeners());
        assert_eq!((fed_back.limits, fed_back.storage), (config.limits, config.storage));
        let values = |shown: &[super::InForce]| shown.iter().map(|s| s.value.clone()).collect::<Vec<_>>();
        assert_eq!(values(&shown_again), values(&shown));
        assert!(shown_again.iter().all(|setting| setting.value.is_none() || setting.is_given()));
    }
}
