//! Tables of `docs/OPERATIONS.md` against those of the program.

use std::collections::BTreeMap;

use polylogue::{
    config::{group, node::SETTINGS, topic},
    metrics::{Metrics, PROCESS_TABLE, TABLE},
    model::TimestampMs,
};

const DOCUMENT: &str = include_str!("../../docs/OPERATIONS.md");

/// The rows of the one table of a section, by the name in their first cell; backticks are taken off.
fn table(section: &str) -> BTreeMap<String, Vec<String>> {
    let start = format!("\n## {section}\n");
    let text = DOCUMENT.split(&start).nth(1).unwrap().split("\n## ").next().unwrap();
    let row = |line: &str| {
        let cells = line.strip_prefix("| `")?.trim_end().strip_suffix('|')?.split(" |");
        let mut cells: Vec<String> = cells.map(|cell| cell.trim().replace('`', "")).collect();
        Some((cells.remove(0), cells))
    };
    let rows: Vec<_> = text.lines().filter_map(row).collect();
    let by_name: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(by_name.len(), rows.len(), "a name stands twice in {section}");
    by_name
}

#[test]
fn every_setting_is_documented_with_its_values_and_default_and_no_other() {
    let mut rows = table("Settings");
    rows.retain(|name, _| !name.contains('<'));
    let documented: BTreeMap<_, _> =
        rows.into_iter().map(|(name, cells)| (name, (cells[0].clone(), cells[1].clone()))).collect();
    let known: BTreeMap<_, _> = SETTINGS
        .iter()
        .map(|setting| (setting.key.to_owned(), (setting.takes.to_owned(), setting.default.to_owned())))
        .collect();
    assert_eq!(documented, known);
}

#[test]
fn every_topic_config_is_documented_with_its_default_and_no_other() {
    let rows = table("Topic configs");
    let documented: BTreeMap<_, _> = rows
        .into_iter()
        .map(|(name, cells)| {
            let ours = name.ends_with(" (ours)");
            (name.trim_end_matches(" (ours)").to_owned(), (cells[1].clone(), ours))
        })
        .collect();
    let known: BTreeMap<_, _> =
        topic::TABLE.iter().map(|key| (key.name.to_owned(), (key.default.to_owned(), key.ours))).collect();
    assert_eq!(documented, known);
}

#[test]
fn every_group_config_is_documented_and_no_other() {
    let documented: BTreeMap<_, _> = table("Group configs")
        .into_keys()
        .map(|name| (name.trim_end_matches(" (ours)").to_owned(), name.ends_with(" (ours)")))
        .collect();
    let known: BTreeMap<_, _> = group::TABLE.iter().map(|key| (key.name.to_owned(), key.ours)).collect();
    assert_eq!(documented, known);
}

#[test]
fn every_metric_is_documented_with_its_type_and_labels_and_no_other() {
    let documented: BTreeMap<_, _> = table("Metrics")
        .into_iter()
        .map(|(name, cells)| (name, (cells[0].clone(), cells[1].clone())))
        .collect();
    let metrics = Metrics::new(TimestampMs::new(0));
    let labels: BTreeMap<_, _> = metrics.labels().into_iter().collect();
    let of_node = TABLE.iter().map(|metric| (metric, labels[metric.name].join(", ")));
    let text = metrics.text().unwrap();
    let of_process = PROCESS_TABLE.iter().map(|metric| (metric, scraped_labels(&text, metric.name)));
    let known: BTreeMap<_, _> = of_node
        .chain(of_process)
        .map(|(metric, labels)| (metric.name.to_owned(), (metric.kind.to_string(), labels)))
        .collect();
    assert_eq!(documented, known);
}

fn scraped_labels(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    let Some((_, rest)) = line.split_once('{') else { return String::new() };
    let pairs = rest.split_once('}').unwrap().0.split(',');
    pairs.map(|pair| pair.split_once('=').unwrap().0).collect::<Vec<_>>().join(", ")
}
