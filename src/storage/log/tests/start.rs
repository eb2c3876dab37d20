//! A log whose start lies above all that a power cut has left of it.

use std::{path::Path, sync::Arc};

use super::{
    append, batch,
    rules::{DIR, Machine, consume, flush, one},
};
use crate::{
    model::Offset,
    record::Producer,
    storage::{
        fs::{Fs, faulty::SimulatedDisk},
        inspect::{Flaw, verify},
    },
};

/// Batches 0 to 5 are on disk, one of 5 to 10 may be, and the log starts in its middle, at 8; then the power goes.
fn starts_in_last_batch(seed: u64) -> Machine {
    let mut machine = Machine::new();
    machine.disk = SimulatedDisk::new(seed);
    let (mut log, _) = machine.open();
    for _ in 0..5 {
        one(&mut log, b"flushed");
    }
    flush(&mut log);
    log.checkpoint_job().unwrap().run().unwrap();
    append(&mut log, batch(5, 5, b"not yet", Producer::NONE));
    log.delete_records(Offset::new(8)).unwrap().run().unwrap();
    machine.disk.power_cut();
    machine
}

/// Appends behind that, goes through another power cut, and opens twice; in how many runs the batch was lost.
fn goes_on(and_checkpoints: bool) -> u32 {
    let mut lost = 0;
    for seed in 0..32 {
        let mut machine = starts_in_last_batch(seed);
        let (mut log, report) = machine.open();
        let end = log.log_end_offset().get();
        assert_eq!(report.corrupt, [], "seed {seed}");
        assert!([8, 10].contains(&end), "seed {seed}: ends at {end}");
        lost += u32::from(end == 8);
        one(&mut log, b"behind");
        flush(&mut log);
        if and_checkpoints {
            log.checkpoint_job().unwrap().run().unwrap();
        }
        drop(log);
        machine.disk.power_cut();
        for _ in 0..2 {
            let (log, report) = machine.open();
            let complaints = (report.corrupt.len(), report.cut, report.set_aside.len());
            assert_eq!(complaints, (0, None, 0), "seed {seed}");
            assert_eq!(
                (log.log_start_offset().get(), log.log_end_offset().get()),
                (8, end + 1),
                "seed {seed}"
            );
            assert_eq!(consume(&log, end), (vec![end], vec![]), "seed {seed}");
            let fs: Arc<dyn Fs> = machine.disk.mount();
            let found = verify(&fs, Path::new(DIR), &mut |_| {}).unwrap().findings;
            assert!(
                !found.iter().any(|found| matches!(found.flaw, Flaw::Damaged(_))),
                "seed {seed}: {found:?}"
            );
        }
    }
    lost
}

#[test]
fn s14_what_is_flushed_behind_a_start_that_lies_above_what_is_left_is_not_cut_off() {
    assert!((4..32).contains(&goes_on(false)));
}

#[test]
fn deleted_records_that_a_power_cut_took_are_not_missed() {
    assert!((4..32).contains(&goes_on(true)));
}
