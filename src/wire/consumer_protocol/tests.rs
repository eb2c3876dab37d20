use std::fmt::Debug;

use bytes::{BufMut, Bytes, BytesMut};
use fastrand::Rng;
use kafka_protocol::{
    messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription},
    protocol::{Decodable, Encodable},
};

use super::*;
use crate::wire::sample::Sample;

const VALUES_PER_VERSION: u64 = 100;

fn each_sample<T: Sample>(mut check: impl FnMut(T, i16, u64)) {
    for version in 0..=HIGHEST_VERSION {
        for seed in 0..VALUES_PER_VERSION {
            check(T::sample(&mut Rng::with_seed(seed), layout(version)), version, seed);
        }
    }
}

/// What we write the oracle reads, it writes the same bytes again, and we read what we began with.
fn agrees<T, O>()
where
    T: Field + Sample + PartialEq + Debug,
    O: Encodable + Decodable,
{
    each_sample::<T>(|value, version, seed| {
        let context = format!("v{version} seed {seed}: {value:?}");
        let ours = encoded(&value, version).expect(&context);

        let mut unread = ours.clone();
        assert_eq!(i16::from_be_bytes(*unread.split_to(2).first_chunk().unwrap()), version);
        let theirs = O::decode(&mut unread, version).expect(&context);
        assert!(unread.is_empty(), "the oracle left bytes: {context}");
        let mut again = BytesMut::new();
        again.put_i16(version);
        theirs.encode(&mut again, version).expect(&context);

        assert_eq!(again, ours, "{context}");
        assert_eq!(decoded::<T>(&ours).expect(&context), value);
    });
}

#[test]
fn a_subscription_agrees_with_the_oracle_in_every_version() {
    agrees::<Subscription, ConsumerProtocolSubscription>();
}

#[test]
fn an_assignment_agrees_with_the_oracle_in_every_version() {
    agrees::<Assignment, ConsumerProtocolAssignment>();
}

#[test]
fn every_field_of_a_subscription_is_where_the_oracle_has_it() {
    each_sample::<Subscription>(|value, version, seed| {
        let mut bytes = encoded(&value, version).unwrap().split_off(2);
        let theirs = ConsumerProtocolSubscription::decode(&mut bytes, version).unwrap();
        let context = format!("v{version} seed {seed}");
        assert!(theirs.topics.iter().map(|topic| &topic[..]).eq(value.topics.iter().map(Str::as_str)));
        assert_eq!(theirs.user_data, value.user_data, "{context}");
        assert_eq!(theirs.generation_id, value.generation_id, "{context}");
        assert_eq!(theirs.rack_id.as_deref(), value.rack_id.as_deref(), "{context}");
        assert_eq!(theirs.owned_partitions.len(), value.owned_partitions.len(), "{context}");
        for (theirs, ours) in theirs.owned_partitions.iter().zip(&value.owned_partitions) {
            assert_eq!(theirs.topic.as_str(), ours.topic.as_str(), "{context}");
            let indexes = ours.partitions.iter().map(|index| index.get());
            assert!(theirs.partitions.iter().copied().eq(indexes), "{context}");
        }
    });
}

#[test]
fn an_assignment_by_name_is_read_back_as_it_was_by_us_and_by_the_oracle() {
    let partitions: PartitionsByName = [("orders", vec![0, 7, 2]), ("payments", vec![1]), ("none", vec![])]
        .into_iter()
        .map(|(topic, indexes)| (Str::from(topic), indexes.into_iter().map(PartitionIndex::new).collect()))
        .collect();
    for user_data in [None, Some(Bytes::new()), Some(Bytes::from_static(b"mine"))] {
        let bytes = encode_assignment(&partitions, user_data.clone()).unwrap();
        let read = assignment(&bytes).unwrap();
        assert_eq!((read.partitions(), &read.user_data), (partitions.clone(), &user_data));

        let theirs = ConsumerProtocolAssignment::decode(&mut bytes.slice(2..), 0).unwrap();
        let orders = theirs.assigned_partitions.iter().find(|topic| topic.topic.as_str() == "orders");
        assert_eq!(orders.unwrap().partitions, [0, 2, 7]);
        assert_eq!(theirs.user_data, user_data);
    }
}

#[test]
fn a_subscription_that_we_write_is_of_the_highest_version() {
    let wanted = Subscription {
        topics: vec!["orders".into()],
        generation_id: 12,
        rack_id: Some("west".into()),
        ..Subscription::default()
    };
    let bytes = encode_subscription(&wanted).unwrap();
    assert_eq!(bytes[..2], [0, 3]);
    assert_eq!(subscription(&bytes), Ok(wanted));
}

