//! A cluster is one thing, whichever node is asked; and a group outlives the node that looks after it.

use std::collections::BTreeMap;

use polylogue::{
    client::{
        Admin,
        admin::{ConfigChange, ConfigSource, NewTopic},
    },
    local_cluster::LocalNode,
    model::{NodeId, PartitionIndex},
    wire::ErrorCode,
};
use rdkafka::{
    Message as _,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
};
use tokio::runtime::Runtime;

use crate::{
    cluster::{Cluster, SOON, client, create_topic, name},
    load::{GOES_ON_WITHIN, Load},
    support::{eventually, rdkafka as stock},
};

const GROUP: &str = "a-group";
const TOPIC: &str = "grouped";
const PARTITIONS: i32 = 3;
/// Before the deadline is looked at again.
const POLLS: usize = 100;

/// An admin that knows this node and no other.
fn admin(node: &str) -> Admin {
    Admin::new(&client(node))
}

#[test]
fn topics_and_configs_are_made_changed_and_deleted_through_any_node_and_seen_through_all() {
    let cluster = Cluster::of_three();
    let runtime = Runtime::new().unwrap();
    let addresses: Vec<_> = cluster.nodes.iter().map(LocalNode::kafka_address).collect();
    let everywhere = |what: &str, holds: &dyn Fn(Admin) -> bool| {
        for address in &addresses {
            eventually(&format!("{what}, as {address} says"), SOON, || holds(admin(address)).then_some(()));
        }
    };
    for (place, address) in addresses.iter().enumerate() {
        let topic = format!("made-by-{place}");
        let named = name(&topic);
        create_topic(address, &topic, 2, &[("retention.ms", "100000")]);
        everywhere("the topic is there", &|admin| {
            let found = runtime.block_on(admin.describe_topic(&named));
            found.is_ok_and(|found| found.partitions.len() == 2)
        });

        runtime.block_on(admin(address).create_partitions(&named, 3)).unwrap();
        let change = ConfigChange::Set { name: "retention.ms".to_owned(), value: "200000".to_owned() };
        runtime.block_on(admin(address).alter_topic_configs(&named, &[change])).unwrap();
        everywhere("the topic is changed", &|admin| {
            let configs = runtime.block_on(admin.topic_configs(&named)).unwrap_or_default();
            let retention = configs.iter().find(|config| config.name == "retention.ms");
            let found = runtime.block_on(admin.describe_topic(&named));
            found.is_ok_and(|found| found.partitions.len() == 3)
                && retention.is_some_and(|config| {
                    config.value.as_deref() == Some("200000") && config.source == ConfigSource::Topic
                })
        });

        runtime.block_on(admin(address).delete_topic(&named)).unwrap();
        everywhere("the topic is gone", &|admin| {
            let topics = runtime.block_on(admin.list_topics());
            topics.is_ok_and(|topics| topics.iter().all(|found| found.name != named))
        });
    }
}

