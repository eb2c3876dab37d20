//! The same while some write much and others little: two runtimes serve the connections then, and large batches are
//! appended by threads that a leader has lent its log to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use polylogue::{
    chaos::history::NodeChange,
    local_cluster::{LocalNode, LocalNodeError},
};

use crate::{
    Story, note_node,
    support::{WITHIN, rdkafka::create_topic, start_node},
    workload::{PACE, Topic, idempotent, large, scan},
};

const ROUNDS: usize = if cfg!(feature = "long") { 60 } else { 6 };
/// Between a start and the kill that follows it.
const DELAY_MS: std::ops::Range<u64> = 300..1500;
/// Between the first large append of that kind and the kill, in every other round. How long it takes for clients to come back, and for
/// small requests to come often enough, is the machine's doing.
const DELAY_AFTER_BULK_MS: std::ops::Range<u64> = 0..200;
const SMALL: Topic = Topic { name: "small", partitions: 1 };
const LARGE: Topic = Topic { name: "large", partitions: 1 };
/// Filled by the large ones, and then begun anew: what is written goes to a file that takes space ahead (ADR 29).
const SEGMENTS: (&str, &str) = ("segment.bytes", "8388608");
const LARGE_RECORD: usize = 60_000;
/// Ten records and more in a batch.
const LARGE_PACE: Duration = Duration::from_millis(5);
/// How many large appends this process has left to those threads.
const BULK_APPENDS: &str = "polylogue_bulk_appends_total";

#[test]
fn s14_kill_9_while_large_batches_are_appended_beside_small_ones_loses_nothing() {
    let mut story = Story::begin("kill-mixed-history.jsonl");
    let history = Arc::clone(&story.history);
    let mut node = start_node();
    let address = node.kafka_address();
    note_node(&history, &node, NodeChange::Started);
    for topic in [SMALL, LARGE] {
        create_topic(&address, topic.name, topic.partitions, &[SEGMENTS]);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let producers = [
        idempotent(SMALL, &address, "small", &history).start(PACE, &stop),
        large(LARGE, &address, "large", LARGE_RECORD, &history).start(LARGE_PACE, &stop),
    ];
    let mut killed_after_bulk = 0;
    for round in 0..ROUNDS {
        let delay = if round % 2 == 0 {
            DELAY_MS
        } else {
            node.wait_for("no large append was left to other threads", WITHIN, appends_in_bulk).unwrap();
            DELAY_AFTER_BULK_MS
        };
        thread::sleep(Duration::from_millis(story.random.u64(delay)));
        killed_after_bulk += usize::from(appends_in_bulk(&mut node).unwrap());
        note_node(&history, &node, NodeChange::Killed);
        node.kill().unwrap();
        node.start_again().unwrap();
        node.wait_until_ready(WITHIN).unwrap();
        note_node(&history, &node, NodeChange::Started);
    }
    stop.store(true, Ordering::SeqCst);
    for producer in producers {
        assert_eq!(producer.join().unwrap(), 0, "an idempotent producer gave up on records");
    }
    for topic in [SMALL, LARGE] {
        scan(topic, &address, &history, "at-the-end");
    }

    story.judge();
    println!("killed after large appends by other threads: {killed_after_bulk} of {ROUNDS}");
    assert!(killed_after_bulk >= ROUNDS / 2);
    assert_eq!(node.stop(WITHIN).unwrap().code(), Some(0));
}

fn appends_in_bulk(node: &mut LocalNode) -> Result<bool, LocalNodeError> {
    Ok(node.metric(BULK_APPENDS)?.unwrap_or_default() > 0.0)
}
