//! Two nodes in one process.

mod bells;
pub(super) mod bounds;
mod frames;
pub(super) mod nodes;
mod repairs;
mod stories;
mod threads;
mod wall_clock;
