//! Replaces all configs of a resource: what is not named goes back to its default.

use crate::wire::{ErrorCode, Str};

wire_structs! {
    /// Configs to set.
    struct AlterConfigsRequest {
        /// By resource.
        resources: Vec<AlterConfigsResource> [0..],
        /// Whether to check only.
        validate_only: bool [0..],
    }

    /// Configs of one resource.
    struct AlterConfigsResource {
        /// What it is ([`super::describe_configs::resource`]).
        resource_type: i8 [0..],
        /// Its name.
        resource_name: Str [0..],
        /// All that it shall have.
        configs: Vec<AlterableConfig> [0..],
    }

    /// A config to set.
    struct AlterableConfig {
        /// Its name.
        name: Str [0..],
        /// Its value.
        value: Option<Str> [0..; null 0..],
    }

    /// What became of the configs.
    struct AlterConfigsResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [0..],
        /// By resource.
        responses: Vec<AlterConfigsResourceResponse> [0..],
    }

    /// What became of one resource's configs.
    struct AlterConfigsResourceResponse {
        /// Why they were not changed.
        error_code: ErrorCode [0..],
        /// The same, for a person.
        error_message: Option<Str> [0..; null 0..],
        /// What it is ([`super::describe_configs::resource`]).
        resource_type: i8 [0..],
        /// Its name.
        resource_name: Str [0..],
    }
}

wire_api!(AlterConfigs: AlterConfigsRequest -> AlterConfigsResponse);
