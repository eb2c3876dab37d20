//! The bodies of the fuzz targets: what must hold for any bytes, whoever makes them up.
//!
//! `fuzz/` lets libFuzzer choose the bytes; the tests here run the same bodies over a fixed number of inputs, so
//! that a body that no longer holds is found by whoever breaks it. A body says nothing where all is well and
//! panics where it is not.
#![allow(clippy::expect_used, clippy::panic, reason = "a body fails by panicking")]

mod input;
mod record_batch;
mod recovery;
mod request_frame;
pub mod seeds;
#[cfg(test)]
mod tests;

pub use record_batch::record_batch;
pub use recovery::recovery;
pub use request_frame::request_frame;

/// The most memory that a body may hold at a time, in bytes: `fixed` for what the limits of formats allow any
/// input, and so many bytes for each byte of the input.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    fixed: u64,
    per_byte: u64,
}

impl Memory {
    /// Of [`request_frame`]: elements may take a mebibyte whatever the frame, eight times the frame beyond it; the
    /// body holds a message twice and its bytes three times.
    pub const REQUEST_FRAME: Self = Self { fixed: 4 << 20, per_byte: 64 };
    /// Of [`record_batch`]: records unpacked to their bound, their copies, and the windows of the codecs.
    pub const RECORD_BATCH: Self = Self { fixed: 8 << 20, per_byte: 64 };
    /// Of [`recovery`]: the log of the sample, the chunks in which files are read and copied, and the records of one
    /// batch, unpacked.
    pub const RECOVERY: Self = Self { fixed: 32 << 20, per_byte: 64 };

    /// What an input of so many bytes may take.
    pub const fn for_input(self, len: usize) -> u64 {
        self.fixed + self.per_byte * len as u64
    }
}
