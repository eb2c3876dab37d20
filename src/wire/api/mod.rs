//! The messages, one file per API, as schemas.
//!
//! Fields have Kafka's names. Where a field's versions are not said, all served versions have it.

pub mod api_versions;
pub mod fetch;
pub mod list_offsets;
pub mod metadata;
pub mod produce;
