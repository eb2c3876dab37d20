//! Walks the batches of a segment and finds the way on behind one that is hit.
//!
//! The checksum of a batch does not cover its first 21 bytes: base offset, length, leader epoch, magic
//! and the checksum itself. A batch is whole only when its checksum is right *and* it stands where its
//! neighbours say: its offset follows the one before, its length ends inside the segment, its epoch is
//! the one that led at that offset.

use std::{io, path::PathBuf, sync::Arc};

use super::epochs::EpochRule;
use crate::{
    model::Offset,
    record::{BATCH_HEADER_LEN, BatchHeader, LENGTH_PREFIX_LEN, MAGIC, crc_is_right},
    storage::fs::{File, Fs},
};

/// Where a scan's bytes come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// An open file, through the page cache.
    Cached(Arc<dyn File>),
    /// The disk itself (S13).
    Disk(Arc<dyn Fs>, PathBuf),
}

impl Source {
    pub(crate) fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        match self {
            Self::Cached(file) => file.read_at(buf, position),
            Self::Disk(fs, path) => fs.read_from_disk(path, position, buf),
        }
    }
}

/// What is wrong with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorruptReason {
    /// The bytes end within it.
    #[error("batch is cut short")]
    Cut,
    /// The length or the magic cannot be a batch's.
    #[error("batch header makes no sense")]
    Header,
    /// Its offset is not the one that follows its neighbour's.
    #[error("batch has the wrong base offset")]
    BaseOffset,
    /// Another term led at its offset.
    #[error("batch has the wrong leader epoch")]
    LeaderEpoch,
    /// The CRC-32C does not match.
    #[error("batch checksum does not match")]
    Checksum,
    /// There are no bytes for these offsets at all.
    #[error("batches are missing")]
    Missing,
}

/// What stands at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A whole batch.
    Batch(BatchHeader),
    /// Not a whole batch.
    Bad(CorruptReason),
    /// Nothing: the segment ends here, as it should.
    End,
}

/// Bytes that are no whole batch, and the offsets that they took with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) position: u64,
    pub(crate) len: u64,
    pub(crate) first: Offset,
    /// The offset at which the log goes on.
    pub(crate) next: Offset,
    pub(crate) reason: CorruptReason,
}

/// Up to where the way on is looked for, and the offset that follows there, where that is known: for certain, or
/// unless batches are missing before it, as at the end of a segment's file.
#[derive(Clone, Copy, Debug)]
struct Upper {
    position: u64,
    offset: Option<Offset>,
    is_certain: bool,
}

/// Where a whole batch stands, whose offset its own checksum does not cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At this offset: two at least say so, be it that its own word is another.
    Agreed(Offset),
    /// At this offset by its own word; nobody else is there to say.
    Alone(Offset),
    /// Each says something else.
    Unknown,
}

/// How many whole batches in a row are asked where they stand.
const VOICES: usize = 8;

/// The most offsets that a batch can count.
const OFFSETS_MOST: i64 = 1 << 31;

/// Where a batch has its length and its magic.
const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// How far apart what is held in memory at once may be: a hit batch and what may be its end.
const NEAR: u64 = 16 << 20;

/// A walk over one segment.
#[derive(Debug)]
pub(crate) struct Scanner {
    source: Source,
    buf: Vec<u8>,
    buf_at: u64,
    filled: usize,
    position: u64,
    expected: Offset,
    limit: u64,
    end: Option<Offset>,
    /// A position of which is certain that the batch of this offset begins there.
    certain: Option<(u64, Offset)>,
    epochs: EpochRule,
    bytes_read: u64,
    chunk: usize,
    over_bad_sectors: bool,
}

impl Scanner {
    /// Begins at `position`, where the batch of `expected` should stand. The segment has `limit` bytes and
    /// ends before offset `end`, where that is known.
    pub(crate) fn new(
        source: Source,
        (position, expected): (u64, Offset),
        (limit, end): (u64, Option<Offset>),
        epochs: EpochRule,
    ) -> Self {
        let (buf, chunk) = (Vec::new(), CHUNK);
        Self {
            source,
            buf,
            buf_at: position,
            filled: 0,
            position,
            expected,
            limit,
            end,
            certain: None,
            epochs,
            bytes_read: 0,
            chunk,
            over_bad_sectors: false,
        }
    }

