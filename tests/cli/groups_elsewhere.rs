//! The commands of groups on a cluster, asked of a node that neither coordinates the group nor leads its topic.

use std::time::Duration;

use polylogue::{
    actors::group_coordinator::{OFFSETS_TOPIC, home_of},
    local_cluster::LocalCluster,
    model::NodeId,
};
use rdkafka::{
    Message,
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use serde_json::{Value, json};

use crate::{
    Ended, polylogue,
    support::{self, WITHIN, eventually, rdkafka as stock},
};

/// Three nodes: one leads the topic `t`, one coordinates the group, and the third is asked.
struct Three {
    cluster: LocalCluster,
    leader: NodeId,
    coordinator: NodeId,
    asked: String,
    group: String,
}

impl Three {
    fn start() -> Self {
        let cluster = LocalCluster::start(support::binary(), 3, WITHIN).unwrap();
        let limit = "max.delivery.attempts=2";
        let all = cluster.bootstrap();
        let create = ["topic", "create", "t", "--partitions", "1", "--replication-factor", "3"];
        polylogue(&[&create[..], &["--config", limit, "--bootstrap", &all]].concat(), "").done();
        // Whoever asks for it first has the topic of groups made.
        eventually("there are groups", WITHIN, || {
            let listed = polylogue(&["group", "list", "--bootstrap", &all], "");
            let described = polylogue(
                &["group", "reset-offsets", "first", "--topic", "t", "--to-earliest", "--bootstrap", &all],
                "",
            );
            (listed.code == Some(0) && described.code == Some(0)).then_some(())
        });
        polylogue(&["group", "delete", "first", "--bootstrap", &all], "").done();
        cluster.until_in_sync("t", WITHIN).unwrap();
        cluster.until_in_sync(OFFSETS_TOPIC, WITHIN).unwrap();
        let leader = cluster.leader_of("t", 0).unwrap().unwrap();
        let homes = cluster.partitions(OFFSETS_TOPIC).unwrap().len();
        let coordinator_of = |group: &str| {
            let home = home_of(group, homes).unwrap().get();
            cluster.leader_of(OFFSETS_TOPIC, home).unwrap().unwrap()
        };
        let mut names = (0..100).map(|number| format!("g{number}"));
        let group = names.find(|name| coordinator_of(name) != leader).unwrap();
        let coordinator = coordinator_of(&group);
        let third = cluster.nodes.iter().find(|node| ![leader, coordinator].contains(&node.id()));
        let asked = third.unwrap().kafka_address();
        Self { cluster, leader, coordinator, asked, group }
    }

    fn run(&self, arguments: &[&str], input: &str) -> Ended {
        polylogue(&[arguments, &["--bootstrap", &self.asked]].concat(), input)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.run(&[arguments, &["--output", "json"]].concat(), "").done();
        serde_json::from_str(&printed).unwrap()
    }

    fn described(&self) -> Value {
        self.json(&["group", "describe", &self.group]).get(0).unwrap().clone()
    }

    /// From and to of the partition.
    fn reset(&self, options: &[&str]) -> (Option<i64>, Option<i64>) {
        let reset = ["group", "reset-offsets", &self.group, "--topic", "t"];
        let steps = self.json(&[&reset[..], options].concat());
        (steps[0]["from"].as_i64(), steps[0]["to"].as_i64())
    }

    /// A stock consumer, by its name; it takes the place of whoever has that, and is lost if it had one.
    fn member(&self) -> BaseConsumer {
        let mut config = stock::client(&self.asked);
        config.set("group.id", &self.group).set("group.instance.id", "i").set("client.id", "reader");
        config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        config.set("session.timeout.ms", "6000");
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&["t"]).unwrap();
        consumer
    }

    fn given(consumer: &BaseConsumer, record: &str) {
        eventually(&format!("the member is given {record}"), WITHIN, || {
            let polled = consumer.poll(Duration::from_millis(20))?;
            (polled.ok()?.payload()? == record.as_bytes()).then_some(())
        });
    }
}

