//! The log on disk. Knows files, batches and checkpoints; knows no actor, no socket and no runtime.

pub mod fs;
pub mod metadata_log;
