//! The registry of a data folder in which no node works: for tools that bring topics in from elsewhere.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use super::{
    CreatedTopic, MetadataImage, MetadataRecord, NewTopic, Refusal, Rules,
    core::{ProposeError, Registry},
    error::{StartupError, WriteError},
    writer::{self, METADATA_DIR, Place, Registration},
};
use crate::{
    model::{BootId, LeaderEpoch, NodeId, PartitionId},
    storage::{
        fs::Fs,
        metadata_log::{self, MetadataLog, codec},
    },
};

/// What the metadata of a data folder says, read without changing it; `None` where there is none.
pub fn image_of(fs: &dyn Fs, data_dir: &Path) -> Result<Option<MetadataImage>, StartupError> {
    let recovered = metadata_log::look(fs, &data_dir.join(METADATA_DIR))?;
    recovered.as_ref().map(writer::replay).transpose()
}

/// What stands in the metadata log of the folder `meta`, oldest first, and the state below the first of them;
/// `None` where there is none.
pub fn records_of(
    fs: &dyn Fs,
    meta: &Path,
) -> Result<Option<(MetadataImage, Vec<MetadataRecord>)>, StartupError> {
    let Some(mut recovered) = metadata_log::look(fs, meta)? else { return Ok(None) };
    let records = std::mem::take(&mut recovered.records);
    let state = writer::replay(&recovered)?;
    let mut decoded = Vec::new();
    for record in &records {
        let index = state.index() + decoded.len() as u64 + 1;
        decoded.push(codec::decode(record).map_err(|source| StartupError::Record { index, source })?);
    }
    Ok(Some((state, decoded)))
}

/// The one who may change the metadata of a data folder while this is held.
#[derive(Debug)]
pub struct OfflineRegistry {
    log: MetadataLog,
    registry: Registry,
}

impl OfflineRegistry {
    /// Opens the metadata of a data folder, whose lock the caller holds. A folder that is new becomes that of
    /// the node in `rules`; one of another node is refused.
    pub fn open(fs: Arc<dyn Fs>, data_dir: &Path, rules: Rules) -> Result<Self, StartupError> {
        let known = image_of(fs.as_ref(), data_dir)?;
        let known = known.as_ref().and_then(|image| image.brokers().get(&rules.node));
        // As it was registered last: nothing has to be said again.
        let registration = Registration {
            node: rules.node,
            boot: known.map_or_else(BootId::random, |known| known.boot),
            endpoints: known.map(|known| known.endpoints.clone()).unwrap_or_default(),
        };
        let had_by_us = Arc::new(AtomicBool::new(false));
        let place = Place { fs, data_dir: data_dir.to_path_buf(), registration, had_by_us };
        let (log, image) = writer::open(&place)?;
        Ok(Self { log, registry: Registry::new(rules, image) })
    }

    /// Checks a new topic and gives it its id. Nothing is written before [`OfflineRegistry::commit`].
    pub fn create_topic(&mut self, new: &NewTopic) -> Result<CreatedTopic, Refusal> {
        self.registry.create_topic(new, false).map_err(refusal)
    }

    /// A term to write the partition's log in, which no leader will be given (S6).
    pub fn open_epoch(&mut self, partition: PartitionId) -> Result<LeaderEpoch, Refusal> {
        self.registry.open_epoch(partition).map_err(refusal)
    }

    /// Writes records as they are, whatever the registry would say: metadata of a cluster, for tests on one node.
    #[cfg(test)]
    pub(crate) fn record(&mut self, records: &[MetadataRecord]) {
        let records: Vec<_> = records.iter().map(|record| codec::encode(record).unwrap()).collect();
        self.log.append(&records).unwrap();
    }

    /// Writes what was proposed; it is on disk when this returns.
    pub fn commit(&mut self) -> Result<(), WriteError> {
        let Some(group) = self.registry.next_group() else { return Ok(()) };
        writer::write(&mut self.log, &group)?;
        self.registry.on_committed();
        Ok(())
    }
}

fn refusal(error: ProposeError) -> Refusal {
    match error {
        ProposeError::Refused(refusal) => refusal,
        ProposeError::Broken(_) => Refusal::InvalidRequest("the metadata does not take this topic"),
    }
}

/// The node that a data folder belongs to; `None` where it is new.
pub fn owner_of(image: &MetadataImage) -> Option<NodeId> {
    image.brokers().keys().next().copied()
}
