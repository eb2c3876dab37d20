//! See `polylogue::fuzzing::recovery`.
#![no_main]

use polylogue::fuzzing::{Memory, recovery};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let taken = allocation_counter::measure(|| recovery(data)).bytes_max;
    assert!(
        taken <= Memory::RECOVERY.for_input(data.len()),
        "{taken} bytes of memory for {} of input",
        data.len()
    );
});
