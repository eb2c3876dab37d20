//! A day of a web shop, the same for the same seed.
//!
//! Any event can be made by its number alone, so that nothing need be kept to know later what was
//! sent: each has a generator of its own, seeded by the day's seed and the number.

use std::fmt::Write;

use crate::model::{PartitionIndex, TimestampMs};

/// Midnight of 2026-03-01 UTC, in ms since 1970.
const MIDNIGHT: i64 = 1_772_323_200_000;
/// A day, in ms.
const DAY: i64 = 86_400_000;
/// How many there are to choose from.
const CUSTOMERS: u64 = 50_000;
const PRODUCTS: u64 = 5_000;

/// What happens in a shop; a share of it, in hundredths, that adds up to all.
const KINDS: [(&str, u64); 6] =
    [("page_view", 52), ("search", 20), ("add_to_cart", 14), ("order", 7), ("payment", 5), ("return", 2)];

const WORDS: [&str; 12] = [
    "lamp", "chair", "kettle", "scarf", "bicycle", "notebook", "teapot", "garden", "oak", "linen", "copper",
    "winter",
];

/// One event as a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Whose it is: records of one customer stay in order.
    pub(super) key: String,
    pub(super) value: String,
    pub(super) timestamp: TimestampMs,
    /// What it is, also as a header.
    pub(super) kind: &'static str,
}

/// All events of a day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Day {
    seed: u64,
    events: u64,
}

impl Day {
    /// So many events, spread over the day.
    pub(super) const fn new(seed: u64, events: u64) -> Self {
        Self { seed, events }
    }

    /// When an event happens: later ones never before earlier ones.
    pub(super) fn time(self, number: u64) -> TimestampMs {
        let since = i128::from(number) * i128::from(DAY) / i128::from(self.events.max(1));
        TimestampMs::new(MIDNIGHT + since as i64)
    }

    /// Makes an event in the room of another.
    pub(super) fn make(self, number: u64, event: &mut Event) {
        let mut rng = fastrand::Rng::with_seed(mixed(self.seed ^ mixed(number)));
        event.timestamp = self.time(number);
        event.kind = kind(&mut rng);
        event.key.clear();
        event.value.clear();
        let customer = skewed(&mut rng, CUSTOMERS);
        // Writing into a string does not fail.
        let _ = write!(event.key, "customer-{customer:05}");
        let _ = write_value(number, customer, event, &mut rng);
    }
}

fn write_value(number: u64, customer: u64, event: &mut Event, rng: &mut fastrand::Rng) -> std::fmt::Result {
    let kind = event.kind;
    let product = skewed(rng, PRODUCTS);
    let cents = 199 + product * 7919 % 29_800;
    let quantity = 1 + skewed(rng, 9);
    let out = &mut event.value;
    write!(out, r#"{{"event":{number},"type":"{kind}","customer":{customer}"#)?;
    match kind {
        "search" => {
            let (first, second) = (rng.choice(WORDS), rng.choice(WORDS));
            write!(out, r#","query":"{} {}""#, first.unwrap_or_default(), second.unwrap_or_default())?;
        }
        "page_view" => write!(out, r#","product":{product},"seconds":{}"#, rng.u32(1..240))?,
        "payment" => write!(out, r#","amount_cents":{},"method":"card""#, cents * quantity)?,
        _ => write!(out, r#","product":{product},"quantity":{quantity},"price_cents":{cents}"#)?,
    }
    write!(out, r#","session":"{:016x}"}}"#, rng.u64(..))
}

/// Spreads neighbouring seeds apart (splitmix64's finaliser, by Sebastiano Vigna).
const fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn kind(rng: &mut fastrand::Rng) -> &'static str {
    let mut left = rng.u64(..100);
    for (kind, share) in KINDS {
        if left < share {
            return kind;
        }
        left -= share;
    }
    "page_view"
}

/// A number below `count`, each as likely as the inverse of its rank (Zipf with exponent 1, continuous:
/// the inverse of a logarithmic distribution).
fn skewed(rng: &mut fastrand::Rng, count: u64) -> u64 {
    let rank = ((count + 1) as f64).powf(rng.f64());
    (rank as u64).saturating_sub(1).min(count - 1)
}

/// Where an event goes, as its producer chooses.
pub(super) fn partition(event: &Event, partitions: usize) -> PartitionIndex {
    crate::client::partitioner::partition_of_key(event.key.as_bytes(), partitions)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Day, Event};

    fn events(seed: u64, count: u64) -> Vec<Event> {
        let day = Day::new(seed, count);
        let event = |number| {
            let mut event = Event::default();
            day.make(number, &mut event);
            event
        };
        (0..count).map(event).collect()
    }

    #[test]
    fn a_seed_always_makes_the_same_day_and_another_seed_another() {
        assert_eq!(events(7, 200), events(7, 200));
        assert_ne!(events(7, 200), events(8, 200));
    }

    #[test]
    fn values_are_json_and_times_grow_over_the_day() {
        let events = events(1, 2000);
        for (number, event) in events.iter().enumerate() {
            let value: serde_json::Value = serde_json::from_str(&event.value).unwrap();
            assert_eq!(value["event"], number);
            assert_eq!(value["type"], event.kind);
        }
        assert!(events.windows(2).all(|two| two[0].timestamp < two[1].timestamp));
        let span = events[1999].timestamp.millis_since(events[0].timestamp);
        assert!(span > 86_000_000 && span < 86_400_000);
    }

    #[test]
    fn a_few_customers_make_most_of_the_events() {
        let mut by_key: HashMap<String, usize> = HashMap::new();
        for event in events(3, 20_000) {
            *by_key.entry(event.key).or_default() += 1;
        }
        let mut counts: Vec<usize> = by_key.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let top: usize = counts.iter().take(counts.len() / 20).sum();
        assert!(top > 20_000 * 4 / 10, "the top twentieth makes {top} of 20,000");
        assert!(counts.len() > 3000, "{} customers", counts.len());
    }
}
