//! What is done to the files of a closed log, as the fuzzer says.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
};

use crc_fast::{CrcAlgorithm, Digest};

use super::{
    DIR,
    sample::{SampleLog, base_of, settle},
};
use crate::{
    fuzzing::input::Input,
    model::Offset,
    record::{BATCH_HEADER_LEN, BatchHeader, LENGTH_PREFIX_LEN, MAGIC, write_crc},
    storage::fs::{Fs, Open},
};

/// How many kinds of damage there are; a byte modulo it chooses one.
pub(crate) const KINDS: u8 = 10;
/// Files that a log did not have and that somebody may make.
pub(crate) const NAMES: [&str; 12] = [
    "poisoned",
    "checkpoint",
    "leader-epochs",
    "leader-epochs.tmp",
    "00000000000000000003.log",
    "00000000000000000011.log",
    "00000000000000000030.log",
    "00009223372036854775.log",
    "09223372036854775807.log",
    "00000000000000000009.snapshot",
    "00000000000000000005.log.unfinished",
    "00000000000000000002.log.deleted",
];
/// More changes than this make nothing clearer.
const CHANGES_MAX: usize = 12;
/// Where the checkpoint's slots begin, their length, and what of it the checksum at its end covers.
const SLOTS: [usize; 2] = [0, 4096];
const SLOT_LEN: usize = 68;
const SLOT_CHECKED: usize = 64;
/// Where a batch has its length and its magic, and where that begins which its checksum covers.
const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
const COVERED_FROM: usize = 21;
/// Where the checksum of our other files stands, and where their body begins.
const ENVELOPE_CRC: usize = 12;
const ENVELOPE_LEN: usize = 16;

/// What has become of the files.
#[derive(Debug)]
pub(super) struct Damage {
    untouched: Option<Offset>,
    may_be_refused: bool,
    is_honest: bool,
}

impl Damage {
    pub(super) fn inflict(sample: &SampleLog, input: &mut Input<'_>) -> Self {
        let hand = Hand { sample, fs: &*sample.disk.mount(), first_hit: Cell::new(None) };
        for _ in 0..CHANGES_MAX {
            if input.is_empty() {
                break;
            }
            hand.change(input);
        }
        Self::assess(sample, &settle(&sample.disk), hand.first_hit.get())
    }

    fn assess(sample: &SampleLog, after: &[(String, Vec<u8>)], first_hit: Option<Offset>) -> Self {
        let before = |name: &str| bytes_of(&sample.files, name);
        let logs = || after.iter().filter_map(|(name, bytes)| Some((name, base_of(name)?, bytes)));
        let is_forged = after.iter().any(|(name, bytes)| is_forged(name, bytes, before(name)));
        let is_made_up = logs().any(|(_, segment, bytes)| has_made_up_batches(segment, bytes, sample));
        let is_poisoned = bytes_of(after, "poisoned").is_some();
        let may_be_refused = is_forged || (is_poisoned && logs().any(|(name, ..)| before(name).is_none()));
        let epochs_changed = bytes_of(after, "leader-epochs") != before("leader-epochs");
        let two_faults = epochs_changed && first_hit.is_some();
        let untouched = (!is_forged && !two_faults).then(|| first_hit.unwrap_or(Offset::MAX));
        Self { untouched, may_be_refused, is_honest: !may_be_refused && !is_made_up }
    }

    /// Whether an opening may be refused: a file of our own says, under a checksum that is right, what was never
    /// written, or the end of the log is to be written anew where a file lies that nobody wrote.
    pub(super) const fn may_be_refused(&self) -> bool {
        self.may_be_refused
    }

    /// Whether nothing that is believed was made up. Where a batch is, its offsets are taken for the log's, unless what
    /// stands around them says otherwise: and that may be cut, or no longer be read, the next time.
    pub(super) const fn is_honest(&self) -> bool {
        self.is_honest
    }

    /// The offset below which everything has to be there: that of the first byte of a segment's log that was changed.
    /// Nothing is said of a log that was lied to, nor of one that has lost the file of its terms and has batches that
    /// may tell of others.
    pub(super) const fn untouched(&self) -> Option<Offset> {
        self.untouched
    }
}

fn bytes_of<'a>(files: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
    files.iter().find(|(found, _)| found == name).map(|(_, bytes)| &bytes[..])
}

