//! Inputs that mean something, for a fuzzer and for tests to begin with.

use bytes::{BufMut, BytesMut};
use fastrand::Rng;

use super::recovery::{KINDS, NAMES};
use crate::{
    model::{ProducerEpoch, ProducerId, Sequence, TimestampMs},
    record::{BatchBuilder, Compression, NewHeader, NewRecord, Producer},
    wire::{
        Layout, Message, Request, Str, api,
        frame::{self, RequestHeader},
        sample::{Sample, every_message},
    },
};

/// The most bytes of a seed: what a fuzzer changes at random is to matter.
const MAX_LEN: usize = 4096;

/// Frames of every API in every version: each request, and each response behind the header of its request.
pub fn request_frames() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    macro_rules! add {
        ($($module:ident: $request:ident, $response:ident;)*) => {
            $(
                for version in <api::$module::$request as Message>::API.served() {
                    found.push(short(|rng| request_of::<api::$module::$request>(rng, version)));
                    found.push(short(|rng| response_of::<api::$module::$response>(rng, version)));
                }
            )*
        };
    }
    every_message!(add);
    found
}

/// The first of many samples that is short, or the shortest.
fn short(mut sample: impl FnMut(&mut Rng) -> Vec<u8>) -> Vec<u8> {
    let mut shortest: Option<Vec<u8>> = None;
    for seed in 0..50 {
        let found = sample(&mut Rng::with_seed(seed));
        // One that is all but empty says nothing.
        if (100..MAX_LEN).contains(&found.len()) {
            return found;
        }
        if shortest.as_ref().is_none_or(|shortest| found.len() < shortest.len()) {
            shortest = Some(found);
        }
    }
    shortest.unwrap_or_default()
}

fn request_of<M: Request + Sample>(rng: &mut Rng, version: i16) -> Vec<u8> {
    let layout = Layout::of(M::API, version).expect("it is served");
    let mut out = BytesMut::new();
    let client = rng.bool().then(|| Str::from_static("fuzzer"));
    frame::encode_request(&mut out, version, rng.i32(..), client.as_ref(), &M::sample(rng, layout))
        .expect("a sample can be encoded");
    out.to_vec()
}

fn response_of<M: Message + Sample>(rng: &mut Rng, version: i16) -> Vec<u8> {
    let layout = Layout::of(M::API, version).expect("it is served");
    let header =
        RequestHeader { api_key: M::API.code(), api_version: version, correlation_id: 1, client_id: None };
    let mut body = BytesMut::new();
    header.encode(&mut body).expect("a header can be encoded");
    frame::encode_response_header(&mut body, M::API, version, 1);
    M::sample(rng, layout).encode(&mut body, version).expect("a sample can be encoded");
    let mut out = BytesMut::new();
    out.put_i32(body.len() as i32);
    out.extend_from_slice(&body);
    out.to_vec()
}

/// Batches in each codec as the builder makes them, behind each byte of choices that matters.
pub fn record_batches() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for compression in Compression::ALL {
        for seed in 0..8 {
            let mut rng = Rng::with_seed(seed);
            let batch = batch(&mut rng, compression);
            // Sealed and as it is; with and without each rule; built again in each codec.
            let choice = rng.u8(..) & 0xfe | u8::from(seed % 4 > 0);
            found.push([&[choice][..], &batch].concat());
        }
    }
    found
}

fn batch(rng: &mut Rng, compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(MAX_LEN);
    for _ in 0..rng.usize(1..20) {
        let value = vec![rng.u8(..); rng.usize(0..300)];
        let key = rng.bool().then_some(&b"key"[..]);
        let headers = [NewHeader { name: "name", value: key }];
        let record = NewRecord {
            timestamp: TimestampMs::new(1_700_000_000_000 + rng.i64(-1000..1000)),
            key,
            value: rng.bool().then_some(&value),
            headers: headers.get(..rng.usize(0..2)).unwrap_or_default(),
        };
        if !builder.append(&record) {
            break;
        }
    }
    let mut producer = Producer::NONE;
    if rng.bool() {
        let (id, epoch) = (ProducerId::new(1), ProducerEpoch::new(0));
        producer = Producer { id, epoch, base_sequence: Sequence::new(rng.i32(0..)) };
    }
    builder.finish(compression, None, producer).expect("it has a record").to_vec()
}

/// Logs that are left as they are, and one with each kind of damage and each file that somebody may make.
pub fn recoveries() -> Vec<Vec<u8>> {
    let mut rng = Rng::with_seed(1);
    let mut found: Vec<Vec<u8>> = (0..32_u16).map(|log| log.to_be_bytes().to_vec()).collect();
    for kind in 0..KINDS {
        for _ in 0..16 {
            found.push(damage(&mut rng, &[kind]));
        }
    }
    for name in 0..NAMES.len() as u8 {
        found.push(damage(&mut rng, &[0, name]));
    }
    found
}

/// Any log with damage that begins so.
fn damage(rng: &mut Rng, start: &[u8]) -> Vec<u8> {
    let log = rng.u16(..);
    let rest = std::iter::repeat_with(|| rng.u8(..)).take(24);
    log.to_be_bytes().into_iter().chain(start.iter().copied()).chain(rest).collect()
}
