//! Which partition a record goes to.
//!
//! A key must land where every other client puts it, or its records are no longer in order. So the
//! hash and what is made of it are those of Kafka's own default partitioner: murmur2 (32 bits, seed
//! `0x9747b28c`), its sign bit cleared, modulo the number of partitions.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::model::PartitionIndex;

/// The partition of a key among `partitions`, more than 0.
pub fn partition_of_key(key: &[u8], partitions: usize) -> PartitionIndex {
    let positive = murmur2(key) & 0x7fff_ffff;
    PartitionIndex::new((positive as usize % partitions.max(1)) as i32)
}

/// Murmur hash 2 by Austin Appleby, 32 bits, with Kafka's seed.
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let (words, rest) = data.as_chunks::<4>();
    let mut hash = SEED ^ data.len() as u32;
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let bytes = rest.iter().enumerate();
        hash ^= bytes.fold(0, |sum, (at, byte)| sum | u32::from(*byte) << (8 * at));
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// Records without a key stay with one partition until its batch is full, so that batches become large
/// (KIP-480).
#[derive(Debug, Default)]
pub(super) struct Sticky(AtomicU32);

impl Sticky {
    /// Begins with any.
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(fastrand::u32(..)))
    }

    /// The partition for now.
    pub(super) fn current(&self, partitions: usize) -> PartitionIndex {
        PartitionIndex::new((self.0.load(Ordering::Relaxed) as usize % partitions.max(1)) as i32)
    }

    /// Moves on from `full`, unless another record has moved it already.
    pub(super) fn move_on(&self, full: PartitionIndex, partitions: usize) {
        let now = self.0.load(Ordering::Relaxed);
        if self.current(partitions) == full {
            let next = now.wrapping_add(1);
            // Whoever was faster has moved it.
            let _ = self.0.compare_exchange(now, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Sticky, murmur2, partition_of_key};
    use crate::model::PartitionIndex;

    #[test]
    fn the_hash_is_that_of_kafka_s_own_tests() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (data, hash) in cases {
            assert_eq!(murmur2(data) as i32, hash, "{data:?}");
        }
    }

    #[test]
    fn a_key_s_partition_is_the_positive_hash_modulo_the_count() {
        assert_eq!(partition_of_key(b"abc", 10), PartitionIndex::new(7));
        // The hash is -973,932,308; without its sign bit it is 1,173,551,340.
        assert_eq!(partition_of_key(b"21", 12), PartitionIndex::new(1_173_551_340 % 12));
    }

    #[test]
    fn keyless_records_stay_until_the_batch_is_full_and_every_partition_has_its_turn() {
        let sticky = Sticky::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..4 {
            let now = sticky.current(4);
            assert_eq!(sticky.current(4), now);
            seen.insert(now);
            sticky.move_on(now, 4);
            sticky.move_on(now, 4);
        }
        assert_eq!(seen.len(), 4);
    }
}
