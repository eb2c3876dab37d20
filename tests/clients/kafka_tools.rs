//! Kafka's own command-line tools against a node.

use crate::support::{self, java};

#[test]
fn kafkas_tools_list_the_versions_that_a_node_serves() {
    let Some(kafka) = java::find("kafkas_tools_list_the_versions_that_a_node_serves") else { return };
    let node = support::start_node();
    let bootstrap = node.kafka_address();
    let (done, out, errors) =
        kafka.tool("org.apache.kafka.tools.BrokerApiVersionsCommand", &["--bootstrap-server", &bootstrap]);
    assert!(done && out.contains("Produce(0): 0 to 13"), "{out}\n{errors}");
}
