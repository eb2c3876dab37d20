//! What the cluster is and can do; and what it cannot, said clearly.

use super::{
    Tools,
    class::{API_VERSIONS, CLUSTER, CONFIGS, LEADER_ELECTION, REASSIGN, TOPICS},
};

#[test]
fn kafkas_tools_list_the_versions_that_a_node_serves() {
    let Some(tools) = Tools::find("kafkas_tools_list_the_versions_that_a_node_serves") else { return };
    let listed = tools.must(API_VERSIONS, &[]);
    for served in [
        "Produce(0): 0 to 13 [usable: 13]",
        "Fetch(1): 4 to 18 [usable: 18]",
        "AlterConfigs(33): 0 to 2 [usable: 2]",
        "DescribeLogDirs(35): 1 to 4 [usable: 4]",
        "DescribeProducers(61): 0 [usable: 0]",
        "DescribeTopicPartitions(75): 0 [usable: 0]",
    ] {
        assert!(listed.contains(served), "{served}: {listed}");
    }
}

#[test]
fn the_cluster_tells_its_id_and_its_one_broker() {
    let Some(tools) = Tools::find("the_cluster_tells_its_id_and_its_one_broker") else { return };
    let address = tools.node.kafka_address();
    let of = |what: &str| {
        let ran = tools.run_with(CLUSTER, &[what, "--bootstrap-server", &address], "");
        assert!(ran.done, "{ran:#?}");
        ran.out
    };
    let id = of("cluster-id");
    assert!(id.trim().strip_prefix("Cluster ID: ").is_some_and(|id| !id.is_empty() && id != "null"), "{id}");
    let endpoints = of("list-endpoints");
    let broker = endpoints.lines().nth(1).unwrap();
    assert!(broker.starts_with('1') && broker.contains("unfenced"), "{endpoints}");
    assert!(address.split(':').all(|part| broker.contains(part)), "{endpoints}");
}

#[test]
fn what_one_node_cannot_do_is_said_to_be_unsupported_at_once() {
    let Some(tools) = Tools::find("what_one_node_cannot_do_is_said_to_be_unsupported_at_once") else {
        return;
    };
    let moves = tools.run(REASSIGN, &["--list"]);
    assert!(moves.says("does not support LIST_PARTITION_REASSIGNMENTS"), "{moves:#?}");
    let group = ["--entity-type", "groups", "--entity-name", "g", "--alter"];
    let group = [&group[..], &["--add-config", "share.session.timeout.ms=45000"]].concat();
    tools.refused(CONFIGS, &group, "share groups are not served");
}

#[test]
fn kafkas_tool_asks_for_elections_and_hears_that_none_is_needed() {
    let Some(tools) = Tools::find("kafkas_tool_asks_for_elections_and_hears_that_none_is_needed") else {
        return;
    };
    tools.must(LEADER_ELECTION, &["--election-type", "preferred", "--all-topic-partitions"]);
    tools.must(TOPICS, &["--create", "--topic", "led", "--partitions", "1"]);
    let partition = ["--topic", "led", "--partition", "0"];
    for election in ["preferred", "unclean"] {
        let elected = tools.must(LEADER_ELECTION, &[&["--election-type", election], &partition[..]].concat());
        assert!(elected.contains("Valid replica already elected for partitions led-0"), "{elected}");
    }
    let unknown = ["--election-type", "unclean", "--topic", "no-such", "--partition", "0"];
    tools.refused(LEADER_ELECTION, &unknown, "no-such-0");
}
