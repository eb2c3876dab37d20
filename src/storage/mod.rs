//! The log on disk. Knows files, batches and checkpoints; knows no actor, no socket and no runtime.

pub mod block_checksums;
pub mod checkpoint;
pub mod compaction;
pub mod fs;
pub mod import;
mod index;
pub mod inspect;
pub mod leader_epochs;
pub mod log;
pub mod metadata_log;
pub mod own_file;
pub mod partition_folder;
pub mod producer_state;
pub mod quorum_log;
pub mod recovery;
pub mod retention;
pub mod scrub;
mod segment;