#[test]
fn groups_are_listed_described_altered_reset_and_deleted_through_a_node_that_has_nothing_of_them() {
    let three = Three::start();
    three.run(&["produce", "t"], "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n").done();
    assert_eq!(three.reset(&["--to-offset", "4"]), (None, Some(4)));
    assert_eq!(three.reset(&["--shift-by", "-3", "--dry-run"]), (Some(4), Some(1)));
    assert_eq!(three.reset(&["--to-latest"]), (Some(4), Some(10)));
    assert_eq!(three.reset(&["--to-earliest"]), (Some(10), Some(0)));
    assert_eq!(three.reset(&["--to-time", "2000-01-01T00:00:00Z"]), (Some(0), Some(0)));
    assert_eq!(three.reset(&["--to-offset", "4"]), (Some(0), Some(4)));

    let consumer = three.member();
    Three::given(&consumer, "5");
    consumer.commit_consumer_state(CommitMode::Sync).unwrap();
    let listed = three.json(&["group", "list"]);
    assert_eq!(
        (&listed[0]["name"], &listed[0]["state"]),
        (&json!(three.group), &json!("Stable")),
        "{listed}"
    );
    let group = three.described();
    let coordinator = &three.cluster.nodes[three.coordinator.get() as usize - 1];
    assert_eq!(group["coordinator"]["address"], coordinator.kafka_address(), "{group}");
    assert_eq!(group["coordinator"]["node"], three.coordinator.get(), "{group}");
    assert_eq!((&group["lag"], &group["partitions_without_owner"]), (&json!(4), &json!(0)), "{group}");
    let measured = || coordinator.metric("polylogue_group_lag").ok().flatten();
    eventually("the coordinator's node measures the lag", WITHIN, || (measured() == Some(4.0)).then_some(()));
    let partition = &group["partitions"][0];
    assert_eq!((&partition["committed"], &partition["log_end"]), (&json!(6), &json!(10)), "{group}");
    assert_eq!(partition["client_id"], "reader");
    for (view, words) in [("--offsets", "reader"), ("--members", "t:0"), ("--state", "Stable")] {
        let table = three.run(&["group", "describe", &three.group, view], "").done();
        assert!(table.contains(words), "{view}: {table}");
    }
    let refused = three.run(&["group", "reset-offsets", &three.group, "--topic", "t", "--to-earliest"], "");
    assert!(refused.failed(1).contains("--members"));
    drop(consumer);

    let set = "consumer.session.timeout.ms=9000";
    three.run(&["group", "alter", &three.group, "--set", set], "").done();
    let configs = three.json(&["group", "describe", &three.group, "--configs"]);
    let configs = configs[0]["configs"].as_array().unwrap();
    assert!(configs.iter().any(|config| config["value"] == "9000"), "{configs:?}");
    // A static member that says goodbye stays until its session is over.
    eventually("the group is empty and deleted", WITHIN, || {
        three
            .run(&["group", "delete", &three.group, "--offsets", "--topic", "t"], "")
            .code
            .filter(|code| *code == 0)
    });
    three.run(&["group", "delete", &three.group], "").done();
    let left = three.json(&["group", "list"]);
    assert_eq!(left, json!([]), "deleted for everybody");
}

#[test]
fn s22_a_record_is_given_up_listed_and_written_again_through_a_node_that_has_nothing_of_the_group() {
    let three = Three::start();
    assert_ne!(three.leader, three.coordinator);
    three.run(&["produce", "t"], "poison\ngood\n").done();
    let complaint = three.run(&["group", "dead-letters", "list", "--topic", "t"], "").failed(1);
    assert!(complaint.contains("t.dead-letter"), "{complaint}");
    let first = three.member();
    Three::given(&first, "poison");
    let second = three.member();
    Three::given(&second, "poison");
    eventually("the loss is counted", WITHIN, || {
        let partition = &three.described()["partitions"][0];
        (partition["attempts"] == 1 && partition["attempted_offset"] == 0).then_some(())
    });
    let third = three.member();
    Three::given(&third, "good");
    let letters = three.json(&["group", "dead-letters", "list", "--topic", "t"]);
    let letter = &letters[0];
    assert_eq!(letters.as_array().unwrap().len(), 1, "{letters}");
    assert_eq!((&letter["topic"], &letter["offset"]), (&json!("t"), &json!(0)), "{letters}");
    assert_eq!((&letter["group"], &letter["attempts"]), (&json!(three.group), &json!(2)), "{letters}");
    three.run(&["group", "dead-letters", "replay", "--topic", "t"], "").done();
    let read = three.run(&["consume", "t", "--until-end"], "").done();
    assert_eq!(read.lines().collect::<Vec<_>>(), ["poison", "good", "poison"], "{read}");
}
