//! librdkafka as it is in C, behind the few safe calls that the driver needs.
//!
//! The crate `rdkafka` allocates and locks per message (delivery results, message wrappers), and what it
//! costs would be charged to the broker. These wrappers cost what the C functions cost.

#![allow(unsafe_code, reason = "foreign functions; each call says why it is sound")]

use std::{
    cell::{Cell, RefCell},
    ffi::{CStr, CString, c_char, c_int, c_void},
    marker::PhantomData,
    ptr::{self, NonNull},
    slice,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::bindings as c;

use super::Setting;

/// Errors come back in a buffer of this many bytes.
const ERROR_TEXT_MAX: usize = 512;

/// The version of librdkafka that is linked in.
pub(crate) fn version() -> String {
    // SAFETY: returns a static string that ends with a zero.
    unsafe { text(c::rd_kafka_version_str()) }
}

/// What became of the messages of one producer. Only the thread that polls the producer touches it:
/// librdkafka calls back from within `poll` and `flush`, and `Producer` cannot leave its thread.
#[derive(Default)]
pub(crate) struct Deliveries {
    delivered: Cell<u64>,
    failed: Cell<u64>,
    first_error: RefCell<Option<String>>,
    latencies: RefCell<Option<Latencies>>,
}

/// Nanoseconds from the stamp that each message carried to its delivery report.
struct Latencies {
    now: fn() -> u64,
    nanos: Vec<u64>,
}

impl Deliveries {
    fn record(&self, error: Option<String>, sent_at: u64) {
        match error {
            None => self.delivered.set(self.delivered.get() + 1),
            Some(error) => {
                self.failed.set(self.failed.get() + 1);
                self.first_error.borrow_mut().get_or_insert(error);
            }
        }
        if sent_at > 0
            && let Some(latencies) = &mut *self.latencies.borrow_mut()
        {
            let now = (latencies.now)();
            latencies.nanos.push(now.saturating_sub(sent_at));
        }
    }
}

/// A producer to one topic.
pub(crate) struct Producer {
    topic: *mut c::rd_kafka_topic_t,
    client: *mut c::rd_kafka_t,
    deliveries: Box<Deliveries>,
}

/// The queue of the producer is full: poll, then try again.
#[derive(Debug)]
pub(crate) struct QueueFull;

impl Producer {
    pub(crate) fn new(topic: &str, settings: &[Setting]) -> Result<Self> {
        let deliveries = Box::<Deliveries>::default();
        let conf = configured(settings)?;
        // SAFETY: `conf` is alive. The opaque pointer outlives the client: the box is dropped after
        // `Drop` has destroyed the client, and moving the box does not move what it holds.
        unsafe {
            c::rd_kafka_conf_set_dr_msg_cb(conf, Some(on_delivery));
            c::rd_kafka_conf_set_opaque(conf, ptr::from_ref(&*deliveries).cast_mut().cast());
        }
        let client = client(c::rd_kafka_type_t::RD_KAFKA_PRODUCER, conf)?;
        Ok(Self { topic: topic_handle(client, topic)?, client, deliveries })
    }

    /// Measures from each message's stamp to its delivery report from now on.
    pub(crate) fn measure_latencies(&self, now: fn() -> u64, expected: usize) {
        *self.deliveries.latencies.borrow_mut() =
            Some(Latencies { now, nanos: Vec::with_capacity(expected) });
    }

    /// What was measured, in nanoseconds.
    pub(crate) fn take_latencies(&self) -> Vec<u64> {
        self.deliveries.latencies.borrow_mut().take().map_or_else(Vec::new, |latencies| latencies.nanos)
    }

    /// Queues a copy of `value`; a stamp of zero is not measured.
    pub(crate) fn send(&self, partition: i32, value: &[u8], stamp: u64) -> Result<Result<(), QueueFull>> {
        // SAFETY: the topic is alive; librdkafka copies the value (MSG_F_COPY) and only reads it; there
        // is no key; the opaque is a number that is never followed.
        let refused = unsafe {
            c::rd_kafka_produce(
                self.topic,
                partition,
                c::RD_KAFKA_MSG_F_COPY,
                value.as_ptr().cast_mut().cast(),
                value.len(),
                ptr::null(),
                0,
                ptr::without_provenance_mut(stamp as usize),
            )
        };
        if refused == 0 {
            return Ok(Ok(()));
        }
        // SAFETY: reads this thread's last error.
        let error = unsafe { c::rd_kafka_last_error() };
        ensure!(
            error == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL,
            "produce: {}",
            describe(error)
        );
        Ok(Err(QueueFull))
    }

    /// Serves delivery reports, waiting for the first at most `wait`.
    pub(crate) fn poll(&self, wait: Duration) {
        // SAFETY: the client is alive.
        unsafe { c::rd_kafka_poll(self.client, wait.as_millis() as c_int) };
    }

    /// Sends what is queued and waits for the reports, at most `wait`.
    pub(crate) fn flush(&self, wait: Duration) {
        // SAFETY: the client is alive. What is left shows in `queued`.
        unsafe { c::rd_kafka_flush(self.client, wait.as_millis() as c_int) };
    }

    /// Messages and requests without an outcome yet.
    pub(crate) fn queued(&self) -> usize {
        // SAFETY: the client is alive.
        usize::try_from(unsafe { c::rd_kafka_outq_len(self.client) }).unwrap_or(0)
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.deliveries.delivered.get()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.deliveries.failed.get()
    }

    /// Why the first of the failed messages failed.
    pub(crate) fn first_error(&self) -> Option<String> {
        self.deliveries.first_error.borrow().clone()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // SAFETY: both are alive and destroyed once, the topic before its client.
        unsafe {
            c::rd_kafka_topic_destroy(self.topic);
            c::rd_kafka_destroy(self.client);
        }
    }
}

/// SAFETY: called by librdkafka with the producer's opaque pointer, from the thread that polls.
unsafe extern "C" fn on_delivery(
    _client: *mut c::rd_kafka_t,
    message: *const c::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: `opaque` is the `Deliveries` that `Producer::new` set, alive as long as the client;
    // `message` is valid during the call.
    let (deliveries, message) = unsafe { (&*opaque.cast::<Deliveries>(), &*message) };
    deliveries.record(error_of(message), message._private.addr() as u64);
}

/// Where a consumer starts to read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    Beginning,
    End,
}

