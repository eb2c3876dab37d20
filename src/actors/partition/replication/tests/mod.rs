//! Two nodes in one process.

mod frames;
mod nodes;
mod stories;
