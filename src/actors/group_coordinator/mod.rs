//! Consumer groups: what their members say to each other through the coordinator, and who gets what.

pub mod assignor;
pub mod consumer_protocol;
