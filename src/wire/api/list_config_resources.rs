//! Lists what has configs of its own (KIP-714, KIP-1142).

use crate::wire::{ErrorCode, Str};

wire_structs! {
    /// Lists resources.
    struct ListConfigResourcesRequest {
        /// Of which types ([`resource`](super::describe_configs::resource)); none: of all. Version 0 asks for
        /// clients' metrics.
        resource_types: Vec<i8> [1..],
    }

    /// Resources.
    struct ListConfigResourcesResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [0..],
        /// Why there are none.
        error_code: ErrorCode [0..],
        /// The resources.
        config_resources: Vec<ConfigResource> [0..],
    }

    /// A resource.
    struct ConfigResource {
        /// Its name.
        resource_name: Str [0..],
        /// What it is.
        resource_type: i8 [1..] = 16,
    }
}

wire_api!(ListConfigResources: ListConfigResourcesRequest -> ListConfigResourcesResponse);