    /// It is certain, by what is written elsewhere, that the batch of this offset begins at this position, or will: no
    /// batch before it counts to further offsets, and the way on behind damage is looked for no further.
    #[must_use]
    pub(crate) const fn with_certain(mut self, certain: Option<(u64, Offset)>) -> Self {
        self.certain = certain;
        self
    }

    /// Takes what the disk cannot read for zeros, which are no batch.
    #[must_use]
    pub(crate) const fn over_bad_sectors(mut self) -> Self {
        self.over_bad_sectors = true;
        self
    }

    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// The offset that should stand here.
    pub(crate) const fn expected(&self) -> Offset {
        self.expected
    }

    pub(crate) const fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Judges what stands here.
    pub(crate) fn look(&mut self) -> io::Result<Step> {
        if self.end.is_some_and(|end| self.expected >= end) {
            return Ok(Step::End);
        }
        if self.position >= self.limit {
            let missing = self.end.is_some_and(|end| self.expected < end);
            return Ok(if missing { Step::Bad(CorruptReason::Missing) } else { Step::End });
        }
        self.judge(self.position, Some(self.expected))
    }

    /// The bytes of the batch that [`Scanner::look`] has just found here.
    pub(crate) fn batch(&self, header: &BatchHeader) -> &[u8] {
        let at = (self.position - self.buf_at) as usize;
        self.buf.get(at..at + header.total_len()).unwrap_or_default()
    }

    /// Passes the batch that [`Scanner::look`] has just found here.
    pub(crate) fn pass(&mut self, header: &BatchHeader) {
        self.position += header.total_len() as u64;
        self.expected = header.next_offset();
        self.epochs.passed(header.partition_leader_epoch);
    }

    /// Goes on at `position`, where `expected` should stand.
    pub(crate) fn go_to(&mut self, position: u64, expected: Offset) {
        (self.position, self.expected) = (position, expected);
    }

    /// From here on terms are judged by another rule.
    pub(crate) fn set_rule(&mut self, epochs: EpochRule) {
        self.epochs = epochs;
    }

    /// What stands here, whatever should.
    pub(crate) fn look_at_any(&mut self) -> io::Result<Step> {
        self.judge(self.position, None)
    }

    /// Whether any batch from here on is whole, wherever it may belong.
    pub(crate) fn holds_whole_batch(&mut self) -> io::Result<bool> {
        if let Step::Batch(_) = self.judge(self.position, None)? {
            return Ok(true);
        }
        Ok(self.search(Upper { position: self.limit, offset: None, is_certain: false })?.is_some())
    }

    /// Whether a batch at this position that begins at one offset may end before the other: neither the segment nor a
    /// term ends between.
    fn may_reach(&self, position: u64, base: Offset, next: Offset) -> bool {
        let certain = self.certain.filter(|(certain, _)| position < *certain).map(|(_, offset)| offset);
        let ends = [self.end, certain];
        ends.iter().flatten().all(|end| next <= *end) && self.epochs.allows_reach(base, next)
    }

    fn judge(&mut self, position: u64, expected: Option<Offset>) -> io::Result<Step> {
        let header = match self.head(position)? {
            Ok(header) => header,
            Err(reason) => return Ok(Step::Bad(reason)),
        };
        let (base, next) = (header.base_offset, header.next_offset());
        Ok(if expected.is_some_and(|expected| base != expected) {
            Step::Bad(CorruptReason::BaseOffset)
        } else if !self.may_reach(position, base, next) {
            Step::Bad(CorruptReason::Header)
        } else if !self.epochs.allows(base, header.partition_leader_epoch) {
            Step::Bad(CorruptReason::LeaderEpoch)
        } else if !self.sum_is_right(position, &header)? {
            Step::Bad(CorruptReason::Checksum)
        } else {
            Step::Batch(header)
        })
    }

