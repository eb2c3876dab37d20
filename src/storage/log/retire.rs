use std::{io, sync::Arc};

use super::{Log, checkpoint::CheckpointJob, shared::Shared};
use crate::{
    model::{Offset, TimestampMs},
    storage::{
        retention::{Limits, SegmentFacts, expired, is_too_old},
        segment::Segment,
    },
};

/// How many ages are looked up for the next pass.
const LOOK_AHEAD: usize = 16;

/// Removes the files of segments that have already left the log. Run it on a thread that may block.
#[derive(Debug)]
pub struct RetentionJob {
    shared: Arc<Shared>,
    generation: u64,
    /// Producers' state, without which the batches that made it cannot go.
    snapshot: Option<CheckpointJob>,
    checkpoint: Option<CheckpointJob>,
    doomed: Vec<Arc<Segment>>,
    /// Those whose age the next pass will want to know.
    ask: Vec<Arc<Segment>>,
}

impl RetentionJob {
    /// Segments and bytes that go.
    pub fn removes(&self) -> (usize, u64) {
        (self.doomed.len(), self.doomed.iter().map(|segment| segment.size()).sum())
    }

    /// Removes. Where the log starts is on disk before the first file goes, and the names are gone from the
    /// folder before any content is (S15): whatever a power cut leaves is either whole or below the start.
    pub fn run(mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        // A truncation has removed what was to go here.
        let Some(_at_work) = shared.at_work(self.generation) else { return Ok(()) };
        if let Some(snapshot) = self.snapshot.take() {
            snapshot.store()?;
        }
        if !self.doomed.is_empty() {
            self.remove()?;
        }
        self.ask.iter().try_for_each(|segment| {
            self.shared.make_room_for(segment);
            segment.newest().map(drop)
        })
    }

    fn remove(&self) -> io::Result<()> {
        let folder = &self.shared.folder;
        if let Some(checkpoint) = &self.checkpoint {
            checkpoint.write_twice()?;
        }
        folder.fs.sync_dir(&folder.dir)?;
        self.doomed.iter().try_for_each(|segment| segment.rename_deleted())?;
        folder.fs.sync_dir(&folder.dir)?;
        self.doomed.iter().try_for_each(|segment| segment.remove_deleted())
    }
}

impl Log {
    /// Takes what has expired out of the log: readers no longer see it. `None` when there is nothing to do.
    ///
    /// Idle producers are forgotten in passing. Only what lies below the high watermark goes. The active segment goes when all that it holds has
    /// expired: then another one is begun first.
    pub fn retention_pass(&mut self, now: TimestampMs, high_watermark: Offset) -> Option<RetentionJob> {
        // A pass of compaction puts others in the place of segments: they expire when it is done.
        if self.is_poisoned() || self.is_compacting() {
            return None;
        }
        self.producers.expire(now);
        let mut limits = Limits {
            now,
            age: self.options.retention,
            bytes: self.options.retention_bytes,
            log_start: self.shared.log_start(),
            below: high_watermark.min(self.shared.flushed()),
        };
        self.roll_if_expired(&limits);
        let (remembered, snapshot) = self.snapshot_job();
        limits.below = limits.below.min(remembered);
        let segments = self.shared.segments();
        let facts: Vec<SegmentFacts> = segments.iter().map(|segment| facts_of(segment)).collect();
        let count = expired(&facts, &limits);
        let (doomed, kept) = segments.split_at(count);
        let ask = self.unknown_ages(kept);
        if doomed.is_empty() && ask.is_empty() && snapshot.is_none() {
            return None;
        }
        let checkpoint = (!doomed.is_empty()).then(|| self.forget(doomed, kept));
        let (shared, doomed) = (Arc::clone(&self.shared), doomed.to_vec());
        Some(RetentionJob { generation: shared.generation(), shared, snapshot, checkpoint, doomed, ask })
    }

    fn roll_if_expired(&mut self, limits: &Limits) {
        let active = &self.active.segment;
        let old = active.size() > 0 && is_too_old(active.known_max_timestamp(), limits);
        if old && active.end() <= limits.below && self.roll().is_err() {
            tracing::warn!(partition = %self.shared.id, "no room for another segment; retention waits");
        }
    }

    fn unknown_ages(&self, kept: &[Arc<Segment>]) -> Vec<Arc<Segment>> {
        if self.options.retention.is_none() {
            return Vec::new();
        }
        let unknown =
            kept.iter().filter(|s| s.is_sealed() && s.size() > 0 && s.known_max_timestamp().is_none());
        unknown.take(LOOK_AHEAD).map(Arc::clone).collect()
    }

    fn forget(&mut self, doomed: &[Arc<Segment>], kept: &[Arc<Segment>]) -> CheckpointJob {
        let start = kept.first().map_or(self.shared.log_end(), |segment| segment.base());
        self.shared.raise_log_start(start);
        self.shared.set_segments(kept.to_vec());
        self.shared.forget_open(doomed);
        self.checkpoint_now()
    }
}

fn facts_of(segment: &Segment) -> SegmentFacts {
    SegmentFacts { end: segment.end(), bytes: segment.size(), max_timestamp: segment.known_max_timestamp() }
}
