//! Bytes as they arrive on a Kafka listener, and as a client gets them in answer.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};

use crate::wire::{
    DecodeError, Message, Reader, Request, api,
    frame::{self, Part, RequestHeader},
    sample::every_message,
};

/// The most bytes of a frame; no input is as long.
const FRAME_LIMIT: usize = 1 << 20;

/// Takes bytes for what a connection sends: frames, in each a header and the request of its API and version. The
/// bytes behind the header are taken for a response too, with its header and without. What decodes has to be the
/// same after it was encoded and decoded again, in one piece and in parts.
pub fn request_frame(data: &[u8]) {
    let mut buffer = BytesMut::from(data);
    loop {
        let before = buffer.len();
        match frame::take(&mut buffer, FRAME_LIMIT) {
            Ok(Some(frame)) => {
                assert_eq!(buffer.len() + frame::SIZE_LEN + frame.len(), before, "bytes between two frames");
                request(frame);
            }
            Ok(None) | Err(_) => return assert_eq!(buffer.len(), before, "bytes of no frame are taken"),
        }
    }
}

fn request(frame: Bytes) {
    let mut reader = Reader::new(frame);
    let Ok(header) = RequestHeader::decode(&mut reader) else { return };
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes).expect("a header that was read can be written");
    let again = RequestHeader::decode(&mut Reader::new(bytes.freeze()));
    assert_eq!(again.as_ref(), Ok(&header));
    macro_rules! both_ways {
        ($($module:ident: $request:ident, $response:ident;)*) => {
            match header.api() {
                $(Some(<api::$module::$request as Message>::API) => {
                    as_request::<api::$module::$request>(reader.clone(), &header);
                    as_response::<api::$module::$response>(reader, header.api_version);
                })*
                None => {}
            }
        };
    }
    every_message!(both_ways);
}

fn as_request<M: Request + PartialEq + Debug>(mut reader: Reader, header: &RequestHeader) {
    let version = header.api_version;
    let Some(message) = round_trip::<M>(&mut reader, version) else { return };
    let (id, client) = (header.correlation_id, header.client_id.as_ref());
    let mut whole = BytesMut::new();
    frame::encode_request(&mut whole, version, id, client, &message).expect("it was encoded before");
    let mut buffer = BytesMut::new();
    let parts = frame::encode_request_parts(&mut buffer, version, id, client, &message);
    assert_same_frame(&whole, &parts.expect("it was encoded in one piece"));
}

fn as_response<M: Message + PartialEq + Debug>(mut reader: Reader, version: i16) {
    round_trip::<M>(&mut reader.clone(), version);
    let Ok(id) = frame::decode_response_header(&mut reader, M::API, version) else { return };
    let Some(message) = round_trip::<M>(&mut reader, version) else { return };
    let mut whole = BytesMut::new();
    frame::encode_response(&mut whole, version, id, &message).expect("it was encoded before");
    let mut buffer = BytesMut::new();
    let parts = frame::encode_response_parts(&mut buffer, version, id, &message);
    assert_same_frame(&whole, &parts.expect("it was encoded in one piece"));
}

/// The message, if the bytes are one.
fn round_trip<M: Message + PartialEq + Debug>(reader: &mut Reader, version: i16) -> Option<M> {
    let message = M::decode(reader, version).ok()?;
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).expect("what was decoded can be encoded");
    match M::decode_all(bytes.freeze(), version) {
        Ok(again) => assert_eq!(again, message, "{:?} v{version}", M::API),
        // The bytes of unknown tags, which are gone, had paid for the memory.
        Err(DecodeError::ElementsTooMany(_)) => {}
        Err(error) => panic!("{:?} v{version}: what was encoded does not decode: {error}", M::API),
    }
    Some(message)
}

fn assert_same_frame(whole: &[u8], parts: &[Part]) {
    let mut joined = BytesMut::with_capacity(whole.len());
    for part in parts {
        match part {
            Part::Bytes(bytes) => joined.extend_from_slice(bytes),
            Part::Records { .. } => panic!("records of a message that was decoded are elsewhere"),
        }
    }
    assert_eq!(joined, whole, "a frame in parts is another one");
}
