//! What groups have given up is listed and written again.

use std::time::Duration;

use rdkafka::{
    Message,
    consumer::{BaseConsumer, Consumer},
};
use serde_json::Value;

use crate::{
    at,
    support::{self, TestNode, WITHIN, eventually, rdkafka as stock},
};

/// A static member that has been given the first record and does not commit it. It takes the place of the one before.
fn member(node: &TestNode) -> BaseConsumer {
    let mut config = stock::client(&node.kafka_address());
    config.set("group.id", "g").set("group.instance.id", "i").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.set("auto.offset.reset", "earliest").create().unwrap();
    consumer.subscribe(&["t"]).unwrap();
    eventually("the member has the record", WITHIN, || {
        let polled = consumer.poll(Duration::from_millis(20))?;
        (polled.ok()?.payload()? == b"poison").then_some(())
    });
    consumer
}

/// What is told of the partition: how often it was tried and failed, at which record, and how many partitions there are
/// of which anything is told.
fn attempts(node: &TestNode) -> (u64, Option<i64>, usize) {
    let described = at(node, &["group", "describe", "g", "--output", "json"], "").done();
    let described: Value = serde_json::from_str(&described).unwrap();
    let partition = &described[0]["partitions"][0];
    assert_eq!(partition["dead_letters_stopped"], false, "{described}");
    let failed = described[0]["partitions"].as_array().unwrap().iter().filter(|each| each["attempts"] != 0);
    (partition["attempts"].as_u64().unwrap(), partition["attempted_offset"].as_i64(), failed.count())
}

fn letters(node: &TestNode) -> Vec<Value> {
    let listed = at(node, &["group", "dead-letters", "list", "--topic", "t", "--output", "json"], "").done();
    serde_json::from_str::<Value>(&listed).unwrap().as_array().unwrap().clone()
}

#[test]
fn a_record_that_a_group_has_given_up_is_listed_and_written_again() {
    let node = support::start_node();
    let create = ["topic", "create", "t", "--partitions", "1", "--config", "max.delivery.attempts=2"];
    at(&node, &create, "").done();
    at(&node, &["produce", "t"], "poison\ngood\n").done();
    let complaint = at(&node, &["group", "dead-letters", "list", "--topic", "t"], "").failed(1);
    assert!(complaint.contains("t.dead-letter"), "{complaint}");
    let _first = member(&node);
    assert_eq!(attempts(&node), (0, None, 0));
    let _second = member(&node);
    eventually("the first loss is counted", WITHIN, || (attempts(&node) == (1, Some(0), 1)).then_some(()));
    let table = at(&node, &["group", "describe", "g"], "").done();
    assert!(table.contains("attempts") && table.contains("1 at 0"), "{table}");
    // The second loss: whoever takes the place now begins behind the record.
    let mut config = stock::client(&node.kafka_address());
    config.set("group.id", "g").set("group.instance.id", "i").set("auto.offset.reset", "earliest");
    let next: BaseConsumer = config.create().unwrap();
    next.subscribe(&["t"]).unwrap();
    eventually("the group goes on", WITHIN, || {
        let polled = next.poll(Duration::from_millis(20))?;
        (polled.ok()?.payload()? == b"good").then_some(())
    });
    assert_eq!(attempts(&node), (0, None, 0), "the position is behind it");
    let letters = letters(&node);
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((&letter["topic"], &letter["partition"]), (&Value::from("t"), &Value::from(0)), "{letter}");
    assert_eq!((&letter["offset"], &letter["group"]), (&Value::from(0), &Value::from("g")), "{letter}");
    assert_eq!(letter["attempts"], 2, "{letter}");
    let replay = ["group", "dead-letters", "replay", "--topic", "t"];
    let planned = at(&node, &[&replay[..], &["--dry-run"]].concat(), "").done();
    assert!(planned.contains("poison") && planned.contains("1 record"), "{planned}");
    at(&node, &replay, "").done();
    let read = at(&node, &["consume", "t", "--until-end"], "").done();
    assert_eq!(read.lines().collect::<Vec<_>>(), ["poison", "good", "poison"], "{read}");
}
