//! What holds for any records and for any bytes.

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*, sample};

use super::{NOW, batch_around, rules};
use crate::{
    model::{ProducerEpoch, ProducerId, Sequence, TimestampMs},
    record::{
        BatchBuilder, BatchError, BatchHeader, Compression, NewHeader, NewRecord, Producer, batches, records,
        unpack, validate_produced,
    },
};

#[derive(Clone, Debug)]
struct Plain {
    age_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn field(most: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    // Runs of one byte, so that packing pays now and then.
    option::of(prop_oneof![vec(any::<u8>(), 0..40), (any::<u8>(), 0..most).prop_map(|(b, n)| vec![b; n])])
}

fn plain_records() -> impl Strategy<Value = Vec<Plain>> {
    let record = (-3_000_000_i64..1 << 40, field(300), field(20_000), vec((".{0,8}", field(30)), 0..4))
        .prop_map(|(age_ms, key, value, headers)| Plain { age_ms, key, value, headers });
    vec(record, 1..40)
}

fn codec() -> impl Strategy<Value = Compression> {
    sample::select(Compression::ALL.to_vec())
}

fn build(plain: &[Plain], compression: Compression, producer: Producer) -> Bytes {
    let mut builder = BatchBuilder::new(usize::MAX);
    for record in plain {
        let headers: Vec<_> =
            record.headers.iter().map(|(name, value)| NewHeader { name, value: value.as_deref() }).collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let timestamp = TimestampMs::new(NOW.get() - record.age_ms);
        assert!(builder.append(&NewRecord { timestamp, key, value, headers: &headers }));
    }
    builder.finish(compression, None, producer).unwrap()
}

/// Walks whatever bytes through every entrance.
fn read_everything(bytes: &[u8]) {
    let _ = validate_produced(bytes, &rules());
    let bytes = Bytes::copy_from_slice(bytes);
    for (_, batch) in batches(bytes.clone()).flatten() {
        let _ = records(batch).map(Iterator::count);
    }
    if let Ok(unpacked) = unpack(&bytes, 100_000) {
        let _: usize = unpacked.iter().flatten().map(|record| record.headers.count()).sum();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_built_is_taken_and_read_back_the_same(plain in plain_records(), compression in codec()) {
        let producer = Producer {
            id: ProducerId::new(9),
            epoch: ProducerEpoch::new(2),
            base_sequence: Sequence::new(77),
        };
        let batch = build(&plain, compression, producer);
        let header = validate_produced(&batch, &rules()).unwrap();
        prop_assert_eq!(header.record_count as usize, plain.len());
        prop_assert_eq!((header.producer_id, header.producer_epoch), (producer.id, producer.epoch));
        prop_assert_eq!(header.base_sequence, producer.base_sequence);
        let found: Vec<_> = records(batch).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(found.len(), plain.len());
        for (index, (found, plain)) in found.iter().zip(&plain).enumerate() {
            prop_assert_eq!(found.offset.get(), index as i64);
            prop_assert_eq!(found.timestamp.get(), NOW.get() - plain.age_ms);
            prop_assert_eq!(found.key.as_deref(), plain.key.as_deref());
            prop_assert_eq!(found.value.as_deref(), plain.value.as_deref());
            let headers: Vec<_> =
                found.headers.iter().map(|h| (h.name.to_vec(), h.value.as_deref().map(<[u8]>::to_vec))).collect();
            let given: Vec<_> =
                plain.headers.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone())).collect();
            prop_assert_eq!(headers, given);
        }
    }

    #[test]
    fn any_flipped_bit_under_the_checksum_is_found(
        plain in plain_records(), compression in codec(), at in any::<sample::Index>(), bit in 0_u8..8,
    ) {
        let mut batch = build(&plain, compression, Producer::NONE).to_vec();
        let at = 17 + at.index(batch.len() - 17);
        batch[at] ^= 1 << bit;
        prop_assert_eq!(validate_produced(&batch, &rules()), Err(BatchError::Checksum));
    }

    #[test]
    fn a_batch_cut_anywhere_is_refused_and_never_a_panic(
        plain in plain_records(), compression in codec(), at in any::<sample::Index>(),
    ) {
        let batch = build(&plain, compression, Producer::NONE);
        let cut = at.index(batch.len());
        let is_truncated = matches!(
            validate_produced(&batch[..cut], &rules()),
            Err(BatchError::Truncated { .. })
        );
        prop_assert!(is_truncated);
        prop_assert_eq!(batches(batch.slice(..cut)).count(), 0);
        read_everything(&batch[..cut]);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(mut bytes in vec(any::<u8>(), 0..300), magic in any::<bool>()) {
        if let Some(place) = bytes.get_mut(16).filter(|_| magic) {
            *place = 2;
        }
        read_everything(&bytes);
    }

    #[test]
    fn any_records_under_a_right_checksum_are_read_without_a_panic(
        payload in vec(prop_oneof![any::<u8>(), 0_u8..20], 0..300), codec in 0_i16..8, count in 1..20_i32,
    ) {
        read_everything(&batch_around(&payload, codec, count));
    }

    #[test]
    fn changed_records_under_a_right_checksum_are_read_without_a_panic(
        plain in plain_records(), compression in codec(),
        changes in vec((any::<sample::Index>(), any::<u8>()), 1..5),
    ) {
        let batch = build(&plain, compression, Producer::NONE);
        let header = BatchHeader::parse(&batch).unwrap();
        let mut payload = batch[61..].to_vec();
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        read_everything(&batch_around(&payload, header.attributes.bits(), header.record_count));
    }
}

#[test]
fn every_single_bit_under_the_checksum_counts() {
    let sound = super::batch_of(3, 20, Compression::None);
    for at in 17..sound.len() {
        for bit in 0..8 {
            let mut batch = sound.clone();
            batch[at] ^= 1 << bit;
            assert_eq!(validate_produced(&batch, &rules()), Err(BatchError::Checksum), "byte {at} bit {bit}");
        }
    }
}
