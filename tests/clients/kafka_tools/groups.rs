//! `kafka-consumer-groups` and `kafka-groups`: a group is listed and described, its offsets are reset and
//! deleted, and it with them.
//!
//! The first ends with 0 also where it was refused: what it says has to tell.

use std::time::Duration;

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    topic_partition_list::Offset,
};

use super::{
    Tools,
    class::{CONSUMER_GROUPS, GROUPS},
};
use crate::{
    librdkafka::produce,
    samples::samples,
    support::{
        WITHIN, eventually,
        rdkafka::{client, create_topic},
    },
};

const TOPIC: &str = "orders";
const GROUP: &str = "readers";
/// What is in partition 0; partition 1 is empty.
const RECORDS: i64 = 6;

/// The lines of a table that begin with this word, each as its words.
fn rows(table: &str, first: &str) -> Vec<Vec<String>> {
    let words = table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect());
    words.filter(|words: &Vec<String>| words.first().is_some_and(|word| word == first)).collect()
}

/// Tools against a node with a topic that has records, and the only member of a group on it, which has
/// committed an offset for each partition and lags behind with one.
#[track_caller]
fn with_member(test: &str) -> Option<(Tools, BaseConsumer)> {
    let tools = Tools::find(test)?;
    let bootstrap = tools.node.kafka_address();
    create_topic(&bootstrap, TOPIC, 2, &[]);
    produce(&bootstrap, TOPIC, &[], &samples(9, RECORDS));
    let mut config = client(&bootstrap);
    config.set("group.id", GROUP).set("client.id", "one").set("enable.auto.commit", "false");
    let member: BaseConsumer = config.set("session.timeout.ms", "6000").create().unwrap();
    member.subscribe(&[TOPIC]).unwrap();
    eventually("its partitions", WITHIN, || {
        member.poll(Duration::from_millis(100));
        (member.assignment().unwrap().count() == 2).then_some(())
    });
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(TOPIC, 0, Offset::Offset(4)).unwrap();
    offsets.add_partition_offset(TOPIC, 1, Offset::Offset(0)).unwrap();
    member.commit(&offsets, CommitMode::Sync).unwrap();
    Some((tools, member))
}

/// What `kafka-consumer-groups` says of the group.
#[track_caller]
fn described(tools: &Tools, more: &[&str]) -> Vec<Vec<String>> {
    rows(&tools.must(CONSUMER_GROUPS, &[&["--describe", "--group", GROUP], more].concat()), GROUP)
}

/// Partition, committed offset, end and lag of each partition with an offset.
#[track_caller]
fn lags(tools: &Tools) -> Vec<[i64; 4]> {
    let number = |word: &String| word.parse().unwrap();
    let lag = |row: Vec<String>| [2, 3, 4, 5].map(|column| number(&row[column]));
    described(tools, &[]).into_iter().map(lag).collect()
}

/// Partition and new offset of each partition that a reset names.
#[track_caller]
fn reset(tools: &Tools, topic: &str, how: &[&str]) -> Vec<[i64; 2]> {
    let arguments = [&["--reset-offsets", "--group", GROUP, "--topic", topic], how].concat();
    let mut new: Vec<[i64; 2]> = rows(&tools.must(CONSUMER_GROUPS, &arguments), GROUP)
        .into_iter()
        .map(|row| [row[2].parse().unwrap(), row[3].parse().unwrap()])
        .collect();
    new.sort_unstable();
    new
}

/// Runs what is to be refused for this reason.
#[track_caller]
fn refused(tools: &Tools, arguments: &[&str], reason: &str) {
    let ran = tools.run(CONSUMER_GROUPS, arguments);
    assert!(ran.says(reason), "{arguments:?}, not {reason:?}: {ran:#?}");
}