/// A consumer of some partitions of one topic, without a group.
pub(crate) struct Consumer {
    queue: *mut c::rd_kafka_queue_t,
    topic: *mut c::rd_kafka_topic_t,
    client: *mut c::rd_kafka_t,
    partitions: i32,
}

/// A message that was received; given back to librdkafka when it goes.
#[repr(transparent)]
pub(crate) struct Message<'a> {
    raw: NonNull<c::rd_kafka_message_t>,
    consumer: PhantomData<&'a Consumer>,
}

impl Consumer {
    pub(crate) fn new(topic: &str, partitions: i32, from: From, settings: &[Setting]) -> Result<Self> {
        let client = client(c::rd_kafka_type_t::RD_KAFKA_CONSUMER, configured(settings)?)?;
        let topic = topic_handle(client, topic)?;
        // SAFETY: the client is alive.
        let queue = unsafe { c::rd_kafka_queue_new(client) };
        let consumer = Self { queue, topic, client, partitions };
        let offset = match from {
            From::Beginning => c::RD_KAFKA_OFFSET_BEGINNING,
            From::End => c::RD_KAFKA_OFFSET_END,
        };
        for partition in 0..partitions {
            // SAFETY: topic and queue are alive and belong to the same client.
            let refused =
                unsafe { c::rd_kafka_consume_start_queue(topic, partition, i64::from(offset), queue) };
            if refused != 0 {
                // SAFETY: reads this thread's last error.
                bail!("consume partition {partition}: {}", describe(unsafe { c::rd_kafka_last_error() }));
            }
        }
        Ok(consumer)
    }

