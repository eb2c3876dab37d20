//! The registry's thread: it owns the metadata log, so that no handler ever waits for the disk.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    core::{Endpoint, FEATURE_LEVEL, Group, MetadataImage, MetadataRecord, Snapshot},
    error::{StartupError, WriteError},
};
use crate::{
    model::{BootId, BrokerEpoch, NodeId},
    storage::{
        fs::{Fs, LockWait},
        metadata_log::{self, MetadataLog, Recovered, codec},
    },
};

/// The folder of the metadata log within the data folder.
pub const METADATA_DIR: &str = "meta";
/// The folder of the partitions within the data folder.
pub const LOGS_DIR: &str = "logs";

/// Who this broker is, for the others to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its id.
    pub node: NodeId,
    /// This start of it.
    pub boot: BootId,
    /// Where it is reached.
    pub endpoints: Vec<Endpoint>,
}

/// Where the log is, and who opens it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) data_dir: PathBuf,
    pub(super) registration: Registration,
    /// Whether a registry of this process has had the log: its writer may still be at work, and is
    /// waited for. Anyone else who holds it is another process.
    pub(super) had_by_us: Arc<AtomicBool>,
}

/// What the thread tells.
pub(super) trait Told: Send + 'static {
    /// A group is on disk, or is not.
    fn written(&self, outcome: Result<(), WriteError>);
    /// The thread ends, whatever the reason.
    fn ended(&self);
}

/// Dropping it ends the thread after what it is at.
#[derive(Debug)]
pub(super) struct Writer {
    groups: Option<mpsc::Sender<Group>>,
    /// Resolves when the thread has let go of the log.
    ended: oneshot::Receiver<()>,
}

impl Writer {
    /// Hands a group over; `false` if the thread has ended.
    pub(super) fn write(&self, group: Group) -> bool {
        self.groups.as_ref().is_some_and(|groups| groups.send(group).is_ok())
    }

    /// Ends the thread, and resolves when the log is free for whoever opens it next.
    pub(super) async fn close(&mut self) {
        self.groups = None;
        let _ended_either_way = (&mut self.ended).await;
    }
}

/// Starts the thread, and resolves when it has opened the log and registered this broker in it.
pub(super) async fn start(
    place: Place,
    told: impl Told,
) -> Result<(Writer, Arc<MetadataImage>), StartupError> {
    let (opened, on_opened) = oneshot::channel();
    let (alive, ended) = oneshot::channel();
    let (groups, to_write) = mpsc::channel();
    let thread = thread::Builder::new().name("metadata-log".to_owned());
    let body = move || {
        // Dropped last, after the log and its lock.
        let _alive: oneshot::Sender<()> = alive;
        match open(&place) {
            Ok((log, image)) => {
                let _starter_may_be_gone = opened.send(Ok(image));
                write_all(log, &to_write, told);
            }
            Err(error) => {
                let _starter_may_be_gone = opened.send(Err(error));
            }
        }
    };
    thread.spawn(body).map_err(StartupError::Thread)?;
    let image = on_opened.await.map_err(|_| StartupError::WriterEnded)??;
    Ok((Writer { groups: Some(groups), ended }, image))
}

/// Tells of the end also when the thread panics.
struct TellEnd<T: Told>(T);

impl<T: Told> Drop for TellEnd<T> {
    fn drop(&mut self) {
        self.0.ended();
    }
}

fn write_all(mut log: MetadataLog, groups: &mpsc::Receiver<Group>, told: impl Told) {
    let told = TellEnd(told);
    while let Ok(group) = groups.recv() {
        let outcome = write(&mut log, &group);
        let is_written = outcome.is_ok();
        told.0.written(outcome);
        // After the answer: nobody waits for it, and it may take a while.
        if is_written && log.wants_rewrite() {
            rewrite(&mut log, &group.image);
        }
    }
}

pub(super) fn write(log: &mut MetadataLog, group: &Group) -> Result<(), WriteError> {
    let records = encode(&group.records)?;
    log.append(&records)?;
    Ok(())
}

fn encode(records: &[MetadataRecord]) -> Result<Vec<Vec<u8>>, codec::CodecError> {
    records.iter().map(codec::encode).collect()
}

fn snapshot_of(image: &MetadataImage) -> Result<Vec<u8>, codec::CodecError> {
    codec::encode(&Snapshot::of(image))
}

