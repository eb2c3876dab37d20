//! A pass of compaction: what it takes, and what the log is afterwards.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, PoisonError},
};

use super::{Log, shared::Shared, slow::scanner};
use crate::{
    model::{Offset, ProducerId, TimestampMs},
    record::{DEFAULT_MAX_UNPACKED_BYTES, unpack},
    storage::{
        compaction::{self, CleanError, CleanRules, CompactionOptions, LatestOffsets},
        fs::Lock,
        segment::{FileKind, Scanner, Segment, Step},
    },
};

/// Writes segments anew without what has been overtaken. Run it on a thread that may block, and take its time.
///
/// It holds the folder's lock as the log does: whoever opens the log next waits until it has ended, which is
/// soon once the log is closed.
#[derive(Debug)]
pub struct CompactionJob {
    shared: Arc<Shared>,
    generation: u64,
    /// From the log's start on; all of them sealed, and on disk with everything that belongs to them.
    segments: Vec<Arc<Segment>>,
    options: CompactionOptions,
    segment_bytes: u64,
    index_interval_bytes: u64,
    cleaned_to: Offset,
    producers: HashMap<ProducerId, Offset>,
    now: TimestampMs,
    _under_way: Arc<()>,
    _lock: Arc<dyn Lock>,
}

/// What a pass has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Segments that were written anew.
    pub segments: usize,
    /// Segments that there are instead.
    pub into: usize,
    /// Bytes of the old ones.
    pub bytes_before: u64,
    /// Bytes of the new ones.
    pub bytes_after: u64,
    /// Segments that stay as they are because a batch in them is damaged or cannot be taken apart.
    pub left: usize,
    /// Up to where the newest record of each key is known.
    pub cleaned_to: Offset,
}

impl CompactionJob {
    /// Compacts. After an error the log is what it was, or what it was to become.
    pub fn run(self) -> io::Result<Compacted> {
        let shared = Arc::clone(&self.shared);
        let Some(_at_work) = shared.at_work(self.generation) else {
            return Ok(Compacted { cleaned_to: self.cleaned_to, ..Compacted::default() });
        };
        let segments = self.old_enough()?;
        let (latest, mapped_to) = self.map(&segments)?;
        let mut done = Compacted { cleaned_to: mapped_to, ..Compacted::default() };
        if mapped_to <= self.cleaned_to {
            return Ok(Compacted { cleaned_to: self.cleaned_to, ..done });
        }
        let horizon = self.now.later(self.options.tombstones_kept);
        let mut rules = CleanRules {
            latest: &latest,
            producers: &self.producers,
            now: self.now,
            horizon,
            known_to: mapped_to,
            index_interval_bytes: self.index_interval_bytes,
        };
        let begun = segments.iter().take_while(|segment| segment.base() < mapped_to).count();
        for group in self.groups(segments.get(..begun).unwrap_or_default()) {
            match self.replace(group, &rules, &mut done) {
                Ok(()) => {}
                Err(CleanError::Closed) => return Ok(Compacted { cleaned_to: self.cleaned_to, ..done }),
                Err(CleanError::Io(error)) => return Err(error),
                Err(error @ (CleanError::Damaged | CleanError::Batch { .. })) => {
                    done.left += group.len();
                    let base = group.first().map_or(Offset::ZERO, |first| first.base());
                    rules.known_to = rules.known_to.min(base);
                    tracing::warn!(partition = %self.shared.id, %base, %error, "a segment is not compacted");
                }
            }
        }
        if done.left > 0 {
            // Once it is mended, what has overtaken its records has to be known again.
            return Ok(Compacted { cleaned_to: self.cleaned_to, ..done });
        }
        let folder = &self.shared.folder;
        compaction::store_cleaned_to(&*folder.fs, &folder.dir, mapped_to)?;
        Ok(done)
    }

    fn is_over(&self) -> bool {
        let shared = &self.shared;
        shared.is_closed() || shared.is_poisoned() || shared.generation() != self.generation
    }

