//! Memory of the program's own code that only a node's start has used.
//!
//! The kernel maps far more of a program than runs: whole folios of the page cache, where one page of them is touched. What
//! a start needs once (configuration, recovery, the joining of the cluster) would stay resident for as long as the node runs.

use std::time::Duration;

use tokio::time::sleep;

use crate::sys::release_program_pages;

/// What follows a start by itself has run by then.
const START_ENDS_AFTER: Duration = Duration::from_secs(1);

/// Gives back what of the program only its start has used. Without success the node runs with what it has.
pub(super) async fn release_after_start() {
    sleep(START_ENDS_AFTER).await;
    match release_program_pages() {
        Ok(bytes) => tracing::debug!(bytes, "what the start has used of the program was given back"),
        Err(error) => {
            tracing::debug!("what the start has used of the program could not be given back: {error}");
        }
    }
}
