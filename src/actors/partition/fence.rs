//! Appends by somebody who may have a successor by the time they come to the log.
//!
//! A coordinator that dies leaves appends on their way, and its successor reads the log. What the successor has not read
//! must not follow what it has (S20). So each of them numbers itself by a counter that they share, and the replica
//! appends only what is of the newest: a successor counts on, waits until the replica has answered it once, and reads.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The counter that those share who follow one another.
#[derive(Clone, Debug, Default)]
pub struct Fences(Arc<AtomicU64>);

/// What an append goes through; closed to all but the newest.
#[derive(Clone, Debug)]
pub struct Fence {
    newest: Fences,
    mine: u64,
}

impl Fences {
    /// Closes the way of all before.
    pub fn raise(&self) -> Fence {
        let mine = self.0.fetch_add(1, Ordering::AcqRel) + 1;
        Fence { newest: self.clone(), mine }
    }
}

impl Fence {
    /// Whether nobody has come after its owner.
    pub(super) fn is_open(&self) -> bool {
        self.newest.0.load(Ordering::Acquire) == self.mine
    }
}
