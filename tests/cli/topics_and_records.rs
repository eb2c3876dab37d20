//! Topics are made, looked at and removed; what is written is read.

use serde_json::Value;

use crate::{at, polylogue, support};

#[test]
fn a_topic_is_created_listed_described_altered_and_deleted() {
    let node = support::start_node();
    at(&node, &["topic", "create", "orders", "--partitions", "2", "--config", "retention.ms=5000"], "")
        .done();
    at(&node, &["topic", "create", "orders", "--if-not-exists"], "").done();
    assert!(at(&node, &["topic", "list"], "").done().contains("orders"));
    let listed: Value =
        serde_json::from_str(&at(&node, &["topic", "list", "--output", "json"], "").done()).unwrap();
    assert!(listed.to_string().contains("orders"), "{listed}");
    at(&node, &["topic", "alter", "orders", "--partitions", "3", "--config", "retention.ms=6000"], "").done();
    let described = at(&node, &["topic", "describe", "orders", "--output", "json"], "").done();
    let described: Value = serde_json::from_str(&described).unwrap();
    assert!(described.to_string().contains("\"6000\""), "{described}");
    let table = at(&node, &["topic", "describe", "orders"], "").done();
    assert!(table.contains("orders") && table.contains("retention.ms"), "{table}");
    at(&node, &["topic", "alter", "orders", "--delete-config", "retention.ms"], "").done();
    let described = at(&node, &["topic", "describe", "orders", "--output", "json"], "").done();
    assert!(!described.contains("\"6000\""), "{described}");
    at(&node, &["topic", "delete", "orders"], "").done();
    at(&node, &["topic", "delete", "orders", "--if-exists"], "").done();
    assert!(!at(&node, &["topic", "list"], "").done().contains("orders"));
}

#[test]
fn what_produce_writes_consume_prints_with_keys_headers_and_nulls() {
    let node = support::start_node();
    at(&node, &["topic", "create", "t", "--partitions", "1"], "").done();
    let lines = "a:one\nb:\nc:NULL\n";
    let options = ["--key-separator", ":", "--null-marker", "NULL", "--header", "from=cli", "--compression"];
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        at(&node, &[&["produce", "t"][..], &options, &[codec]].concat(), lines).done();
    }
    let printed = at(&node, &["consume", "t", "--until-end", "--format", "%p %o %k=%s %h\\n"], "").done();
    let printed: Vec<_> = printed.lines().collect();
    assert_eq!(printed.len(), 15);
    assert_eq!(printed[0], "0 0 a=one from=cli");
    assert_eq!(printed[13], "0 13 b= from=cli");
    assert_eq!(printed[14], "0 14 c=null from=cli");
    let json =
        at(&node, &["consume", "t", "--from", "offset:12", "--until-end", "--output", "json"], "").done();
    let records: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let offsets: Vec<_> = records.iter().map(|record| record["offset"].as_i64().unwrap()).collect();
    assert_eq!(offsets, [12, 13, 14]);
    assert_eq!((&records[0]["key"], &records[2]["value"]), (&Value::from("a"), &Value::Null));
}

#[test]
fn consume_begins_where_it_is_told_and_ends_where_it_is_told() {
    let node = support::start_node();
    at(&node, &["topic", "create", "t", "--partitions", "2"], "").done();
    at(&node, &["produce", "t", "--partition", "1"], "0\n1\n2\n3\n").done();
    let read = |options: &[&str]| {
        at(&node, &[&["consume", "t", "--partition", "1"], options].concat(), "").done().replace('\n', " ")
    };
    assert_eq!(read(&["--until-end"]), "0 1 2 3 ");
    assert_eq!(read(&["--max", "2"]), "0 1 ");
    assert_eq!(read(&["--from", "offset:3", "--until-end"]), "3 ");
    assert_eq!(read(&["--from", "end", "--until-end"]), "");
    assert_eq!(read(&["--from", "time:0", "--until-end"]), "0 1 2 3 ");
    assert_eq!(read(&["--from", "time:2100-01-01T00:00:00Z", "--until-end"]), "");
    let other = at(&node, &["consume", "t", "--partition", "0", "--until-end"], "").done();
    assert_eq!(other, "", "nothing went to the other partition");
}

#[test]
fn the_tree_of_actors_is_printed_for_people_and_for_programs() {
    let node = support::start_node();
    at(&node, &["topic", "create", "seen", "--partitions", "1"], "").done();
    let admin = node.admin_address().to_string();
    let text = polylogue(&["cluster", "tree", "--admin", &admin], "").done();
    assert!(text.contains("seen-0") && text.contains("registry"), "{text}");
    let json = polylogue(&["cluster", "tree", "--admin", &admin, "--output", "json"], "").done();
    let tree: Value = serde_json::from_str(&json).unwrap();
    assert!(tree.as_array().unwrap().iter().any(|actor| actor["path"].as_str().unwrap().contains("seen-0")));
}