    /// The segments up to the first that has a record which is too young.
    fn old_enough(&self) -> io::Result<Vec<Arc<Segment>>> {
        if self.options.min_lag.is_zero() {
            return Ok(self.segments.clone());
        }
        let limit = self.now.earlier(self.options.min_lag).get();
        let mut old = Vec::new();
        for segment in &self.segments {
            self.shared.make_room_for(segment);
            if segment.newest()?.is_some_and(|newest| newest.timestamp > limit) {
                break;
            }
            old.push(Arc::clone(segment));
        }
        Ok(old)
    }

    fn scan(&self, segment: &Arc<Segment>) -> io::Result<Scanner> {
        scanner(&self.shared, segment, (0, segment.base()))
    }

    /// The newest offset of each key that is not compacted yet, and up to where they are known.
    fn map(&self, segments: &[Arc<Segment>]) -> io::Result<(LatestOffsets, Offset)> {
        let mut latest = LatestOffsets::new(self.options.key_bytes);
        let mut mapped_to = self.cleaned_to;
        for segment in segments.iter().filter(|segment| segment.end() > self.cleaned_to) {
            let mut scanner = self.scan(segment)?;
            while let Step::Batch(header) = scanner.look()? {
                if self.is_over() {
                    return Ok((latest, self.cleaned_to));
                }
                if header.next_offset() > self.cleaned_to {
                    let batch = bytes::Bytes::copy_from_slice(scanner.batch(&header));
                    // What cannot be taken apart has no keys; its segment stays as it is.
                    let Ok(unpacked) = unpack(&batch, DEFAULT_MAX_UNPACKED_BYTES) else { break };
                    for record in unpacked.iter().map_while(Result::ok) {
                        let Some(key) = record.key else { continue };
                        if !latest.note(key, record.offset) {
                            return Ok((latest, mapped_to));
                        }
                    }
                    mapped_to = header.next_offset();
                }
                scanner.pass(&header);
            }
            // What is damaged may hold a tombstone: nothing behind it is compacted before it is mended or given up.
            if scanner.expected() < segment.end() {
                return Ok((latest, mapped_to));
            }
            mapped_to = mapped_to.max(segment.end());
        }
        Ok((latest, mapped_to))
    }

    /// Neighbours that fit into one segment.
    fn groups<'s>(&self, segments: &'s [Arc<Segment>]) -> Vec<&'s [Arc<Segment>]> {
        let mut groups = Vec::new();
        let (mut first, mut bytes) = (0, 0);
        for (at, segment) in segments.iter().enumerate() {
            let base = segments.get(first).map_or(segment.base(), |first| first.base());
            let far = segment.end().distance_from(base) > i64::from(i32::MAX);
            if at > first && (bytes + segment.size() > self.segment_bytes || far) {
                groups.push(segments.get(first..at).unwrap_or_default());
                (first, bytes) = (at, 0);
            }
            bytes += segment.size();
        }
        groups.push(segments.get(first..).unwrap_or_default());
        groups.retain(|group| !group.is_empty());
        groups
    }

    fn replace(
        &self,
        group: &[Arc<Segment>],
        rules: &CleanRules<'_>,
        done: &mut Compacted,
    ) -> Result<(), CleanError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
        let (base, next, folder) = (first.base(), last.end(), &self.shared.folder);
        let mut scanners = group.iter().map(|segment| self.scan(segment)).collect::<io::Result<Vec<_>>>()?;
        let cleaned = compaction::clean(folder, (base, next), &mut scanners, rules, &|| self.is_over())?;
        for segment in group {
            segment.write_index(segment.end())?;
            segment.retire()?;
        }
        compaction::commit(folder, base, next)?;
        compaction::finish(folder, base, next)?;
        let segment = Segment::unopened(Arc::clone(folder), base, cleaned.size, next);
        segment.adopt_index(cleaned.index);
        if segment.write_index(next)? {
            folder.fs.sync_dir(&folder.dir)?;
        }
        cleaned.checksums.store(&*folder.fs, &folder.file(base, FileKind::Checksums))?;
        segment.set_checksummed();
        self.shared.replace_segments(group, Arc::new(segment));
        self.shared.forget_open(group);
        done.segments += group.len();
        done.into += 1;
        done.bytes_before += group.iter().map(|segment| segment.size()).sum::<u64>();
        done.bytes_after += cleaned.size;
        Ok(())
    }
}

