//! Percentiles as every row reports them: from all samples of a run, without buckets or averages of
//! averages.

use serde::{Deserialize, Serialize};

/// What a run's latencies come to, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// How many samples there were.
    pub(crate) samples: usize,
    pub(crate) min_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    pub(crate) mean_us: f64,
}

impl Latency {
    /// Sorts the samples (nanoseconds) and reads the percentiles off; all zero when there are none.
    pub(crate) fn of(mut nanos: Vec<u64>) -> Self {
        if nanos.is_empty() {
            return Self::default();
        }
        nanos.sort_unstable();
        let last = nanos.len() - 1;
        let at = |share: f64| micros(nanos[((nanos.len() as f64 * share) as usize).min(last)]);
        Self {
            samples: nanos.len(),
            min_us: at(0.0),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: micros(nanos[last]),
            mean_us: micros(nanos.iter().sum()) / nanos.len() as f64,
        }
    }
}

/// The middle value, or the mean of the two in the middle; `None` without values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}
