//! What goes wrong.

use std::path::Path;

use super::{DIR, World};
use crate::storage::fs::{
    Fs as _,
    faulty::{AfterFailedSync, Fault},
};

impl World {
    /// Flips a bit of a batch that is checkpointed, none of its neighbours being hit.
    pub(super) fn flip(&mut self) {
        let flippable: Vec<usize> = (0..self.batches.len())
            .filter(|at| {
                let near = self.batches.iter().take(at + 2).skip(at.saturating_sub(1));
                let kept = &self.batches[*at];
                kept.base >= self.log_start
                    && kept.next <= self.checkpointed
                    && !near.into_iter().any(|b| b.hit)
            })
            .collect();
        let Some(at) = self.rng.choice(flippable) else { return };
        let segments = self.log.as_ref().unwrap().reader().segments();
        let kept = &mut self.batches[at];
        let Some(segment) = segments.iter().rev().find(|s| s.base.get() <= kept.base) else { return };
        let path = format!("{DIR}/{:020}.log", segment.base.get());
        let bytes = self.disk.visible(&path).unwrap();
        let Some(position) = bytes.windows(kept.bytes.len()).position(|window| window == kept.bytes) else {
            return;
        };
        let byte = if self.rng.bool() { self.rng.usize(0..21) } else { self.rng.usize(0..kept.bytes.len()) };
        // After a lie the terms may be gone with which epochs are compared.
        let byte = if self.lies { byte.max(21) } else { byte };
        assert!(self.disk.flip(&path, (position + byte) as u64, 1 << self.rng.u8(0..8)));
        kept.hit = true;
        let base = kept.base;
        self.say(format!("flipped byte {byte} of batch {base}"));
    }

    /// Hurts a file from which nothing can be lost.
    pub(super) fn hurt_index(&mut self) {
        let segments = self.log.as_ref().unwrap().reader().segments();
        let Some(segment) = self.rng.choice(segments) else { return };
        let kind = self.rng.choice(["index", "timeindex"]).unwrap();
        let path = format!("{DIR}/{:020}.{kind}", segment.base.get());
        let len = self.disk.visible(&path).map_or(0, |bytes| bytes.len());
        if len > 0 {
            let at = self.rng.usize(0..len) as u64;
            self.disk.flip(&path, at, 1 << self.rng.u8(0..8));
            self.say(format!("flipped {at} of {path}"));
        }
    }

    /// Hurts one of the small files. Each is checked as it is read, and there is another way to what it says.
    pub(super) fn hurt_own_file(&mut self) {
        let names: Vec<String> =
            self.process.list(Path::new(DIR)).unwrap_or_default().into_iter().map(|e| e.name).collect();
        let may_be_hurt = |name: &String| match name.as_str() {
            // A flipped epoch is known by this file.
            "leader-epochs" => !self.batches.iter().any(|batch| batch.hit),
            "checkpoint" => true,
            name => name.ends_with(".snapshot") || name.ends_with(".checksums"),
        };
        let Some(name) = self.rng.choice(names.into_iter().filter(may_be_hurt).collect::<Vec<_>>()) else {
            return;
        };
        let path = format!("{DIR}/{name}");
        let len = self.disk.visible(&path).map_or(0, |bytes| bytes.len());
        if len == 0 {
            return;
        }
        self.disk.flip(&path, self.rng.usize(0..len) as u64, 1 << self.rng.u8(0..8));
        if name == "checkpoint" {
            (self.checkpointed, self.start_on_disk, self.checkpoint_is_hurt) = (0, 0, true);
        }
        self.say(format!("flipped a bit of {name}"));
    }

    pub(super) fn fault(&mut self) {
        let fault = match self.rng.u8(0..4) {
            0 => Fault::SyncFails(AfterFailedSync::FalselyClean),
            1 => Fault::SyncFails(AfterFailedSync::Dropped),
            2 => Fault::SyncDirFails,
            _ => Fault::WriteFails { after_bytes: self.rng.usize(0..300) },
        };
        let segments = self.log.as_ref().unwrap().reader().segments();
        let active = segments.last().unwrap().base.get();
        let path = if fault == Fault::SyncDirFails { DIR.into() } else { format!("{DIR}/{active:020}.log") };
        self.say(format!("fault {fault:?}"));
        self.sync_may_have_failed |= matches!(fault, Fault::SyncFails(_));
        self.disk.inject(path, fault);
    }

    pub(super) fn disk_full(&mut self) {
        self.disk.set_free_bytes(self.rng.u64(0..500));
        for _ in 0..4 {
            self.append();
        }
        self.disk.set_capacity(None);
        self.say("room again");
    }
}
