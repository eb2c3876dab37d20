//! Two nodes in one process.

mod frames;
