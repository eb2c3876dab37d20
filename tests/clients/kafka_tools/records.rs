//! Records in and out, and what can be asked of them: console producer and consumer, get-offsets,
//! delete-records, log-dirs, the producers of a partition.

use std::fmt::Write;

use super::{
    Tools,
    class::{
        CONSOLE_CONSUMER, CONSOLE_PRODUCER, DELETE_RECORDS, GET_OFFSETS, LOG_DIRS, PRODUCER_PERFORMANCE,
        TOPICS, TRANSACTIONS, VERIFIABLE_PRODUCER,
    },
};

const KEYED: [&str; 4] = ["--property", "parse.key=true", "--property", "key.separator=:"];

/// Writes lines to a topic, keys before a colon.
#[track_caller]
fn produce(tools: &Tools, topic: &str, lines: &str, more: &[&str]) {
    let address = tools.node.kafka_address();
    let arguments = [&["--bootstrap-server", address.as_str(), "--topic", topic][..], &KEYED, more].concat();
    let ran = tools.run_with(CONSOLE_PRODUCER, &arguments, lines);
    assert!(ran.done && ran.errors.is_empty(), "{ran:#?}");
}

/// Offset, key and value of so many records of partition 0, from an offset on.
#[track_caller]
fn consume(tools: &Tools, topic: &str, from: &str, count: usize) -> Vec<String> {
    let (count, wait) = (count.to_string(), "30000");
    let arguments = [
        ["--topic", topic, "--partition", "0", "--offset", from],
        ["--max-messages", &count, "--timeout-ms", wait, "--property", "print.offset=true"],
    ];
    let keys = ["--property", "print.key=true"];
    let out = tools.must(CONSOLE_CONSUMER, &[&arguments.concat()[..], &keys].concat());
    out.lines().map(|line| line.replace('\t', " ")).collect()
}

#[test]
fn what_the_console_producer_wrote_the_console_consumer_reads_from_any_offset() {
    let Some(tools) =
        Tools::find("what_the_console_producer_wrote_the_console_consumer_reads_from_any_offset")
    else {
        return;
    };
    tools.must(TOPICS, &["--create", "--topic", "lines", "--partitions", "1"]);
    let lines = (0..5).fold(String::new(), |mut lines, n| {
        writeln!(lines, "key{n}:value{n}").unwrap();
        lines
    });
    produce(&tools, "lines", &lines, &["--compression-codec", "zstd"]);
    produce(&tools, "lines", "last:one\n", &["--request-required-acks", "1", "--compression-codec", "lz4"]);
    let expected: Vec<_> = (0..5)
        .map(|n| format!("Offset:{n} key{n} value{n}"))
        .chain(["Offset:5 last one".to_owned()])
        .collect();
    assert_eq!(consume(&tools, "lines", "earliest", 6), expected);
    assert_eq!(consume(&tools, "lines", "3", 2), expected[3..5]);

    let isolated = ["--topic", "lines", "--partition", "0", "--offset", "5", "--max-messages", "1"];
    let isolated = [&isolated[..], &["--isolation-level", "read_committed"]].concat();
    assert_eq!(tools.must(CONSOLE_CONSUMER, &isolated).trim(), "one");
}

#[test]
fn a_topic_that_is_not_there_is_made_by_writing_to_it() {
    let Some(tools) = Tools::find("a_topic_that_is_not_there_is_made_by_writing_to_it") else { return };
    let address = tools.node.kafka_address();
    let arguments = ["--bootstrap-server", address.as_str(), "--topic", "made", "--sync"];
    let ran = tools.run_with(CONSOLE_PRODUCER, &arguments, "one\n");
    assert!(ran.done, "{ran:#?}");
    let offsets = tools.must(GET_OFFSETS, &["--topic", "made"]);
    let ends: Vec<i64> =
        offsets.lines().map(|line| line.rsplit(':').next().unwrap().parse().unwrap()).collect();
    assert_eq!((ends.len(), ends.iter().sum::<i64>()), (4, 1), "{offsets}");
}

