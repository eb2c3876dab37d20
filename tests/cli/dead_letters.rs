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
    let _lost = [member(&node), member(&node)];
    // The second loss: whoever takes the place now begins behind the record.
    let mut config = stock::client(&node.kafka_address());
    config.set("group.id", "g").set("group.instance.id", "i").set("auto.offset.reset", "earliest");
    let next: BaseConsumer = config.create().unwrap();
    next.subscribe(&["t"]).unwrap();
    eventually("the group goes on", WITHIN, || {
        let polled = next.poll(Duration::from_millis(20))?;
        (polled.ok()?.payload()? == b"good").then_some(())
    });
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