struct Hand<'a> {
    sample: &'a SampleLog,
    fs: &'a dyn Fs,
    first_hit: Cell<Option<Offset>>,
}

impl Hand<'_> {
    fn change(&self, input: &mut Input<'_>) {
        let kind = input.u8() % KINDS;
        if kind == 0 {
            return self.make(input);
        }
        let Some(name) = self.pick(input) else { return };
        if kind == 1 {
            self.hit(&name, 0);
            return self.fs.remove_file(&path(&name)).expect("it was listed");
        }
        let mut bytes = self.read(&name);
        let at = input.below(bytes.len());
        match kind {
            2 => bytes.truncate(at),
            3 => bytes.extend_from_slice(input.bytes(64)),
            4 => bytes = input.bytes(256).to_vec(),
            5 => flip(&mut bytes, at, input.u8()),
            6 => overwrite(&mut bytes, at, input.bytes(16)),
            7 => bytes = self.pick(input).map(|other| self.read(&other)).unwrap_or_default(),
            _ => self.forge(&name, &mut bytes, input),
        }
        self.write(&name, &bytes);
    }

    fn pick(&self, input: &mut Input<'_>) -> Option<String> {
        let entries = self.fs.list(Path::new(DIR)).expect("no fault is under way");
        let mut names: Vec<_> = entries.into_iter().map(|entry| entry.name).filter(|n| n != "lock").collect();
        let at = usize::from(input.u8()).checked_rem(names.len())?;
        Some(names.swap_remove(at))
    }

    fn make(&self, input: &mut Input<'_>) {
        let at = usize::from(input.u8()) % NAMES.len();
        let Some(name) = NAMES.get(at) else { return };
        self.hit(name, 0);
        let len = usize::from(input.u8());
        self.write(name, input.bytes(len));
    }

    fn read(&self, name: &str) -> Vec<u8> {
        let file = self.fs.open(&path(name), Open::Read).expect("it was listed");
        let mut bytes = vec![0; file.len().expect("no fault is under way") as usize];
        file.read_at(&mut bytes, 0).expect("no fault is under way");
        bytes
    }

    /// Gives a file these bytes, and notes the first one that is another than before.
    fn write(&self, name: &str, bytes: &[u8]) {
        let file = self.fs.open(&path(name), Open::Create).expect("a folder is no file");
        let before = self.read(name);
        let same = before.iter().zip(bytes).take_while(|(before, after)| before == after).count();
        if same < before.len().max(bytes.len()) {
            self.hit(name, same as u64);
        }
        file.set_len(bytes.len() as u64).expect("no fault is under way");
        file.write_all_at(bytes, 0).expect("no fault is under way");
    }

    /// Notes that a byte of a file was changed, if it is a segment's log.
    fn hit(&self, name: &str, position: u64) {
        let Some(segment) = base_of(name) else { return };
        let mut hit = segment;
        for kept in self.sample.batches.iter().filter(|kept| kept.segment == segment) {
            let end = kept.position + kept.bytes.len() as u64;
            hit = if position < end { kept.base } else { kept.next };
            if position < end {
                break;
            }
        }
        let first = self.first_hit.get().map_or(hit, |first| first.min(hit));
        self.first_hit.set(Some(first));
    }

    /// Overwrites something and makes the checksum over it right again.
    fn forge(&self, name: &str, bytes: &mut [u8], input: &mut Input<'_>) {
        let at = input.below(bytes.len());
        if let Some(segment) = base_of(name) {
            let batches = self.sample.batches.iter().filter(|kept| kept.segment == segment);
            let places: Vec<_> = batches.map(|kept| (kept.position as usize, kept.bytes.len())).collect();
            let Some((start, len)) = places.get(at.checked_rem(places.len()).unwrap_or(0)) else { return };
            let Some(batch) = bytes.get_mut(*start..start + len) else { return };
            let within = input.below(batch.len());
            overwrite(batch, within, input.bytes(8));
            return write_crc(batch);
        }
        overwrite(bytes, at, input.bytes(16));
        if name == "checkpoint" {
            for slot in SLOTS {
                seal_slot(bytes, slot);
            }
        } else {
            seal_envelope(bytes);
        }
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn flip(bytes: &mut [u8], at: usize, mask: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= mask.max(1);
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (place, byte) in bytes.iter_mut().skip(at).zip(with) {
        *place = *byte;
    }
}

fn seal_slot(bytes: &mut [u8], slot: usize) {
    let Some(slot) = bytes.get_mut(slot..slot + SLOT_LEN) else { return };
    let (checked, sum) = slot.split_at_mut(SLOT_CHECKED);
    sum.copy_from_slice(&crc32fast::hash(checked).to_be_bytes());
}

fn seal_envelope(bytes: &mut [u8]) {
    if let Some(sum) = envelope_sum(bytes) {
        overwrite(bytes, ENVELOPE_CRC, &sum.to_be_bytes());
    }
}

/// The checksum that belongs into the header of a file of our own with one body.
fn envelope_sum(bytes: &[u8]) -> Option<u32> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(bytes.get(..ENVELOPE_CRC)?);
    let len = u32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    hasher.update(bytes.get(ENVELOPE_LEN..)?.get(..len as usize)?);
    Some(hasher.finalize())
}

