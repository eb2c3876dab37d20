//! See `polylogue::fuzzing::record_batch`.
#![no_main]

use polylogue::fuzzing::{Memory, record_batch};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let taken = allocation_counter::measure(|| record_batch(data)).bytes_max;
    assert!(
        taken <= Memory::RECORD_BATCH.for_input(data.len()),
        "{taken} bytes of memory for {} of input",
        data.len()
    );
});
