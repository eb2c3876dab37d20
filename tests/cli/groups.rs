//! Consumer groups are listed, looked at, moved and deleted.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use serde_json::Value;

use crate::{
    Ended, at,
    support::{self, TestNode, WITHIN, eventually, rdkafka as stock},
};

/// A topic of two partitions, the first with the records 0 to 9.
fn node_with_topic() -> TestNode {
    let node = support::start_node();
    at(&node, &["topic", "create", "t", "--partitions", "2"], "").done();
    at(&node, &["produce", "t", "--partition", "0"], "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n").done();
    node
}

fn json(node: &TestNode, arguments: &[&str]) -> Value {
    serde_json::from_str(&at(node, &[arguments, &["--output", "json"]].concat(), "").done()).unwrap()
}

fn reset(node: &TestNode, options: &[&str]) -> Ended {
    at(node, &[&["group", "reset-offsets", "g"][..], options].concat(), "")
}

/// From, to and note of each partition that a reset names.
fn steps(node: &TestNode, options: &[&str]) -> Vec<(Option<i64>, Option<i64>, String)> {
    let printed = reset(node, &[options, &["--output", "json"]].concat()).done();
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let step = |step: &Value| {
        let note = step["note"].as_str().unwrap_or_default().to_owned();
        (step["from"].as_i64(), step["to"].as_i64(), note)
    };
    printed.as_array().unwrap().iter().map(step).collect()
}

/// A stock consumer that is a member of `g` and reads both partitions.
fn member(node: &TestNode) -> BaseConsumer {
    let mut config = stock::client(&node.kafka_address());
    config.set("group.id", "g").set("client.id", "reader").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.set("auto.offset.reset", "earliest").create().unwrap();
    consumer.subscribe(&["t"]).unwrap();
    eventually("the member has its partitions", WITHIN, || {
        let _ = consumer.poll(Duration::from_millis(20));
        (consumer.assignment().unwrap().count() == 2).then_some(())
    });
    consumer
}

fn commit(consumer: &BaseConsumer, offset: i64) {
    let mut offsets = rdkafka::TopicPartitionList::new();
    offsets.add_partition_offset("t", 0, rdkafka::Offset::Offset(offset)).unwrap();
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
}

#[test]
fn a_group_is_shown_with_its_member_its_offsets_and_its_lag() {
    let node = node_with_topic();
    let consumer = member(&node);
    commit(&consumer, 4);
    let listed = json(&node, &["group", "list"]);
    assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&Value::from("g"), &Value::from("Stable")));
    assert_eq!((&listed[0]["type"], &listed[0]["members"]), (&Value::from("classic"), &Value::from(1)));
    assert_eq!(json(&node, &["group", "list", "--state", "empty"]), Value::Array(Vec::new()));
    assert_eq!(json(&node, &["group", "list", "--type", "consumer"]), Value::Array(Vec::new()));
    let all = json(&node, &["group", "describe", "--all"]);
    let group = &all[0];
    assert_eq!((&group["lag"], &group["partitions_without_owner"]), (&Value::from(6), &Value::from(0)));
    assert_eq!(group["coordinator"]["address"], node.kafka_address());
    let first = &group["partitions"][0];
    assert_eq!((&first["committed"], &first["log_end"]), (&Value::from(4), &Value::from(10)));
    assert_eq!((&first["client_id"], &first["host"]), (&Value::from("reader"), &Value::from("/127.0.0.1")));
    let second = &group["partitions"][1];
    assert_eq!((&second["committed"], &second["lag"]), (&Value::Null, &Value::Null));
    assert_eq!(second["member"], group["members"][0]["id"]);
    assert_eq!(group["members"][0]["owns"]["t"], serde_json::json!([0, 1]));
    for (view, words) in [
        (&[][..], &["group g: Stable (classic, ", "1 member", "lag 6 in all; 0 of 2 partitions"][..]),
        (&["--offsets"], &["committed", "log end", "reader"]),
        (&["--members"], &["t:0,1", "reader", "/127.0.0.1"]),
        (&["--state"], &["Stable", "coordinator", "classic"]),
    ] {
        let table = at(&node, &[&["group", "describe", "g"][..], view].concat(), "").done();
        assert!(words.iter().all(|word| table.contains(word)), "{view:?}: {table}");
    }
}

