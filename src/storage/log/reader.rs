use std::{io, sync::Arc};

use super::{
    Poisoned, ReadError,
    buffer::{ReadBuffer, ReadSpace},
    read::{Quick, ReadOutcome, ReadRequest, Verify, read_quick},
    shared::{Ends, Shared},
    slow::read_slow,
};
use crate::{
    model::{LeaderEpoch, Offset, PartitionId},
    record::BatchHeader,
    storage::{
        fs::File,
        leader_epochs::EpochStart,
        segment::{CorruptBatch, Segment, Wait, is_unreadable},
    },
};

/// Reads a log from any thread while its one writer goes on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogReader {
    pub(crate) shared: Arc<Shared>,
}

/// A stretch of a file that is whole batches, to be sent without being read.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file.
    pub file: Arc<dyn File>,
    /// The first byte.
    pub position: u64,
    /// How many bytes.
    pub len: usize,
    /// The offset after the last batch.
    pub next: Offset,
}

/// One segment as an operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The offset of its first batch.
    pub base: Offset,
    /// The offset after its last batch.
    pub end: Offset,
    /// Bytes of batches.
    pub bytes: u64,
    /// Whether it is still written to.
    pub active: bool,
}

impl LogReader {
    /// Whose log it is.
    pub fn partition(&self) -> PartitionId {
        self.shared.id
    }

    /// The first offset that may be read.
    pub fn log_start_offset(&self) -> Offset {
        self.shared.log_start()
    }

    /// The offset that the next record will get.
    pub fn log_end_offset(&self) -> Offset {
        self.shared.log_end()
    }

    /// The end of what is on disk.
    pub fn flushed_offset(&self) -> Offset {
        self.shared.flushed()
    }

    /// Whether a write or a sync has failed (S13).
    pub fn is_poisoned(&self) -> bool {
        self.shared.is_poisoned()
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.shared.segments().iter().map(|segment| segment.size()).sum()
    }

