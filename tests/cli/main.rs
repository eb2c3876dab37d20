//! The program as a user runs it: what it prints, and its exit codes; and that the documentation has the
//! tables that the program has.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod documented;
#[path = "../support/mod.rs"]
mod support;
