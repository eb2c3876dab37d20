//! What an entry of the quorum's log is, and what becomes of it.
//!
//! A controller decides ahead of the log: on a state that its own proposals have led to and that is not applied yet.
//! That is right only while no one else's come between, so records carry the epoch of the controller that has
//! decided them, and are nothing under another.

use serde::{Deserialize, Serialize};

use super::{apply::ApplyError, image::MetadataImage, record::MetadataRecord};
use crate::model::NodeId;

/// The payload of one entry. Its encoding grows at its end only, as a record's does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proposal {
    /// A controller begins: the entry's index is its epoch (S19).
    Elected {
        /// Who.
        node: NodeId,
    },
    /// What the controller of this epoch has decided: all of it or nothing.
    Records {
        /// Whose records they are; nothing, if another one has begun since.
        controller_epoch: u64,
        /// At least one.
        records: Vec<MetadataRecord>,
    },
}

/// What became of an entry, the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// It holds.
    Done,
    /// Another controller has begun before it: nothing of it holds.
    Stale,
    /// It does not follow from what was before: nothing of it holds. Only a defect makes such an entry.
    Broken(ApplyError),
}

impl Proposal {
    /// Whether what there is could not be served without it: who decides, who is there and with how much room, who leads.
    /// Everything else can wait until there is space on the disk.
    pub fn keeps_going(&self) -> bool {
        let Self::Records { records, .. } = self else { return true };
        records.iter().all(|record| {
            matches!(
                record,
                MetadataRecord::BrokerRegisteredV2 { .. }
                    | MetadataRecord::BrokerFenced { .. }
                    | MetadataRecord::BrokerUnfenced { .. }
                    | MetadataRecord::BrokerStopping { .. }
                    | MetadataRecord::ReplicasMaxTold { .. }
                    | MetadataRecord::PartitionChanged { .. }
            )
        })
    }
}

impl MetadataImage {
    /// Changes the state by one entry, all of it or nothing; [`MetadataImage::index`] is the entry's afterwards in
    /// either case.
    pub fn apply_entry(&mut self, index: u64, proposal: &Proposal) -> Applied {
        let applied = match proposal {
            Proposal::Elected { node } => self.elect(index, *node),
            Proposal::Records { controller_epoch, .. } if *controller_epoch != self.controller_epoch() => {
                Applied::Stale
            }
            Proposal::Records { records, .. } => self.apply_all(records),
        };
        self.index = index;
        applied
    }

    /// Also before the cluster's first record, which only a controller can write.
    fn elect(&mut self, index: u64, node: NodeId) -> Applied {
        self.controller = Some(super::image::Controlled { node, epoch: index });
        Applied::Done
    }

    fn apply_all(&mut self, records: &[MetadataRecord]) -> Applied {
        if records.iter().any(|record| matches!(record, MetadataRecord::ControllerElected { .. })) {
            return Applied::Broken(ApplyError::Controller);
        }
        let outcome = match records {
            // One is all or nothing as it is.
            [record] => self.apply(record),
            _ => self.apply_to_copy(records),
        };
        outcome.map_or_else(Applied::Broken, |()| Applied::Done)
    }

    fn apply_to_copy(&mut self, records: &[MetadataRecord]) -> Result<(), ApplyError> {
        let mut after = self.clone();
        records.iter().try_for_each(|record| after.apply(record))?;
        *self = after;
        Ok(())
    }
}
