//! Writes the seeds of each target into a folder of its own: `seeds <folder>`.

use std::{env, fs, io, path::Path};

use polylogue::fuzzing::seeds;

fn write(folder: &Path, seeds: &[Vec<u8>]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:04}")), seed)?;
    }
    println!("{}: {} seeds", folder.display(), seeds.len());
    Ok(())
}

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1) else {
        return Err(io::Error::other("the folder that the seeds go to is missing: seeds <folder>"));
    };
    let folder = Path::new(&folder);
    write(&folder.join("request_frame"), &seeds::request_frames())?;
    write(&folder.join("record_batch"), &seeds::record_batches())?;
    write(&folder.join("recovery"), &seeds::recoveries())
}
