//! Each codec's ways to be wrong, and the forms that clients write beside our own.

use std::{io::Write, iter::repeat_n};

use bytes::Bytes;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::{batch_around, batch_of, rules};
use crate::record::{
    BATCH_HEADER_LEN, BatchError, Compression, ProduceRules, RecordFlaw, unpack, validate_produced,
};

const PACKED: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// The records of an uncompressed batch of 300 records, 330 KB in all: many blocks of any codec.
fn plain() -> Vec<u8> {
    batch_of(300, 1100, Compression::None).split_off(BATCH_HEADER_LEN)
}

fn around(packed: &[u8], compression: Compression) -> Vec<u8> {
    batch_around(packed, i16::from(compression.id()), 300)
}

fn assert_sound(packed: &[u8], compression: Compression) {
    let batch = around(packed, compression);
    validate_produced(&batch, &rules()).unwrap();
    let batch = Bytes::from(batch);
    let unpacked = unpack(&batch, 1 << 20).unwrap();
    assert_eq!(unpacked.iter().flatten().count(), 300);
    assert!(unpacked.iter().all(|record| record.unwrap().value.unwrap().len() == 1100));
}

fn lz4(info: FrameInfo) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    // In pieces that are not blocks, so that blocks of many lengths come out.
    for piece in plain().chunks(50_001) {
        encoder.write_all(piece).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn lz4_frames_of_every_kind_that_clients_write_are_read() {
    let sizes = [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB];
    for size in sizes {
        for mode in [BlockMode::Independent, BlockMode::Linked] {
            for sums in [false, true] {
                for content in [None, Some(plain().len() as u64)] {
                    let info = FrameInfo::new().block_size(size).block_mode(mode);
                    let info = info.block_checksums(sums).content_checksum(sums).content_size(content);
                    assert_sound(&lz4(info), Compression::Lz4);
                }
            }
        }
    }
}

/// Noise, which lz4 leaves as it is: the blocks are then marked as not packed.
#[test]
fn lz4_blocks_that_are_not_packed_are_read() {
    let mut noise = fastrand::Rng::with_seed(7);
    let value: Vec<u8> = repeat_n((), 200_000).map(|()| noise.u8(..)).collect();
    let mut builder = crate::record::BatchBuilder::new(usize::MAX);
    let record =
        crate::record::NewRecord { timestamp: super::NOW, value: Some(&value), ..Default::default() };
    assert!(builder.append(&record));
    let plain = super::finish(builder, Compression::None);
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(mode);
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&plain[BATCH_HEADER_LEN..]).unwrap();
        let batch = batch_around(&encoder.finish().unwrap(), 3, 1);
        validate_produced(&batch, &rules()).unwrap();
    }
}

#[test]
fn an_lz4_frame_that_breaks_a_promise_of_its_own_is_refused() {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB);
    let info = info.block_checksums(true).content_checksum(true).content_size(Some(plain().len() as u64));
    let sound = lz4(info);
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packed = sound.clone();
        change(&mut packed);
        let error = validate_produced(&around(&packed, Compression::Lz4), &rules()).unwrap_err();
        assert_eq!(error, BatchError::Unpack(Compression::Lz4));
    };
    refused(&|packed| packed[0] = 5);
    refused(&|packed| packed[4] ^= 0b1);
    refused(&|packed| packed[5] = 0x30);
    refused(&|packed| packed[6] ^= 1);
    refused(&|packed| packed[14] ^= 1);
    refused(&|packed| packed[20] ^= 1);
    refused(&|packed| *packed.last_mut().unwrap() ^= 1);
    refused(&|packed| packed.push(0));
    refused(&|packed| packed.truncate(packed.len() - 8));
    refused(&|packed| packed.extend_from_within(..));
}

fn xerial(blocks: &[&[u8]]) -> Vec<u8> {
    let mut packed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in blocks {
        packed.extend_from_slice(&(block.len() as u32).to_be_bytes());
        packed.extend_from_slice(block);
    }
    packed
}

fn snappy(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).unwrap()
}

#[test]
fn snappy_is_read_bare_and_in_xerials_framing() {
    let plain = plain();
    let (head, rest) = plain.split_at(100_000);
    assert_sound(&snappy(&plain), Compression::Snappy);
    assert_sound(&xerial(&[&snappy(head), &snappy(b""), &snappy(rest)]), Compression::Snappy);
}

#[test]
fn a_snappy_block_is_not_believed_beyond_what_its_bytes_can_hold() {
    // The length in front says 4 GiB less one.
    let claims = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let refused = Err(BatchError::Unpack(Compression::Snappy));
    assert_eq!(validate_produced(&around(&claims, Compression::Snappy), &rules()), refused);
    assert_eq!(validate_produced(&around(&xerial(&[&claims]), Compression::Snappy), &rules()), refused);
    let mut long = xerial(&[]);
    long.extend_from_slice(&[0x7f, 0xff, 0xff, 0xff, 1, 2, 3]);
    assert_eq!(validate_produced(&around(&long, Compression::Snappy), &rules()), refused);
    let mut negative = xerial(&[]);
    negative.extend_from_slice(&[0xff; 8]);
    assert_eq!(validate_produced(&around(&negative, Compression::Snappy), &rules()), refused);
}

#[test]
fn records_that_unpack_beyond_the_bound_are_refused_by_every_codec() {
    for compression in PACKED {
        let batch = batch_of(40, 50_000, compression);
        assert!(batch.len() < 200_000, "{compression:?}");
        let small = ProduceRules { max_unpacked_bytes: 1_000_000, ..rules() };
        let too_large = BatchError::UnpackedTooLarge { max: 1_000_000 };
        assert_eq!(validate_produced(&batch, &small), Err(too_large));
        assert_eq!(unpack(&Bytes::from(batch.clone()), 1_000_000).unwrap_err(), too_large);
        assert!(validate_produced(&batch, &rules()).is_ok());
        assert!(unpack(&Bytes::from(batch), 3_000_000).is_ok());
    }
}

#[test]
fn a_packed_batch_cut_short_or_followed_by_more_is_refused() {
    for compression in PACKED {
        let packed = batch_of(300, 1100, compression).split_off(BATCH_HEADER_LEN);
        for cut in [0, 1, packed.len() / 2, packed.len() - 1] {
            assert!(validate_produced(&around(&packed[..cut], compression), &rules()).is_err());
        }
        let followed = [&packed[..], b"more"].concat();
        let error = validate_produced(&around(&followed, compression), &rules()).unwrap_err();
        assert_eq!(error, BatchError::Unpack(compression));
    }
}

#[test]
fn records_that_contradict_the_header_are_refused_through_every_codec() {
    for compression in PACKED {
        let packed = batch_of(300, 100, compression).split_off(BATCH_HEADER_LEN);
        let with = |records| {
            let batch = batch_around(&packed, i16::from(compression.id()), records);
            validate_produced(&batch, &rules()).unwrap_err()
        };
        assert_eq!(with(301), BatchError::Record { index: 300, flaw: RecordFlaw::Truncated });
        assert_eq!(with(299), BatchError::BytesAfterRecords);
    }
}

#[test]
fn what_does_not_get_smaller_is_sent_as_it_is() {
    for compression in Compression::ALL {
        let header = validate_produced(&batch_of(1, 1, compression), &rules()).unwrap();
        assert_eq!(header.compression(), Ok(Compression::None));
    }
}
