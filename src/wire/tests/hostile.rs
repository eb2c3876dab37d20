//! Bytes that no honest peer sends: nothing panics, and nothing is reserved on a claim alone.

use bytes::{BufMut, Bytes, BytesMut};
use fastrand::Rng;

use crate::wire::{
    DecodeError, Layout, Message, Reader, Str,
    api::{self, delete_topics::DeleteTopicsRequest, metadata::MetadataRequest},
    frame::RequestHeader,
    sample::{Sample, every_message},
};

/// Every API, version and direction with a few messages as bytes.
fn each_encoded<M: Message + Sample>(mut check: impl FnMut(&Bytes, i16, &mut Rng)) {
    for version in M::API.served() {
        let layout = Layout::of(M::API, version).unwrap();
        for seed in 0..6 {
            let mut rng = Rng::with_seed(seed);
            let mut bytes = BytesMut::new();
            M::sample(&mut rng, layout).encode(&mut bytes, version).unwrap();
            check(&bytes.freeze(), version, &mut rng);
        }
    }
}

fn survives_truncation<M: Message + Sample>() {
    each_encoded::<M>(|bytes, version, _| {
        // Every place in a short message; in a long one the first, the last and some between.
        let step = (bytes.len() / 500).max(1);
        for len in (0..bytes.len()).step_by(step).chain(bytes.len().checked_sub(1)) {
            let cut = M::decode_all(bytes.slice(..len), version);
            assert!(cut.is_err(), "{:?} v{version} cut at {len} of {}", M::API, bytes.len());
        }
    });
}

fn survives_damage<M: Message + Sample>() {
    each_encoded::<M>(|bytes, version, rng| {
        for _ in 0..40 {
            let mut damaged = bytes.to_vec();
            for _ in 0..rng.usize(1..4) {
                let Some(at) = rng.choice(0..damaged.len()) else { return };
                let any = rng.u8(..);
                damaged[at] = rng.choice([0, 0x7f, 0x80, 0xff, any]).unwrap();
            }
            let _ = M::decode_all(damaged.into(), version);
        }
        for at in (0..bytes.len()).step_by((bytes.len() / 200).max(1)) {
            for claim in [&[0x7f, 0xff, 0xff, 0xff][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0x80; 4]] {
                let mut damaged = bytes.to_vec();
                let end = damaged.len().min(at + claim.len());
                damaged[at..end].copy_from_slice(&claim[..end - at]);
                let _ = M::decode_all(damaged.into(), version);
            }
        }
    });
}

fn survives_noise<M: Message + Sample>() {
    let mut rng = Rng::with_seed(7);
    for version in M::API.served() {
        for _ in 0..200 {
            let len = rng.usize(..300);
            let ceiling = rng.choice([2, 16, 255]).unwrap();
            let noise: Vec<u8> = (0..len).map(|_| rng.u8(..=ceiling)).collect();
            let _ = M::decode_all(noise.into(), version);
        }
    }
}

macro_rules! for_every_message {
    ($($module:ident: $request:ident, $response:ident;)*) => {
        #[test]
        fn a_message_cut_at_any_byte_is_an_error() {
            $(
                survives_truncation::<api::$module::$request>();
                survives_truncation::<api::$module::$response>();
            )*
        }

        #[test]
        fn damaged_bytes_and_huge_claims_never_panic() {
            $(
                survives_damage::<api::$module::$request>();
                survives_damage::<api::$module::$response>();
            )*
        }

        #[test]
        fn noise_never_panics() {
            $(
                survives_noise::<api::$module::$request>();
                survives_noise::<api::$module::$response>();
            )*
        }

        #[test]
        fn a_version_that_is_not_served_is_an_error_both_ways() {
            $({
                let api = <api::$module::$request as Message>::API;
                for version in [i16::MIN, -1, *api.served().end() + 1, i16::MAX] {
                    let decoded = api::$module::$request::decode_all(Bytes::new(), version);
                    assert!(matches!(decoded, Err(DecodeError::Version(_))), "{api:?} v{version}");
                    let encoded = api::$module::$response::default().encode(&mut BytesMut::new(), version);
                    assert!(encoded.is_err(), "{api:?} v{version}");
                }
            })*
        }
    };
}

every_message!(for_every_message);