    /// A batch whose checksum is right, whatever its offset and its term are: how many offsets it counts is certain.
    fn whole_anywhere(&mut self, position: u64) -> io::Result<Option<BatchHeader>> {
        let Ok(header) = self.head(position)? else { return Ok(None) };
        Ok(self.sum_is_right(position, &header)?.then_some(header))
    }

    /// The head of what may be a batch: it makes sense, and there are as many bytes as it says.
    fn head(&mut self, position: u64) -> io::Result<Result<BatchHeader, CorruptReason>> {
        let left = self.limit.saturating_sub(position);
        Ok(match BatchHeader::parse(self.bytes(position, BATCH_HEADER_LEN)?) {
            Ok(header) if header.last_offset_delta < 0 => Err(CorruptReason::Header),
            Ok(header) if header.total_len() as u64 > left => Err(CorruptReason::Cut),
            Ok(header) => Ok(header),
            Err(_) if left < BATCH_HEADER_LEN as u64 => Err(CorruptReason::Cut),
            Err(_) => Err(CorruptReason::Header),
        })
    }

    fn sum_is_right(&mut self, position: u64, header: &BatchHeader) -> io::Result<bool> {
        Ok(crc_is_right(self.bytes(position, header.total_len())?, header))
    }

    /// Finds where the log goes on behind what [`Scanner::look`] has called bad, and goes there. Nothing but the bytes and
    /// what bounds them decides that: an index would know more where it has an entry, and so other batches would be
    /// served with it than without.
    pub(crate) fn skip(&mut self, reason: CorruptReason) -> io::Result<Hole> {
        let (from, first) = (self.position, self.expected);
        let is_ahead =
            |(at, offset): &(u64, Offset)| *offset >= first && (from + 1..=self.limit).contains(at);
        let certain = self.certain.filter(is_ahead);
        let upper = match certain {
            Some((position, offset)) => Upper { position, offset: Some(offset), is_certain: true },
            None => Upper { position: self.limit, offset: self.end, is_certain: false },
        };
        let found = match self.behind_own_length(upper)? {
            None => self.search(upper)?,
            found => found,
        };
        let (position, next) = found.or(certain).unwrap_or((self.limit, self.end.unwrap_or(first)));
        self.go_to(position, next);
        Ok(Hole { position: from, len: position - from, first, next, reason })
    }

    /// The bad batch's own length may be right: then the next one stands right behind it.
    ///
    /// That one's offset is outside its checksum too: those behind have to bear it out. Where they do not, and the bad
    /// batch's checksum is right all the same, its own records say which offset is next, and the next batch may be found
    /// to be bad as well.
    fn behind_own_length(&mut self, upper: Upper) -> io::Result<Option<(u64, Offset)>> {
        let (at, first) = (self.position, self.expected);
        let Some(header) = self.header_but_for_magic(at)? else { return Ok(None) };
        let behind = at + header.total_len() as u64;
        if behind >= upper.position {
            return Ok(None);
        }
        let Step::Batch(next) = self.judge(behind, None)? else { return Ok(None) };
        if header.base_offset != first && next.base_offset == header.next_offset() {
            // They agree with each other: a run that follows a gap, or one that belongs elsewhere.
            let is_whole = self.judge(at, None)? == Step::Batch(header);
            return Ok((is_whole && header.base_offset > first).then_some((at, header.base_offset)));
        }
        let counted = first.plus(i64::from(header.last_offset_delta) + 1);
        let is_counted = header.last_offset_delta >= 0
            && self.may_reach(at, first, counted)
            && self.sum_is_right(at, &header)?;
        let count = (header.last_offset_delta >= 0).then_some(counted);
        Ok(match self.place_of((behind, next), upper, count)? {
            Place::Agreed(offset) if offset >= first => Some((behind, offset)),
            Place::Agreed(_) | Place::Alone(_) | Place::Unknown => is_counted.then_some((behind, counted)),
        })
    }