    /// Fills `batch` to its capacity; fewer only when `wait` is over before.
    pub(crate) fn receive<'a>(&'a self, batch: &mut Vec<Message<'a>>, wait: Duration) {
        batch.clear();
        let room = batch.capacity();
        // SAFETY: the queue is alive, and `batch` has room for `room` pointers, which is what `Message`
        // is (it is transparent): librdkafka fills the first `received` with messages that are ours.
        unsafe {
            let first = batch.as_mut_ptr().cast::<*mut c::rd_kafka_message_t>();
            let received =
                c::rd_kafka_consume_batch_queue(self.queue, wait.as_millis() as c_int, first, room);
            batch.set_len(usize::try_from(received).unwrap_or(0));
        }
    }

    /// The next message, if there is one within `wait`.
    pub(crate) fn next(&self, wait: Duration) -> Option<Message<'_>> {
        // SAFETY: the queue is alive; a message that is returned is ours.
        let raw = unsafe { c::rd_kafka_consume_queue(self.queue, wait.as_millis() as c_int) };
        NonNull::new(raw).map(|raw| Message { raw, consumer: PhantomData })
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // SAFETY: all are alive and destroyed once, in the order that librdkafka asks for.
        unsafe {
            for partition in 0..self.partitions {
                c::rd_kafka_consume_stop(self.topic, partition);
            }
            c::rd_kafka_queue_destroy(self.queue);
            c::rd_kafka_topic_destroy(self.topic);
            c::rd_kafka_destroy(self.client);
        }
    }
}

impl Message<'_> {
    /// The record's value, or what the client has to report instead of one.
    pub(crate) fn value(&self) -> Result<&[u8]> {
        // SAFETY: the message is alive until it is dropped.
        let message = unsafe { self.raw.as_ref() };
        if let Some(error) = error_of(message) {
            bail!("consume: {error}");
        }
        if message.payload.is_null() {
            return Ok(&[]);
        }
        // SAFETY: the payload is `len` bytes that live as long as the message.
        Ok(unsafe { slice::from_raw_parts(message.payload.cast(), message.len) })
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        // SAFETY: received once, given back once.
        unsafe { c::rd_kafka_message_destroy(self.raw.as_ptr()) };
    }
}

fn configured(settings: &[Setting]) -> Result<*mut c::rd_kafka_conf_t> {
    // SAFETY: a new configuration, ours until a client takes it. On an error it leaks: the driver ends.
    let conf = unsafe { c::rd_kafka_conf_new() };
    for setting in settings {
        let (name, value) = (CString::new(&*setting.name)?, CString::new(&*setting.value)?);
        let mut error = [0 as c_char; ERROR_TEXT_MAX];
        // SAFETY: all strings end with a zero, and the buffer is as long as it says.
        let result = unsafe {
            c::rd_kafka_conf_set(conf, name.as_ptr(), value.as_ptr(), error.as_mut_ptr(), error.len())
        };
        if result != c::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            // SAFETY: librdkafka has written a string that ends with a zero.
            bail!("{setting:?}: {}", unsafe { text(error.as_ptr()) });
        }
    }
    Ok(conf)
}

fn client(kind: c::rd_kafka_type_t, conf: *mut c::rd_kafka_conf_t) -> Result<*mut c::rd_kafka_t> {
    let mut error = [0 as c_char; ERROR_TEXT_MAX];
    // SAFETY: takes the configuration over; the buffer is as long as it says.
    let client = unsafe { c::rd_kafka_new(kind, conf, error.as_mut_ptr(), error.len()) };
    if client.is_null() {
        // SAFETY: librdkafka has written a string that ends with a zero.
        bail!("new client: {}", unsafe { text(error.as_ptr()) });
    }
    Ok(client)
}

fn topic_handle(client: *mut c::rd_kafka_t, name: &str) -> Result<*mut c::rd_kafka_topic_t> {
    let name = CString::new(name).context("topic name")?;
    // SAFETY: the client is alive, the name ends with a zero, null stands for the default settings.
    let topic = unsafe { c::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut()) };
    if topic.is_null() {
        // SAFETY: reads this thread's last error.
        bail!("topic: {}", describe(unsafe { c::rd_kafka_last_error() }));
    }
    Ok(topic)
}

fn error_of(message: &c::rd_kafka_message_t) -> Option<String> {
    (message.err != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| describe(message.err))
}

fn describe(error: c::rd_kafka_resp_err_t) -> String {
    // SAFETY: returns a static string that ends with a zero.
    unsafe { text(c::rd_kafka_err2str(error)) }
}

/// SAFETY: `string` must end with a zero.
unsafe fn text(string: *const c_char) -> String {
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}
