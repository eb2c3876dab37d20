//! Puts batches of another replica in the place of what was hit.
//!
//! What is mended is on disk and sealed: an active segment is sealed first. The segment is written anew, into another file
//! (pages of the old one may still be on their way out), and takes the old one's place as one of compaction does: whatever
//! step a crash comes at, the log has the old file, hit as it was, or the new one. Readers keep what they have open.
//!
//! Batches are taken if they fit: whole, one behind the other, over exactly the offsets that were hit, each of the term that
//! this log knows for its offset. Two replicas have the same at an offset of the same term, so what fits is what was there.
//! In a compacted log the other may have merged batches without records differently; those are cut to fit.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::{Log, LogReader, seal::is_whole, shared::Shared};
use crate::{
    model::Offset,
    record::{BATCH_HEADER_LEN, BatchHeader, crc_is_right, empty_batch},
    storage::{
        block_checksums::BlockChecksums,
        compaction,
        fs::{File, Lock, create_anew},
        segment::{
            CorruptBatch, EpochRule, FileKind, Scanner, Segment, Source, Step, UNFINISHED_SUFFIX,
            read_around, with_suffix,
        },
    },
};

/// How much is copied at once.
const CHUNK: usize = 1 << 20;

/// Why another replica's batches cannot stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// They end within a batch, or the header makes no sense.
    #[error("batch at offset {0} makes no sense")]
    Header(Offset),
    /// The CRC-32C does not match.
    #[error("checksum of the batch at offset {0} does not match")]
    Checksum(Offset),
    /// They leave offsets out, or reach over what was hit.
    #[error("batch has base offset {found} where {expected} is next")]
    Offset {
        /// The offset that comes next.
        expected: Offset,
        /// The batch's.
        found: Offset,
    },
    /// Another term wrote that offset here: the replicas have diverged.
    #[error("batch at offset {0} is of another leader epoch")]
    Epoch(Offset),
    /// A batch without records in a log that is not compacted stands for what that replica has lost.
    #[error("the other replica has no records at offset {0}")]
    Nothing(Offset),
}

/// Why a batch could not be put in its place.
#[derive(Debug, thiserror::Error)]
pub enum MendError {
    /// The disk failed, or is full.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The new file does not go on behind the batches where the log does.
    #[error("what stands behind offset {0} does not follow")]
    Astray(Offset),
    /// A write or a sync has failed, the log was truncated or closed.
    #[error("the log is over")]
    Over,
}

/// What is to be done about damage that another replica has whole.
#[derive(Debug)]
pub enum Mend {
    /// This, on a thread that may block.
    Job(Box<MendJob>),
    /// A flush comes first.
    Flush,
    /// A checkpoint or a pass of compaction that is due or under way comes first: ask again after the next that ends.
    Later,
    /// Nothing: it has left the log.
    Gone,
}

/// What was mended.
#[derive(Clone, Debug)]
pub struct Mended {
    /// What was hit.
    pub damage: CorruptBatch,
    /// How many batches were put in its place.
    pub batches: u64,
}

/// Writes a segment anew with whole batches in the place of what was hit.
///
/// It holds the folder's lock as the log does: whoever opens the log next waits until it has ended.
#[derive(Debug)]
pub struct MendJob {
    shared: Arc<Shared>,
    generation: u64,
    segment: Arc<Segment>,
    damage: CorruptBatch,
    batches: Bytes,
    _under_way: Arc<()>,
    _lock: Arc<dyn Lock>,
}

impl LogReader {
    /// The batches of another replica as they may stand in the place of what was hit. `cleaned_to` is up to where that
    /// replica's log was compacted.
    pub fn fit(&self, damage: &CorruptBatch, batches: &Bytes, cleaned_to: Offset) -> Result<Bytes, Misfit> {
        let is_compacted = self.shared.cleaned_to().max(cleaned_to) > Offset::ZERO;
        fit(batches, (damage.first, damage.next), &self.shared.epoch_rule(), is_compacted)
    }

    /// Whether another replica that is compacted to `cleaned_to` has let go there all that has gone here. With the batches of
    /// one that has not, a record may come back whose tombstone has gone already.
    pub fn is_compacted_there(&self, damage: &CorruptBatch, cleaned_to: Offset) -> bool {
        let ours = self.shared.cleaned_to();
        damage.first >= ours || cleaned_to >= ours
    }
}

