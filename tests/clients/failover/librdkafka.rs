//! librdkafka, through the crate that wraps it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};

use super::{GROUP, Progress, Read, TOPIC, cluster, strike};
use crate::support::{WITHIN, rdkafka::POLL};

const PARTITIONS: i32 = 3;

/// What became of records, as the application is told.
#[derive(Clone, Default)]
struct Told(Arc<Deliveries>);

#[derive(Default)]
struct Deliveries {
    written: AtomicU64,
    errors: Mutex<Vec<String>>,
}

impl ClientContext for Told {
    /// librdkafka says what it makes of connections here, and goes on.
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        if !is_for_information(&error) {
            self.fail(format!("{error}: {reason}"));
        }
    }
}

impl ProducerContext for Told {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.0.written.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => self.fail(error.to_string()),
        }
    }
}

impl Told {
    fn fail(&self, error: String) {
        self.0.errors.lock().unwrap_or_else(PoisonError::into_inner).push(error);
    }

    fn errors(&self) -> Vec<String> {
        self.0.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Its manual: such errors are for information, the client recovers by itself and the application has nothing to do.
fn is_for_information(error: &KafkaError) -> bool {
    let codes = [RDKafkaErrorCode::BrokerTransportFailure, RDKafkaErrorCode::AllBrokersDown];
    error.rdkafka_error_code().is_some_and(|code| codes.contains(&code))
}

/// Writes to every partition until it is told to stop, and gives how many records to each.
fn write(bootstrap: &str, told: Told, stop: &AtomicBool) -> u64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true");
    let producer: ThreadedProducer<Told> = config.create_with_context(told).unwrap();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let value = u64::to_be_bytes(number);
        for partition in 0..PARTITIONS {
            let record = BaseRecord::<(), _>::to(TOPIC).partition(partition).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        number += 1;
        thread::sleep(Duration::from_millis(1));
    }
    producer.flush(WITHIN).unwrap();
    number
}

/// Reads in a group until it is told to stop.
fn read(bootstrap: &str, read: &Read, stop: &AtomicBool) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", GROUP).set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer<Told> = config.create_with_context(Told::default()).unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    while !stop.load(Ordering::Relaxed) {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                let number = u64::from_be_bytes(message.payload().unwrap().try_into().unwrap());
                read.add(message.partition(), message.offset(), number);
            }
            Some(Err(error)) if is_for_information(&error) => {}
            Some(Err(error)) => read.wrong(error.to_string()),
            None => {}
        }
    }
}

impl rdkafka::consumer::ConsumerContext for Told {}

#[test]
fn librdkafka_notices_nothing_of_leaders_that_are_killed_and_of_a_rolling_restart() {
    let mut cluster = cluster(PARTITIONS);
    let bootstrap = cluster.bootstrap();
    let (told, seen) = (Told::default(), Read::of(PARTITIONS));
    let (stop_writing, stop_reading) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let writing = scope.spawn(|| write(&bootstrap, told.clone(), &stop_writing));
        let reading = scope.spawn(|| read(&bootstrap, &seen, &stop_reading));
        let struck = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            strike(&mut cluster, &|| Progress {
                written: told.0.written.load(Ordering::Relaxed),
                read: seen.count(),
            });
        }));
        stop_writing.store(true, Ordering::Relaxed);
        let written = writing.join();
        if let (Ok(()), Ok(written)) = (&struck, &written) {
            seen.until(&[*written; PARTITIONS as usize]);
        }
        stop_reading.store(true, Ordering::Relaxed);
        reading.join().unwrap();
        assert_eq!(told.errors(), Vec::<String>::new());
        let (written, ()) = (written.unwrap(), struck.unwrap());
        assert_eq!(told.0.written.load(Ordering::Relaxed), written * PARTITIONS as u64);
    });
}
