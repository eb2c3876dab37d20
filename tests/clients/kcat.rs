//! kcat, whose librdkafka is older: it writes for the current one to read, and the other way round.

use serde_json::Value;

use crate::{
    CODECS,
    librdkafka::produce,
    samples::{assert_same, assert_stored_with, samples},
    support::{
        kcat::{self, Kcat},
        rdkafka::{Received, create_topic, read_all},
        start_node,
    },
};

/// What `kcat -J` prints for one record.
fn from_json(line: &str) -> Received {
    let json: Value = serde_json::from_str(line).unwrap();
    let bytes = |value: &Value| value.as_str().map(|text| text.as_bytes().to_vec());
    let headers = json["headers"].as_array().cloned().unwrap_or_default();
    let headers = headers.chunks(2).map(|pair| (pair[0].as_str().unwrap().to_owned(), bytes(&pair[1])));
    Received {
        offset: json["offset"].as_i64().unwrap(),
        timestamp: json["ts"].as_i64(),
        key: bytes(&json["key"]),
        value: bytes(&json["payload"]),
        headers: headers.collect(),
    }
}

fn consume(kcat: &Kcat, bootstrap: &str, topic: &str) -> Vec<Received> {
    let arguments = ["-C", "-q", "-J", "-e", "-t", topic, "-p", "0", "-o", "beginning"];
    let printed = String::from_utf8(kcat.run(bootstrap, &arguments, b"")).unwrap();
    printed.lines().map(from_json).collect()
}

#[test]
fn kcat_reads_what_librdkafka_wrote_with_every_codec() {
    let Some(kcat) = kcat::find("kcat_reads_what_librdkafka_wrote_with_every_codec") else { return };
    let node = start_node();
    let bootstrap = node.kafka_address();
    for (number, (codec, id)) in CODECS.into_iter().enumerate() {
        create_topic(&bootstrap, codec, 1, &[]);
        let sent = samples(10 + number as u64, 1000);
        produce(&bootstrap, codec, &[("compression.type", codec)], &sent);
        assert_same(codec, &consume(&kcat, &bootstrap, codec), &sent);
        assert_stored_with(&node, codec, id, &sent);
    }
}

/// One record a line for kcat, `key|value`; an empty half is sent as null (`-Z`).
fn as_lines(records: &[Received]) -> Vec<u8> {
    let half = |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().unwrap_or_default()).unwrap();
    let lines = records.iter().map(|record| format!("{}|{}\n", half(&record.key), half(&record.value)));
    lines.collect::<String>().into_bytes()
}

/// What kcat makes of a sample: its own headers, null for what is empty.
fn as_kcat_sends(record: Received) -> Received {
    let or_null = |bytes: Option<Vec<u8>>| bytes.filter(|bytes| !bytes.is_empty());
    let headers = vec![("from".to_owned(), Some(b"kcat".to_vec())), ("null".to_owned(), None)];
    Received { key: or_null(record.key), value: or_null(record.value), headers, timestamp: None, ..record }
}

#[test]
fn librdkafka_reads_what_kcat_wrote_with_every_codec_with_and_without_idempotence() {
    let Some(kcat) = kcat::find("librdkafka_reads_what_kcat_wrote_with_every_codec") else { return };
    let node = start_node();
    let bootstrap = node.kafka_address();
    for (number, (codec, id)) in CODECS.into_iter().enumerate() {
        for idempotence in ["false", "true"] {
            let topic = format!("{codec}-{idempotence}");
            create_topic(&bootstrap, &topic, 1, &[]);
            let sent: Vec<Received> =
                samples(20 + number as u64, 1000).into_iter().map(as_kcat_sends).collect();
            let idempotence = format!("enable.idempotence={idempotence}");
            let arguments = [
                "-P",
                "-t",
                &topic,
                "-p",
                "0",
                "-z",
                codec,
                "-K",
                "|",
                "-Z",
                "-H",
                "from=kcat",
                "-H",
                "null",
                "-X",
                "linger.ms=20",
                "-X",
                &idempotence,
            ];
            kcat.run(&bootstrap, &arguments, &as_lines(&sent));
            let mut received = read_all(&bootstrap, &topic, 0);
            let times: Vec<Option<i64>> = received.iter_mut().map(|record| record.timestamp.take()).collect();
            assert_same(&topic, &received, &sent);
            assert!(times.iter().all(Option::is_some) && times.is_sorted(), "{topic}: {times:?}");
            assert_stored_with(&node, &topic, id, &sent);
        }
    }
}