#[test]
fn offsets_are_told_by_time_and_records_deleted_and_sizes_shown() {
    let Some(tools) = Tools::find("offsets_are_told_by_time_and_records_deleted_and_sizes_shown") else {
        return;
    };
    tools.must(TOPICS, &["--create", "--topic", "t", "--partitions", "2"]);
    let offsets = |time: &str| {
        let out = tools.must(GET_OFFSETS, &["--topic", "t", "--time", time]);
        out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(offsets("max-timestamp"), [""; 0], "an empty log has no highest timestamp");
    tools.must(TOPICS, &["--create", "--topic", "one", "--partitions", "1"]);
    produce(&tools, "one", "a:1\nb:2\nc:3\n", &[]);
    let of_one = |time: &str| tools.must(GET_OFFSETS, &["--topic-partitions", "one:0", "--time", time]);
    for (time, expected) in [
        ("latest", "one:0:3"),
        ("earliest", "one:0:0"),
        ("earliest-local", "one:0:0"),
        ("0", "one:0:0"),
        // Nothing is tiered, and no record is as late as that.
        ("latest-tiered", ""),
        ("4102444800000", ""),
    ] {
        assert_eq!(of_one(time).trim(), expected, "{time}");
    }
    assert!(of_one("max-timestamp").starts_with("one:0:"));
    assert_eq!(offsets("-2"), ["t:0:0", "t:1:0"]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("offsets.json");
    std::fs::write(&file, r#"{"version":1,"partitions":[{"topic":"one","partition":0,"offset":2}]}"#)
        .unwrap();
    let deleted = tools.must(DELETE_RECORDS, &["--offset-json-file", file.to_str().unwrap()]);
    assert!(deleted.contains("partition: one-0\tlow_watermark: 2"), "{deleted}");
    assert_eq!(of_one("earliest").trim(), "one:0:2");
    assert_eq!(consume(&tools, "one", "earliest", 1), ["Offset:2 c 3"]);
    std::fs::write(&file, r#"{"version":1,"partitions":[{"topic":"one","partition":0,"offset":9}]}"#)
        .unwrap();
    let refused = tools.run(DELETE_RECORDS, &["--offset-json-file", file.to_str().unwrap()]);
    assert!(refused.says("OffsetOutOfRangeException"), "{refused:#?}");

    let sizes = tools.must(LOG_DIRS, &["--describe", "--topic-list", "one"]);
    let json = sizes.lines().find(|line| line.starts_with('{')).unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let dir = &json["brokers"][0]["logDirs"][0];
    assert_eq!(dir["error"], serde_json::Value::Null);
    assert_eq!(dir["logDir"], tools.node.data_folder().join("logs").to_str().unwrap());
    assert_eq!(dir["partitions"].as_array().unwrap().len(), 1);
    assert_eq!(dir["partitions"][0]["partition"], "one-0");
    let bytes = crate::support::stored_bytes(&tools.node, "one", 0);
    assert_eq!(dir["partitions"][0]["size"], bytes);
}

#[test]
fn kafkas_own_load_is_taken_and_the_producers_of_a_partition_are_told() {
    let Some(tools) = Tools::find("kafkas_own_load_is_taken_and_the_producers_of_a_partition_are_told")
    else {
        return;
    };
    let address = tools.node.kafka_address();
    tools.must(TOPICS, &["--create", "--topic", "load", "--partitions", "1"]);
    let servers = format!("bootstrap.servers={address}");
    let load = ["--topic", "load", "--num-records", "5000", "--record-size", "100", "--throughput", "-1"];
    let load = [&load[..], &["--producer-props", &servers, "acks=all"]].concat();
    let ran = tools.run_with(PRODUCER_PERFORMANCE, &load, "");
    assert!(ran.done && ran.out.contains("5000 records sent"), "{ran:#?}");
    assert_eq!(tools.must(GET_OFFSETS, &["--topic", "load"]).trim(), "load:0:5000");
    let verifiable = tools.must(VERIFIABLE_PRODUCER, &["--topic", "load", "--max-messages", "50"]);
    let acknowledged = verifiable.lines().filter(|line| line.contains("producer_send_success"));
    assert_eq!(acknowledged.count(), 50, "{verifiable}");
    let told = tools.must(TRANSACTIONS, &["describe-producers", "--topic", "load", "--partition", "0"]);
    let producer: Vec<_> = told.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((producer[1], producer[3], producer[5]), ("0", "4999", "None"), "{told}");
}