#[test]
fn a_partition_whose_owner_went_away_is_counted() {
    let node = node_with_topic();
    let consumer = member(&node);
    commit(&consumer, 4);
    drop(consumer);
    let described = json(&node, &["group", "describe", "g", "--offsets"]);
    assert_eq!((&described[0]["state"], &described[0]["lag"]), (&Value::from("Empty"), &Value::from(6)));
    assert_eq!(described[0]["partitions_without_owner"], 1);
    assert_eq!(described[0].get("members"), None);
}

#[test]
fn an_offset_is_reset_to_where_it_is_told_and_stays_within_the_log() {
    let node = node_with_topic();
    let at_0 = |options: &[&str]| steps(&node, &[&["--topic", "t:0"], options].concat()).remove(0);
    let plainly = |from, to| (from, Some(to), String::new());
    assert_eq!(at_0(&["--to-offset", "4"]), plainly(None, 4), "a group that does not exist is begun");
    assert_eq!(at_0(&["--shift-by", "-3"]), plainly(Some(4), 1));
    assert_eq!(at_0(&["--to-latest"]), plainly(Some(1), 10));
    assert_eq!(at_0(&["--to-earliest"]), plainly(Some(10), 0));
    assert_eq!(at_0(&["--to-time", "2000-01-01T00:00:00Z"]), plainly(Some(0), 0));
    let (_, to, note) = at_0(&["--to-time", "2100-01-01T00:00:00Z"]);
    assert_eq!((to, note.contains("no record")), (Some(10), true), "{note}");
    let (_, to, note) = at_0(&["--to-offset", "11"]);
    assert_eq!((to, note.contains("past the log's end")), (Some(10), true), "{note}");
    let (from, to, note) = at_0(&["--shift-by", "-100"]);
    assert_eq!((from, to, note.contains("before the log's start")), (Some(10), Some(0), true), "{note}");
}

#[test]
fn a_dry_run_prints_the_same_and_changes_nothing() {
    let node = node_with_topic();
    reset(&node, &["--topic", "t:0", "--to-offset", "4"]).done();
    let planned = reset(&node, &["--all-topics", "--shift-by", "2", "--dry-run"]).done();
    assert_eq!(json(&node, &["group", "describe", "g"])[0]["partitions"][0]["committed"], 4);
    assert_eq!(reset(&node, &["--all-topics", "--shift-by", "2"]).done(), planned);
    assert_eq!(json(&node, &["group", "describe", "g"])[0]["partitions"][0]["committed"], 6);
}

#[test]
fn a_shift_leaves_alone_what_was_never_committed_and_says_so() {
    let node = node_with_topic();
    reset(&node, &["--topic", "t:0", "--to-offset", "4"]).done();
    let steps = steps(&node, &["--topic", "t", "--shift-by", "1"]);
    assert_eq!(steps[0], (Some(4), Some(5), String::new()));
    assert_eq!((steps[1].1, steps[1].2.contains("never committed")), (None, true), "{steps:?}");
    let nothing = reset(&node, &["--topic", "t:1", "--shift-by", "1"]);
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.errors.contains("--to-offset"), "{nothing:?}");
}

#[test]
fn a_group_with_members_is_neither_reset_nor_deleted_and_the_way_out_is_told() {
    let node = node_with_topic();
    let consumer = member(&node);
    commit(&consumer, 4);
    for arguments in [
        &["group", "reset-offsets", "g", "--all-topics", "--to-earliest"][..],
        &["group", "reset-offsets", "g", "--all-topics", "--to-earliest", "--dry-run"],
        &["group", "delete", "g"],
        &["group", "delete", "g", "--offsets", "--topic", "t"],
    ] {
        let complaint = at(&node, arguments, "").failed(1);
        assert!(complaint.contains("--members"), "{arguments:?}: {complaint}");
    }
    assert_eq!(json(&node, &["group", "describe", "g"])[0]["partitions"][0]["committed"], 4);
    drop(consumer);
    reset(&node, &["--all-topics", "--to-earliest"]).done();
    at(&node, &["group", "delete", "g"], "").done();
    assert_eq!(json(&node, &["group", "list"]), Value::Array(Vec::new()));
}

