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

/// A topic of these tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Topic {
    pub(crate) name: &'static str,
    pub(crate) partitions: i32,
}

impl Topic {
    pub(crate) fn partition(self, index: i32) -> TopicPartition {
        TopicPartition { topic: TopicName::new(self.name).unwrap(), index: PartitionIndex::new(index) }
    }
}

pub(crate) const LOG: Topic = Topic { name: "kill", partitions: 2 };
/// Between two records of one producer: the load is steady and the history stays readable.
pub(crate) const PACE: Duration = Duration::from_micros(250);
/// By how many bytes records differ in size.
const VARIED: usize = 900;
/// The most records of one producer that wait for an answer, also while the node is down.
const OUTSTANDING: &str = "2000";

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
pub(crate) struct Sender {
    topic: Topic,
    name: ProducerName,
    producer: ThreadedProducer<Answers>,
    history: Arc<HistoryWriter>,
    /// How many records it has no answer for and will get none.
    given_up: Arc<AtomicU64>,
    next: Vec<u32>,
    /// The most bytes of a record that is sent at a pace.
    most: usize,
}

impl Sender {
    fn new(
        topic: Topic,
        config: &ClientConfig,
        profile: ProducerProfile,
        history: &Arc<HistoryWriter>,
    ) -> Self {
        let given_up = Arc::new(AtomicU64::new(0));
        let answers = Answers { history: Arc::clone(history), given_up: Arc::clone(&given_up) };
        let producer = config.create_with_context(answers).unwrap();
        let name = profile.name.clone();
        history.record(&Event::Producer(profile)).unwrap();
        let next = vec![0; topic.partitions as usize];
        Self { topic, name, producer, history: Arc::clone(history), given_up, next, most: VARIED }
    }

