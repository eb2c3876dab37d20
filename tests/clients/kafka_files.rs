//! Files, not requests: Kafka reads the segments that we wrote, and we serve those that Kafka wrote.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rdkafka::{
    TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
    topic_partition_list::Offset,
};

use crate::{
    CODECS,
    kafka_tools::one_jvm_at_a_time,
    librdkafka::produce,
    samples::{assert_same, samples},
    support::{
        WITHIN, binary, java,
        kafka_broker::KafkaBroker,
        rdkafka::{Received, client, create_topic, producer, read_all},
        start_node,
    },
};

const DUMP: &str = "kafka.tools.DumpLogSegments";

/// A partition's files with this ending, ascending, by commas as Kafka's tool takes them.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort_unstable();
    files
}

fn by_commas(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(",")
}

/// Runs a tool of ours to its end; what it printed, where it succeeded.
fn polylogue(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(binary()).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn kafkas_own_tool_reads_our_segments_without_a_complaint() {
    let Some(kafka) = java::find("kafkas_own_tool_reads_our_segments_without_a_complaint") else {
        return;
    };
    let _alone = one_jvm_at_a_time();
    let mut node = start_node();
    let bootstrap = node.kafka_address();
    create_topic(&bootstrap, "dumped", 1, &[("segment.bytes", "60000"), ("index.interval.bytes", "1000")]);
    let mut sent = 0;
    for (number, (codec, _)) in CODECS.into_iter().enumerate() {
        for idempotence in ["false", "true"] {
            let settings = [
                ("compression.type", codec),
                ("enable.idempotence", idempotence),
                ("batch.num.messages", "50"),
            ];
            sent += produce(&bootstrap, "dumped", &settings, &samples(number as u64, 500)).len();
        }
    }
    let folder = node.partition_folder("dumped", 0);
    node.stop(WITHIN).unwrap();
    let segments = files(&folder, "log");
    assert!(segments.len() > 2, "{segments:?}");

    let arguments = ["--deep-iteration", "--print-data-log", "--files", &by_commas(&segments)];
    let (done, out, errors) = kafka.tool(DUMP, &arguments);
    assert!(done, "{errors}");
    let batches: Vec<_> = out.lines().filter(|line| line.starts_with("baseOffset:")).collect();
    let records = out.lines().filter(|line| line.starts_with("| offset:")).count();
    assert!(batches.len() >= 100, "{} batches", batches.len());
    assert!(batches.iter().all(|batch| batch.contains("isvalid: true")), "{out}");
    assert_eq!(records, sent);
    for (codec, _) in CODECS {
        let named = format!("compresscodec: {codec}");
        assert!(batches.iter().any(|batch| batch.to_lowercase().contains(&named)), "{codec}");
    }
    assert!(errors.is_empty(), "{errors}");
}

/// Transactions of one producer: the first is committed, the second is not.
fn transactions(bootstrap: &str, topic: &str) {
    let mut config = producer(bootstrap);
    config.set("transactional.id", "imported").set("message.timeout.ms", "30000");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
    producer.init_transactions(WITHIN).unwrap();
    for commit in [true, false] {
        producer.begin_transaction().unwrap();
        for number in 0..20 {
            let value = format!("transaction {commit} {number}");
            let record = BaseRecord::<(), String>::to(topic).partition(0).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(WITHIN).unwrap();
        if commit {
            producer.commit_transaction(WITHIN).unwrap();
        } else {
            producer.abort_transaction(WITHIN).unwrap();
        }
    }
}

fn delete_records(bootstrap: &str, topic: &str, before: i64) {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, Offset::Offset(before)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(WITHIN)).request_timeout(Some(WITHIN));
    runtime.block_on(admin.delete_records(&offsets, &options)).unwrap();
}

#[test]
fn a_topic_folder_that_kafka_wrote_is_served_by_us_after_an_import() {
    let test = "a_topic_folder_that_kafka_wrote_is_served_by_us_after_an_import";
    let Some(kafka) = java::find(test) else { return };
    let _alone = one_jvm_at_a_time();
    let broker = KafkaBroker::start(&kafka);
    let bootstrap = broker.address().to_owned();
    create_topic(&bootstrap, "orders", 2, &[("segment.bytes", "1048576")]);
    for (number, (codec, _)) in CODECS.into_iter().enumerate() {
        let settings = [("compression.type", codec), ("enable.idempotence", "true")];
        produce(&bootstrap, "orders", &settings, &samples(number as u64, 2000));
    }
    transactions(&bootstrap, "orders");
    produce(&bootstrap, "orders", &[], &samples(99, 300));
    delete_records(&bootstrap, "orders", 777);
    create_topic(&bootstrap, "beside", 1, &[]);
    for bench in ["produce", "consume", "latency"] {
        let few: &[&str] = match bench {
            "latency" => &["--duration", "500ms", "--warm-up", "100ms"],
            _ => &["--records", "5000"],
        };
        polylogue(&[&["bench", bench, "--bootstrap", &bootstrap][..], few].concat()).unwrap();
    }
    let theirs: HashMap<i32, Vec<Received>> =
        (0..2).map(|partition| (partition, read_all(&bootstrap, "orders", partition))).collect();
    assert_eq!(theirs[&0].first().map(|record| record.offset), Some(777));
    assert_eq!(theirs[&0].len(), 10_000 - 777 + 20 + 300);
    let left = broker.stop();

    let mut node = start_node();
    node.stop(WITHIN).unwrap();
    let (from, data) = (left.logs.display().to_string(), node.data_folder().display().to_string());
    let import = ["log", "import", &from, "--data-dir", &data, "--output", "json"];
    let which = polylogue(&import).unwrap_err();
    assert!(which.contains("bench, beside, orders: choose one with --topic"), "{which}");
    let chosen = [&import[..], &["--topic", "orders"]].concat();
    let dry: serde_json::Value =
        serde_json::from_str(&polylogue(&[&chosen[..], &["--dry-run"]].concat()).unwrap()).unwrap();
    assert_eq!(
        (dry["imported"].as_bool(), dry["partitions"][0]["log_start"].as_i64()),
        (Some(false), Some(777))
    );
    let done: serde_json::Value = serde_json::from_str(&polylogue(&chosen).unwrap()).unwrap();
    assert_eq!(done["partitions"].as_array().map(Vec::len), Some(2));
    let again = polylogue(&chosen).unwrap_err();
    assert!(again.contains("topic orders already exists"), "{again}");
    let sound = polylogue(&["log", "verify", "--data-dir", &data]).unwrap();
    assert!(sound.contains("orders-0   sound") || sound.contains("orders-0  sound"), "{sound}");

    node.start_again().unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    for (partition, theirs) in &theirs {
        let ours = read_all(&node.kafka_address(), "orders", *partition);
        assert_same(&format!("partition {partition}"), &ours, theirs);
    }
    // It is a topic as any other: it takes records, also of a producer whose id Kafka has given out too.
    let settings = [("enable.idempotence", "true")];
    let offsets = produce(&node.kafka_address(), "orders", &settings, &samples(5, 100));
    let end = theirs[&0].last().map(|record| record.offset + 1);
    assert_eq!(offsets.first().copied(), end, "it goes on where Kafka's ended");
    node.kill().unwrap();
    node.start_again().unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    assert_eq!(read_all(&node.kafka_address(), "orders", 0).len(), theirs[&0].len() + 100);
}
