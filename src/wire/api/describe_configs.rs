//! Shows configs.

use crate::wire::{ErrorCode, Str};

/// What a config belongs to: `resource_type` here and where configs are altered.
pub mod resource {
    /// A topic; its name is the topic's.
    pub const TOPIC: i8 = 2;
    /// A broker; its name is the id, or empty for the defaults of all.
    pub const BROKER: i8 = 4;
    /// A broker's log levels.
    pub const BROKER_LOGGER: i8 = 8;
    /// A client's metrics subscription.
    pub const CLIENT_METRICS: i8 = 16;
    /// A consumer group.
    pub const GROUP: i8 = 32;
}

/// Where a value comes from: `config_source`.
pub mod source {
    /// Set for this topic.
    pub const DYNAMIC_TOPIC: i8 = 1;
    /// Set for this broker while it runs.
    pub const DYNAMIC_BROKER: i8 = 2;
    /// Set for all brokers while they run.
    pub const DYNAMIC_DEFAULT_BROKER: i8 = 3;
    /// From the broker's flags or file.
    pub const STATIC_BROKER: i8 = 4;
    /// The default of the program.
    pub const DEFAULT: i8 = 5;
    /// Set for this group.
    pub const DYNAMIC_GROUP: i8 = 8;
}

/// What a value is: `config_type`.
pub mod kind {
    /// Not told.
    pub const UNKNOWN: i8 = 0;
    /// `true` or `false`.
    pub const BOOLEAN: i8 = 1;
    /// Text.
    pub const STRING: i8 = 2;
    /// A 32-bit integer.
    pub const INT: i8 = 3;
    /// A 16-bit integer.
    pub const SHORT: i8 = 4;
    /// A 64-bit integer.
    pub const LONG: i8 = 5;
    /// A floating-point number.
    pub const DOUBLE: i8 = 6;
    /// Texts parted by commas.
    pub const LIST: i8 = 7;
    /// The name of a class.
    pub const CLASS: i8 = 8;
    /// A secret.
    pub const PASSWORD: i8 = 9;
}

wire_structs! {
    /// Asks for configs.
    struct DescribeConfigsRequest {
        /// What they belong to.
        resources: Vec<DescribeConfigsResource> [1..],
        /// Whether to tell what a value would be without the setting in force.
        include_synonyms: bool [1..],
        /// Whether to tell what each config means.
        include_documentation: bool [3..],
    }

    /// Something that has configs.
    struct DescribeConfigsResource {
        /// What it is ([`resource`]).
        resource_type: i8 [1..],
        /// Its name.
        resource_name: Str [1..],
        /// The configs to show; null: all.
        configuration_keys: Option<Vec<Str>> [1..; null 1..],
    }

    /// Configs.
    struct DescribeConfigsResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [1..],
        /// By resource.
        results: Vec<DescribeConfigsResult> [1..],
    }

    /// The configs of one resource.
    struct DescribeConfigsResult {
        /// Why there are none.
        error_code: ErrorCode [1..],
        /// The same, for a person.
        error_message: Option<Str> [1..; null 1..],
        /// What it is ([`resource`]).
        resource_type: i8 [1..],
        /// Its name.
        resource_name: Str [1..],
        /// The configs.
        configs: Vec<DescribeConfigsResourceResult> [1..],
    }

    /// A config.
    struct DescribeConfigsResourceResult {
        /// Its name.
        name: Str [1..],
        /// Its value; null: a secret.
        value: Option<Str> [1..; null 1..],
        /// Whether it cannot be changed.
        read_only: bool [1..],
        /// Where the value comes from ([`source`]).
        config_source: i8 [1..] = -1,
        /// Whether the value is a secret.
        is_sensitive: bool [1..],
        /// What the value would be without the setting in force, nearest first.
        synonyms: Vec<DescribeConfigsSynonym> [1..],
        /// What the value is ([`kind`]).
        config_type: i8 [3..],
        /// What the config means.
        documentation: Option<Str> [3..; null 3..],
    }

    /// A setting that another one hides.
    struct DescribeConfigsSynonym {
        /// Its name.
        name: Str [1..],
        /// Its value; null: a secret.
        value: Option<Str> [1..; null 1..],
        /// Where the value comes from ([`source`]).
        source: i8 [1..],
    }
}

wire_api!(DescribeConfigs: DescribeConfigsRequest -> DescribeConfigsResponse);