/// A file that could not be rewritten is tried again after the next group.
fn rewrite(log: &mut MetadataLog, image: &MetadataImage) {
    let rewritten = snapshot_of(image).map_err(WriteError::from).and_then(|snapshot| {
        log.rewrite(&snapshot)?;
        Ok(())
    });
    if let Err(error) = rewritten {
        tracing::warn!(%error, "metadata log was not rewritten");
    }
}

/// The log, the state it holds, and this broker registered in it.
pub(super) fn open(place: &Place) -> Result<(MetadataLog, Arc<MetadataImage>), StartupError> {
    let dir = place.data_dir.join(METADATA_DIR);
    refuse_logs_without_metadata(place, &dir)?;
    let had_by_us = place.had_by_us.load(Ordering::SeqCst);
    let wait = if had_by_us { LockWait::Block } else { LockWait::Fail };
    let (mut log, recovered) = MetadataLog::open(Arc::clone(&place.fs), &dir, wait)?;
    place.had_by_us.store(true, Ordering::SeqCst);
    if recovered.cut_bytes > 0 {
        tracing::warn!(bytes = recovered.cut_bytes, "a torn record was cut from the metadata log");
    }
    let mut image = replay(&recovered)?;
    refuse_another_node(place, &image)?;
    if recovered.must_rewrite {
        log.rewrite(&snapshot_of(&image)?)?;
    }
    let mut news = Vec::new();
    for record in beginnings(&image, &place.registration) {
        let index = image.index() + 1;
        image.apply(&record).map_err(|source| StartupError::Apply { index, source })?;
        news.push(record);
    }
    log.append(&encode(&news)?)?;
    Ok((log, Arc::new(image)))
}

fn refuse_logs_without_metadata(place: &Place, dir: &Path) -> Result<(), StartupError> {
    let logs = place.data_dir.join(LOGS_DIR);
    let unreadable = |path: &Path| {
        let path = path.to_path_buf();
        |source| StartupError::Logs { path, source }
    };
    if metadata_log::exists(place.fs.as_ref(), dir).map_err(unreadable(dir))?
        || !place.fs.exists(&logs).map_err(unreadable(&logs))?
        || place.fs.list(&logs).map_err(unreadable(&logs))?.is_empty()
    {
        return Ok(());
    }
    Err(StartupError::MetadataMissing { metadata: dir.to_path_buf(), logs })
}

pub(super) fn replay(recovered: &Recovered) -> Result<MetadataImage, StartupError> {
    let mut image = match &recovered.snapshot {
        Some(snapshot) => {
            let snapshot: Snapshot =
                codec::decode(snapshot).map_err(|source| StartupError::Record { index: 0, source })?;
            snapshot.into_image()
        }
        None => MetadataImage::default(),
    };
    for record in &recovered.records {
        let index = image.index() + 1;
        let record: MetadataRecord =
            codec::decode(record).map_err(|source| StartupError::Record { index, source })?;
        image.apply(&record).map_err(|source| StartupError::Apply { index, source })?;
    }
    Ok(image)
}

fn refuse_another_node(place: &Place, image: &MetadataImage) -> Result<(), StartupError> {
    let given = place.registration.node;
    match image.brokers().keys().next() {
        Some(owner) if !image.brokers().contains_key(&given) => {
            Err(StartupError::AnotherNode { path: place.data_dir.clone(), owner: *owner, given })
        }
        Some(_) | None => Ok(()),
    }
}

/// What has to be on record before this broker serves.
fn beginnings(image: &MetadataImage, us: &Registration) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    if image.cluster_id().is_nil() {
        let (cluster_id, feature_level) = (Uuid::new_v4(), FEATURE_LEVEL);
        records.push(MetadataRecord::ClusterCreated { cluster_id, feature_level });
    }
    if !image.cluster_id().is_nil() && image.feature_level() < FEATURE_LEVEL {
        records.push(MetadataRecord::FeatureLevelRaised { level: FEATURE_LEVEL });
    }
    let known = image.brokers().get(&us.node);
    if known.is_none_or(|known| known.boot != us.boot || known.endpoints != us.endpoints) {
        let index = image.index() + records.len() as u64 + 1;
        records.push(MetadataRecord::BrokerRegistered {
            node: us.node,
            boot: us.boot,
            epoch: BrokerEpoch::new(i64::try_from(index).unwrap_or(i64::MAX)),
            endpoints: us.endpoints.clone(),
        });
    }
    records
}
