//! `kafka-topics`.

use super::{Tools, class::TOPICS};

/// How many pages of partitions the node has answered.
fn pages(tools: &Tools) -> u64 {
    let counter = "polylogue_requests_total{api=\"DescribeTopicPartitions\",error=\"none\"} ";
    let metrics = tools.node.get("/metrics").unwrap().body;
    metrics.lines().find_map(|line| line.strip_prefix(counter)).map_or(0, |count| count.parse().unwrap())
}

#[test]
fn topics_are_made_listed_described_grown_and_deleted() {
    let Some(tools) = Tools::find("topics_are_made_listed_described_grown_and_deleted") else { return };
    let make = ["--create", "--topic", "orders", "--partitions", "3", "--config", "retention.ms=100000"];
    assert!(tools.must(TOPICS, &make).contains("Created topic orders"));
    tools.must(TOPICS, &["--create", "--topic", "assigned", "--replica-assignment", "1,1"]);
    tools.refused(TOPICS, &make, "already exists");
    tools.must(TOPICS, &["--create", "--if-not-exists", "--topic", "orders"]);
    let replicated = ["--create", "--topic", "replicated", "--replication-factor", "3"];
    tools.refused(TOPICS, &replicated, "InvalidReplicationFactorException");
    let misconfigured = ["--create", "--topic", "bad", "--config", "retention.ms=soon"];
    tools.refused(TOPICS, &misconfigured, "retention.ms");
    let listed = tools.must(TOPICS, &["--list"]);
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["assigned", "orders"]);

    tools.must(TOPICS, &["--alter", "--topic", "orders", "--partitions", "5"]);
    tools.refused(
        TOPICS,
        &["--alter", "--topic", "orders", "--partitions", "2"],
        "InvalidPartitionsException",
    );
    // One partition at a time: the tool has to follow the cursor four times.
    let described = ["--describe", "--topic", "orders", "--partition-size-limit-per-response", "1"];
    let before = pages(&tools);
    let described = tools.must(TOPICS, &described);
    assert!(pages(&tools) >= before + 5, "{before}");
    let head = described.lines().next().unwrap();
    for part in ["Topic: orders", "PartitionCount: 5", "ReplicationFactor: 1", "Configs: retention.ms=100000"]
    {
        assert!(head.contains(part), "{head}");
    }
    let partitions: Vec<_> = described.lines().filter(|line| line.contains("Partition: ")).collect();
    assert_eq!(partitions.len(), 5, "{described}");
    for (index, line) in partitions.into_iter().enumerate() {
        for part in [format!("Partition: {index}\t"), "Leader: 1\t".to_owned(), "Isr: 1\t".to_owned()] {
            assert!(line.contains(&part), "{line}");
        }
    }
    assert_eq!(tools.must(TOPICS, &["--describe", "--unavailable-partitions"]), "");

    tools.must(TOPICS, &["--delete", "--topic", "assigned"]);
    tools.refused(TOPICS, &["--delete", "--topic", "assigned"], "does not exist");
    assert_eq!(tools.must(TOPICS, &["--list"]).trim(), "orders");
}
