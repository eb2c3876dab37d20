//! `polylogue bench`: what it counts is what was written and read. What it times is not judged.

use serde_json::Value;

use crate::{at, support};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Each percentile is there, none above the next.
#[track_caller]
fn assert_ordered(times: &Value) {
    let told: Vec<f64> = ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max"]
        .iter()
        .map(|name| times[*name].as_f64().unwrap_or_else(|| panic!("{name}: {times}")))
        .collect();
    assert!(told.is_sorted() && told[0] > 0.0, "{times}");
}

#[test]
fn what_is_written_at_full_speed_is_read_at_full_speed() {
    let node = support::start_node();
    let produce = ["bench", "produce", "--records", "20000", "--partitions", "3", "--output", "json"];
    let mut written = 0;
    for options in [&["--compression", "zstd", "--payload", "text"][..], &["--no-idempotence"]] {
        let report = json(&at(&node, &[&produce[..], options].concat(), "").done());
        assert_eq!((report["records"].as_u64(), report["failed"].as_u64()), (Some(20_000), Some(0)));
        assert_eq!((report["bytes"].as_u64(), report["partitions"].as_u64()), (Some(2_000_000), Some(3)));
        assert!(report["records_per_second"].as_f64().unwrap() > 0.0);
        assert_ordered(&report["acknowledged_ms"]);
        written += 20_000;
    }
    let report = json(&at(&node, &["bench", "consume", "--output", "json"], "").done());
    assert_eq!((report["records"].as_u64(), report["bytes"].as_u64()), (Some(written), Some(written * 100)));
    let some = ["bench", "consume", "--records", "100", "--output", "json"];
    assert_eq!(json(&at(&node, &some, "").done())["records"].as_u64(), Some(100));
    let table = at(&node, &["bench", "consume"], "").done();
    assert!(table.contains("msg/s") && table.contains("MB/s"), "{table}");
}

#[test]
fn a_rate_and_a_duration_are_kept_and_latency_is_of_the_records_that_count() {
    let node = support::start_node();
    let produce =
        ["bench", "produce", "--rate", "500", "--duration", "1s", "--linger", "0ms", "--output", "json"];
    let report = json(&at(&node, &produce, "").done());
    let records = report["records"].as_u64().unwrap();
    assert!((1..=500).contains(&records), "no more than are due: {records}");
    let latency = [
        "bench",
        "latency",
        "--rate",
        "500",
        "--duration",
        "1s",
        "--warm-up",
        "200ms",
        "--partitions",
        "2",
        "--topic",
        "timed",
        "--output",
        "json",
    ];
    // Twice: records of the first run are not taken for the second's.
    for _ in 0..2 {
        let report = json(&at(&node, &latency, "").done());
        assert_eq!((report["records"].as_u64(), report["failed"].as_u64()), (Some(500), Some(0)));
        assert_eq!(report["warm_up_records"].as_u64(), Some(100));
        assert_ordered(&report["end_to_end_ms"]);
    }
}

#[test]
fn what_cannot_be_measured_is_said() {
    let node = support::start_node();
    let empty = at(&node, &["topic", "create", "empty", "--partitions", "1"], "");
    empty.done();
    let nothing = at(&node, &["bench", "consume", "--topic", "empty"], "").failed(1);
    assert!(nothing.contains("has no records there"), "{nothing}");
    let few = at(&node, &["bench", "consume", "--topic", "empty", "--records", "5", "--idle", "200ms"], "");
    assert_eq!(few.code, Some(1));
    assert!(few.errors.contains("nothing came for 200ms after 0 records (--idle)"), "{few:?}");
    let wrong = at(&node, &["bench", "produce", "--rate", "0"], "").failed(2);
    assert!(wrong.contains("a rate is from 0.1 to 10,000,000"), "{wrong}");
    drop(node);
}

#[test]
fn a_node_that_dies_ends_the_run_with_an_error() {
    let mut node = support::start_node();
    let bootstrap = node.kafka_address();
    at(&node, &["topic", "create", "bench", "--partitions", "1"], "").done();
    let run = std::thread::spawn(move || {
        let arguments = [
            "bench",
            "produce",
            "--duration",
            "1m",
            "--rate",
            "2000",
            "--delivery-timeout",
            "1s",
            "--bootstrap",
            &bootstrap,
        ];
        crate::polylogue(&arguments, "")
    });
    support::eventually("records arrive", support::WITHIN, || {
        (support::stored_bytes(&node, "bench", 0) > 0).then_some(())
    });
    node.kill().unwrap();
    let ended = run.join().unwrap();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("were not written, the first because"), "{ended:?}");
}
