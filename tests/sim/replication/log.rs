//! A log as the replicas' storage keeps it, without its bytes: what is appended, what of it is on disk, and what is left
//! after a kill, a power cut or a death in the middle of a truncation.

use polylogue::{
    actors::partition::core::{Carried, Generation},
    model::{LeaderEpoch, Offset},
    storage::leader_epochs::LeaderEpochs,
};

use fastrand::Rng;

/// A record: who wrote it and under which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) epoch: i32,
    pub(super) id: u64,
    pub(super) producer: u64,
    /// -1 for a producer that is not idempotent.
    pub(super) sequence: i64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    record: Record,
    /// Of everything up to here: two logs with the same chain at an offset are equal below it.
    chain: u64,
}

/// A flush that is under way: what it covers.
#[derive(Clone, Debug)]
pub(super) struct Flush {
    pub(super) opening: u64,
    pub(super) generation: Generation,
    pub(super) end: i64,
    from: i64,
    chains: Vec<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    base: i64,
    base_chain: u64,
    entries: Vec<Entry>,
    /// Everything below is on disk.
    disk: i64,
    pub(super) start: i64,
    pub(super) generation: Generation,
    pub(super) opening: u64,
    pub(super) epochs: LeaderEpochs,
    /// What stood here before a truncation that is not on disk yet.
    before: Option<Box<Log>>,
    /// What is on disk in truth, where the disk has said more than it has done.
    truth: Option<Box<Log>>,
}

