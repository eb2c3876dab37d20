//! What of a log is on disk for certain: the recovery point, kept in one small file per partition.
//!
//! Recovery re-reads only what lies above the flushed position (S14), so the file is written often, at
//! most a second behind what was acknowledged. It is written in place, into the older of two slots on
//! pages of their own: a torn write destroys the slot that nobody needs. The newest valid slot wins.
//!
//! ```text
//! slot 0 at byte 0, slot 1 at byte 4096; in each:
//! offset size
//!      0    4  magic `PLcp`
//!      4    2  version, 1
//!      6    2  flags: bit 0, a clean shutdown of the boot at 48
//!      8    8  sequence number of this write; slot = sequence mod 2
//!     16    8  flushed offset: the end of what is on disk
//!     24    8  base offset of the segment that holds it
//!     32    8  its byte position within that segment's file
//!     40    8  log start offset
//!     48   16  boot id of the clean shutdown, or zeros
//!     64    4  crc32 (IEEE, `crc32fast`) of bytes 0..64
//! ```
//!
//! All integers are big-endian.

use std::{io, path::Path, sync::Arc};

use super::{
    fs::{File, Fs, Open, folder_of},
    own_file::{Fields, FormatError},
};
use crate::model::{BootId, Offset};

const MAGIC: [u8; 4] = *b"PLcp";
const VERSION: u16 = 1;
const FLAG_CLEAN: u16 = 1;
const SLOT_LEN: usize = 68;
const CHECKED_LEN: usize = 64;
const SLOT_STRIDE: u64 = 4096;

/// What is on disk for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The end of what is on disk: every record below it is.
    pub flushed: Offset,
    /// Base offset of the segment in which it lies.
    pub segment_base: Offset,
    /// Its byte position within that segment's file.
    pub position: u64,
    /// The first offset that may be read.
    pub log_start: Offset,
    /// The boot that closed the log with all of it flushed; `None` while it is open, or after a crash.
    pub clean: Option<BootId>,
}

/// What the file says when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The newest checkpoint that is whole.
    Newest(Checkpoint),
    /// Nothing was ever written: a new log.
    Blank,
    /// Something was written and neither slot is whole: recovery has to start from zero.
    Damaged([FormatError; 2]),
}

/// The open file.
#[derive(Debug)]
pub struct CheckpointFile {
    file: Arc<dyn File>,
    /// Of the newest slot that is known to be on disk.
    sequence: u64,
    /// Neither slot can be read. Should one come back to life (written by a newer version, read again
    /// after an upgrade), its sequence number might beat what is written from now on.
    clear_first: bool,
}

impl CheckpointFile {
    /// Opens the file, which is made (and its folder synced, S15) if it is missing, and finds the newest
    /// checkpoint. It reads the disk itself: after a failed sync the page cache may hold a slot that the
    /// disk does not, and the next write would then overwrite the only good one (S13).
    pub fn open(fs: &dyn Fs, path: &Path) -> io::Result<(Self, Found)> {
        let is_new = !fs.exists(path)?;
        let file = fs.open(path, Open::Create)?;
        if is_new {
            fs.sync_dir(&folder_of(path))?;
        }
        let mut bytes = [0; SLOT_STRIDE as usize + SLOT_LEN];
        let read = fs.read_from_disk(path, 0, &mut bytes)?;
        let (sequence, found) = newest(bytes.get(..read).unwrap_or_default());
        let clear_first = matches!(found, Found::Damaged(_));
        Ok((Self { file, sequence, clear_first }, found))
    }

    /// Writes a checkpoint; once this has returned it is on disk. After an error the last one still counts.
    ///
    /// Everything that the checkpoint claims must be on disk before this is called.
    pub fn write(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        if self.clear_first {
            self.file.set_len(0)?;
            self.clear_first = false;
        }
        let sequence = self.sequence + 1;
        self.file.write_all_at(&encode(sequence, checkpoint), sequence % 2 * SLOT_STRIDE)?;
        self.file.sync_data()?;
        self.sequence = sequence;
        Ok(())
    }
}

/// What the file says, without touching it; [`Found::Blank`] where there is none.
pub fn look(fs: &dyn Fs, path: &Path) -> io::Result<Found> {
    if !fs.exists(path)? {
        return Ok(Found::Blank);
    }
    let mut bytes = [0; SLOT_STRIDE as usize + SLOT_LEN];
    let read = fs.open(path, Open::Read)?.read_at(&mut bytes, 0)?;
    Ok(newest(bytes.get(..read).unwrap_or_default()).1)
}

