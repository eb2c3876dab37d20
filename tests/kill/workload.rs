//! Producers and a reader that write down what they send, are told and see.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use polylogue::{
    chaos::history::{
        Acknowledged, Acks, ContentDigest, Event, HistoryWriter, ProducerName, ProducerProfile, Read,
        RecordId, Refused, ScanBegan, ScanEnded, Sent, TopicPartition,
    },
    clock::{Clock, SystemClock},
    model::{Offset, PartitionIndex, TopicName},
};
use rdkafka::{
    ClientConfig, ClientContext, Message,
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, DeliveryResult},
    producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer},
};

use crate::support::rdkafka as client;

pub(crate) const TOPIC: &str = "kill";
pub(crate) const PARTITIONS: i32 = 2;
/// Between two records of one producer: the load is steady and the history stays readable.
const PACE: Duration = Duration::from_micros(250);
/// The most records of one producer that wait for an answer, also while the node is down.
const OUTSTANDING: &str = "2000";

fn partition(index: i32) -> TopicPartition {
    TopicPartition { topic: TopicName::new(TOPIC).unwrap(), index: PartitionIndex::new(index) }
}

/// Takes the answers of one producer into the history.
struct Answers {
    history: Arc<HistoryWriter>,
    /// How many records it has no answer for and will get none.
    given_up: Arc<AtomicU64>,
}

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = Box<RecordId>;

    fn delivery(&self, result: &DeliveryResult<'_>, record: Box<RecordId>) {
        let event = match result {
            Ok(message) => {
                let offset = (message.offset() >= 0).then(|| Offset::new(message.offset()));
                Event::Acknowledged(Acknowledged { record: *record, offset })
            }
            // Whether it had left when the connection broke is not said, so nothing is certain.
            Err((error, _)) => {
                self.given_up.fetch_add(1, Ordering::SeqCst);
                Event::Unknown(Refused { record: *record, cause: error.to_string() })
            }
        };
        self.history.record(&event).unwrap();
    }
}

/// One producer, with the names of what it sends.
struct Sender {
    name: ProducerName,
    producer: ThreadedProducer<Answers>,
    history: Arc<HistoryWriter>,
    /// How many records it has no answer for and will get none.
    given_up: Arc<AtomicU64>,
    next: [u32; PARTITIONS as usize],
}

impl Sender {
    fn new(config: &ClientConfig, profile: ProducerProfile, history: &Arc<HistoryWriter>) -> Self {
        let given_up = Arc::new(AtomicU64::new(0));
        let answers = Answers { history: Arc::clone(history), given_up: Arc::clone(&given_up) };
        let producer = config.create_with_context(answers).unwrap();
        let name = profile.name.clone();
        history.record(&Event::Producer(profile)).unwrap();
        Self { name, producer, history: Arc::clone(history), given_up, next: [0; PARTITIONS as usize] }
    }

    /// Writes down the next record of a partition and sends it, waiting where the queue is full; false
    /// where the client refuses to go on, as librdkafka does once an idempotent producer has a gap.
    fn send(&mut self, index: i32, payload: &[u8]) -> bool {
        let next = &mut self.next[index as usize];
        let record = RecordId { partition: partition(index), producer: self.name.clone(), sequence: *next };
        *next += 1;
        let (key, value) = (record.sequence.to_le_bytes(), record.in_value(payload));
        let digest = ContentDigest::of(Some(&key), Some(&value), &[]);
        self.history.record(&Event::Sent(Sent { record: record.clone(), digest })).unwrap();
        let mut message = BaseRecord::with_opaque_to(TOPIC, Box::new(record))
            .partition(index)
            .key(&key[..])
            .payload(&value);
        // A full queue is waited out: answers, or the node's return, make room.
        while let Err((error, refused)) = self.producer.send(message) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                let refused = Refused { record: *refused.delivery_opaque, cause: error.to_string() };
                self.history.record(&Event::Failed(refused)).unwrap();
                self.given_up.fetch_add(1, Ordering::SeqCst);
                return false;
            }
            thread::sleep(PACE);
            message = refused;
        }
        true
    }

    fn flush(&self) {
        self.producer.flush(Duration::from_mins(3)).unwrap();
    }
}

fn profile(name: &str, idempotent: bool, retries: bool, in_flight: u32) -> ProducerProfile {
    ProducerProfile {
        name: ProducerName::new(name).unwrap(),
        acks: Acks::All,
        idempotent,
        retries,
        in_flight,
    }
}

/// A producer of which nothing may be missing or twice: it sends again until it is answered.
fn idempotent(bootstrap: &str, name: &str, history: &Arc<HistoryWriter>) -> Sender {
    let mut config = client::producer(bootstrap);
    config
        .set("enable.idempotence", "true")
        .set("max.in.flight.requests.per.connection", "5")
        .set("queue.buffering.max.messages", OUTSTANDING);
    Sender::new(&config, profile(name, true, true, 5), history)
}

