use std::{io, sync::Arc};

use super::{Log, shared::Shared, slow::scanner};
use crate::{
    model::Offset,
    storage::{
        block_checksums::BlockChecksums,
        segment::{FileKind, Segment, Step},
    },
};

/// Stores the block checksums of sealed segments. They were computed as the batches were appended; where a
/// segment was begun before the log was opened, they are computed from the file. Run it on a thread that may
/// block, and take its time.
#[derive(Debug)]
pub struct SealJob {
    shared: Arc<Shared>,
    generation: u64,
    segments: Vec<Arc<Segment>>,
}

impl SealJob {
    /// Writes them for every segment whose batches are all whole, as far as they have to be read: what is hit
    /// already gets none.
    pub fn run(self) -> io::Result<()> {
        let Some(_at_work) = self.shared.at_work(self.generation) else { return Ok(()) };
        self.segments.iter().try_for_each(|segment| self.write(segment))
    }

    fn write(&self, segment: &Arc<Segment>) -> io::Result<()> {
        segment.set_checksummed();
        let computed = segment.take_checksums().filter(|computed| computed.file_len() == segment.size());
        let checksums = match computed {
            Some(computed) => computed,
            None if is_whole(&self.shared, segment)? => {
                BlockChecksums::build(&*segment.open_file()?, segment.size())?
            }
            None => return Ok(()),
        };
        let folder = &self.shared.folder;
        checksums.store(&*folder.fs, &folder.file(segment.base(), FileKind::Checksums))
    }
}

pub(super) fn is_whole(shared: &Shared, segment: &Arc<Segment>) -> io::Result<bool> {
    let mut scanner = scanner(shared, segment, (0, segment.base()))?;
    let mut whole = true;
    loop {
        match scanner.look()? {
            Step::Batch(header) => scanner.pass(&header),
            Step::Bad(reason) => {
                shared.note_corrupt(segment, &scanner.skip(reason)?, Offset::MAX);
                whole = false;
            }
            Step::End => return Ok(whole),
        }
    }
}

impl Log {
    /// The sealed segments, all of them on disk and not deleted as a whole, that have no block checksums yet; at most one
    /// at a time.
    pub fn seal_job(&self) -> Option<SealJob> {
        let (start, flushed) = (self.shared.log_start(), self.shared.flushed());
        let segments = self.shared.segments();
        let is_due = |segment: &Segment| start < segment.end() && segment.end() <= flushed;
        let next = segments
            .iter()
            .find(|segment| segment.is_sealed() && is_due(segment) && !segment.is_checksummed())?;
        let generation = self.shared.generation();
        Some(SealJob { shared: Arc::clone(&self.shared), generation, segments: vec![Arc::clone(next)] })
    }
}