fn newest(bytes: &[u8]) -> (u64, Found) {
    // A power cut right after the first write may keep its length and lose its bytes.
    if bytes.iter().all(|byte| *byte == 0) {
        return (0, Found::Blank);
    }
    let slots = [decode(bytes, 0), decode(bytes, 1)];
    match slots {
        [Ok(first), Ok(second)] => {
            let (sequence, checkpoint) = if first.0 > second.0 { first } else { second };
            (sequence, Found::Newest(checkpoint))
        }
        [Ok((sequence, checkpoint)), Err(_)] | [Err(_), Ok((sequence, checkpoint))] => {
            (sequence, Found::Newest(checkpoint))
        }
        [Err(first), Err(second)] => (0, Found::Damaged([first, second])),
    }
}

fn encode(sequence: u64, checkpoint: &Checkpoint) -> [u8; SLOT_LEN] {
    let flags = if checkpoint.clean.is_some() { FLAG_CLEAN } else { 0 };
    let mut slot = Vec::with_capacity(SLOT_LEN);
    slot.extend_from_slice(&MAGIC);
    slot.extend_from_slice(&VERSION.to_be_bytes());
    slot.extend_from_slice(&flags.to_be_bytes());
    slot.extend_from_slice(&sequence.to_be_bytes());
    slot.extend_from_slice(&checkpoint.flushed.get().to_be_bytes());
    slot.extend_from_slice(&checkpoint.segment_base.get().to_be_bytes());
    slot.extend_from_slice(&checkpoint.position.to_be_bytes());
    slot.extend_from_slice(&checkpoint.log_start.get().to_be_bytes());
    slot.extend_from_slice(&checkpoint.clean.unwrap_or_default().to_bytes());
    slot.extend_from_slice(&crc32fast::hash(&slot).to_be_bytes());
    let mut fixed = [0; SLOT_LEN];
    fixed.iter_mut().zip(slot).for_each(|(to, from)| *to = from);
    fixed
}

