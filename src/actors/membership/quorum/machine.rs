//! The state machine behind the log. What it does with a proposal is decided here and nowhere else.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    super::core::{MetadataImage, MetadataRecord, Snapshot},
    proposal::{Applied, Proposal},
};
use crate::storage::metadata_log::codec::{self, CodecError};

/// A state that the same proposals lead to on every node.
pub(crate) trait StateMachine: Clone + Default + Send + Sync + 'static {
    /// Changes the state by the entry at this index, all or none.
    fn apply(&mut self, index: u64, proposal: &Proposal) -> Applied;
    /// The state as others and later starts read it.
    fn snapshot(&self) -> Result<Vec<u8>, CodecError>;
    /// The state that was kept.
    fn restore(bytes: &[u8]) -> Result<Self, CodecError>;
    /// What everybody else looks at.
    fn image(&self) -> Arc<MetadataImage>;
}

/// The image, and who may change it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageMachine {
    controller_epoch: u64,
    image: Arc<MetadataImage>,
}

#[derive(Serialize, Deserialize)]
enum Kept {
    V1 { controller_epoch: u64, image: Snapshot },
}

impl ImageMachine {
    fn apply_records(&mut self, records: &[MetadataRecord]) -> Applied {
        // Shares what does not change; dropped if one of them does not fit.
        let mut image = MetadataImage::clone(&self.image);
        for record in records {
            if let Err(error) = image.apply(record) {
                return Applied::Broken(error.to_string());
            }
        }
        self.image = Arc::new(image);
        Applied::Done
    }
}

impl StateMachine for ImageMachine {
    fn apply(&mut self, index: u64, proposal: &Proposal) -> Applied {
        match proposal {
            Proposal::Elected { node: _ } => {
                self.controller_epoch = index;
                Applied::Done
            }
            Proposal::Records { controller_epoch, .. } if *controller_epoch != self.controller_epoch => {
                Applied::Stale
            }
            Proposal::Records { records, .. } => self.apply_records(records),
        }
    }

    fn snapshot(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(&Kept::V1 { controller_epoch: self.controller_epoch, image: Snapshot::of(&self.image) })
    }

    fn restore(bytes: &[u8]) -> Result<Self, CodecError> {
        let Kept::V1 { controller_epoch, image } = codec::decode(bytes)?;
        Ok(Self { controller_epoch, image: Arc::new(image.into_image()) })
    }

    fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image)
    }
}
