//! What our own small files share: one envelope with a version and a checksum, a reader of fields that
//! trusts nothing, and the only safe way to replace a file.
//!
//! ```text
//! offset size
//!      0    4  magic: which kind of file this is
//!      4    2  version of the body
//!      6    2  zero
//!      8    4  length of the body in bytes
//!     12    4  crc32 (IEEE, `crc32fast`) of bytes 0..12 and the body
//!     16    n  body
//! ```
//!
//! All integers are big-endian, as in the Kafka protocol.

use std::{io, path::Path};

use super::fs::{Fs, Open, create_anew, folder_of};

/// Length of the envelope's header in bytes.
const HEADER_LEN: usize = 16;
/// What the header's checksum covers of the header.
const CHECKED_HEADER_LEN: usize = 12;

/// A kind of file of our own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// The first four bytes of each such file.
    pub(crate) magic: [u8; 4],
    /// The version of the body that this program writes, and the only one that it reads.
    pub(crate) version: u16,
    /// The most bytes that a body may have; a longer file is refused before memory is taken for it.
    pub(crate) max_body: u64,
}

/// Why the bytes of a file of ours are not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The file ends too early.
    #[error("file is truncated")]
    Truncated,
    /// The file has bytes after its end.
    #[error("file has bytes after its end")]
    Trailing,
    /// The file is of another kind, or its first bytes are damaged.
    #[error("file is of another kind: magic {0:02x?}")]
    Magic([u8; 4]),
    /// The file was written by another version of this program.
    #[error("file has version {found}, this program reads {known}")]
    Version {
        /// In the file.
        found: u16,
        /// The one that this program reads.
        known: u16,
    },
    /// The bytes are not those that were written.
    #[error("checksum is wrong")]
    Checksum,
    /// A field holds what no writer puts there.
    #[error("field {0} has an impossible value")]
    Field(&'static str),
    /// The file is longer than any that this program writes.
    #[error("file has {0} bytes, more than any of its kind")]
    TooLong(u64),
}