#[test]
fn groups_and_single_offsets_are_deleted_and_what_failed_is_told_beside_what_was_done() {
    let node = node_with_topic();
    reset(&node, &["--topic", "t", "--to-earliest"]).done();
    let done = at(&node, &["group", "delete", "g", "--offsets", "--topic", "t:1"], "").done();
    assert!(done.contains("t-1"), "{done}");
    let left = json(&node, &["group", "describe", "g", "--offsets"]);
    assert_eq!(left[0]["partitions"].as_array().unwrap().len(), 1);
    let none = at(&node, &["group", "delete", "g", "--offsets", "--topic", "t:1"], "").failed(1);
    assert!(none.contains("no committed offsets of t"), "{none}");
    let ended = at(&node, &["group", "delete", "g", "nobody"], "");
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), "deleted group g\n"));
    assert!(ended.errors.contains("nobody") && ended.errors.contains("group list"), "{ended:?}");
}

#[test]
fn a_group_that_is_not_there_is_named_with_where_to_look() {
    let node = node_with_topic();
    for arguments in [&["group", "describe", "nobody"][..], &["group", "delete", "nobody"]] {
        let complaint = at(&node, arguments, "").failed(1);
        assert!(
            complaint.contains("nobody") && complaint.contains("group list"),
            "{arguments:?}: {complaint}"
        );
    }
    let complaint = reset(&node, &["--all-topics", "--to-earliest"]).failed(1);
    assert!(complaint.contains("--topic"), "{complaint}");
    let complaint = reset(&node, &["--topic", "t:7", "--to-earliest"]).failed(1);
    assert!(complaint.contains('7'), "{complaint}");
}

#[test]
fn a_groups_configs_are_set_and_shown_whether_there_is_such_a_group_or_not() {
    let node = support::start_node();
    at(&node, &["group", "alter", "later", "--set", "consumer.session.timeout.ms=9000"], "").done();
    let described = json(&node, &["group", "describe", "later", "--configs"]);
    let configs = described[0]["configs"].as_array().unwrap();
    let session = configs.iter().find(|config| config["name"] == "consumer.session.timeout.ms").unwrap();
    assert_eq!(session["value"], "9000", "{session}");
    let table = at(&node, &["group", "describe", "later", "--configs"], "").done();
    assert!(table.contains("consumer.session.timeout.ms") && table.contains("9000"), "{table}");
}

#[test]
fn a_group_whose_partitions_the_coordinator_assigns_is_shown_with_who_owns_what() {
    let node = node_with_topic();
    let mut config = stock::client(&node.kafka_address());
    config.set("group.id", "g").set("client.id", "reader").set("group.protocol", "consumer");
    let consumer: BaseConsumer = config.set("group.remote.assignor", "range").create().unwrap();
    consumer.subscribe(&["t"]).unwrap();
    eventually("the member has its partitions", WITHIN, || {
        let _ = consumer.poll(Duration::from_millis(20));
        (consumer.assignment().unwrap().count() == 2).then_some(())
    });
    let listed = json(&node, &["group", "list", "--type", "consumer"]);
    assert_eq!((&listed[0]["name"], &listed[0]["members"]), (&Value::from("g"), &Value::from(1)));
    let described = json(&node, &["group", "describe", "g"]);
    assert_eq!((&described[0]["state"], &described[0]["assignor"]), (&"Stable".into(), &"range".into()));
    assert_eq!(described[0]["members"][0]["owns"]["t"], serde_json::json!([0, 1]));
    assert_eq!(described[0]["partitions_without_owner"], 0);
}
