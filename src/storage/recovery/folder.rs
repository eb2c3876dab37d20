//! What is in the folder, before any of it is believed.

use std::{io, sync::Arc};

use super::Recovery;
use crate::{
    model::{LeaderEpoch, Offset},
    storage::{
        checkpoint::Found,
        compaction::{self, CLEANED_TO_FILE},
        leader_epochs::LeaderEpochs,
        log::{LogOptions, checkpoint::EPOCHS_FILE, shared::POISONED_FILE},
        own_file::{OwnFileError, TEMPORARY_EXTENSION},
        producer_state::ProducerState,
        segment::{
            DELETED_SUFFIX, EpochRule, FileKind, Folder, Scanner, Segment, Source, Step, UNFINISHED_SUFFIX,
            parse_name,
        },
    },
};

/// The files of a log.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Base and length of each segment, ascending.
    pub(super) logs: Vec<(Offset, u64)>,
    /// Ends of the snapshots, ascending.
    snapshots: Vec<Offset>,
    checksums: Vec<Offset>,
    pub(super) is_poisoned: bool,
    /// Whether a file says up to where the log is compacted.
    pub(super) is_compacted: bool,
}

impl Contents {
    /// The base of the first segment, 0 where there is none.
    pub(super) fn first_base(&self) -> Offset {
        self.logs.first().map_or(Offset::ZERO, |(base, _)| *base)
    }

    /// The base of the segment that would hold an offset.
    pub(super) fn base_of(&self, offset: Offset) -> Offset {
        let after = self.logs.partition_point(|(base, _)| *base <= offset);
        after.checked_sub(1).and_then(|at| self.logs.get(at)).map_or(Offset::ZERO, |(base, _)| *base)
    }

    pub(super) fn has_snapshot(&self, end: Offset) -> bool {
        self.snapshots.binary_search(&end).is_ok()
    }

    /// The segments, none of them opened.
    pub(super) fn segments(&self, folder: &Arc<Folder>) -> Vec<Arc<Segment>> {
        let ends = self.logs.iter().skip(1).map(|(base, _)| *base).chain([Offset::MAX]);
        let pairs = self.logs.iter().zip(ends);
        let segment = |((base, len), end): (&(Offset, u64), Offset)| {
            let segment = Segment::unopened(Arc::clone(folder), *base, *len, end);
            if self.checksums.binary_search(base).is_ok() {
                segment.set_checksummed();
            }
            Arc::new(segment)
        };
        pairs.map(segment).collect()
    }
}

/// Lists the folder and removes what was on its way in or out when the last writer ended.
pub(super) fn look(folder: &Folder) -> io::Result<Contents> {
    let mut contents = Contents::default();
    let mut beside = Vec::new();
    let mut entries = folder.fs.list(&folder.dir)?;
    if compaction::finish_all(folder, &entries)? {
        entries = folder.fs.list(&folder.dir)?;
    }
    for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
        if is_leftover(&entry.name) {
            folder.fs.remove_file(&folder.named(&entry.name))?;
            continue;
        }
        match parse_name(&entry.name) {
            Some((base, FileKind::Log)) => contents.logs.push((base, entry.len)),
            Some((end, FileKind::Snapshot)) => contents.snapshots.push(end),
            Some((base, kind @ (FileKind::OffsetIndex | FileKind::TimeIndex | FileKind::Checksums))) => {
                beside.push((base, kind, entry.name));
            }
            None => {
                contents.is_poisoned |= entry.name == POISONED_FILE;
                contents.is_compacted |= entry.name == CLEANED_TO_FILE;
            }
        }
    }
    for (base, kind, name) in beside {
        if contents.logs.binary_search_by_key(&base, |(log, _)| *log).is_err() {
            folder.fs.remove_file(&folder.named(&name))?;
        } else if kind == FileKind::Checksums {
            contents.checksums.push(base);
        }
    }
    Ok(contents)
}

fn is_leftover(name: &str) -> bool {
    let temporary = name.rsplit_once('.').is_some_and(|(_, extension)| extension == TEMPORARY_EXTENSION);
    temporary || name.ends_with(DELETED_SUFFIX) || name.ends_with(UNFINISHED_SUFFIX)
}

