//! Requests, counted by API and error.

use std::sync::Arc;

use crate::{
    metrics::{Counter, Metrics},
    wire::{ApiKey, ErrorCode},
};

/// Counters that are found once, not for each request.
#[derive(Debug)]
pub struct RequestMeters {
    metrics: Arc<Metrics>,
    /// Requests that were carried out, in the order of [`ApiKey::ALL`].
    requests: Vec<Counter>,
}

impl RequestMeters {
    /// Counters for every API.
    pub fn new(metrics: &Arc<Metrics>) -> Self {
        let counter = |api: &ApiKey| metrics.requests.of([format!("{api:?}"), "none".to_owned()]);
        Self { metrics: Arc::clone(metrics), requests: ApiKey::ALL.iter().map(counter).collect() }
    }

    /// Counts a request that arrived.
    pub(crate) fn request(&self, api: ApiKey) {
        let place = ApiKey::ALL.iter().position(|other| *other == api);
        if let Some(counter) = place.and_then(|place| self.requests.get(place)) {
            counter.inc();
        }
    }

    /// Counts a refusal within a request.
    pub(crate) fn refused(&self, api: ApiKey, error: ErrorCode) {
        self.metrics.requests.of([format!("{api:?}"), format!("{error:?}")]).inc();
    }
}