const fn chained(chain: u64, record: &Record) -> u64 {
    let mixed = (record.id ^ (record.epoch as u64).rotate_left(40)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (chain ^ mixed).rotate_left(17).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

impl Log {
    pub(super) fn end(&self) -> i64 {
        self.base + self.entries.len() as i64
    }

    pub(super) fn get(&self, offset: i64) -> Option<Record> {
        self.entry(offset).map(|entry| entry.record)
    }

    fn entry(&self, offset: i64) -> Option<&Entry> {
        self.entries.get(usize::try_from(offset - self.base).ok()?)
    }

    /// Of everything below; `None` where that is not known.
    pub(super) fn chain_at(&self, offset: i64) -> Option<u64> {
        if offset == self.base { Some(self.base_chain) } else { Some(self.entry(offset - 1)?.chain) }
    }

    /// Everything below survives a power cut.
    pub(super) fn on_disk(&self) -> i64 {
        self.before.as_ref().map_or(i64::MAX, |before| before.disk).min(self.disk)
    }

    pub(super) fn last_epoch(&self) -> LeaderEpoch {
        self.epochs.latest().map_or(LeaderEpoch::NONE, |latest| latest.epoch)
    }

    pub(super) fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.epochs.end_offset_for(epoch, Offset::new(self.end()))
    }

    pub(super) fn carried(&self, high_watermark: i64) -> Carried {
        Carried {
            log_start: Offset::new(self.start),
            log_end: Offset::new(self.end()),
            flushed: Offset::new(self.on_disk()),
            high_watermark: Offset::new(high_watermark.max(self.start)),
            generation: self.generation,
        }
    }

    /// Takes a leader's epoch, before its first append.
    pub(super) fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        self.epochs.assign(epoch, Offset::new(self.end())).unwrap();
    }

    pub(super) fn append(&mut self, record: Record) -> i64 {
        let offset = self.end();
        self.epochs.assign(LeaderEpoch::new(record.epoch), Offset::new(offset)).unwrap();
        let chain = chained(self.chain_at(offset).unwrap(), &record);
        self.entries.push(Entry { record, chain });
        offset
    }

    /// Where this producer's record of this sequence stands, and its last sequence.
    pub(super) fn producer(&self, producer: u64, sequence: i64) -> (Option<i64>, Option<i64>) {
        let of_it =
            self.entries.iter().zip(self.base..).filter(|(entry, _)| entry.record.producer == producer);
        let (mut at, mut last) = (None, None);
        for (entry, offset) in of_it {
            last = Some(entry.record.sequence);
            if entry.record.sequence == sequence {
                at = Some(offset);
            }
        }
        (at, last)
    }

    pub(super) fn begin_flush(&self) -> Flush {
        let from = self.on_disk().max(self.base);
        let chains = (from + 1..=self.end()).map(|at| self.chain_at(at).unwrap()).collect();
        Flush { opening: self.opening, generation: self.generation, end: self.end(), from, chains }
    }

    /// What was flushed is on disk, as far as it is still there; or so the disk says.
    pub(super) fn flushed(&mut self, flush: &Flush, lies: bool) {
        self.heard_of_disk(lies);
        if self.disk < flush.from {
            return;
        }
        let covered = (flush.from + 1..).zip(&flush.chains);
        let still = covered.take_while(|(at, chain)| self.chain_at(*at) == Some(**chain)).last();
        self.disk = self.disk.max(still.map_or(0, |(at, _)| at));
    }

    pub(super) fn flush_all(&mut self, lies: bool) {
        self.heard_of_disk(lies);
        self.disk = self.end();
    }

    /// The disk says that it has what was written. If that is true, it has what it has lied about before as well.
    fn heard_of_disk(&mut self, lies: bool) {
        if !lies {
            self.truth = None;
        } else if self.truth.is_none() {
            self.truth = Some(Box::new(self.clone()));
        }
    }

    /// Begins to cut; the disk follows with [`Log::cut_is_on_disk`].
    pub(super) fn truncate(&mut self, to: i64) {
        self.before = Some(Box::new(self.clone()));
        self.keep_below(to);
        self.generation = self.generation.next();
    }

    /// Begins anew at an offset, where the leader's log has this chain.
    pub(super) fn start_anew(&mut self, at: i64, chain: u64) {
        self.before = Some(Box::new(self.clone()));
        self.entries.clear();
        self.epochs = LeaderEpochs::new();
        (self.base, self.base_chain, self.start, self.disk) = (at, chain, at, at);
        self.generation = self.generation.next();
    }

    /// A log without any record is the beginning of whatever comes next: what stood below counts for nothing.
    pub(super) fn begins_after(&mut self, chain: u64) {
        if self.start >= self.end() {
            let end = self.end();
            (self.base, self.base_chain, self.disk) = (end, chain, end);
            self.entries.clear();
        }
    }

    pub(super) fn cut_is_on_disk(&mut self, lies: bool) {
        self.heard_of_disk(lies);
        self.before = None;
    }

    fn keep_below(&mut self, end: i64) {
        self.entries.truncate(usize::try_from(end - self.base).unwrap_or(0));
        self.epochs.truncate_from(Offset::new(self.end()));
        self.disk = self.disk.min(self.end());
    }

    pub(super) fn move_start(&mut self, start: i64) {
        if start > self.start {
            self.start = start.min(self.end());
            self.epochs.truncate_to_start(Offset::new(self.start));
        }
    }

    /// The process ends, or the power; the next opening finds what is left.
    pub(super) fn crash(&mut self, power: bool, rng: &mut Rng) {
        if let Some(before) = self.before.take().filter(|_| rng.bool()) {
            self.become_again(*before);
        }
        if power {
            let kept = rng.i64(self.on_disk()..=self.end());
            self.keep_below(kept);
            self.disk = kept;
        }
        self.start = self.start.min(self.end());
        self.opening += 1;
        self.generation = Generation::default();
    }

    fn become_again(&mut self, earlier: Self) {
        *self = Self { opening: self.opening, generation: self.generation, ..earlier };
    }

    /// The power goes: all that the disk has lied about is gone, or nothing of it is sure.
    pub(super) fn truth_comes_to_light(&mut self, rng: &mut Rng) {
        let Some(truth) = self.truth.take() else { return };
        if rng.bool() {
            return self.become_again(*truth);
        }
        let mut common = (self.base..=truth.on_disk().min(self.end())).rev();
        let common = common.find(|at| self.chain_at(*at) == truth.chain_at(*at));
        self.disk = self.disk.min(common.unwrap_or(self.base));
    }
}