/// The newest usable state of the producers and the end of the log whose state it is: one above what is
/// known to be on disk says more than the log may hold (S9).
pub(super) fn newest_snapshot(
    folder: &Folder,
    contents: &Contents,
    found: &Found,
    options: &LogOptions,
) -> io::Result<(Offset, ProducerState)> {
    let flushed = match found {
        Found::Newest(checkpoint) => checkpoint.flushed,
        Found::Blank => Offset::ZERO,
        Found::Damaged(_) => Offset::MAX,
    };
    // One below the log's beginning lacks the batches in between, and would refuse what follows them.
    let usable = contents.first_base()..=flushed;
    for end in contents.snapshots.iter().rev().filter(|end| usable.contains(end)) {
        let path = folder.file(*end, FileKind::Snapshot);
        match ProducerState::load(&*folder.fs, &path, options.producers) {
            Ok(Some((producers, stored))) if stored == *end => return Ok((*end, producers)),
            Ok(_) => {}
            Err(OwnFileError::Io(error)) => return Err(error),
            Err(OwnFileError::Format(flaw)) => {
                tracing::warn!(file = %path.display(), %flaw, "producer state is damaged; an older one is used");
            }
        }
    }
    Ok((contents.first_base(), ProducerState::new(options.producers)))
}

impl Recovery<'_> {
    /// The terms from their file, or from the batches where that is missing or wrong.
    pub(super) fn load_epochs(&mut self, highest: LeaderEpoch) -> io::Result<()> {
        let path = self.folder.named(EPOCHS_FILE);
        match LeaderEpochs::load(&*self.folder.fs, &path) {
            Ok(Some(epochs)) => {
                self.epochs = epochs;
                return Ok(());
            }
            Ok(None) if self.checkpoint.flushed == self.contents.first_base() => return Ok(()),
            Ok(None) => {}
            Err(OwnFileError::Io(error)) => return Err(error),
            Err(OwnFileError::Format(flaw)) => {
                tracing::warn!(file = %path.display(), %flaw, "leader epochs are damaged");
            }
        }
        self.report.epochs_rebuilt = true;
        self.epochs_from_batches(highest)
    }

    /// Reads every batch: rare, and the only other place where the terms are. Those that may yet be cut are
    /// read too, since a flipped bit in the last one that is known to be on disk is known by what follows.
    fn epochs_from_batches(&mut self, highest: LeaderEpoch) -> io::Result<()> {
        let mut terms = Vec::new();
        for segment in &self.segments {
            let source = Source::Cached(segment.open_file()?);
            let end = Some(segment.end()).filter(|end| *end < Offset::MAX);
            let limits = (segment.size(), end);
            let scanner = Scanner::new(source, (0, segment.base()), limits, EpochRule::any());
            // Else a batch whose offset is hit may claim one behind which no term is looked for.
            let mut scanner = scanner.with_certain(self.flushed_in(segment));
            loop {
                match scanner.look()? {
                    Step::Batch(header) => {
                        if header.partition_leader_epoch <= highest {
                            note_term(&mut terms, header.partition_leader_epoch, header.base_offset);
                        }
                        scanner.pass(&header);
                    }
                    Step::Bad(reason) => {
                        scanner.skip(reason)?;
                    }
                    Step::End => break,
                }
            }
            self.report.bytes_read += scanner.bytes_read();
        }
        for term in terms {
            let _ = self.epochs.assign(term.epoch, term.start);
        }
        Ok(())
    }
}

/// A term as the batches tell of it.
#[derive(Debug)]
struct Term {
    epoch: LeaderEpoch,
    start: Offset,
    batches: u64,
}

/// Terms only rise. One that a single batch has told of and the next one contradicts was a flipped bit; one
/// that many have told of makes the one that contradicts it a flipped bit.
fn note_term(terms: &mut Vec<Term>, epoch: LeaderEpoch, start: Offset) {
    while terms.pop_if(|last| last.epoch > epoch && last.batches == 1).is_some() {}
    match terms.last_mut() {
        Some(last) if last.epoch > epoch => {}
        Some(last) if last.epoch == epoch => last.batches += 1,
        Some(_) | None => terms.push(Term { epoch, start, batches: 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::note_term;
    use crate::model::{LeaderEpoch, Offset};

    #[test]
    fn a_flipped_bit_in_one_batch_makes_no_term() {
        for (told, expected) in [
            (&[1, 1, 2, 2, 3][..], &[(1, 0), (2, 2), (3, 4)][..]),
            (&[1, 1, 9, 1, 2], &[(1, 0), (2, 4)]),
            (&[5, 5, 1, 5, 6], &[(5, 0), (6, 4)]),
            (&[9, 1, 1, 2], &[(1, 1), (2, 3)]),
        ] {
            let mut terms = Vec::new();
            for (offset, epoch) in told.iter().enumerate() {
                note_term(&mut terms, LeaderEpoch::new(*epoch), Offset::new(offset as i64));
            }
            let found: Vec<_> = terms.iter().map(|term| (term.epoch.get(), term.start.get())).collect();
            assert_eq!(found, expected, "{told:?}");
        }
    }
}