impl Log {
    /// A pass of compaction, if the log is compacted and there is enough that has not been. Only what lies below the
    /// high watermark and is on disk is taken. While the job is under way segments do not expire, and no job that
    /// stores block checksums may run.
    pub fn compaction_pass(&mut self, now: TimestampMs, high_watermark: Offset) -> Option<CompactionJob> {
        let options = self.options.compaction?;
        if self.is_poisoned() || self.is_compacting() {
            return None;
        }
        let below = high_watermark.min(self.shared.flushed());
        // Recovery looks for the checkpointed position in the segment that it names.
        let checkpointed = self.checkpointed_segment();
        let start = self.shared.log_start();
        let is_ready = |segment: &&Arc<Segment>| {
            let settled = segment.is_sealed() && segment.is_checksummed() && segment.is_in_folder();
            settled && segment.end() <= below && segment.base() < checkpointed
        };
        let all = self.shared.segments();
        let gone = all.iter().take_while(|segment| segment.end() <= start).count();
        let segments: Vec<_> = all.iter().skip(gone).take_while(is_ready).map(Arc::clone).collect();
        let is_dirty = |segment: &&Arc<Segment>| segment.end() > self.cleaned_to;
        let total: u64 = segments.iter().map(|segment| segment.size()).sum();
        let dirty: u64 = segments.iter().filter(is_dirty).map(|segment| segment.size()).sum();
        let first = segments.iter().find(is_dirty)?;
        let age = first.known_max_timestamp().map(|newest| now.get().saturating_sub(newest));
        let is_late = options
            .max_lag
            .zip(age)
            .is_some_and(|(most, age)| i128::from(age) > most.as_millis().cast_signed());
        let enough = dirty.saturating_mul(100) >= total.saturating_mul(u64::from(options.dirty_percent));
        if dirty == 0 || !(enough || is_late) {
            return None;
        }
        let (generation, under_way) = (self.shared.generation(), Arc::new(()));
        self.compacting = Some((generation, Arc::downgrade(&under_way)));
        Some(CompactionJob {
            shared: Arc::clone(&self.shared),
            generation,
            segments,
            options,
            segment_bytes: self.options.segment_bytes.min(u64::from(u32::MAX)),
            index_interval_bytes: self.options.index_interval_bytes,
            cleaned_to: self.cleaned_to,
            producers: self.producers.last_offsets().collect(),
            now,
            _under_way: under_way,
            _lock: Arc::clone(&self.lock),
        })
    }

    /// Whether a thread puts other segments in the place of some.
    pub(super) fn is_compacting(&self) -> bool {
        self.compacting.as_ref().is_some_and(|(_, under_way)| under_way.strong_count() > 0)
    }

    /// The segment that the newest checkpoint on disk names.
    pub(super) fn checkpointed_segment(&self) -> Offset {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).segment_base()
    }

    /// Takes note of what a pass has done, or that it has failed; whether it has got anywhere.
    pub fn finish_compaction(&mut self, done: Option<&Compacted>) -> bool {
        // What was compacted before a truncation may be gone.
        if self.compacting.take().map(|(generation, _)| generation) != Some(self.shared.generation()) {
            return false;
        }
        let reached = done.map_or(self.cleaned_to, |done| done.cleaned_to.max(self.cleaned_to));
        self.shared.set_cleaned_to(reached);
        std::mem::replace(&mut self.cleaned_to, reached) < reached
    }
}
