//! What is in the records.

use clap::ValueEnum;

/// What values are made of; it decides what compression makes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Payload {
    /// Random bytes, which no codec makes smaller.
    #[default]
    Random,
    /// Words of a small vocabulary, which every codec makes much smaller.
    Text,
}

const WORDS: [&str; 16] = [
    "order",
    "customer",
    "shipped",
    "returned",
    "invoice",
    "paid",
    "basket",
    "item",
    "price",
    "total",
    "express",
    "pending",
    "address",
    "street",
    "warehouse",
    "delivered",
];
/// Different values, used in turns: making one for each record would measure the making.
const VALUES: usize = 256;

/// Values of one size.
#[derive(Debug)]
pub(super) struct Values {
    values: Vec<Vec<u8>>,
    next: usize,
}

impl Values {
    pub(super) fn new(payload: Payload, size: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let values = (0..VALUES).map(|_| value(payload, size, &mut random)).collect();
        Self { values, next: 0 }
    }

    /// The next value.
    pub(super) fn next(&mut self) -> &[u8] {
        self.next = (self.next + 1) % VALUES;
        self.values.get(self.next).map(Vec::as_slice).unwrap_or_default()
    }
}

fn value(payload: Payload, size: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut value = Vec::with_capacity(size);
    match payload {
        Payload::Random => value.extend(std::iter::repeat_with(|| random.u8(..)).take(size)),
        Payload::Text => {
            while value.len() < size {
                value.extend_from_slice(random.choice(WORDS).unwrap_or_default().as_bytes());
                value.push(b' ');
            }
            value.truncate(size);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::{Payload, VALUES, Values};

    #[test]
    fn values_have_the_size_asked_for_and_differ() {
        for payload in [Payload::Random, Payload::Text] {
            for size in [0, 1, 100, 5000] {
                let mut values = Values::new(payload, size);
                let made: Vec<_> = (0..VALUES).map(|_| values.next().to_vec()).collect();
                assert!(made.iter().all(|value| value.len() == size));
                assert!(size < 100 || made[0] != made[1]);
            }
        }
    }
}