    /// The offset of a whole batch, as those behind tell it too: how many offsets each has its checksum covers, so
    /// that each that is whole says where all of them stand. Its own word alone may be what is wrong. So may be what the hit
    /// batch in front of it counts to (`counted`): it can agree, and not contradict.
    fn place_of(
        &mut self,
        (mut position, mut header): (u64, BatchHeader),
        upper: Upper,
        counted: Option<Offset>,
    ) -> io::Result<Place> {
        let behind = position - self.position;
        let mut said = Vec::with_capacity(VOICES + 1);
        let mut offsets = 0;
        let mut known = None;
        let beyond = loop {
            said.push(header.base_offset.plus(-offsets));
            offsets += i64::from(header.last_offset_delta) + 1;
            position += header.total_len() as u64;
            if position >= upper.position {
                known = upper.offset.filter(|_| position == upper.position);
                break known;
            }
            if said.len() == VOICES {
                break None;
            }
            match self.whole_anywhere(position)? {
                Some(next) => header = next,
                // Hit itself it can agree, and not contradict.
                None => break self.header_but_for_magic(position)?.map(|next| next.base_offset),
            }
        };
        let here = |offset: Offset| offset.plus(-offsets);
        said.retain(|place| self.has_room(*place, behind));
        let told: Vec<Offset> = said.iter().copied().chain(beyond.map(here)).chain(counted).collect();
        let agreed = told.iter().find(|one| told.iter().filter(|other| other == one).count() > 1);
        Ok(match (agreed, known.map(here), said.as_slice()) {
            (_, Some(certain), _) if upper.is_certain => Place::Agreed(certain),
            (Some(agreed), ..) => Place::Agreed(*agreed),
            (None, Some(end), _) => Place::Agreed(end),
            (None, None, [alone]) => Place::Alone(*alone),
            (None, None, _) => Place::Unknown,
        })
    }

    /// Whether so many bytes from here on can have held all offsets up to this one: a raised bit in an offset outside of all
    /// checksums is not to take the log's end where no log has ever been.
    const fn has_room(&self, upto: Offset, bytes: u64) -> bool {
        let batches = bytes as i64 / BATCH_HEADER_LEN as i64 + 1;
        upto.distance_from(self.expected) <= batches.saturating_mul(OFFSETS_MOST)
    }

    /// Looks for the next whole batch byte by byte. A whole batch may also be a record's value, copied from
    /// another log, so one that the hit batch's checksum confirms as its end, or that leads to another
    /// batch, is preferred over one that has only its own word. That one is taken where it does not contradict them.
    fn search(&mut self, upper: Upper) -> io::Result<Option<(u64, Offset)>> {
        let (at, first) = (self.position, self.expected);
        // Where it stands, its offset, and where it ends.
        let mut alone: Option<(u64, Offset, Offset)> = None;
        let hit = self.header_but_for_magic(at)?.filter(|hit| hit.last_offset_delta >= 0);
        let counted = hit.map(|hit| first.plus(i64::from(hit.last_offset_delta) + 1));
        for position in at + 1..upper.position {
            let Some(header) = self.candidate(position)? else { continue };
            if self.judge(position, None)? != Step::Batch(header) {
                continue;
            }
            if let Some(next) = self.ends_at(at, position)? {
                return Ok(Some((position, next)));
            }
            match self.place_of((position, header), upper, counted)? {
                Place::Agreed(next) if next >= first => {
                    let before = alone.filter(|(.., end)| *end <= next);
                    return Ok(Some(before.map_or((position, next), |(at, alone, _)| (at, alone))));
                }
                Place::Alone(next) if next > first => {
                    let end = next.plus(i64::from(header.last_offset_delta) + 1);
                    // Of two that contradict each other the one that claims less.
                    if alone.is_none_or(|(.., other)| next < other && end < other) {
                        alone = Some((position, next, end));
                    }
                }
                Place::Agreed(_) | Place::Alone(_) | Place::Unknown => {}
            }
        }
        Ok(alone.map(|(at, alone, _)| (at, alone)))
    }

    /// A header that may be a batch's, by what is cheap to see.
    fn candidate(&mut self, position: u64) -> io::Result<Option<BatchHeader>> {
        let bytes = self.bytes(position, BATCH_HEADER_LEN)?;
        if bytes.get(MAGIC_AT) != Some(&(MAGIC as u8)) {
            return Ok(None);
        }
        let header = BatchHeader::parse(bytes).ok();
        Ok(header.filter(|header| {
            header.base_offset >= self.expected
                && self.may_reach(position, header.base_offset, header.next_offset())
        }))
    }