fn fit(
    batches: &Bytes,
    (first, next): (Offset, Offset),
    rule: &EpochRule,
    may_be_empty: bool,
) -> Result<Bytes, Misfit> {
    let (mut fitting, mut rest, mut expected) = (Vec::new(), &batches[..], first);
    while expected < next {
        let header = BatchHeader::parse(rest).map_err(|_| Misfit::Header(expected))?;
        let Some((batch, behind)) = rest.split_at_checked(header.total_len()) else {
            return Err(Misfit::Header(expected));
        };
        if header.last_offset_delta < 0 {
            return Err(Misfit::Header(expected));
        }
        if !crc_is_right(batch, &header) {
            return Err(Misfit::Checksum(expected));
        }
        let is_empty = header.record_count == 0;
        if is_empty && !may_be_empty {
            return Err(Misfit::Nothing(expected));
        }
        // One without records may stand there for those of several terms.
        let reach = rule.allows_reach(expected, header.next_offset().min(next));
        if !reach || !rule.allows(expected, header.partition_leader_epoch) {
            return Err(Misfit::Epoch(expected));
        }
        let fits = header.base_offset == expected && header.next_offset() <= next;
        let reaches_over = header.base_offset <= expected && header.next_offset() > expected;
        if fits {
            fitting.extend_from_slice(batch);
        } else if is_empty && reaches_over {
            let count = header.next_offset().min(next).distance_from(expected);
            let count = i32::try_from(count).map_err(|_| Misfit::Header(expected))?;
            let (epoch, newest) = (header.partition_leader_epoch, header.max_timestamp);
            fitting.extend_from_slice(&empty_batch(expected, count, epoch, newest));
        } else {
            return Err(Misfit::Offset { expected, found: header.base_offset });
        }
        (expected, rest) = (header.next_offset().min(next), behind);
    }
    if rest.is_empty() { Ok(fitting.into()) } else { Err(Misfit::Offset { expected: next, found: expected }) }
}

impl Log {
    /// Puts batches that [fit](LogReader::fit) in the place of what was hit. While the job is under way nothing may be
    /// sealed, compacted or expire; give what came of it to [`Log::finish_mend`].
    pub fn mend(&mut self, damage: &CorruptBatch, batches: &Bytes) -> Mend {
        if self.is_poisoned() || self.is_compacting() {
            return Mend::Later;
        }
        let segments = self.shared.segments();
        let knows = |segment: &&Arc<Segment>| segment.known_corrupt().iter().any(|known| known.is_at(damage));
        let Some(segment) = segments.iter().find(knows) else { return Mend::Gone };
        let behind = damage.position + damage.len;
        if behind > segment.size() || damage.next > segment.end() || damage.next <= self.shared.log_start() {
            segment.adopt_corrupt(
                segment.known_corrupt().into_iter().filter(|known| !known.is_at(damage)).collect(),
            );
            return Mend::Gone;
        }
        if !segment.is_sealed() && self.roll().is_err() {
            return Mend::Later;
        }
        // Recovery looks for the checkpointed position in the segment that it names: nothing may move there.
        let moves = batches.len() as u64 != damage.len;
        let is_settled = segment.is_in_folder() && segment.end() <= self.shared.flushed();
        if !is_settled || (moves && segment.base() >= self.unflushed.flushed.1.segment) {
            return Mend::Flush;
        }
        if moves && segment.base() >= self.checkpointed_segment() {
            return Mend::Later;
        }
        let (generation, under_way) = (self.shared.generation(), Arc::new(()));
        self.compacting = Some((generation, Arc::downgrade(&under_way)));
        Mend::Job(Box::new(MendJob {
            shared: Arc::clone(&self.shared),
            generation,
            segment: Arc::clone(segment),
            damage: damage.clone(),
            batches: batches.clone(),
            _under_way: under_way,
            _lock: Arc::clone(&self.lock),
        }))
    }

    /// The job that [`Log::mend`] gave out has ended.
    pub fn finish_mend(&mut self) {
        if !self.is_compacting() {
            self.compacting = None;
        }
    }
}

