//! Two nodes in one process.

mod bells;
mod bounds;
mod frames;
mod nodes;
mod repairs;
mod stories;
mod threads;
mod wall_clock;