/// A producer that sends once, and does not know when the answer is lost.
fn at_most_once(bootstrap: &str, name: &str, history: &Arc<HistoryWriter>) -> Sender {
    let mut config = client::producer(bootstrap);
    config
        .set("enable.idempotence", "false")
        .set("message.send.max.retries", "0")
        .set("max.in.flight.requests.per.connection", "1")
        .set("queue.buffering.max.messages", OUTSTANDING);
    Sender::new(&config, profile(name, false, false, 1), history)
}

/// Stores a given number of bytes, all of them acknowledged.
pub(crate) fn fill(bootstrap: &str, history: &Arc<HistoryWriter>, bytes: usize) {
    let mut sender = idempotent(bootstrap, "filler", history);
    let payload = [b'f'; 8192];
    let records = bytes.div_ceil(payload.len());
    assert!((0..records).all(|sent| sender.send(sent as i32 % PARTITIONS, &payload)));
    sender.flush();
    assert_eq!(sender.given_up.load(Ordering::SeqCst), 0, "the node was not killed yet");
}

/// Reads everything that is stored and writes down that it was everything.
pub(crate) fn scan(bootstrap: &str, history: &HistoryWriter, reader: &str) {
    let consumer = client::consumer(bootstrap);
    for index in 0..PARTITIONS {
        let (reader, partition) = (reader.to_owned(), partition(index));
        let mut bounds = (0, 0);
        // What is acknowledged after the end was asked for must not stand before this in the history: it would
        // have to be below that end.
        let begin = || {
            bounds = client::watermarks(&consumer, TOPIC, index);
            let (from, until) = (Offset::new(bounds.0), Offset::new(bounds.1));
            Event::ScanBegan(ScanBegan { reader: reader.clone(), partition: partition.clone(), from, until })
        };
        history.record_made(begin).unwrap();
        client::read_range(&consumer, TOPIC, index, bounds, |message| note_read(history, &reader, message));
        history.record(&Event::ScanEnded(ScanEnded { reader, partition })).unwrap();
    }
}

fn note_read(history: &HistoryWriter, reader: &str, message: &BorrowedMessage<'_>) {
    let read = Read {
        reader: reader.to_owned(),
        partition: partition(message.partition()),
        offset: Offset::new(message.offset()),
        record: message.payload().and_then(RecordId::of_value),
        digest: client::digest(message),
    };
    history.record(&Event::Read(read)).unwrap();
}

/// The load: two producers and a reader, each on a thread of its own.
pub(crate) struct Workload {
    stop: Arc<AtomicBool>,
    idempotent: JoinHandle<u64>,
    at_most_once: JoinHandle<u64>,
    reader: JoinHandle<()>,
}

impl Workload {
    pub(crate) fn start(bootstrap: &str, history: &Arc<HistoryWriter>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let load = |mut sender: Sender| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                send_until(&stop, &mut sender);
                sender.flush();
                sender.given_up.load(Ordering::SeqCst)
            })
        };
        let idempotent = load(idempotent(bootstrap, "idempotent", history));
        let at_most_once = load(at_most_once(bootstrap, "at-most-once", history));
        let (stopped, bootstrap, history) = (Arc::clone(&stop), bootstrap.to_owned(), Arc::clone(history));
        let reader = thread::spawn(move || follow_until(&stopped, &bootstrap, &history));
        Self { stop, idempotent, at_most_once, reader }
    }

    /// Lets the load run out while the node is up; gives how many records the idempotent producer gave
    /// up on.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.at_most_once.join().unwrap();
        self.reader.join().unwrap();
        self.idempotent.join().unwrap()
    }
}

/// Sends at a steady pace. What a full queue held up is not made up for.
fn send_until(stop: &AtomicBool, sender: &mut Sender) {
    let clock = SystemClock::new();
    let payload = [b'x'; 900];
    let mut due = Duration::ZERO;
    for sent in 0_usize.. {
        let goes_on = sender.send(sent as i32 % PARTITIONS, &payload[..sent % payload.len()]);
        if !goes_on || stop.load(Ordering::SeqCst) {
            return;
        }
        due = (due + PACE).max(clock.monotonic().saturating_sub(Duration::from_millis(10)));
        thread::sleep(due.saturating_sub(clock.monotonic()));
    }
}

/// Reads both partitions from where they end now, through every restart.
fn follow_until(stop: &AtomicBool, bootstrap: &str, history: &HistoryWriter) {
    let consumer = client::consumer(bootstrap);
    let ends = (0..PARTITIONS).map(|index| (index, client::watermarks(&consumer, TOPIC, index).1));
    client::assign(&consumer, TOPIC, &ends.collect::<Vec<_>>());
    let mut seen = 0_u64;
    while !stop.load(Ordering::SeqCst) {
        // Errors of the connection are expected here; an offset that is gone would show as one that
        // was seen and is no longer there.
        if let Some(Ok(message)) = consumer.poll(client::POLL) {
            note_read(history, "follower", &message);
            seen += 1;
        }
    }
    assert!(seen > 0, "the follower saw nothing");
}