    /// All segments, ascending.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let info = |segment: &Arc<Segment>| SegmentInfo {
            base: segment.base(),
            end: segment.end(),
            bytes: segment.size(),
            active: !segment.is_sealed(),
        };
        self.shared.segments().iter().map(info).collect()
    }

    /// All that this process has found to be corrupt and that is still there.
    pub fn known_corrupt(&self) -> Vec<CorruptBatch> {
        self.shared.segments().iter().flat_map(|segment| segment.known_corrupt()).collect()
    }

    /// The answer to `OffsetForLeaderEpoch`; see
    /// [`LeaderEpochs::end_offset_for`](crate::storage::leader_epochs::LeaderEpochs::end_offset_for).
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.shared.terms().epochs.end_offset_for(epoch, self.shared.log_end())
    }

    /// Where the batch begins that holds an offset, which is the offset itself at the log's end. Waits for the disk.
    pub fn batch_base(&self, offset: Offset) -> Result<Offset, ReadError> {
        let mut head = ReadBuffer::new();
        let request =
            ReadRequest { from: offset, max_bytes: 1, verify: Verify::Never, ..ReadRequest::default() };
        self.read(&request, &mut head)?;
        let header = BatchHeader::parse(head.as_slice());
        Ok(header.map_or(offset, |header| header.base_offset.min(offset)))
    }

    /// The terms of the log, the oldest first.
    pub fn leader_epochs(&self) -> Vec<EpochStart> {
        self.shared.terms().epochs.entries().to_vec()
    }

    /// The term that wrote an offset.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.shared.terms().epochs.epoch_at(offset)
    }

    /// Adds whole batches to `out`, from the one that holds `from`, none of them at or above `upto`.
    ///
    /// A batch that is not what was written is left out, and exactly it. Fewer bytes than asked for come
    /// back at the end of a segment: go on at `next`.
    pub fn read(&self, request: &ReadRequest, out: &mut impl ReadSpace) -> Result<ReadOutcome, ReadError> {
        let cuts = self.shared.cuts();
        let upto = self.bound(request.from, request.upto)?;
        let mut request = ReadRequest { upto, ..*request };
        let segments = self.shared.segments();
        let mut skipped = Vec::new();
        let mut bytes = 0;
        while bytes == 0 && request.from < request.upto {
            let Some(at) = Shared::segment_of(&segments, request.from) else { break };
            let Some(segment) = segments.get(at) else { break };
            let before = request.from;
            match self.read_segment(segment, &request, out, &mut skipped) {
                Ok(Some((read, next))) => (bytes, request.from) = (read, next),
                Ok(None) => return Ok(ReadOutcome::NeedsDisk),
                Err(_) if self.shared.was_cut_since(cuts) => return Err(ReadError::Truncated),
                Err(error) => return Err(self.why(error, &request)),
            }
            if request.from == before {
                break;
            }
        }
        // What was cut under a read looks hit to it. Whole batches were in the log when it began.
        if !skipped.is_empty() && self.shared.was_cut_since(cuts) {
            return Err(ReadError::Truncated);
        }
        Ok(ReadOutcome::Read { bytes, next: request.from, skipped })
    }

    /// `None` when only the disk has it.
    fn read_segment(
        &self,
        segment: &Arc<Segment>,
        request: &ReadRequest,
        out: &mut impl ReadSpace,
        skipped: &mut Vec<CorruptBatch>,
    ) -> io::Result<Option<(usize, Offset)>> {
        if request.wait == Wait::MayBlock {
            self.shared.make_room_for(segment);
        }
        let quick = match read_quick(&self.shared, segment, request, out) {
            Err(error) if is_unreadable(&error) => Quick::Astray,
            quick => quick?,
        };
        match quick {
            Quick::Read(bytes, next) => Ok(Some((bytes, next))),
            Quick::NeedsDisk => Ok(None),
            Quick::Astray if request.wait == Wait::OnlyCached => Ok(None),
            Quick::Astray => {
                let slow = read_slow(&self.shared, segment, request, out)?;
                skipped.extend(slow.skipped);
                Ok(Some((slow.bytes, slow.next)))
            }
        }
    }

    /// The stretch of one file that holds whole batches from the one of `from` on, for `sendfile`. `None`
    /// where there is nothing to send, where only the disk can tell and the request is not to wait for it, or
    /// where something is corrupt: then [`LogReader::read`] knows more.
    ///
    /// With [`Verify::First`] also where something in it was never checked: read it, which does. Nothing is
    /// checked here.
    pub fn file_range(&self, request: &ReadRequest) -> Result<Option<FileRange>, ReadError> {
        let upto = self.bound(request.from, request.upto)?;
        let request = ReadRequest { upto, ..*request };
        if request.from >= upto {
            return Ok(None);
        }
        let segments = self.shared.segments();
        let at = Shared::segment_of(&segments, request.from);
        let Some(segment) = at.and_then(|at| segments.get(at)) else { return Ok(None) };
        if request.wait == Wait::MayBlock {
            self.shared.make_room_for(segment);
        }
        super::range::file_range(&self.shared, segment, &request).map_err(|error| self.why(error, &request))
    }

    /// Whether `from` may be read at all, and up to where.
    pub(super) fn bound(&self, from: Offset, upto: Offset) -> Result<Offset, ReadError> {
        if self.shared.is_closed() {
            return Err(ReadError::Closed);
        }
        let Ends { start, flushed, end } = self.ends();
        if from < start || from > end {
            return Err(ReadError::OutOfRange { offset: from, start, end });
        }
        if !self.shared.is_poisoned() {
            return Ok(upto.min(end));
        }
        if from > flushed || (from == flushed && upto > flushed) {
            return Err(Poisoned.into());
        }
        Ok(upto.min(flushed))
    }

    pub(super) fn ends(&self) -> Ends {
        let start = self.shared.log_start();
        Ends { start, flushed: self.shared.flushed(), end: self.shared.log_end() }
    }

    /// A file that is gone was deleted with what it held, if the log now begins behind it.
    pub(super) fn why(&self, error: io::Error, request: &ReadRequest) -> ReadError {
        let Ends { start, end, .. } = self.ends();
        if error.kind() == io::ErrorKind::NotFound && request.from < start {
            return ReadError::OutOfRange { offset: request.from, start, end };
        }
        error.into()
    }
}

impl Default for ReadRequest {
    /// Everything there is, checked, waiting for the disk.
    fn default() -> Self {
        Self {
            from: Offset::ZERO,
            upto: Offset::MAX,
            max_bytes: 1 << 20,
            at_least_one: true,
            verify: Verify::Always,
            wait: Wait::MayBlock,
        }
    }
}