/// A topic of two replicas loses one, and then the other for good: whoever comes back alone leads only when somebody says so.
#[test]
fn leaders_are_elected_on_demand_the_first_replica_or_who_is_left() {
    let mut cluster = Cluster::of_three();
    let runtime = Runtime::new().unwrap();
    let topic = name("elected");
    let new = NewTopic {
        name: topic.clone(),
        partitions: Some(1),
        replication_factor: Some(2),
        configs: vec![("min.insync.replicas".to_owned(), "1".to_owned())],
    };
    runtime.block_on(admin(&cluster.bootstrap()).create_topic(&new)).unwrap();
    cluster.until_in_sync(topic.as_str(), SOON).unwrap();
    let described = runtime.block_on(admin(&cluster.bootstrap()).describe_topic(&topic)).unwrap();
    let [first, second] = described.partitions[0].replicas[..] else { panic!("{described:?}") };
    let other = cluster.ids().into_iter().find(|id| ![first, second].contains(id)).unwrap();
    let asked = cluster.node(other).unwrap().kafka_address();
    let elect = |unclean: bool| {
        let partition = vec![PartitionIndex::new(0)];
        let results = runtime.block_on(admin(&asked).elect_leaders(&topic, partition, unclean)).unwrap();
        let outcome = results.into_iter().next().unwrap().1;
        outcome.map_err(|error| error.code().unwrap())
    };
    let until_led_by = |leader: NodeId, cluster: &Cluster| {
        eventually("it has this leader", SOON, || {
            (cluster.leader_of(topic.as_str(), 0).ok()? == Some(leader)).then_some(())
        });
    };
    until_led_by(first, &cluster);
    assert_eq!(elect(false), Err(ErrorCode::ElectionNotNeeded));
    cluster.kill(&[first]);
    until_led_by(second, &cluster);
    assert_eq!(elect(false), Err(ErrorCode::PreferredLeaderNotAvailable), "it is away");
    assert_eq!(elect(true), Err(ErrorCode::ElectionNotNeeded), "there is a leader");
    // The last one that had everything goes, and only the one that missed something comes back.
    cluster.kill(&[second]);
    cluster.start_again(&[first]);
    eventually("nobody leads", SOON, || {
        let leader = cluster.leader_of(topic.as_str(), 0).ok()?;
        leader.is_none().then_some(())
    });
    assert_eq!(elect(false), Err(ErrorCode::PreferredLeaderNotAvailable), "it has missed something");
    assert_eq!(elect(true), Ok(()));
    until_led_by(first, &cluster);
}

/// Consumes and commits until each partition has been committed up to a record behind `after`; each record follows the one
/// before it, or one that was committed. Gives what was committed.
#[track_caller]
fn consume(consumer: &BaseConsumer, after: &BTreeMap<i32, i64>) -> BTreeMap<i32, i64> {
    let mut next = after.clone();
    let is_behind = |next: &BTreeMap<i32, i64>| {
        (0..PARTITIONS).all(|partition| next.get(&partition) > after.get(&partition))
    };
    eventually("every partition is consumed and committed", SOON, || {
        for _ in 0..POLLS {
            let Some(Ok(message)) = consumer.poll(stock::POLL) else { continue };
            let expected = next.get(&message.partition()).copied().unwrap_or_default();
            let committed = after.get(&message.partition()).copied().unwrap_or_default();
            let offset = message.offset();
            assert!((committed..=expected).contains(&offset), "{offset} after {committed} and {expected}");
            next.insert(message.partition(), offset + 1);
            if is_behind(&next) {
                break;
            }
        }
        // Answered by the coordinator: it may be another one by now.
        (is_behind(&next) && consumer.commit_consumer_state(CommitMode::Sync).is_ok()).then_some(())
    });
    next
}

#[test]
fn s20_a_group_goes_on_where_it_was_when_its_coordinators_node_is_killed() {
    let mut cluster = Cluster::with_topic(TOPIC, PARTITIONS, &[("min.insync.replicas", "2")]);
    let load = Load::start(&cluster, TOPIC, PARTITIONS);
    let consumer: BaseConsumer = stock::client(&cluster.bootstrap())
        .set("group.id", GROUP)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        .create()
        .unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    let before = consume(&consumer, &BTreeMap::new());

    let runtime = Runtime::new().unwrap();
    let victim = runtime.block_on(admin(&cluster.bootstrap()).coordinator(GROUP)).unwrap();
    cluster.kill(&[victim]);
    load.goes_on(GOES_ON_WITHIN);
    let after = consume(&consumer, &before);
    let now = runtime.block_on(admin(&cluster.bootstrap()).coordinator(GROUP)).unwrap();
    assert_ne!(now, victim, "a dead node coordinates");
    let committed = runtime.block_on(admin(&cluster.bootstrap()).committed_offsets(GROUP)).unwrap();
    let committed: BTreeMap<_, _> =
        committed.iter().map(|found| (found.partition.get(), found.offset.get())).collect();
    assert_eq!(committed, after);
    cluster.start_again(&[victim]);
    load.stop_and_check(&cluster);
}
