//! Peers that mean no good, or are broken: the node survives them, and others do not notice.

mod bounds;
mod garbage;
mod slow;

use std::time::Duration;

use bytes::BytesMut;
use polylogue::wire::{
    Str,
    api::metadata::{MetadataRequest, MetadataRequestTopic},
    frame::RequestHeader,
};

/// How much a node's memory may grow by hostile peers.
const MEMORY: u64 = 64 << 20;

/// A good client's slowest round trip beside hostile ones. Generous: the machine may be busy.
const SLOWEST: Duration = Duration::from_secs(2);

/// A request's header, for any API and version.
fn header(api_key: i16, api_version: i16) -> BytesMut {
    let mut out = BytesMut::new();
    let header = RequestHeader { api_key, api_version, correlation_id: 7, client_id: Some(Str::from("x")) };
    header.encode(&mut out).unwrap();
    out
}

fn framed(content: &[u8]) -> Vec<u8> {
    let mut out = (content.len() as i32).to_be_bytes().to_vec();
    out.extend_from_slice(content);
    out
}

fn wide_metadata(topics: usize) -> MetadataRequest {
    let topic = MetadataRequestTopic { name: Some(Str::from("")), ..MetadataRequestTopic::default() };
    MetadataRequest {
        topics: Some(vec![topic; topics]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    }
}