/// Whether a file of our own is believed and is not what it was.
fn is_forged(name: &str, bytes: &[u8], before: Option<&[u8]>) -> bool {
    if name == "checkpoint" {
        let slots = |bytes: &[u8]| SLOTS.map(|slot| bytes.get(slot..slot + SLOT_LEN).map(<[u8]>::to_vec));
        let known = slots(before.unwrap_or_default());
        let believed = |slot: &Vec<u8>| {
            let (checked, sum) = slot.split_at(SLOT_CHECKED);
            crc32fast::hash(checked).to_be_bytes() == *sum
        };
        return slots(bytes)
            .into_iter()
            .flatten()
            .any(|slot| believed(&slot) && !known.contains(&Some(slot)));
    }
    let is_own = name == "leader-epochs" || name.ends_with(".snapshot");
    let sum = bytes.get(ENVELOPE_CRC..ENVELOPE_LEN);
    let believed =
        sum.is_some_and(|sum| envelope_sum(bytes).is_some_and(|right| right.to_be_bytes() == *sum));
    is_own && believed && before != Some(bytes)
}

/// Whether there is a batch, its checksum right and its magic or its length maybe not, that was never appended, or not there.
fn has_made_up_batches(segment: Offset, log: &[u8], sample: &SampleLog) -> bool {
    let was_appended = |at: usize, covered: &[u8]| {
        let mut there =
            sample.batches.iter().filter(|kept| (kept.segment, kept.position) == (segment, at as u64));
        there.any(|kept| kept.bytes.get(COVERED_FROM..) == Some(covered))
    };
    (0..log.len()).any(|at| {
        let from = log.get(at..).unwrap_or_default();
        whole_at(from)
            .into_iter()
            .any(|len| from.get(COVERED_FROM..len).is_some_and(|covered| !was_appended(at, covered)))
    })
}

/// How long a batch can be whose first byte this is, so that its checksum is right: as it says, or up to where another may
/// begin or the file ends.
fn whole_at(from: &[u8]) -> Vec<usize> {
    let Some(mut head) = from.first_chunk::<BATCH_HEADER_LEN>().copied() else { return Vec::new() };
    let own = head[LENGTH_AT..].first_chunk().map_or(-1, |own| i32::from_be_bytes(*own));
    let may_begin = |at: &usize| *at == from.len() || from.get(at + MAGIC_AT) == Some(&(MAGIC as u8));
    let ends = (BATCH_HEADER_LEN..=from.len()).filter(may_begin);
    let own = usize::try_from(own).ok().and_then(|own| own.checked_add(LENGTH_PREFIX_LEN));
    let own = own.filter(|own| (BATCH_HEADER_LEN..=from.len()).contains(own));
    let mut lens: Vec<_> = ends.chain(own).collect();
    lens.sort_unstable();
    lens.dedup();
    head[MAGIC_AT] = MAGIC as u8;
    head[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&(BATCH_HEADER_LEN as i32).to_be_bytes());
    let Ok(header) = BatchHeader::parse(&head) else { return Vec::new() };
    // Each length's checksum goes on from the one before: a file may have thousands of lengths to judge.
    let (mut covered, mut upto) = (Digest::new(CrcAlgorithm::Crc32Iscsi), COVERED_FROM);
    lens.retain(|&len| {
        covered.update(from.get(upto..len).unwrap_or_default());
        upto = len;
        covered.finalize() as u32 == header.crc
    });
    lens
}