#[test]
fn an_older_version_leaves_what_it_lacks_at_its_default() {
    let full = Subscription {
        topics: vec!["orders".into()],
        user_data: None,
        owned_partitions: vec![TopicPartitions {
            topic: "orders".into(),
            partitions: vec![PartitionIndex::new(1)],
        }],
        generation_id: 12,
        rack_id: Some("west".into()),
    };
    let read = |version| subscription(&encoded(&full, version).unwrap()).unwrap();
    assert_eq!(read(3), full);
    assert_eq!(read(2), Subscription { rack_id: None, ..full.clone() });
    assert_eq!(read(1), Subscription { rack_id: None, generation_id: -1, ..full.clone() });
    assert_eq!(read(0), Subscription { topics: full.topics.clone(), ..Subscription::default() });
}

#[test]
fn a_partition_named_twice_is_owned_once() {
    let topic = |partitions: &[i32]| TopicPartitions {
        topic: "orders".into(),
        partitions: partitions.iter().copied().map(PartitionIndex::new).collect(),
    };
    let owned_partitions = vec![topic(&[1, 1, 0]), topic(&[1, 2])];
    let member = Subscription { owned_partitions, ..Subscription::default() };
    let indexes = [0, 1, 2].map(PartitionIndex::new);
    assert_eq!(member.owned(), PartitionsByName::from([("orders".into(), BTreeSet::from(indexes))]));
}

#[test]
fn a_later_version_is_read_as_the_highest_known_and_its_new_fields_are_passed_over() {
    each_sample::<Subscription>(|value, version, _| {
        if version == HIGHEST_VERSION {
            for later in [4, 5, i16::MAX] {
                let mut bytes = BytesMut::from(encoded(&value, version).unwrap());
                bytes[..2].copy_from_slice(&later.to_be_bytes());
                bytes.put_slice(b"a field of a later version");
                assert_eq!(subscription(&bytes.freeze()).as_ref(), Ok(&value));
            }
        }
    });
}

#[test]
fn a_negative_version_is_an_error() {
    for version in [-1, i16::MIN] {
        let mut bytes = BytesMut::from(encode_subscription(&Subscription::default()).unwrap());
        bytes[..2].copy_from_slice(&version.to_be_bytes());
        let bytes = bytes.freeze();
        assert_eq!(subscription(&bytes), Err(DecodeError::NegativeVersion(version)));
        assert_eq!(assignment(&bytes), Err(DecodeError::NegativeVersion(version)));
    }
}

#[test]
fn bytes_cut_at_any_place_are_an_error() {
    fn survives<T: Field + Sample>() {
        each_sample::<T>(|value, version, seed| {
            let bytes = encoded(&value, version).unwrap();
            let step = (bytes.len() / 300).max(1);
            for len in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
                assert!(decoded::<T>(&bytes.slice(..len)).is_err(), "v{version} seed {seed} cut at {len}");
            }
        });
    }
    survives::<Subscription>();
    survives::<Assignment>();
}

#[test]
fn damage_and_noise_never_panic() {
    let mut rng = Rng::with_seed(7);
    each_sample::<Subscription>(|value, version, _| {
        for _ in 0..20 {
            let mut bytes = encoded(&value, version).unwrap().to_vec();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..bytes.len());
                let any = rng.u8(..);
                bytes[at] = rng.choice([0, 0x7f, 0x80, 0xff, any]).unwrap();
            }
            let bytes = Bytes::from(bytes);
            let _ = (subscription(&bytes), assignment(&bytes));
        }
    });
    for _ in 0..20_000 {
        let len = rng.usize(..80);
        let ceiling = rng.choice([2, 16, 255]).unwrap();
        let noise: Bytes = (0..len).map(|_| rng.u8(..=ceiling)).collect();
        let _ = (subscription(&noise), assignment(&noise));
    }
}

#[test]
fn a_claim_of_many_elements_reserves_nothing() {
    for claimed in [i32::MAX, 1_000_000] {
        let mut bytes = BytesMut::new();
        bytes.put_i16(3);
        bytes.put_i32(claimed);
        bytes.put_slice(&[0; 20]);
        let (bytes, claimed) = (bytes.freeze(), usize::try_from(claimed).unwrap());
        let mut answers = None;
        let used = allocation_counter::measure(|| answers = Some((subscription(&bytes), assignment(&bytes))));
        let refusal = DecodeError::ArrayTooLong { claimed, left: 20 };
        assert_eq!(answers, Some((Err(refusal), Err(refusal))));
        assert!(used.bytes_max < 1_000, "{} bytes for a refusal", used.bytes_max);
    }
}
