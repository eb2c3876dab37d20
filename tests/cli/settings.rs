//! What a node would run with, and who said so.

use serde_json::Value;

use crate::polylogue;

#[test]
fn config_prints_what_is_in_force_and_where_each_value_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    std::fs::write(&file, "node-id = 7\n[limits]\nconnections = 12\n").unwrap();
    let file = file.to_str().unwrap();
    let json = polylogue(
        &["config", "--config", file, "--set", "default-partitions=3", "--node-id", "8", "--output", "json"],
        "",
    );
    let settings: Value = serde_json::from_str(&json.done()).unwrap();
    let setting = |key: &str| {
        let all = settings.as_array().unwrap();
        let found = all.iter().find(|setting| setting["key"] == key).unwrap();
        (found["value"].clone(), found["from"].as_str().unwrap().to_owned())
    };
    assert_eq!(setting("node-id").0, 8, "the command line goes before the file");
    assert!(setting("node-id").1.contains("--node-id"), "{:?}", setting("node-id"));
    assert_eq!(setting("limits.connections").0, 12);
    assert!(setting("limits.connections").1.contains("node.toml"), "{:?}", setting("limits.connections"));
    assert_eq!(setting("default-partitions").0, 3);
    assert_eq!(setting("auto-create-topics").1, "default");
    let changed = polylogue(&["config", "--config", file, "--only-changed"], "").done();
    assert!(changed.contains("limits.connections") && !changed.contains("auto-create-topics"), "{changed}");
}

#[test]
fn what_config_prints_as_toml_is_a_file_that_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("printed.toml");
    let set = ["--set", "listeners.outside.listen=127.0.0.1:9999", "--set", "topic.defaults.retention.ms=5"];
    let printed = polylogue(&[&["config", "--output", "toml"][..], &set].concat(), "").done();
    std::fs::write(&file, printed).unwrap();
    let again = polylogue(&["config", "--config", file.to_str().unwrap()], "").done();
    assert!(again.contains("127.0.0.1:9999"), "{again}");
}

#[test]
fn settings_that_are_refused_end_with_2_and_all_are_named_with_their_source() {
    let complaint =
        polylogue(&["config", "--set", "limits.conections=3", "--set", "node-id=none"], "").failed(2);
    for part in ["limits.conections", "limits.connections", "node-id", "command line"] {
        assert!(complaint.contains(part), "no {part} in {complaint}");
    }
    let complaint = polylogue(&["serve", "--set", "limits.conections=3"], "").failed(2);
    assert!(complaint.contains("limits.conections"), "{complaint}");
}

#[test]
fn config_topic_prints_every_config_of_topics() {
    let table = polylogue(&["config", "topic"], "").done();
    for name in ["retention.ms", "durability", "verify.on.read", "max.message.bytes"] {
        assert!(table.contains(name), "no {name} in\n{table}");
    }
}
