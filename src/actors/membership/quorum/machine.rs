//! The state machine behind the log. What it does with a proposal is decided in [`core`](super::super::core).

use std::sync::Arc;

use super::super::core::{Applied, MetadataImage, Proposal, Snapshot};
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

/// The image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageMachine(Arc<MetadataImage>);

impl StateMachine for ImageMachine {
    fn apply(&mut self, index: u64, proposal: &Proposal) -> Applied {
        // A copy shares what does not change.
        Arc::make_mut(&mut self.0).apply_entry(index, proposal)
    }

    fn snapshot(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(&Snapshot::of(&self.0))
    }

    fn restore(bytes: &[u8]) -> Result<Self, CodecError> {
        Ok(Self(Arc::new(codec::decode::<Snapshot>(bytes)?.into_image())))
    }

    fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.0)
    }
}
