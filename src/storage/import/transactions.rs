//! Which transactional batches count.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    model::{Offset, ProducerId},
    record::{BatchHeader, records},
};

/// How a transaction ended, as the marker's key says: a version and a type, two bytes each (KIP-98).
const COMMIT: [u8; 2] = 1_i16.to_be_bytes();

/// The markers of a partition, in the order of their offsets.
#[derive(Clone, Debug, Default)]
pub(super) struct Transactions {
    markers: BTreeMap<ProducerId, Vec<(Offset, bool)>>,
}

impl Transactions {
    /// Takes note of a control batch; one whose key is not understood ends nothing.
    pub(super) fn note(&mut self, header: &BatchHeader, batch: &[u8]) {
        let Ok(mut records) = records(Bytes::copy_from_slice(batch)) else { return };
        let Some(Ok(marker)) = records.next() else { return };
        let Some(kind) = marker.key.as_deref().and_then(|key| key.get(2..4)) else { return };
        // Types other than commit (1) and abort (0) are not about transactions.
        if kind == COMMIT || kind == [0, 0] {
            self.markers.entry(header.producer_id).or_default().push((header.base_offset, kind == COMMIT));
        }
    }

    /// Whether the records of a batch are to be read by anybody.
    pub(super) fn keep(&self, header: &BatchHeader) -> bool {
        if header.is_control() {
            return false;
        }
        if !header.is_transactional() {
            return true;
        }
        let markers = self.markers.get(&header.producer_id).map(Vec::as_slice).unwrap_or_default();
        let after = markers.partition_point(|(offset, _)| *offset < header.base_offset);
        markers.get(after).is_some_and(|(_, committed)| *committed)
    }
}
