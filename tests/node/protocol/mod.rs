//! The protocol's corners, each asked for as only a careless or a clever client does.

mod admin;
mod configs;
mod fetch;
mod idempotence;
mod produce;
mod versions;
