//! The librdkafka program that `polylogue chaos failover` writes with: see docs/OPERATIONS.md.

use std::{
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::time::Instant;

use anyhow::Result;
use clap::Args;
use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};

/// How often a record goes to each partition.
const EVERY: Duration = Duration::from_millis(1);
/// How long what is on its way may take in the end.
const FLUSH_WITHIN: Duration = Duration::from_mins(1);

/// Where to write.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long librdkafka waits for a connection or an answer, in milliseconds.
    socket_timeout_ms: u64,
    /// Bootstrap addresses.
    bootstrap: String,
    /// The topic.
    topic: String,
    /// How many partitions it has.
    partitions: i32,
}

struct Sent {
    partition: i32,
    number: u64,
    at: Instant,
}

/// Prints what became of each record.
struct Prints;

impl ClientContext for Prints {
    /// Connections come and go here.
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // Of these librdkafka's manual says that it recovers by itself and the application has nothing to do.
        let informs = [RDKafkaErrorCode::BrokerTransportFailure, RDKafkaErrorCode::AllBrokersDown];
        if error.rdkafka_error_code().is_none_or(|code| !informs.contains(&code)) {
            print(&format!("failed {error}: {reason}"));
        }
    }
}

impl ProducerContext for Prints {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        let Sent { partition, number, at } = *sent;
        print(&match result {
            Ok(message) => {
                format!("{partition} {number} {} {}", message.offset(), at.elapsed().as_micros())
            }
            Err((error, _)) => format!("failed {error}"),
        });
    }
}

fn print(line: &str) {
    // Whoever started this has ended if nobody reads, and then so does our input.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Writes to every partition until standard input ends.
pub(crate) fn main(options: &Options) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.bootstrap);
    config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "0");
    config.set("socket.timeout.ms", options.socket_timeout_ms.to_string());
    config.set("socket.connection.setup.timeout.ms", options.socket_timeout_ms.max(1000).to_string());
    let producer: ThreadedProducer<Prints> = config.create_with_context(Prints)?;
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    thread::spawn(move || {
        // An error is an end as well.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
    });
    let mut number = 0;
    while !stopped.load(Ordering::Relaxed) {
        for partition in 0..options.partitions {
            send(&producer, &options.topic, partition, number)?;
        }
        number += 1;
        thread::sleep(EVERY);
    }
    Ok(producer.flush(FLUSH_WITHIN)?)
}

fn send(producer: &ThreadedProducer<Prints>, topic: &str, partition: i32, number: u64) -> Result<()> {
    let value = number.to_be_bytes();
    let sent = Box::new(Sent { partition, number, at: Instant::now() });
    let mut record = BaseRecord::with_opaque_to(topic, sent).partition(partition).payload(&value);
    while let Err((error, back)) = producer.send::<[u8], _>(record) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
            return Err(error.into());
        }
        thread::sleep(EVERY);
        record = back;
    }
    Ok(())
}
