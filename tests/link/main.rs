//! The cluster link between processes.
//!
//! `ractor`'s registries are global to a process, so the other node of each test is this program again, told by a variable
//! what to be ([`peer`]). Each trap of `ractor_cluster` that the link exists for has a test here.

#![allow(clippy::expect_used, clippy::unchecked_time_subtraction, reason = "a test that panics has failed")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod here;
mod peer;
mod security;
mod trouble;

use std::time::Duration;

/// The deadline of anything that takes well under a second.
const WITHIN: Duration = Duration::from_secs(10);

/// What the other process of a test runs; by itself a test of its own, that a link without peers starts and stops.
#[test]
fn a_link_starts_without_peers_and_stops() {
    if let Some(orders) = peer::orders() {
        return peer::run(&orders);
    }
    here::test(async {
        let here = here::Here::start(7, polylogue::actors::cluster_link::Security::default()).await;
        assert!(here.link.connected().borrow().is_empty());
        here.stop().await;
    });
}
