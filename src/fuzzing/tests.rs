//! The bodies over a fixed number of inputs: noise, and samples that were changed here and there.
//!
//! More inputs by `POLYLOGUE_SEEDS`, from `POLYLOGUE_SEED` on: a failure prints its seed and its input.

use std::{fmt::Write as _, ops::Range, panic};

use fastrand::Rng;

use super::{Memory, record_batch, recovery, request_frame, seeds};

fn seeds(count: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let first = number("POLYLOGUE_SEED").unwrap_or(0);
    let factor = if cfg!(feature = "long") { 100 } else { 1 };
    first..first + number("POLYLOGUE_SEEDS").unwrap_or(count * factor)
}

/// Runs a body within the memory that it may take, and says what it was given where that fails.
fn run(body: fn(&[u8]), memory: Memory, input: &[u8], name: &str) {
    let counted = panic::catch_unwind(|| {
        let taken = allocation_counter::measure(|| body(input)).bytes_max;
        let allowed = memory.for_input(input.len());
        assert!(taken <= allowed, "{taken} bytes of memory for {} of input, {allowed} allowed", input.len());
    });
    if let Err(failure) = counted {
        let hex = input.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        eprintln!("{name} failed on {hex}");
        panic::resume_unwind(failure);
    }
}

fn run_all(body: fn(&[u8]), memory: Memory, samples: &[Vec<u8>], count: u64) {
    for (at, sample) in samples.iter().enumerate() {
        run(body, memory, sample, &format!("sample {at}"));
    }
    for seed in seeds(count) {
        let mut rng = Rng::with_seed(seed);
        let input = if rng.u8(..10) == 0 { noise(&mut rng) } else { changed(&mut rng, samples) };
        run(body, memory, &input, &format!("seed {seed}"));
    }
}

fn noise(rng: &mut Rng) -> Vec<u8> {
    let len = rng.usize(..400);
    let ceiling = rng.choice([2, 80, 255]).unwrap();
    std::iter::repeat_with(|| rng.u8(..=ceiling)).take(len).collect()
}

/// One of the samples, with a few changes.
fn changed(rng: &mut Rng, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut input = rng.choice(samples).unwrap().clone();
    for _ in 0..rng.usize(0..4) {
        let at = rng.usize(..=input.len());
        let end = (at + rng.usize(..9)).min(input.len());
        let with: Vec<u8> = match rng.u8(..6) {
            0 => Vec::new(),
            1 => vec![0xff; end - at],
            2 => vec![0; end - at],
            3 => vec![0x7f, 0xff, 0xff, 0xff],
            4 => rng.choice(samples).unwrap().iter().skip(at).take(rng.usize(..40)).copied().collect(),
            _ => std::iter::repeat_with(|| rng.u8(..)).take(end - at).collect(),
        };
        input.splice(at..end, with);
    }
    input
}

#[test]
fn no_frame_panics_and_what_decodes_is_the_same_after_it_was_encoded() {
    run_all(request_frame, Memory::REQUEST_FRAME, &seeds::request_frames(), 10_000);
}

#[test]
fn no_batch_panics_and_what_is_taken_has_the_records_that_it_counts() {
    run_all(record_batch, Memory::RECORD_BATCH, &seeds::record_batches(), 4_000);
}

#[test]
fn a_log_whose_files_were_written_to_opens_and_serves_what_was_not_touched() {
    run_all(recovery, Memory::RECOVERY, &seeds::recoveries(), 1_000);
}

#[test]
fn a_log_with_one_whole_batch_between_one_that_is_hit_and_an_end_that_lacks_batches_is_the_same_each_time() {
    let input = [
        0xd1, 0xdc, 0x01, 0xf8, 0x98, 0x02, 0x9e, 0x50, 0x87, 0xdc, 0x44, 0x7a, 0x78, 0x1c, 0x87, 0x8f, 0xce,
        0x67, 0x19, 0x67, 0x49, 0x64, 0x9d, 0x49, 0x5f, 0x0a, 0xa0,
    ];
    run(recovery, Memory::RECOVERY, &input, "seed 147804");
}

#[test]
fn what_is_appended_behind_a_batch_that_was_forged_over_another_length_is_read() {
    // By libFuzzer: the file of another segment in the place of the last one's, and a checksum over all of it.
    run(recovery, Memory::RECOVERY, &[0x41, 0x4f, 0x07, 0xff, 0x07, 0xff, 0xfb, 0x12, 0x91], "e3c9b4d6");
}

#[test]
fn two_openings_agree_on_an_end_that_only_a_batch_behind_two_that_are_hit_has_told_of() {
    // By libFuzzer: marked poisoned, two batches hit, and the base offset of the last one raised to 2^34.
    let input = [
        0x64, 0xa1, 0x09, 0x25, 0xb5, 0x06, 0x80, 0x33, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x65,
        0x9c, 0x9c, 0x9c, 0x9c, 0x9c, 0x9c, 0x00, 0x9c, 0x00, 0x9c, 0xaa, 0x00, 0xf4, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7a, 0xa8, 0x7a, 0x7a, 0x77, 0x01, 0x06, 0x01, 0xfc, 0x09, 0xf1, 0xf1, 0x00, 0x04, 0x00, 0x00,
        0xbf, 0x9a, 0xbf, 0x0e, 0xe2, 0xae, 0x40, 0xae, 0xc1, 0x51, 0x40, 0x00, 0xa2, 0x00, 0x00, 0x07, 0x03,
        0x80, 0x00, 0x00, 0xff, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0x9c, 0x9c, 0x9c, 0x9c, 0x9c, 0x9c, 0x9c,
        0xaa, 0x9c, 0x00, 0x1c, 0xd6, 0x10, 0x62, 0x08, 0x00, 0x00, 0x00, 0x7a, 0xa8, 0x01, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x7a, 0x7a, 0x77, 0x01, 0x06,
    ];
    run(recovery, Memory::RECOVERY, &input, "2e0ae22d");
}