#[test]
fn a_group_with_a_member_is_described_and_neither_reset_nor_deleted() {
    let Some((tools, _member)) =
        with_member("a_group_with_a_member_is_described_and_neither_reset_nor_deleted")
    else {
        return;
    };
    assert_eq!(tools.must(CONSUMER_GROUPS, &["--list"]).trim(), GROUP);
    let listed = tools.must(CONSUMER_GROUPS, &["--list", "--state"]);
    assert_eq!(rows(&listed, GROUP), [[GROUP, "Stable"]]);
    let listed = tools.must(GROUPS, &["--list"]);
    assert_eq!(rows(&listed, GROUP), [[GROUP, "Classic", "consumer"]]);

    let partitions = described(&tools, &[]);
    assert_eq!(lags(&tools), [[0, 4, RECORDS, 2], [1, 0, 0, 0]]);
    assert!(partitions.iter().all(|row| row[6].starts_with("one-") && row[8] == "one"), "{partitions:?}");
    let members = described(&tools, &["--members", "--verbose"]);
    assert_eq!(members.len(), 1, "{members:?}");
    assert!(members[0].contains(&format!("{TOPIC}:0,1")), "{members:?}");
    let state = described(&tools, &["--state"]);
    let coordinator = tools.node.kafka_address();
    assert_eq!(state, [[GROUP, coordinator.as_str(), "(1)", "range", "Stable", "1"]]);

    refused(&tools, &["--delete", "--group", GROUP], "GroupNotEmptyException");
    let execute = ["--reset-offsets", "--group", GROUP, "--topic", TOPIC, "--to-earliest", "--execute"];
    refused(&tools, &execute, "if the group 'readers' is inactive");
    let offsets = ["--delete-offsets", "--group", GROUP, "--topic", TOPIC];
    refused(&tools, &offsets, "GroupSubscribedToTopicException");
    assert_eq!(lags(&tools), [[0, 4, RECORDS, 2], [1, 0, 0, 0]]);
}

#[test]
fn the_offsets_of_an_empty_group_are_reset_and_deleted_and_it_with_them() {
    let Some((tools, member)) =
        with_member("the_offsets_of_an_empty_group_are_reset_and_deleted_and_it_with_them")
    else {
        return;
    };
    drop(member); // it leaves
    let state = described(&tools, &["--state"]);
    assert_eq!(state[0][state[0].len() - 2..], ["Empty", "0"]);
    assert!(described(&tools, &["--members"]).is_empty());

    assert_eq!(reset(&tools, TOPIC, &["--to-earliest", "--dry-run"]), [[0, 0], [1, 0]]);
    assert_eq!(lags(&tools), [[0, 4, RECORDS, 2], [1, 0, 0, 0]]);
    assert_eq!(reset(&tools, "orders:0", &["--shift-by", "-1", "--execute"]), [[0, 3]]);
    assert_eq!(lags(&tools), [[0, 3, RECORDS, 3], [1, 0, 0, 0]]);
    assert_eq!(reset(&tools, "orders:0", &["--to-offset", "1", "--execute"]), [[0, 1]]);
    assert_eq!(lags(&tools), [[0, 1, RECORDS, 5], [1, 0, 0, 0]]);
    assert_eq!(reset(&tools, TOPIC, &["--to-latest", "--execute"]), [[0, RECORDS], [1, 0]]);
    assert_eq!(reset(&tools, TOPIC, &["--to-earliest", "--execute"]), [[0, 0], [1, 0]]);
    assert_eq!(lags(&tools), [[0, 0, RECORDS, RECORDS], [1, 0, 0, 0]]);

    let deleted = tools.must(CONSUMER_GROUPS, &["--delete-offsets", "--group", GROUP, "--topic", "orders:1"]);
    assert_eq!(rows(&deleted, TOPIC), [[TOPIC, "1", "Successful"]]);
    assert_eq!(lags(&tools), [[0, 0, RECORDS, RECORDS]]);
    assert!(tools.must(CONSUMER_GROUPS, &["--delete", "--group", GROUP]).contains("was successful"));
    assert_eq!(tools.must(CONSUMER_GROUPS, &["--list"]).trim(), "");
    refused(&tools, &["--delete", "--group", GROUP], "GroupIdNotFoundException");
    refused(&tools, &["--describe", "--group", GROUP], "GroupIdNotFoundException");
}