fn decode(file: &[u8], slot: u64) -> Result<(u64, Checkpoint), FormatError> {
    let from = (slot * SLOT_STRIDE) as usize;
    let bytes = file.get(from..from + SLOT_LEN).ok_or(FormatError::Truncated)?;
    let mut fields = Fields::new(bytes);
    let magic = fields.array()?;
    if magic != MAGIC {
        return Err(FormatError::Magic(magic));
    }
    let version = fields.u16()?;
    let flags = fields.u16()?;
    let sequence = fields.u64()?;
    let flushed = Offset::new(fields.i64()?);
    let segment_base = Offset::new(fields.i64()?);
    let position = fields.u64()?;
    let log_start = Offset::new(fields.i64()?);
    let boot = BootId::from_bytes(fields.array()?);
    if fields.u32()? != crc32fast::hash(bytes.get(..CHECKED_LEN).unwrap_or_default()) {
        return Err(FormatError::Checksum);
    }
    if version != VERSION {
        return Err(FormatError::Version { found: version, known: VERSION });
    }
    if sequence % 2 != slot {
        return Err(FormatError::Field("sequence"));
    }
    if segment_base > flushed || segment_base < Offset::ZERO || log_start < Offset::ZERO {
        return Err(FormatError::Field("offset"));
    }
    let clean = (flags & FLAG_CLEAN != 0).then_some(boot);
    Ok((sequence, Checkpoint { flushed, segment_base, position, log_start, clean }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Checkpoint, CheckpointFile, Found, SLOT_STRIDE};
    use crate::{
        model::{BootId, Offset},
        storage::fs::{
            Fs, Open,
            faulty::{AfterFailedSync, Fault, FaultRates, SimulatedDisk},
            real::RealFs,
        },
    };

    fn checkpoint(flushed: i64) -> Checkpoint {
        Checkpoint {
            flushed: Offset::new(flushed),
            segment_base: Offset::new(flushed / 100 * 100),
            position: flushed as u64 * 70,
            log_start: Offset::new(3),
            clean: None,
        }
    }

    fn reopened(path: &Path) -> Found {
        CheckpointFile::open(&RealFs, path).unwrap().1
    }

    fn flip(path: &Path, position: u64) {
        let file = RealFs.open(path, Open::ReadWrite).unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, position).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], position).unwrap();
    }

    #[test]
    fn the_newest_write_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let (mut file, found) = CheckpointFile::open(&RealFs, &path).unwrap();
        assert_eq!(found, Found::Blank);
        for flushed in [1, 2, 250, 80] {
            file.write(&checkpoint(flushed)).unwrap();
            assert_eq!(reopened(&path), Found::Newest(checkpoint(flushed)));
        }
        let clean = Checkpoint { clean: Some(BootId::random()), ..checkpoint(90) };
        let (mut file, _) = CheckpointFile::open(&RealFs, &path).unwrap();
        file.write(&clean).unwrap();
        assert_eq!(reopened(&path), Found::Newest(clean));
    }

    #[test]
    fn s14_a_torn_newest_slot_leaves_the_one_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let (mut file, _) = CheckpointFile::open(&RealFs, &path).unwrap();
        file.write(&checkpoint(10)).unwrap();
        file.write(&checkpoint(20)).unwrap();
        flip(&path, 21); // The second write went to slot 0.
        assert_eq!(reopened(&path), Found::Newest(checkpoint(10)));
        let (mut file, _) = CheckpointFile::open(&RealFs, &path).unwrap();
        file.write(&checkpoint(30)).unwrap();
        assert_eq!(reopened(&path), Found::Newest(checkpoint(30)));
        flip(&path, SLOT_STRIDE + 30);
        assert_eq!(reopened(&path), Found::Newest(checkpoint(30)), "the repaired slot is slot 0");
    }

    #[test]
    fn two_bad_slots_are_told_from_a_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let (mut file, _) = CheckpointFile::open(&RealFs, &path).unwrap();
        file.write(&checkpoint(10)).unwrap();
        file.write(&checkpoint(20)).unwrap();
        flip(&path, 0);
        flip(&path, SLOT_STRIDE + 66);
        assert!(matches!(reopened(&path), Found::Damaged(_)));
        let (mut file, _) = CheckpointFile::open(&RealFs, &path).unwrap();
        file.write(&checkpoint(5)).unwrap();
        flip(&path, 0); // Heals the first damage, and would bring 20 back.
        assert_eq!(reopened(&path), Found::Newest(checkpoint(5)));
    }

    const PATH: &str = "/checkpoint";

    #[test]
    fn s14_a_power_cut_at_any_step_leaves_the_last_write_that_returned_or_the_one_begun() {
        let mut begun = 0;
        for seed in 0..300 {
            let disk = SimulatedDisk::new(seed);
            let (mut file, _) = CheckpointFile::open(&*disk.mount(), Path::new(PATH)).unwrap();
            disk.die_after(Some(seed % 20));
            let mut written = 0;
            while file.write(&checkpoint(written + 1)).is_ok() {
                written += 1;
            }
            disk.power_cut();
            let (_, found) = CheckpointFile::open(&*disk.mount(), Path::new(PATH)).unwrap();
            let last = if written == 0 { Found::Blank } else { Found::Newest(checkpoint(written)) };
            let next = Found::Newest(checkpoint(written + 1));
            let is_torn_first = written == 0 && matches!(found, Found::Damaged(_));
            assert!(found == last || found == next || is_torn_first, "seed {seed}: {found:?}");
            begun += u32::from(found == next);
        }
        assert!(begun > 20);
    }

    #[test]
    fn s13_a_checkpoint_whose_sync_failed_is_not_believed_after_a_restart() {
        for seed in 0..300 {
            let disk = SimulatedDisk::new(seed);
            let (mut file, _) = CheckpointFile::open(&*disk.mount(), Path::new(PATH)).unwrap();
            file.write(&checkpoint(10)).unwrap();
            disk.inject("checkpoint", Fault::SyncFails(AfterFailedSync::FalselyClean));
            file.write(&checkpoint(20)).unwrap_err();
            disk.kill();
            let (mut file, found) = CheckpointFile::open(&*disk.mount(), Path::new(PATH)).unwrap();
            assert_eq!(found == Found::Newest(checkpoint(20)), disk_has_both_slots(&disk), "seed {seed}");
            // Whatever was found, a torn next write must not destroy the last good slot.
            disk.die_after(Some(0));
            file.write(&checkpoint(30)).unwrap_err();
            disk.power_cut();
            let (_, found) = CheckpointFile::open(&*disk.mount(), Path::new(PATH)).unwrap();
            assert!(matches!(found, Found::Newest(_)), "seed {seed}: {found:?}");
        }
    }

    fn disk_has_both_slots(disk: &SimulatedDisk) -> bool {
        matches!(super::newest(&disk.durable(PATH).unwrap()).1, Found::Newest(found) if found == checkpoint(20))
    }

    #[test]
    fn s13_a_write_that_is_repeated_after_a_failed_sync_is_on_the_disk() {
        for seed in 0..100 {
            let disk = SimulatedDisk::new(seed);
            let (mut file, _) = CheckpointFile::open(&*disk.mount(), Path::new(PATH)).unwrap();
            disk.set_fault_rates(FaultRates { sync_fails: 0.5, write_fails: 0.2, ..FaultRates::default() });
            let mut last = None;
            for flushed in 1..20 {
                if file.write(&checkpoint(flushed)).is_ok() {
                    last = Some(checkpoint(flushed));
                }
            }
            let durable = super::newest(&disk.durable(PATH).unwrap()).1;
            let (Some(last), Found::Newest(found)) = (last, durable) else { panic!("seed {seed}") };
            assert!(found.flushed >= last.flushed, "seed {seed}");
        }
    }
}