/// Why a file of ours could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OwnFileError {
    /// The file system failed.
    #[error("file could not be read: {0}")]
    Io(#[from] io::Error),
    /// The content is damaged or of another version.
    #[error("file content is not valid: {0}")]
    Format(#[from] FormatError),
}

/// Puts a body into its envelope.
pub(crate) fn seal(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(HEADER_LEN + body.len());
    file.extend_from_slice(&kind.magic);
    file.extend_from_slice(&kind.version.to_be_bytes());
    file.extend_from_slice(&[0; 2]);
    file.extend_from_slice(&(body.len() as u32).to_be_bytes());
    let checksum = checksum_of(&file, body);
    file.extend_from_slice(&checksum.to_be_bytes());
    file.extend_from_slice(body);
    file
}

/// Takes the body out of an envelope, if both are as they were written.
pub(crate) fn unseal(kind: Kind, file: &[u8]) -> Result<&[u8], FormatError> {
    let (header, body) = file.split_at_checked(HEADER_LEN).ok_or(FormatError::Truncated)?;
    let mut fields = Fields::new(header);
    let magic = fields.array()?;
    if magic != kind.magic {
        return Err(FormatError::Magic(magic));
    }
    let version = fields.u16()?;
    fields.u16()?;
    let len = fields.u32()? as usize;
    let checksum = fields.u32()?;
    let body = body.get(..len).ok_or(FormatError::Truncated)?;
    if checksum != checksum_of(header.get(..CHECKED_HEADER_LEN).unwrap_or_default(), body) {
        return Err(FormatError::Checksum);
    }
    // After the checksum: a flipped bit here is damage, not another version.
    if version != kind.version {
        return Err(FormatError::Version { found: version, known: kind.version });
    }
    if file.len() > HEADER_LEN + len { Err(FormatError::Trailing) } else { Ok(body) }
}

fn checksum_of(header: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(body);
    hasher.finalize()
}

/// Replaces the file at `path` by one with this body, or leaves it as it was: written beside it, synced,
/// renamed over it, the folder synced (S15). A power cut at any moment leaves the old or the new.
pub(crate) fn replace(fs: &dyn Fs, path: &Path, kind: Kind, body: &[u8]) -> io::Result<()> {
    let beside = temporary_name(path);
    let file = create_anew(fs, &beside)?;
    file.write_all_at(&seal(kind, body), 0)?;
    file.sync_data()?;
    fs.rename(&beside, path)?;
    fs.sync_dir(&folder_of(path))
}

/// The extension of a file that is being written and has no meaning yet; left over by a crash, it may be
/// removed.
pub const TEMPORARY_EXTENSION: &str = "tmp";

fn temporary_name(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(TEMPORARY_EXTENSION);
    name.into()
}

/// Reads a file and takes its body out; `None` when there is no such file.
pub(crate) fn load(fs: &dyn Fs, path: &Path, kind: Kind) -> Result<Option<Vec<u8>>, OwnFileError> {
    let file = match fs.open(path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let len = file.len()?;
    if len > kind.max_body + HEADER_LEN as u64 {
        return Err(FormatError::TooLong(len).into());
    }
    let mut bytes = vec![0; len as usize];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    unseal(kind, &bytes)?;
    bytes.drain(..HEADER_LEN);
    Ok(Some(bytes))
}

/// Takes fields off the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(FormatError::Truncated)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, FormatError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, FormatError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, FormatError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A count of items that follow, each at least `item_len` bytes long: never more than the bytes that
    /// are left could hold.
    pub(crate) fn count(&mut self, item_len: usize) -> Result<usize, FormatError> {
        let count = self.u32()? as usize;
        if count.saturating_mul(item_len) > self.0.len() {
            return Err(FormatError::Truncated);
        }
        Ok(count)
    }

    /// Ends the reading; bytes that are left over are an error.
    pub(crate) fn end(self) -> Result<(), FormatError> {
        if self.0.is_empty() { Ok(()) } else { Err(FormatError::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Fields, FormatError, Kind, load, replace, seal, unseal};
    use crate::storage::fs::{
        Fs,
        faulty::{AfterFailedSync, Fault, SimulatedDisk},
    };

    const KIND: Kind = Kind { magic: *b"TEST", version: 3, max_body: 100 };
    const PATH: &str = "/dir/file";

    fn disk_with(seed: u64, body: &[u8]) -> SimulatedDisk {
        let disk = SimulatedDisk::new(seed);
        let fs = disk.mount();
        fs.create_dir_all(Path::new("/dir")).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        replace(&*fs, Path::new(PATH), KIND, body).unwrap();
        disk
    }

    fn loaded(disk: &SimulatedDisk) -> Option<Vec<u8>> {
        load(&*disk.mount(), Path::new(PATH), KIND).unwrap()
    }

    #[test]
    fn s15_a_file_that_was_replaced_stays_so_whatever_the_power_does() {
        for seed in 0..100 {
            let disk = disk_with(seed, b"body");
            disk.power_cut();
            assert_eq!(loaded(&disk).as_deref(), Some(&b"body"[..]), "seed {seed}");
        }
    }

    #[test]
    fn s15_death_at_any_step_of_replacing_leaves_the_old_file_or_the_new_one() {
        let mut new = 0;
        for seed in 0..400 {
            let disk = disk_with(seed, b"old");
            disk.die_after(Some(seed % 6));
            replace(&*disk.mount(), Path::new(PATH), KIND, b"new").ok();
            disk.power_cut();
            let body = loaded(&disk).unwrap();
            assert!(body == b"old" || body == b"new", "seed {seed}: {body:?}");
            new += u32::from(body == b"new");
            // What is left of the attempt is in nobody's way.
            replace(&*disk.mount(), Path::new(PATH), KIND, b"next").unwrap();
            disk.power_cut();
            assert_eq!(loaded(&disk).unwrap(), b"next");
        }
        assert!((50..350).contains(&new), "{new} of 400");
    }

    #[test]
    fn s13_a_file_that_could_not_be_synced_does_not_take_the_old_ones_place() {
        for seed in 0..50 {
            let disk = disk_with(seed, b"old");
            disk.inject("", Fault::SyncFails(AfterFailedSync::FalselyClean));
            replace(&*disk.mount(), Path::new(PATH), KIND, b"new").unwrap_err();
            assert_eq!(loaded(&disk).unwrap(), b"old");
            replace(&*disk.mount(), Path::new(PATH), KIND, b"next").unwrap();
            disk.power_cut();
            assert_eq!(loaded(&disk).unwrap(), b"next");
        }
    }

    #[test]
    fn every_single_flipped_bit_and_every_cut_is_noticed() {
        let file = seal(KIND, b"some body");
        assert_eq!(unseal(KIND, &file), Ok(&b"some body"[..]));
        for bit in 0..file.len() * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(KIND, &damaged).is_err(), "bit {bit}");
        }
        for len in 0..file.len() {
            assert!(unseal(KIND, &file[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let newer = seal(Kind { version: 4, ..KIND }, b"body");
        assert_eq!(unseal(KIND, &newer), Err(FormatError::Version { found: 4, known: 3 }));
        let mut longer = seal(KIND, b"body");
        longer.push(0);
        assert_eq!(unseal(KIND, &longer), Err(FormatError::Trailing));
    }

    #[test]
    fn a_count_cannot_claim_more_than_the_bytes_that_are_there() {
        let mut hostile = u32::MAX.to_be_bytes().to_vec();
        hostile.extend_from_slice(&[0; 24]);
        assert_eq!(Fields::new(&hostile).count(12), Err(FormatError::Truncated));
    }
}
