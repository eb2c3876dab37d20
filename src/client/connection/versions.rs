use std::collections::BTreeMap;

use crate::wire::{ApiKey, api::api_versions::ApiVersionsResponse};

/// The versions that a broker serves, of the APIs that we have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions(BTreeMap<ApiKey, (i16, i16)>);

impl Versions {
    /// As the broker told them.
    pub(super) fn new(response: &ApiVersionsResponse) -> Self {
        let ranges = response.api_keys.iter().filter_map(|range| {
            Some((ApiKey::from_code(range.api_key)?, (range.min_version, range.max_version)))
        });
        Self(ranges.collect())
    }

    /// The highest version that both sides have, and that is not above `cap`.
    pub fn highest(&self, api: ApiKey, cap: i16) -> Option<i16> {
        let (min, max) = *self.0.get(&api)?;
        let ours = api.served();
        let highest = max.min(*ours.end()).min(cap);
        (highest >= min && highest >= *ours.start()).then_some(highest)
    }
}
