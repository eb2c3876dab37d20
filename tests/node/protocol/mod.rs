//! The protocol's corners, each asked for as only a careless or a clever client does.

mod admin;
mod broker_configs;
mod configs;
mod describe;
mod fetch;
mod idempotence;
mod ids;
mod offsets;
mod produce;
mod versions;
