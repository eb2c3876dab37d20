//! One client's connection on a thread of its own: read a frame, act, answer, in turn. Blocking calls,
//! two buffers that live as long as the connection, no queue.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{
    topics::Topics,
    wire::{Malformed, Reader, Writer},
};

/// The largest request that is taken; as much is prepared for answers.
const FRAME_MAX: usize = 8 << 20;
/// The most that one fetch brings.
const FETCH_BYTES_MAX: usize = 4 << 20;

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;

/// Key and the one version served of each API; just enough for librdkafka's record batches.
const SERVED: [(i16, i16); 5] =
    [(PRODUCE, 3), (FETCH, 4), (LIST_OFFSETS, 1), (METADATA, 1), (API_VERSIONS, 0)];

const UNSUPPORTED_VERSION: i16 = 35;
const THE_NODE: i32 = 1;
const EARLIEST: i64 = -2;

/// Serves until the client leaves; an error closes the connection and is all that the client sees.
pub(super) fn serve(mut stream: TcpStream, topics: &Topics) -> io::Result<()> {
    let address = stream.local_addr()?;
    let mut request = vec![0; FRAME_MAX];
    let mut response = Vec::with_capacity(FRAME_MAX);
    loop {
        let mut size = [0; 4];
        stream.read_exact(&mut size)?;
        let size = u32::from_be_bytes(size) as usize;
        let Some(frame) = request.get_mut(..size) else {
            return Err(Malformed.into());
        };
        stream.read_exact(frame)?;
        if answer(frame, &mut response, topics, address)? {
            stream.write_all(&response)?;
        }
    }
}

/// Carries out one request; false when it wants no answer (`acks=0`).
fn answer(
    frame: &mut [u8],
    response: &mut Vec<u8>,
    topics: &Topics,
    address: SocketAddr,
) -> io::Result<bool> {
    let mut request = Reader::new(frame);
    let (key, version, correlation_id) = (request.i16()?, request.i16()?, request.i32()?);
    request.string()?; // client id
    let body = request.position();
    let mut out = Writer::begin(response, correlation_id);
    let wanted = match key {
        PRODUCE => produce(frame, body, &mut out, topics)?,
        FETCH => fetch(request, &mut out, topics).map(|()| true)?,
        LIST_OFFSETS => list_offsets(request, &mut out, topics).map(|()| true)?,
        METADATA => metadata(request, &mut out, topics, address).map(|()| true)?,
        API_VERSIONS => api_versions(version, &mut out),
        _ => return Err(Malformed.into()),
    };
    out.finish();
    Ok(wanted)
}

fn api_versions(version: i16, out: &mut Writer<'_>) -> bool {
    out.i16(if version == 0 { 0 } else { UNSUPPORTED_VERSION }).i32(SERVED.len() as i32);
    for (key, version) in SERVED {
        out.i16(key).i16(version).i16(version);
    }
    true
}

fn metadata(
    mut request: Reader<'_>,
    out: &mut Writer<'_>,
    topics: &Topics,
    address: SocketAddr,
) -> io::Result<()> {
    out.i32(1).i32(THE_NODE).string(address.ip().to_string().as_bytes());
    out.i32(i32::from(address.port())).i16(-1).i32(THE_NODE); // no rack; the controller
    let names = request.len()?;
    out.i32(names as i32);
    for _ in 0..names {
        let name = request.string()?;
        topics.topic(name)?;
        out.i16(0).string(name).i8(0).i32(topics.partitions() as i32);
        for partition in 0..topics.partitions() {
            out.i16(0).i32(partition as i32).i32(THE_NODE);
            out.i32(1).i32(THE_NODE).i32(1).i32(THE_NODE); // replicas, in-sync replicas
        }
    }
    Ok(())
}

/// Takes the whole frame, because each batch is numbered in place before it is written.
fn produce(frame: &mut [u8], body: usize, out: &mut Writer<'_>, topics: &Topics) -> io::Result<bool> {
    let mut position = body;
    let (acks, topic_count) = {
        let mut request = Reader::new(&frame[body..]);
        request.string()?; // transactional id
        let acks = request.i16()?;
        request.i32()?; // time-out
        let topic_count = request.len()?;
        position += request.position();
        (acks, topic_count)
    };
    out.i32(topic_count as i32);
    for _ in 0..topic_count {
        let (topic, partition_count) = {
            let mut request = Reader::new(&frame[position..]);
            let name = request.string()?;
            let partition_count = request.len()?;
            out.string(name).i32(partition_count as i32);
            position += request.position();
            (topics.topic(name)?, partition_count)
        };
        for _ in 0..partition_count {
            let (partition, len) = {
                let mut request = Reader::new(&frame[position..]);
                let fields = (request.i32()?, request.len()?);
                position += request.position();
                fields
            };
            let batch = frame.get_mut(position..position + len).ok_or(Malformed)?;
            position += len;
            let base = topic.append(index(partition)?, batch)?;
            out.i32(partition).i16(0).i64(base).i64(-1); // -1: no log append time
        }
    }
    out.i32(0); // throttle time
    Ok(acks != 0)
}

fn list_offsets(mut request: Reader<'_>, out: &mut Writer<'_>, topics: &Topics) -> io::Result<()> {
    request.i32()?; // replica id
    let topic_count = request.len()?;
    out.i32(topic_count as i32);
    for _ in 0..topic_count {
        let name = request.string()?;
        let partition_count = request.len()?;
        out.string(name).i32(partition_count as i32);
        for _ in 0..partition_count {
            let (partition, at) = (request.i32()?, request.i64()?);
            let offset = if at == EARLIEST { 0 } else { topics.topic(name)?.end(index(partition)?)? };
            out.i32(partition).i16(0).i64(-1).i64(offset);
        }
    }
    Ok(())
}

fn fetch(mut request: Reader<'_>, out: &mut Writer<'_>, topics: &Topics) -> io::Result<()> {
    request.i32()?; // replica id
    let wait = Duration::from_millis(u64::try_from(request.i32()?).unwrap_or(0));
    request.take(4 + 4 + 1)?; // least and most bytes, isolation
    let topic_count = request.len()?;
    out.i32(0).i32(topic_count as i32); // throttle time
    for _ in 0..topic_count {
        let name = request.string()?;
        let partitions = fetch_positions(&mut request)?;
        let topic = topics.topic(name)?;
        let positions: Vec<_> = partitions.iter().map(|(index, offset, _)| (*index, *offset)).collect();
        topic.wait_for_any(&positions, wait);
        out.string(name).i32(partitions.len() as i32);
        for (partition, offset, bytes_max) in partitions {
            let high_watermark = topic.high_watermark(partition)?;
            out.i32(partition as i32).i16(0).i64(high_watermark).i64(high_watermark);
            out.i32(-1); // no aborted transactions
            let records = out.reserve_len();
            topic.read(partition, offset, bytes_max.min(FETCH_BYTES_MAX), out.buffer())?;
            out.fill_len(records);
        }
    }
    Ok(())
}

/// Partition, offset and most bytes of each partition that a fetch names.
fn fetch_positions(request: &mut Reader<'_>) -> io::Result<Vec<(usize, i64, usize)>> {
    let count = request.len()?;
    let mut positions = Vec::new();
    for _ in 0..count {
        positions.push((index(request.i32()?)?, request.i64()?, request.len()?));
    }
    Ok(positions)
}

fn index(partition: i32) -> Result<usize, Malformed> {
    usize::try_from(partition).map_err(|_| Malformed)
}

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed)
    }
}
