//! Clients that others wrote, against a node: what one writes, the same and another read.
//!
//! librdkafka comes with the crate `rdkafka`; kcat brings an older one of its own. Each writes with
//! every codec, with keys, headers and nulls; what is read is compared record by record, with offset
//! and timestamp, and the stored bytes are looked at, since a broker that makes a client give up
//! compression still answers every question right. franz-go, kafkajs and Kafka's Java client come as programs
//! of their own, each in a folder, which say what held and what did not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "tests/cluster uses all of it")]
#[path = "../cluster/cluster.rs"]
mod cluster;
mod failover;
mod franz_go;
mod java_client;
mod kafka_files;
mod kafka_tools;
mod kafkajs;
mod kcat;
mod librdkafka;
mod python;
mod samples;
#[path = "../support/mod.rs"]
mod support;

/// The codecs by the name that clients know them by and the number that a batch carries.
const CODECS: [(&str, u16); 5] = [("none", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)];