    /// The offset behind the batch at `at`, if that is whole but for its length and ends at `position`.
    fn ends_at(&mut self, at: u64, position: u64) -> io::Result<Option<Offset>> {
        let Some(mut header) = self.header_but_for_magic(at)? else { return Ok(None) };
        if position - at > NEAR {
            return Ok(None);
        }
        header.batch_length = (position - at) as i32 - LENGTH_PREFIX_LEN as i32;
        let bytes = self.bytes(at, (position - at) as usize)?;
        let whole = header.batch_length > 0 && header.last_offset_delta >= 0 && crc_is_right(bytes, &header);
        let counted = self.expected.plus(i64::from(header.last_offset_delta) + 1);
        Ok((whole && self.may_reach(at, self.expected, counted)).then_some(counted))
    }

    /// The header that stands there if only its magic, or its length, may be wrong.
    fn header_but_for_magic(&mut self, at: u64) -> io::Result<Option<BatchHeader>> {
        let Some(head) = self.bytes(at, BATCH_HEADER_LEN)?.first_chunk::<BATCH_HEADER_LEN>() else {
            return Ok(None);
        };
        let mut head = *head;
        head[MAGIC_AT] = MAGIC as u8;
        if let Ok(header) = BatchHeader::parse(&head) {
            return Ok(Some(header));
        }
        head[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&(BATCH_HEADER_LEN as i32).to_be_bytes());
        Ok(BatchHeader::parse(&head).ok())
    }

    /// Up to `len` bytes from `position`, fewer where the segment ends.
    fn bytes(&mut self, position: u64, len: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.limit.saturating_sub(position)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let buf_end = self.buf_at + self.filled as u64;
        if position < self.buf_at || position + len as u64 > buf_end {
            self.fill(position, len.max(self.chunk.min(left)))?;
        }
        let at = (position - self.buf_at) as usize;
        let end = (at + len).min(self.filled);
        Ok(self.buf.get(at..end).unwrap_or_default())
    }

    /// Reads `len` bytes from `position`, keeping those of the current batch on that are here already.
    fn fill(&mut self, position: u64, len: usize) -> io::Result<()> {
        let keep_from = self.position.min(position);
        let buf_end = self.buf_at + self.filled as u64;
        let near = position - keep_from <= NEAR;
        if near && (self.buf_at..buf_end).contains(&keep_from) && position >= self.buf_at {
            let at = (keep_from - self.buf_at) as usize;
            self.buf.copy_within(at..self.filled, 0);
            self.filled -= at;
            self.buf_at = keep_from;
        } else {
            (self.buf_at, self.filled) = (position, 0);
        }
        let wanted = (position - self.buf_at) as usize + len;
        if self.buf.len() < wanted {
            self.buf.resize(wanted, 0);
        }
        let target = self.buf.get_mut(self.filled..wanted).unwrap_or_default();
        let at = self.buf_at + self.filled as u64;
        let read = match self.source.read_at(target, at) {
            Err(error) if self.over_bad_sectors && is_unreadable(&error) => {
                read_around(&self.source, target, at)?
            }
            read => read?,
        };
        self.filled += read;
        self.bytes_read += read as u64;
        Ok(())
    }
}

/// Whether the disk itself has failed to read.
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// What is readable of a range, where the disk fails in pieces, with zeros in the place of what is not.
pub(crate) fn read_around(source: &Source, buf: &mut [u8], position: u64) -> io::Result<usize> {
    const PIECE: usize = 4096;
    let mut done = 0;
    while done < buf.len() {
        let at = position + done as u64;
        let len = (PIECE - (at % PIECE as u64) as usize).min(buf.len() - done);
        let piece = buf.get_mut(done..done + len).unwrap_or_default();
        match source.read_at(piece, at) {
            Err(error) if is_unreadable(&error) => {
                piece.fill(0);
                done += len;
            }
            Ok(read) if read < len => return Ok(done + read),
            read => done += read?,
        }
    }
    Ok(done)
}