#[test]
fn noise_is_never_a_panic_in_a_header() {
    let mut rng = Rng::with_seed(11);
    for _ in 0..20_000 {
        let len = rng.usize(..40);
        let ceiling = rng.choice([2, 60, 255]).unwrap();
        let noise: Vec<u8> = (0..len).map(|_| rng.u8(..=ceiling)).collect();
        let _ = RequestHeader::decode(&mut Reader::new(noise.into()));
    }
}

#[test]
fn four_bytes_that_claim_a_huge_array_reserve_nothing() {
    let claim = Bytes::copy_from_slice(&i32::MAX.to_be_bytes());
    let refused = MetadataRequest::decode_all(claim, 1).unwrap_err();
    assert_eq!(refused, DecodeError::ArrayTooLong { claimed: i32::MAX as usize, left: 0 });

    let compact = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]);
    let refused = MetadataRequest::decode_all(compact, 9).unwrap_err();
    assert_eq!(refused, DecodeError::ArrayTooLong { claimed: u32::MAX as usize - 1, left: 2 });
}

#[test]
fn an_array_reserves_no_more_memory_than_the_bytes_that_are_left() {
    for (count, left) in [(1_usize, 1_usize), (10, 500), (500, 500), (500, 40_000)] {
        let mut frame = BytesMut::new();
        frame.put_i32(i32::try_from(count).unwrap());
        frame.resize(4 + left, 0);
        let classic = Layout { version: 0, flexible: false };
        let mut reader = Reader::new(frame.freeze());
        let (claimed, reserve) = reader.array_len::<Str>(classic).unwrap().unwrap();
        assert_eq!(claimed, count);
        assert!(reserve * size_of::<Str>() <= left, "{reserve} reserved with {left} bytes left");
    }
}

#[test]
fn a_frame_of_empty_elements_cannot_become_many_times_its_size() {
    let names = 10_000_000_usize;
    let mut frame = BytesMut::from(&[0x81, 0xad, 0xe2, 0x04][..]); // 10,000,000 + 1 as a varint
    frame.resize(4 + names, 1);
    let refused = DeleteTopicsRequest::decode_all(frame.freeze(), 5).unwrap_err();
    assert_eq!(refused, DecodeError::ElementsTooMany(names));
}

#[test]
fn elements_with_a_few_bytes_each_are_never_refused() {
    let topic_names: Vec<Str> = (0..200_000).map(|n| format!("{n:06}").into()).collect();
    let request = DeleteTopicsRequest { topic_names, ..DeleteTopicsRequest::default() };
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, 5).unwrap();
    assert_eq!(DeleteTopicsRequest::decode_all(bytes.freeze(), 5), Ok(request));
}

#[test]
fn null_where_the_version_allows_none_is_an_error() {
    let null_array = Bytes::copy_from_slice(&(-1_i32).to_be_bytes());
    assert_eq!(MetadataRequest::decode_all(null_array.clone(), 0), Err(DecodeError::Null));
    assert!(MetadataRequest::decode_all(null_array, 1).unwrap().topics.is_none());
    let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
    assert!(all.encode(&mut BytesMut::new(), 0).is_err());
}

#[test]
fn a_length_below_null_is_an_error() {
    let bytes = Bytes::copy_from_slice(&(-2_i32).to_be_bytes());
    assert_eq!(MetadataRequest::decode_all(bytes, 1), Err(DecodeError::NegativeLength(-2)));
}

#[test]
fn a_string_that_is_not_utf_8_is_an_error() {
    let bytes = Bytes::from_static(&[0, 0, 0, 1, 0, 1, 0xff]);
    assert_eq!(MetadataRequest::decode_all(bytes, 1), Err(DecodeError::NotUtf8));
}

#[test]
fn a_varint_of_more_than_32_bits_is_an_error() {
    for bytes in [&[0x80, 0x80, 0x80, 0x80, 0x10][..], &[0xff; 6]] {
        let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
        assert_eq!(reader.uvarint(), Err(DecodeError::VarintTooLong));
    }
    let mut highest = Reader::new(Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f]));
    assert_eq!(highest.uvarint(), Ok(u32::MAX));
}

#[test]
fn bytes_after_a_message_are_an_error_when_it_should_be_all() {
    let bytes = Bytes::from_static(&[0, 0, 0, 0, 9]);
    assert_eq!(MetadataRequest::decode_all(bytes, 1), Err(DecodeError::TrailingBytes(1)));
}
