//! From the log of a partition of `__consumer_offsets` to a coordinator that knows its groups (S20).
//!
//! Everything up to the log's end at the time when the leader took office has to be read, and it has to be below the
//! high watermark: a predecessor may have answered a client by it.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{runtime::Handle, sync::watch, time::sleep};

use super::{
    core::{
        Coordinator,
        stored::{Stored, StoredError},
    },
    tenure::{NodeLeases, Tenures},
};
use crate::{
    actors::partition::{Leader, LogReader, PartitionHandle, ReadError, ReadOutcome, ReadRequest, Waiter},
    clock::Clock,
    config::node::GroupSettings,
    model::Offset,
    record::{self, BatchError},
};

/// How much is read at a time.
const READ_BYTES: usize = 4 << 20;
/// How long to wait before a leader that could not be read is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often is looked whether whoever led before has stopped.
const ALONE_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// How long a leader is waited for before it is asked for again.
const LEADER_WAIT: Duration = Duration::from_mins(1);

/// What a load stands on.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) partition: PartitionHandle,
    pub(super) label: Arc<str>,
    pub(super) io: Handle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: GroupSettings,
    pub(super) leases: NodeLeases,
    pub(super) tenures: watch::Receiver<Tenures>,
}

/// Why groups could not be loaded. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The log.
    #[error("log cannot be read: {0}")]
    Read(#[from] ReadError),
    /// What it holds.
    #[error("batch cannot be read: {0}")]
    Batch(#[from] BatchError),
    /// What is damaged is being fetched from another replica.
    #[error("offset {0} is being repaired")]
    Held(Offset),
    /// The thread panicked or the runtime ends.
    #[error("reading thread ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// Waits for a leader and reads its log, again and again until it has been read.
pub(super) async fn load(source: Source) -> (Arc<Leader>, Coordinator) {
    loop {
        let Some(leader) = source.partition.leader_within(LEADER_WAIT).await else { continue };
        // Behind this answer nothing is appended that a predecessor has on its way: the log's end covers what was.
        if source.partition.producers().await.is_err() {
            replaced(&source.partition, &leader, RETRY_AFTER).await;
            continue;
        }
        if !committed(&source.partition, &leader).await || !alone(&source, &leader).await {
            continue;
        }
        let reading = source.clone();
        let of_leader = Arc::clone(&leader);
        let read = source.io.spawn_blocking(move || read_all(&reading, &of_leader)).await;
        match read.map_err(LoadError::from).and_then(|read| read) {
            Ok(core) => return (leader, core),
            Err(error) => {
                tracing::error!(partition = %source.label, "groups are not loaded yet: {error}");
                replaced(&source.partition, &leader, RETRY_AFTER).await;
            }
        }
    }
}

/// Whether the leader still leads once all that its log had at first is below its high watermark.
async fn committed(partition: &PartitionHandle, leader: &Arc<Leader>) -> bool {
    let end = leader.reader.log_end_offset();
    let waiter = Waiter::default();
    let _signed_in = partition.sign_in(&waiter);
    loop {
        if !is_led_by(partition, leader) {
            return false;
        }
        if leader.high_watermark() >= end {
            return true;
        }
        waiter.notified().await;
    }
}

/// Whether the leader still leads once whoever led before answers nothing any more (S20).
async fn alone(source: &Source, leader: &Arc<Leader>) -> bool {
    let (partition, leases) = (&source.partition, &source.leases);
    let is_alone = || {
        let tenure = source.tenures.borrow().get(&partition.id().index).cloned();
        // One that is older than the leader says nothing of whom it has succeeded.
        let tenure = tenure.filter(|tenure| tenure.epoch >= leader.epoch);
        let has_stopped = |node, boot| leader.is_followed_by(node) || (leases.is_over)(node, boot);
        tenure.is_some_and(|tenure| tenure.is_alone(source.clock.monotonic(), leases.length, has_stopped))
    };
    while !is_alone() {
        if !is_led_by(partition, leader) {
            return false;
        }
        sleep(ALONE_AGAIN_AFTER).await;
    }
    true
}

/// Resolves when somebody else leads, or nobody.
pub(super) async fn until_replaced(partition: PartitionHandle, leader: Arc<Leader>) {
    let waiter = Waiter::default();
    let _signed_in = partition.sign_in(&waiter);
    while is_led_by(&partition, &leader) {
        waiter.notified().await;
    }
}

async fn replaced(partition: &PartitionHandle, leader: &Arc<Leader>, within: Duration) {
    let other = until_replaced(partition.clone(), Arc::clone(leader));
    // Either way it is tried again.
    let _ = tokio::time::timeout(within, other).await;
}

pub(super) fn is_led_by(partition: &PartitionHandle, leader: &Arc<Leader>) -> bool {
    partition.leader().is_some_and(|now| Arc::ptr_eq(&now, leader))
}

fn read_all(source: &Source, leader: &Leader) -> Result<Coordinator, LoadError> {
    let began = source.clock.monotonic();
    let end = leader.high_watermark();
    let Replayed { mut core, records, unknown } =
        replay(&leader.reader, end, source.settings.clone(), &source.label)?;
    core.loaded(super::now(&*source.clock));
    let sizes = core.sizes();
    let took = source.clock.monotonic().saturating_sub(began);
    if records > 0 {
        tracing::info!(
            partition = %source.label,
            records,
            unknown,
            groups = sizes.groups,
            members = sizes.members,
            "groups are loaded after {took:?}"
        );
    }
    Ok(core)
}

/// What the log up to some offset has come to.
#[derive(Debug)]
pub struct Replayed {
    /// Knows the groups; [`Coordinator::loaded`] is still to be called.
    pub core: Coordinator,
    /// How many records there were.
    pub records: u64,
    /// How many of them were passed over because this program does not know them.
    pub unknown: u64,
}

/// Reads a log from its start to `end`. Blocks.
pub fn replay(
    reader: &LogReader,
    end: Offset,
    settings: GroupSettings,
    label: &str,
) -> Result<Replayed, LoadError> {
    let mut core = Coordinator::new(settings);
    let mut replay = Replay { core: &mut core, label, records: 0, unknown: 0 };
    let mut from = reader.log_start_offset();
    while from < end {
        let mut bytes = BytesMut::new();
        let request = ReadRequest { from, upto: end, max_bytes: READ_BYTES, ..ReadRequest::default() };
        let next = match reader.read(&request, &mut bytes)? {
            ReadOutcome::Read { next, skipped, .. } => {
                if let Some(held) = skipped.iter().find(|batch| batch.is_held) {
                    return Err(LoadError::Held(held.first));
                }
                for batch in &skipped {
                    tracing::error!(partition = %label, "offsets and groups may be lost: corrupt batch: {batch}");
                }
                next
            }
            ReadOutcome::NeedsDisk => from,
        };
        replay.batches(bytes.freeze(), from)?;
        if next <= from {
            break;
        }
        from = next;
    }
    let Replay { records, unknown, .. } = replay;
    Ok(Replayed { core, records, unknown })
}

struct Replay<'a> {
    core: &'a mut Coordinator,
    label: &'a str,
    records: u64,
    unknown: u64,
}

impl Replay<'_> {
    fn batches(&mut self, bytes: Bytes, from: Offset) -> Result<(), LoadError> {
        for batch in record::batches(bytes) {
            let (header, batch) = batch?;
            if header.is_control() {
                continue;
            }
            for record in record::records(batch)? {
                let record = record?;
                if record.offset >= from {
                    self.record(record.offset, record.key, record.value);
                }
            }
        }
        Ok(())
    }

    fn record(&mut self, offset: Offset, key: Option<Bytes>, value: Option<Bytes>) {
        self.records += 1;
        let Some(key) = key else { return };
        match Stored::read(key, value) {
            Ok(stored) => self.core.load(stored),
            Err(StoredError::UnknownKind(_)) => self.unknown += 1,
            Err(error) => {
                self.unknown += 1;
                tracing::error!(partition = %self.label, %offset, "record is passed over: {error}");
            }
        }
    }
}
