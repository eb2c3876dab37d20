//! What must be true after every step.

use super::{Kept, World};
use crate::{
    model::{Offset, TimestampMs},
    record::BatchHeader,
    storage::{
        log::{Appended, CorruptBatch, ReadBuffer, ReadError, ReadOutcome, ReadRequest, Verify, Wait},
        scrub::Scrubber,
    },
};

impl World {
    /// A retry of any producer's last batch is a duplicate, with the original's offsets.
    pub(super) fn retry(&mut self) {
        let idempotent: Vec<&Kept> = self.batches.iter().filter(|batch| batch.producer.is_some()).collect();
        let Some(kept) = idempotent.last().map(|kept| (*kept).clone()) else { return };
        if kept.hit || kept.base < self.log_start || self.next_sequence[0] < 0 {
            return;
        }
        let bytes = kept.bytes.clone();
        let header = BatchHeader::parse(&bytes).unwrap();
        let log = self.log.as_mut().unwrap();
        if log.is_poisoned() {
            return;
        }
        let answer = log.append(&bytes, &header, TimestampMs::new(self.clock_ms)).unwrap();
        let original = Appended::Duplicate { base: Offset::new(kept.base), last: Offset::new(kept.next - 1) };
        assert_eq!(answer, original, "s09: the original is in the log");
    }

    pub(super) fn request(&mut self, from: i64, wait: Wait) -> ReadRequest {
        ReadRequest {
            from: Offset::new(from),
            upto: Offset::MAX,
            max_bytes: self.rng.usize(1..1500),
            at_least_one: true,
            verify: Verify::Always,
            wait,
        }
    }

    /// Reads everything in random pieces and compares.
    pub(super) fn check_readers(&mut self) {
        let log = self.log.as_ref().unwrap();
        let (reader, poisoned) = (log.reader(), log.is_poisoned());
        let top = if poisoned { self.flushed } else { self.end() };
        assert_eq!(reader.log_start_offset().get(), self.log_start);
        let mut from = self.log_start + self.rng.i64(0..=(top - self.log_start).max(0));
        let mut out = ReadBuffer::new();
        while from < top {
            out.clear();
            let request = self.request(from, Wait::OnlyCached);
            let mut answer = reader.read(&request, &mut out);
            if let Ok(ReadOutcome::NeedsDisk) = answer {
                assert!(out.is_empty());
                answer = reader.read(&ReadRequest { wait: Wait::MayBlock, ..request }, &mut out);
            }
            if answer.is_err() && self.is_dead() {
                return;
            }
            let answer = answer.unwrap();
            let ReadOutcome::Read { next, skipped, .. } = answer else { panic!("may block") };
            from = self.compare(from, next.get(), out.as_slice(), &skipped);
        }
        if poisoned && self.end() > self.flushed {
            let request = self.request(self.flushed, Wait::MayBlock);
            assert!(matches!(reader.read(&request, &mut out), Err(ReadError::Poisoned(_))), "s13");
        }
    }

    pub(super) fn compare(&self, from: i64, next: i64, mut bytes: &[u8], skipped: &[CorruptBatch]) -> i64 {
        assert!(next > from, "no progress at {from}");
        if self.lies {
            while let Ok(header) = BatchHeader::parse(bytes) {
                let (batch, rest) = bytes.split_at(header.total_len());
                assert!(self.ever.contains(batch), "batch {} was never appended", header.base_offset);
                bytes = rest;
            }
            assert!(bytes.is_empty(), "bytes that nobody appended");
            return next;
        }
        for kept in self.batches.iter().filter(|kept| kept.next > from && kept.base < next) {
            let is_skipped = skipped.iter().any(|c| c.first.get() <= kept.base && kept.next <= c.next.get());
            assert!(is_skipped || !kept.hit, "hit batch {} is served", kept.base);
            assert!(
                !is_skipped || kept.hit || self.lies,
                "batch {} of {from}..{next}, skipped {skipped:?}",
                kept.base
            );
            if !is_skipped {
                let (head, rest) = bytes.split_at_checked(kept.bytes.len()).expect("whole batches");
                assert!(head == kept.bytes, "batch {} has changed", kept.base);
                bytes = rest;
            }
        }
        assert!(bytes.is_empty(), "bytes that nobody appended");
        next
    }

    pub(super) fn scrub(&mut self) {
        let reader = self.log.as_ref().unwrap().reader();
        let mut scrubber = Scrubber::new(reader.clone());
        for _ in 0..1000 {
            let step = scrubber.step(self.rng.u64(1..2000));
            if self.is_dead() {
                return;
            }
            let step = step.unwrap();
            if self.lies {
                continue;
            }
            for found in &step.found {
                let kept = self.batches.iter().find(|kept| kept.base == found.first.get()).unwrap();
                assert!(kept.hit && kept.next == found.next.get(), "{found:?} is not {kept:?}");
            }
            if step.round_ended {
                break;
            }
        }
        if self.lies {
            return;
        }
        let known = reader.known_corrupt();
        for kept in
            self.batches.iter().filter(|b| b.hit && b.base >= self.log_start && b.next <= self.flushed)
        {
            assert!(known.iter().any(|c| c.first.get() == kept.base), "{} was not found", kept.base);
        }
    }
}