    /// Writes down the next record of a partition and sends it, waiting where the queue is full; false
    /// where the client refuses to go on, as librdkafka does once an idempotent producer has a gap.
    fn send(&mut self, index: i32, payload: &[u8]) -> bool {
        let next = &mut self.next[index as usize];
        let record =
            RecordId { partition: self.topic.partition(index), producer: self.name.clone(), sequence: *next };
        *next += 1;
        let (key, value) = (record.sequence.to_le_bytes(), record.in_value(payload));
        let digest = ContentDigest::of(Some(&key), Some(&value), &[]);
        self.history.record(&Event::Sent(Sent { record: record.clone(), digest })).unwrap();
        let mut message = BaseRecord::with_opaque_to(self.topic.name, Box::new(record))
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

    /// Sends until it is told to stop, on a thread of its own, and waits for the last answer; gives how many
    /// records it gave up on.
    pub(crate) fn start(mut self, pace: Duration, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
        let stop = Arc::clone(stop);
        thread::spawn(move || {
            self.send_until(&stop, pace);
            self.flush();
            self.given_up.load(Ordering::SeqCst)
        })
    }

    /// Sends at a steady pace. What a full queue held up is not made up for.
    fn send_until(&mut self, stop: &AtomicBool, pace: Duration) {
        let clock = SystemClock::new();
        let payload = vec![b'x'; self.most];
        let mut due = Duration::ZERO;
        for sent in 0_usize.. {
            let goes_on = self.send(sent as i32 % self.topic.partitions, &payload[sent % VARIED..]);
            if !goes_on || stop.load(Ordering::SeqCst) {
                return;
            }
            due = (due + pace).max(clock.monotonic().saturating_sub(Duration::from_millis(10)));
            thread::sleep(due.saturating_sub(clock.monotonic()));
        }
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
pub(crate) fn idempotent(topic: Topic, bootstrap: &str, name: &str, history: &Arc<HistoryWriter>) -> Sender {
    again_until_answered(topic, bootstrap, name, &[], history)
}

/// The same with records of this size at most, and as many of them in one batch as fit.
pub(crate) fn large(
    topic: Topic,
    bootstrap: &str,
    name: &str,
    most: usize,
    history: &Arc<HistoryWriter>,
) -> Sender {
    Sender { most, ..again_until_answered(topic, bootstrap, name, &[("linger.ms", "100")], history) }
}

fn again_until_answered(
    topic: Topic,
    bootstrap: &str,
    name: &str,
    more: &[(&str, &str)],
    history: &Arc<HistoryWriter>,
) -> Sender {
    let mut config = client::producer(bootstrap);
    config
        .set("enable.idempotence", "true")
        .set("max.in.flight.requests.per.connection", "5")
        .set("queue.buffering.max.messages", OUTSTANDING);
    for (key, value) in more {
        config.set(*key, *value);
    }
    Sender::new(topic, &config, profile(name, true, true, 5), history)
}

/// A producer that sends once, and does not know when the answer is lost.
fn at_most_once(bootstrap: &str, name: &str, history: &Arc<HistoryWriter>) -> Sender {
    let mut config = client::producer(bootstrap);
    config
        .set("enable.idempotence", "false")
        .set("message.send.max.retries", "0")
        .set("max.in.flight.requests.per.connection", "1")
        .set("queue.buffering.max.messages", OUTSTANDING);
    Sender::new(LOG, &config, profile(name, false, false, 1), history)
}

/// Stores a given number of bytes, all of them acknowledged.
pub(crate) fn fill(bootstrap: &str, history: &Arc<HistoryWriter>, bytes: usize) {
    let mut sender = idempotent(LOG, bootstrap, "filler", history);
    let payload = [b'f'; 8192];
    let records = bytes.div_ceil(payload.len());
    assert!((0..records).all(|sent| sender.send(sent as i32 % LOG.partitions, &payload)));
    sender.flush();
    assert_eq!(sender.given_up.load(Ordering::SeqCst), 0, "the node was not killed yet");
}

/// Reads everything that is stored and writes down that it was everything.
pub(crate) fn scan(topic: Topic, bootstrap: &str, history: &HistoryWriter, reader: &str) {
    let consumer = client::consumer(bootstrap);
    for index in 0..topic.partitions {
        let (reader, partition) = (reader.to_owned(), topic.partition(index));
        let mut bounds = (0, 0);
        // What is acknowledged after the end was asked for must not stand before this in the history: it would
        // have to be below that end.
        let begin = || {
            bounds = client::watermarks(&consumer, topic.name, index);
            let (from, until) = (Offset::new(bounds.0), Offset::new(bounds.1));
            Event::ScanBegan(ScanBegan { reader: reader.clone(), partition: partition.clone(), from, until })
        };
        history.record_made(begin).unwrap();
        client::read_range(&consumer, topic.name, index, bounds, |message| {
            note_read(topic, history, &reader, message);
        });
        history.record(&Event::ScanEnded(ScanEnded { reader, partition })).unwrap();
    }
}

fn note_read(topic: Topic, history: &HistoryWriter, reader: &str, message: &BorrowedMessage<'_>) {
    let read = Read {
        reader: reader.to_owned(),
        partition: topic.partition(message.partition()),
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
        let idempotent = idempotent(LOG, bootstrap, "idempotent", history).start(PACE, &stop);
        let at_most_once = at_most_once(bootstrap, "at-most-once", history).start(PACE, &stop);
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

/// Reads both partitions from where they end now, through every restart.
fn follow_until(stop: &AtomicBool, bootstrap: &str, history: &HistoryWriter) {
    let consumer = client::consumer(bootstrap);
    let ends = (0..LOG.partitions).map(|index| (index, client::watermarks(&consumer, LOG.name, index).1));
    client::assign(&consumer, LOG.name, &ends.collect::<Vec<_>>());
    let mut seen = 0_u64;
    while !stop.load(Ordering::SeqCst) {
        // Errors of the connection are expected here; an offset that is gone would show as one that
        // was seen and is no longer there.
        if let Some(Ok(message)) = consumer.poll(client::POLL) {
            note_read(LOG, history, "follower", &message);
            seen += 1;
        }
    }
    assert!(seen > 0, "the follower saw nothing");
}
