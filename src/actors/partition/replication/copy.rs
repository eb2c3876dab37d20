//! Asking a replica for what another has lost, and answering.
//!
//! Each copy has a stream of its own, which ends with it. A node that does not know the frame ends the stream without an
//! answer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncWriteExt, split},
    time::timeout,
};

use super::{
    Streams,
    connection::{Frames, StreamError},
    frame::{Copy, PREAMBLE, ToFollower, ToLeader},
};
use crate::{
    actors::partition::{LogReader, ReadBuffer, ReadError, ReadOutcome, ReadRequest, Verify, Wait},
    model::{NodeId, Offset, PartitionId},
    record::BatchHeader,
};

/// The most bytes of one answer, but for a batch that is larger.
const ANSWER: usize = 4 << 20;
/// The most bytes that are taken for one stretch of damage.
const MOST: usize = 64 << 20;
/// How long opening a stream, and then each answer, may take.
const WITHIN: Duration = Duration::from_secs(5);

/// What came of asking one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actors::partition) enum Copied {
    /// Batches that cover the offsets, unchecked.
    Whole {
        /// One behind the other.
        batches: Bytes,
        /// Up to where that replica was compacted.
        cleaned_to: Offset,
    },
    /// It has not got them, or they are more than is taken at once.
    No,
    /// It heard the question and ended the stream: a node of an earlier version, or one that ended just then.
    Silent,
    /// It cannot be reached, or cannot say now.
    NotNow,
}

impl Streams {
    /// Asks a node for what its replica has of these offsets.
    pub(in crate::actors::partition) async fn copy(
        &self,
        node: NodeId,
        partition: PartitionId,
        (from, to): (Offset, Offset),
    ) -> Copied {
        let Ok(Ok(stream)) = timeout(WITHIN, self.connect(node)).await else { return Copied::NotNow };
        let (read, mut write) = split(stream);
        let begun = async {
            write.write_all(&PREAMBLE).await?;
            Frames::begin(read).await
        };
        let Ok(Ok(mut frames)) = timeout(WITHIN, begun).await else { return Copied::NotNow };
        let (mut batches, mut at, mut compacted_to) = (BytesMut::new(), from, Offset::MAX);
        while at < to {
            let mut ask = BytesMut::new();
            ToLeader::AskCopy { partition, from: at, to }.encode(&mut ask);
            if write.write_all(&ask).await.is_err() || write.flush().await.is_err() {
                return Copied::Silent;
            }
            match timeout(WITHIN, answer(&mut frames)).await {
                Ok(Ok(Copy::Has { next, cleaned_to, batches: more })) if next > at => {
                    batches.extend_from_slice(&more);
                    (at, compacted_to) = (next, compacted_to.min(cleaned_to));
                }
                Ok(Ok(Copy::Has { .. } | Copy::HasNot)) => return Copied::No,
                Ok(Err(StreamError::Closed | StreamError::Io(_))) if at == from => return Copied::Silent,
                Ok(Err(_) | Ok(Copy::NotNow)) | Err(_) => return Copied::NotNow,
            }
            if batches.len() > MOST {
                tracing::warn!(%node, %partition, %from, %to, "too much is damaged to be copied at once");
                return Copied::No;
            }
        }
        Copied::Whole { batches: batches.freeze(), cleaned_to: compacted_to }
    }
}

async fn answer<R: tokio::io::AsyncRead + Unpin>(frames: &mut Frames<R>) -> Result<Copy, StreamError> {
    loop {
        if let ToFollower::Copy(copy) = ToFollower::decode(frames.next().await?)? {
            return Ok(copy);
        }
    }
}

/// What a replica has of these offsets, each batch checked. Blocks.
pub(super) fn copy_of(reader: Option<&LogReader>, (from, to): (Offset, Offset)) -> Copy {
    let Some(reader) = reader else { return Copy::NotNow };
    if to > reader.log_end_offset() {
        return Copy::NotNow;
    }
    let (mut out, mut at) = (ReadBuffer::new(), from);
    while at < to && out.len() < ANSWER {
        let request = ReadRequest {
            from: at,
            upto: Offset::MAX,
            max_bytes: ANSWER - out.len(),
            at_least_one: out.is_empty(),
            verify: Verify::Always,
            wait: Wait::MayBlock,
        };
        match reader.read(&request, &mut out) {
            Ok(ReadOutcome::Read { next, skipped, .. }) if skipped.is_empty() && next > at => at = next,
            Ok(ReadOutcome::Read { skipped, .. }) if skipped.is_empty() && !out.is_empty() => break,
            Ok(_) | Err(ReadError::OutOfRange { .. }) => return Copy::HasNot,
            Err(_) => return Copy::NotNow,
        }
    }
    let (len, next) = wanted(out.as_slice(), to);
    match next {
        Some(next) => {
            let batches = Bytes::copy_from_slice(out.as_slice().get(..len).unwrap_or_default());
            Copy::Has { next, cleaned_to: reader.cleaned_to(), batches }
        }
        None => Copy::HasNot,
    }
}

/// The bytes of the batches that begin before `to`, and where the last of them ends.
fn wanted(bytes: &[u8], to: Offset) -> (usize, Option<Offset>) {
    let (mut len, mut next) = (0, None);
    while let Ok(header) = BatchHeader::parse(bytes.get(len..).unwrap_or_default()) {
        if header.base_offset >= to {
            break;
        }
        len += header.total_len();
        next = Some(header.next_offset());
    }
    (len, next)
}
