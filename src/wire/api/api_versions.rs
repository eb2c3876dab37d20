//! What a node speaks: the first request of a connection (KIP-35, KIP-511).
//!
//! An unknown version is answered in version 0 with error 35 and all keys, so that the client can
//! try again.

use crate::wire::{ApiKey, ErrorCode, Str};

wire_structs! {
    /// Asks what the node speaks.
    struct ApiVersionsRequest {
        /// The client library.
        client_software_name: Str [3..],
        /// Its version.
        client_software_version: Str [3..],
    }

    /// What the node speaks.
    struct ApiVersionsResponse {
        /// Whether the request's version is served.
        error_code: ErrorCode [0..],
        /// The APIs.
        api_keys: Vec<ApiVersion> [0..],
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [1..],
        /// Features that this node could switch on.
        supported_features: Vec<SupportedFeatureKey> [3..; tag 0],
        /// Epoch of the features below; -1: unknown.
        finalized_features_epoch: i64 [3..; tag 1] = -1,
        /// Features that are on in the cluster. Never one that is not built: it switches clients over.
        finalized_features: Vec<FinalizedFeatureKey> [3..; tag 2],
        /// Of no meaning any more: whether a cluster may leave its former metadata store.
        zk_migration_ready: bool [3..; tag 3],
    }

    /// Versions of one API.
    struct ApiVersion {
        /// The API's number.
        api_key: i16 [0..],
        /// Lowest version.
        min_version: i16 [0..],
        /// Highest version.
        max_version: i16 [0..],
    }

    /// A feature that a node could switch on.
    struct SupportedFeatureKey {
        /// Its name.
        name: Str [3..],
        /// Lowest level.
        min_version: i16 [3..],
        /// Highest level.
        max_version: i16 [3..],
    }

    /// A feature that is on.
    struct FinalizedFeatureKey {
        /// Its name.
        name: Str [3..],
        /// Highest level.
        max_version_level: i16 [3..],
        /// Lowest level.
        min_version_level: i16 [3..],
    }
}

wire_api!(ApiVersions: ApiVersionsRequest -> ApiVersionsResponse);

impl ApiVersionsResponse {
    /// Every API that has a handler here.
    pub fn of_this_node(error_code: ErrorCode) -> Self {
        let api_keys = ApiKey::ALL.iter().filter_map(|api| {
            let (min_version, max_version) = api.versions()?;
            Some(ApiVersion { api_key: api.code(), min_version, max_version })
        });
        Self { error_code, api_keys: api_keys.collect(), ..Self::default() }
    }
}