#[test]
fn damage_that_ends_where_the_next_segment_begins_ends_there_once_that_has_been_moved() {
    // By libFuzzer: marked poisoned, and the end of a segment is hit.
    let input = [0x4c, 0x89, 0xff, 0x1b, 0x6e, 0x2c, 0x7b, 0xbf, 0x1b, 0x00];
    run(recovery, Memory::RECOVERY, &input, "884ad519");
}

#[test]
fn a_raised_offset_takes_no_voice_from_the_whole_batch_in_front_of_it() {
    // By libFuzzer: marked poisoned; a whole batch between two that are hit, behind which one has its offset raised.
    let input = [
        0x09, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xdb, 0x03, 0xff, 0x73, 0x03, 0xff, 0x41,
        0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41,
        0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x00, 0x79, 0xde,
        0x01, 0x32,
    ];
    run(recovery, Memory::RECOVERY, &input, "d8938129");
}

#[test]
fn a_batch_that_counts_beyond_the_logs_end_is_no_more_served_once_the_log_is_longer() {
    // By libFuzzer: batches forged under a right checksum, in what was flushed.
    let input = [
        0x00, 0x99, 0x05, 0xe5, 0x01, 0xff, 0xe5, 0xe5, 0xe5, 0xe5, 0xe5, 0xe5, 0xe5, 0xe5, 0xe5, 0xe5, 0xe5,
        0xe5, 0x30, 0x00, 0x00, 0x00, 0xe5, 0xe5, 0xe5, 0xe5, 0xe5, 0xff, 0xff, 0xff, 0x06, 0xe5, 0xe5, 0xe5,
        0xe5, 0xe5, 0xe5, 0xe5, 0xe5, 0xe5, 0xe5, 0xe5, 0xf8, 0x01, 0x00, 0x01, 0x87, 0x00, 0xe5, 0xe5, 0xe5,
        0x00, 0x00, 0x00, 0x09, 0x00, 0xe5, 0xe5, 0xe5, 0xe6, 0x20, 0x2a, 0x8e,
    ];
    run(recovery, Memory::RECOVERY, &input, "10b64de0");
    let input = [
        0x1d, 0xc3, 0x08, 0x01, 0x47, 0x00, 0x00, 0xdc, 0x01, 0x30, 0x0a, 0x00, 0xff, 0xff, 0xed, 0x0b, 0x00,
        0x00, 0x91, 0x01, 0x01, 0xaf, 0x30, 0x6e, 0x1f, 0x6e, 0x28, 0x30,
    ];
    run(recovery, Memory::RECOVERY, &input, "ec7d3f05");
}

#[test]
fn a_batch_that_counts_what_nobody_wrote_is_made_up_though_its_length_was_hit_later() {
    // By libFuzzer: its checksum was made right again before. Whoever believes that finds another end than the next opening, which
    // no longer has what stood behind.
    let input = [
        0x00, 0xac, 0x05, 0x01, 0xda, 0x01, 0x92, 0x05, 0x00, 0xac, 0x05, 0x01, 0xda, 0x01, 0x92, 0x05, 0x00,
        0x00, 0xac, 0x05, 0x01, 0xda, 0x05, 0x00, 0xf8, 0x55, 0x09, 0xcc, 0xe7, 0xe0, 0x57, 0xf8, 0x55, 0x09,
        0xcc, 0xe7, 0xe0, 0x57, 0x2c, 0x7b, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0x5b, 0x98, 0x85, 0x00, 0x00, 0x00,
        0xac, 0x05, 0x01, 0xda, 0x05, 0x00, 0xf8, 0x55, 0x09, 0xcc, 0xe7, 0xe0, 0x57, 0xf8, 0x55, 0x09, 0xcc,
        0xe7, 0xe0, 0x57, 0x2c, 0x7b, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0x5b, 0x98, 0x85, 0x00, 0x00, 0x85, 0x00,
        0x00, 0x58, 0x13,
    ];
    run(recovery, Memory::RECOVERY, &input, "6114a954");
}

#[test]
fn a_term_that_only_a_hit_batch_tells_of_is_not_believed_once_it_has_come_to_pass() {
    // By libFuzzer: the file of the terms is hit, and in a batch the term that its checksum does not cover.
    let input = [
        0x3e, 0xda, 0x06, 0xb6, 0xb2, 0x2b, 0xab, 0xba, 0x4c, 0xf7, 0x52, 0x05, 0x00, 0x00, 0x1f, 0x37, 0x65,
        0xcd, 0x01, 0x00, 0x00, 0xff, 0xff, 0xff, 0x3e, 0xda, 0x06, 0xb6, 0xff, 0x60, 0x1f, 0x37, 0x74,
    ];
    run(recovery, Memory::RECOVERY, &input, "5f7a9132");
}

#[test]
fn every_api_and_version_has_a_seed_that_is_no_longer_than_a_fuzzer_likes() {
    let seeds = seeds::request_frames();
    let versions: usize = crate::wire::ApiKey::ALL.iter().map(|api| api.served().count()).sum();
    assert_eq!(seeds.len(), 2 * versions);
    assert!(seeds.iter().all(|seed| seed.len() <= 16 * 1024));
}
