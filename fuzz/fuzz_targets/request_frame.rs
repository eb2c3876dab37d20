//! See `polylogue::fuzzing::request_frame`.
#![no_main]

use polylogue::fuzzing::{Memory, request_frame};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let taken = allocation_counter::measure(|| request_frame(data)).bytes_max;
    assert!(
        taken <= Memory::REQUEST_FRAME.for_input(data.len()),
        "{taken} bytes of memory for {} of input",
        data.len()
    );
});
