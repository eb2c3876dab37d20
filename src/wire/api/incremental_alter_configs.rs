//! Changes single configs and leaves the others (KIP-339).

pub use super::alter_configs::AlterConfigsResourceResponse;
use crate::wire::Str;

/// What to do with a config: `config_operation`.
pub mod operation {
    /// Give it the value.
    pub const SET: i8 = 0;
    /// Back to its default.
    pub const DELETE: i8 = 1;
    /// Add to a list.
    pub const APPEND: i8 = 2;
    /// Take from a list.
    pub const SUBTRACT: i8 = 3;
}

wire_structs! {
    /// Configs to change.
    struct IncrementalAlterConfigsRequest {
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
        /// The changes.
        configs: Vec<AlterableConfig> [0..],
    }

    /// A config to change.
    struct AlterableConfig {
        /// Its name.
        name: Str [0..],
        /// What to do ([`operation`]).
        config_operation: i8 [0..],
        /// The value; null where there is none.
        value: Option<Str> [0..; null 0..],
    }

    /// What became of the changes.
    struct IncrementalAlterConfigsResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [0..],
        /// By resource.
        responses: Vec<AlterConfigsResourceResponse> [0..],
    }
}

wire_api!(IncrementalAlterConfigs: IncrementalAlterConfigsRequest -> IncrementalAlterConfigsResponse);
