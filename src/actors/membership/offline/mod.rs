//! The metadata of a data folder in which no node works: for tools that look at it or bring topics in, and for the first start
//! on a folder from before there was a quorum.

#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use uuid::Uuid;

use super::{
    LOGS_DIR,
    core::{
        ApplyError, CreatedTopic, FEATURE_LEVEL, MetadataImage, MetadataRecord, NewTopic, Proposal, Refusal,
        Rules, Snapshot, create_topic, open_epoch_here,
    },
    member::{Identity, NotOurs},
    quorum::{self, Stopped, StoppedError, StoppedQuorum},
};
use crate::{
    model::{BootId, BrokerEpoch, LeaderEpoch, NodeId, PartitionId, TopicId},
    storage::{
        fs::Fs,
        metadata_log::{
            self, OpenError, Recovered,
            codec::{self, CodecError},
        },
        own_file::OwnFileError,
        quorum_log,
    },
};

/// The folder of the metadata within the data folder, before there was a quorum.
const OLD_DIR: &str = "meta";

/// Why the metadata of a folder cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum OfflineMetadataError {
    /// The quorum's folder.
    #[error(transparent)]
    Quorum(#[from] StoppedError),
    /// The log from before there was a quorum cannot be read.
    #[error(transparent)]
    Old(#[from] OpenError),
    /// It can be read, and what it holds is of another version.
    #[error("metadata log: record {index}: {source}")]
    Record {
        /// Which record; 0 for the snapshot.
        index: u64,
        /// What is wrong with it.
        source: CodecError,
    },
    /// A record does not follow from those before it.
    #[error("metadata: record {index}: {source}")]
    Apply {
        /// Which record.
        index: u64,
        /// What is wrong with it.
        source: ApplyError,
    },
    /// What was asked for cannot be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There are logs and no metadata. Beginning anew would take every topic for deleted.
    #[error(
        "{} is missing and {} is not empty: restore the metadata, or move the logs away",
        metadata.display(), logs.display()
    )]
    Missing {
        /// What is missing.
        metadata: PathBuf,
        /// What is there.
        logs: PathBuf,
    },
    /// The data folder belongs to another cluster than its metadata says.
    #[error("the data folder's cluster id: {0}")]
    NotOurs(#[from] NotOurs),
    /// The cluster's id cannot be read.
    #[error("the data folder's cluster id: {0}")]
    Identity(#[from] OwnFileError),
    /// A folder cannot be looked at or changed.
    #[error("cannot work in {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn in_folder(path: &Path) -> impl FnOnce(io::Error) -> OfflineMetadataError {
    let path = path.to_path_buf();
    |source| OfflineMetadataError::Folder { path, source }
}

/// What the metadata of a data folder says.
#[derive(Clone, Debug)]
pub struct Known {
    /// The state, as far as it is known to be committed.
    pub image: MetadataImage,
    /// The node whose folder it is.
    pub node: Option<NodeId>,
    /// Whether this node alone decides: what the image says is all there is to say.
    pub is_alone: bool,
}

/// What the metadata of a data folder says, read without changing it; `None` where there is none.
pub fn look(fs: &dyn Fs, data_dir: &Path) -> Result<Option<Known>, OfflineMetadataError> {
    if let Some(stopped) = quorum::look(fs, data_dir)? {
        let (node, is_alone) = (stopped.node(), stopped.is_only_voter());
        return Ok(Some(Known { image: stopped.image, node, is_alone }));
    }
    let Some(recovered) = metadata_log::look(fs, &data_dir.join(OLD_DIR))? else { return Ok(None) };
    let image = replay_old(&recovered)?;
    let node = image.brokers().keys().next().copied();
    Ok(Some(Known { image, node, is_alone: true }))
}

/// What stands in the folder `quorum` of a data folder.
pub fn entries_of(fs: &dyn Fs, quorum: &Path) -> Result<Option<Stopped>, OfflineMetadataError> {
    let data_dir = quorum.parent().unwrap_or_else(|| Path::new("."));
    Ok(quorum::look(fs, data_dir)?)
}

fn replay_old(recovered: &Recovered) -> Result<MetadataImage, OfflineMetadataError> {
    let wrong = |index| move |source| OfflineMetadataError::Record { index, source };
    let mut image = match &recovered.snapshot {
        Some(snapshot) => codec::decode::<Snapshot>(snapshot).map_err(wrong(0))?.into_image(),
        None => MetadataImage::default(),
    };
    for record in &recovered.records {
        let index = image.index() + 1;
        let record: MetadataRecord = codec::decode(record).map_err(wrong(index))?;
        apply(&mut image, &record)?;
    }
    Ok(image)
}

fn apply(image: &mut MetadataImage, record: &MetadataRecord) -> Result<(), OfflineMetadataError> {
    let index = image.index() + 1;
    image.apply(record).map_err(|source| OfflineMetadataError::Apply { index, source })
}

/// Makes the metadata of a folder ready for a start, whoever starts there; the caller holds the folder's lock. What was written
/// before there was a quorum becomes the state of a quorum of this node alone. Logs without any metadata are refused.
pub fn prepare(fs: &Arc<dyn Fs>, data_dir: &Path) -> Result<(), OfflineMetadataError> {
    let old = data_dir.join(OLD_DIR);
    if !fs.exists(&old).map_err(in_folder(&old))? {
        return refuse_logs_without_metadata(fs.as_ref(), data_dir);
    }
    if quorum::look(fs.as_ref(), data_dir)?.is_none() {
        match metadata_log::look(fs.as_ref(), &old)? {
            Some(recovered) => adopt(fs, data_dir, &recovered)?,
            None => refuse_logs_without_metadata(fs.as_ref(), data_dir)?,
        }
    }
    fs.remove_dir_all(&old).map_err(in_folder(&old))?;
    fs.sync_dir(data_dir).map_err(in_folder(data_dir))?;
    Ok(())
}

fn adopt(fs: &Arc<dyn Fs>, data_dir: &Path, recovered: &Recovered) -> Result<(), OfflineMetadataError> {
    let mut image = replay_old(recovered)?;
    // It was made and nothing was ever written to it.
    let Some(node) = image.brokers().keys().next().copied() else {
        return refuse_logs_without_metadata(fs.as_ref(), data_dir);
    };
    if image.feature_level() < FEATURE_LEVEL {
        apply(&mut image, &MetadataRecord::FeatureLevelRaised { level: FEATURE_LEVEL })?;
    }
    // On disk before anything of that cluster is.
    Identity::open(Arc::clone(fs), data_dir)?.begin(image.cluster_id())?;
    quorum::adopt(Arc::clone(fs), data_dir, node, &image)?;
    tracing::info!(records = image.index(), "the metadata of a node alone is that of a cluster of one now");
    Ok(())
}

fn refuse_logs_without_metadata(fs: &dyn Fs, data_dir: &Path) -> Result<(), OfflineMetadataError> {
    let (logs, quorum) = (data_dir.join(LOGS_DIR), data_dir.join(quorum::QUORUM_DIR));
    let has_metadata = quorum_log::exists(fs, &quorum).map_err(in_folder(&quorum))?;
    let has_logs =
        fs.exists(&logs).map_err(in_folder(&logs))? && !fs.list(&logs).map_err(in_folder(&logs))?.is_empty();
    if has_logs && !has_metadata {
        return Err(OfflineMetadataError::Missing { metadata: quorum, logs });
    }
    Ok(())
}

/// The one who may change the metadata of a data folder while this is held.
#[derive(Debug)]
pub struct OfflineRegistry {
    quorum: StoppedQuorum,
    rules: Rules,
    image: MetadataImage,
    proposed: Vec<Proposal>,
}

impl OfflineRegistry {
    /// Opens the metadata of a data folder, whose lock the caller holds. A folder that is new becomes that of
    /// the node in `rules`; one of another node is refused, and one of a node that does not decide alone.
    pub fn open(fs: Arc<dyn Fs>, data_dir: &Path, rules: Rules) -> Result<Self, OfflineMetadataError> {
        prepare(&fs, data_dir)?;
        let identity = Identity::open(Arc::clone(&fs), data_dir)?;
        let cluster_id = identity.get().map_or_else(Uuid::new_v4, |belongs| belongs.cluster_id);
        // On disk before anything of that cluster is.
        identity.begin(cluster_id)?;
        let (quorum, image) = StoppedQuorum::open(fs, data_dir, rules.node)?;
        let mut registry = Self { quorum, rules, image, proposed: Vec::new() };
        registry.begin(cluster_id)?;
        Ok(registry)
    }

    /// Nobody decides while this is at work: a controller of its own does.
    fn begin(&mut self, cluster_id: Uuid) -> Result<(), OfflineMetadataError> {
        let node = self.rules.node;
        self.put(Proposal::Elected { node });
        let mut records = Vec::new();
        if self.image.cluster_id().is_nil() {
            let feature_level = FEATURE_LEVEL;
            records.push(MetadataRecord::ClusterCreated { cluster_id, feature_level });
        }
        if !self.image.brokers().contains_key(&node) {
            let (boot, epoch, endpoints) = (BootId::random(), BrokerEpoch::new(1), Vec::new());
            records.push(MetadataRecord::BrokerRegistered { node, boot, epoch, endpoints });
        }
        if records.is_empty() { Ok(()) } else { self.propose(records) }
    }

    /// Checks a new topic and gives it its id. Nothing is written before [`OfflineRegistry::commit`].
    pub fn create_topic(&mut self, new: &NewTopic) -> Result<CreatedTopic, OfflineMetadataError> {
        let image = self.as_if_running()?;
        let (created, record) = create_topic(&image, &self.rules, new, TopicId::random())?;
        self.propose(vec![record])?;
        Ok(created)
    }

    /// A node that has stopped is no place for replicas, and here there is no other.
    fn as_if_running(&self) -> Result<MetadataImage, OfflineMetadataError> {
        let (mut image, node) = (self.image.clone(), self.rules.node);
        if let Some(broker) = image.brokers().get(&node).cloned() {
            let (boot, endpoints) = (broker.boot, broker.endpoints);
            let epoch = BrokerEpoch::new(broker.epoch.get().saturating_add(1));
            apply(&mut image, &MetadataRecord::BrokerRegistered { node, boot, epoch, endpoints })?;
        }
        Ok(image)
    }

    /// A term to write the partition's log in, which no leader will be given (S6).
    pub fn open_epoch(&mut self, partition: PartitionId) -> Result<LeaderEpoch, OfflineMetadataError> {
        let (epoch, record) = open_epoch_here(&self.image, &self.rules, partition)?;
        self.propose(vec![record])?;
        Ok(epoch)
    }

    /// Writes records as they are, whatever the registry would say: metadata of a cluster, for tests on one node.
    #[cfg(test)]
    pub(crate) fn record(&mut self, records: &[MetadataRecord]) {
        if !records.is_empty() {
            self.propose(records.to_vec()).unwrap();
        }
        self.commit().unwrap();
    }

    fn propose(&mut self, records: Vec<MetadataRecord>) -> Result<(), OfflineMetadataError> {
        let controller_epoch = self.image.controller_epoch();
        let mut after = self.image.clone();
        for record in &records {
            apply(&mut after, record)?;
        }
        self.put(Proposal::Records { controller_epoch, records });
        Ok(())
    }

    fn put(&mut self, proposal: Proposal) {
        let index = self.quorum.next_index() + self.proposed.len() as u64;
        self.image.apply_entry(index, &proposal);
        self.proposed.push(proposal);
    }

    /// Writes what was proposed; it is on disk when this returns.
    pub fn commit(&mut self) -> Result<(), OfflineMetadataError> {
        if !self.proposed.is_empty() {
            self.quorum.write(&self.proposed)?;
            self.proposed.clear();
        }
        Ok(())
    }
}
