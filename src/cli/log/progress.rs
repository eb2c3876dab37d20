//! How far reading and writing files has come, on standard error.

use crate::cli::progress::Progress;

/// Shows bytes of batches as they pass by; begins anew with each thing that is done.
#[derive(Debug)]
pub(super) struct Bytes {
    what: &'static str,
    progress: Progress,
}

impl Bytes {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, progress: Progress::batches(what) }
    }

    /// `bytes` more of `what`.
    pub(super) fn add(&mut self, what: &'static str, bytes: u64) {
        if what != self.what {
            self.progress.finish();
            *self = Self::new(what);
        }
        self.progress.add(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    pub(super) fn finish(&self) {
        self.progress.finish();
    }
}
