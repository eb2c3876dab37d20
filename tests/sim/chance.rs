//! Chance that depends on nothing but the seed and what it decides about.
//!
//! One generator for the whole world would shift everything that comes after a step that the shrinker drops. So each
//! decision has a generator of its own, named by numbers.

use std::fmt;

use fastrand::Rng;

const fn mixed(state: u64) -> u64 {
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

/// The generator of this seed for what these numbers name.
pub(crate) fn chance(seed: u64, names: &[u64]) -> Rng {
    Rng::with_seed(names.iter().fold(mixed(seed), |state, name| mixed(state ^ mixed(*name))))
}

/// What has happened: a hash of all of it, and the text of it where somebody wants to read it.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(kept: bool) -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, lines: kept.then(Vec::new) }
    }

    /// Something has happened at this time, in microseconds.
    pub(crate) fn say(&mut self, at: u64, what: fmt::Arguments<'_>) {
        let line = format!("{:>5}.{:06} {what}", at / 1_000_000, at % 1_000_000);
        for byte in line.as_bytes() {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
