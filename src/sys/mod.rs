//! The system-call seam: what the standard library does not offer, as small functions.
//!
//! Unsafe code lives here and in nothing else of the crate. Each function does one call, begins again
//! when a signal interrupts it, and gives the system's own error back.

mod direct;
mod file;
mod map;
mod process;
mod program;
mod socket;

pub use direct::read_direct;
pub use file::{
    FlockWait, allocate, fdatasync, flock, free_bytes, fsync_dir, pread, pread_cached, pwrite_all,
    pwrite_both, start_writeback, total_bytes,
};
pub use map::{Map, map_populated};
pub use process::{Cores, open_files_limit, raise_open_files_limit, rss_bytes, set_thread_niceness};
pub use program::release_program_pages;
pub use socket::sendfile;

#[cfg(test)]
mod tests;

/// Calls again for as long as a signal interrupts.
fn uninterrupted<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}