impl MendJob {
    /// Mends. After an error the log is what it was, or what it was to become.
    pub fn run(self) -> Result<Mended, MendError> {
        let shared = Arc::clone(&self.shared);
        let Some(_at_work) = shared.at_work(self.generation) else { return Err(MendError::Over) };
        let (folder, base, next) = (&shared.folder, self.segment.base(), self.segment.end());
        let unfinished = with_suffix(&folder.file(base, FileKind::Log), UNFINISHED_SUFFIX);
        let size = match self.write(&*create_anew(&*folder.fs, &unfinished)?) {
            Ok(size) => size,
            Err(error) => {
                // It would take room on a disk that may be full. One that stays is removed by the next opening.
                let _ = folder.fs.remove_file(&unfinished);
                return Err(error);
            }
        };
        self.segment.write_index(next)?;
        self.segment.retire()?;
        compaction::commit(folder, base, next)?;
        compaction::finish(folder, base, next)?;
        let mended = Arc::new(Segment::unopened(Arc::clone(folder), base, size, next));
        mended.adopt_corrupt(self.others());
        mended.rebuild_index()?;
        folder.fs.sync_dir(&folder.dir)?;
        let old = [Arc::clone(&self.segment)];
        shared.replace_segments(&old, Arc::clone(&mended));
        shared.forget_open(&old);
        if is_whole(&shared, &mended)? {
            let checksums = BlockChecksums::build(&*mended.open_file()?, size)?;
            checksums.store(&*folder.fs, &folder.file(base, FileKind::Checksums))?;
        }
        mended.set_checksummed();
        let batches = count(&self.batches);
        Ok(Mended { damage: self.damage, batches })
    }

    /// The old file's bytes with the batches among them, synced; how many there are.
    fn write(&self, file: &dyn File) -> Result<u64, MendError> {
        let source = Source::Cached(self.segment.open_file()?);
        let (at, behind) = (self.damage.position, self.damage.position + self.damage.len);
        self.copy(&source, (0, at), file, 0)?;
        file.write_all_at(&self.batches, at)?;
        let to = at + self.batches.len() as u64;
        let size = to + (self.segment.size() - behind);
        self.copy(&source, (behind, self.segment.size()), file, to)?;
        self.check(size)?;
        file.sync_data()?;
        if self.is_over() { Err(MendError::Over) } else { Ok(size) }
    }

    fn is_over(&self) -> bool {
        let shared = &self.shared;
        shared.is_closed() || shared.is_poisoned() || shared.generation() != self.generation
    }

    /// What the disk cannot read is hit as well, and stays so.
    fn copy(
        &self,
        source: &Source,
        (from, to): (u64, u64),
        file: &dyn File,
        at: u64,
    ) -> Result<(), MendError> {
        let mut buf = vec![0; CHUNK];
        let mut done = 0;
        while from + done < to {
            if self.is_over() {
                return Err(MendError::Over);
            }
            let len = usize::try_from(to - from - done).unwrap_or(CHUNK).min(CHUNK);
            let piece = buf.get_mut(..len).unwrap_or_default();
            if read_around(source, piece, from + done)? < len {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            file.write_all_at(piece, at + done)?;
            done += len as u64;
        }
        Ok(())
    }

    /// From the batches on the new file goes on as the log does: with the next batch, other damage, or its end.
    fn check(&self, size: u64) -> Result<(), MendError> {
        let CorruptBatch { position, first, next, .. } = self.damage;
        let folder = &self.shared.folder;
        let unfinished = with_suffix(&folder.file(self.segment.base(), FileKind::Log), UNFINISHED_SUFFIX);
        let file = folder.fs.open(&unfinished, crate::storage::fs::Open::Read)?;
        let bounds = (size, Some(self.segment.end()));
        let mut scanner =
            Scanner::new(Source::Cached(file), (position, first), bounds, self.shared.epoch_rule());
        while scanner.expected() < next {
            let Step::Batch(header) = scanner.look()? else {
                return Err(MendError::Astray(scanner.expected()));
            };
            scanner.pass(&header);
        }
        let behind = position + self.batches.len() as u64;
        let is_known = |other: &CorruptBatch| other.position == behind;
        let follows = match scanner.look()? {
            Step::Batch(_) | Step::End => true,
            Step::Bad(_) => self.others().iter().any(is_known),
        };
        if follows && scanner.position() == behind { Ok(()) } else { Err(MendError::Astray(next)) }
    }

    /// All other damage of the segment, where it stands in the new file.
    fn others(&self) -> Vec<CorruptBatch> {
        let (at, behind) = (self.damage.position, self.damage.position + self.damage.len);
        let outside =
            |known: &CorruptBatch| known.next <= self.damage.first || known.first >= self.damage.next;
        let mut others = self.segment.known_corrupt();
        others.retain(outside);
        for other in others.iter_mut().filter(|other| other.position >= behind) {
            other.position = other.position - behind + at + self.batches.len() as u64;
        }
        others
    }
}

fn count(batches: &[u8]) -> u64 {
    let (mut rest, mut count) = (batches, 0);
    while rest.len() >= BATCH_HEADER_LEN
        && let Ok(header) = BatchHeader::parse(rest)
    {
        rest = rest.get(header.total_len()..).unwrap_or_default();
        count += 1;
    }
    count
}
