//! The mark of a stop in order: which start of the node has closed all of its logs (S11).
//!
//! ```text
//! <data folder>/clean    the envelope of our own files, magic "PLCM", version 1
//! body  0   16 bytes  the boot id
//! ```

use std::{io, path::Path};

use crate::{
    model::BootId,
    storage::{
        fs::{Fs, folder_of},
        own_file::{self, Fields, Kind, OwnFileError},
    },
};

const FILE: &str = "clean";
const KIND: Kind = Kind { magic: *b"PLCM", version: 1, max_body: 64 };

/// Leaves the mark.
pub fn leave(fs: &dyn Fs, data_dir: &Path, boot: BootId) -> io::Result<()> {
    own_file::replace(fs, &data_dir.join(FILE), KIND, &boot.to_bytes())
}

/// Takes the mark away, before anything is written to a log. One that cannot be read is none.
pub fn take(fs: &dyn Fs, data_dir: &Path) -> io::Result<Option<BootId>> {
    let path = data_dir.join(FILE);
    let boot = match own_file::load(fs, &path, KIND) {
        Ok(None) => return Ok(None),
        Ok(Some(body)) => {
            let mut fields = Fields::new(&body);
            fields.array().ok().map(BootId::from_bytes)
        }
        Err(OwnFileError::Format(_)) => None,
        Err(OwnFileError::Io(error)) => return Err(error),
    };
    fs.remove_file(&path)?;
    fs.sync_dir(&folder_of(&path))?;
    Ok(boot)
}
