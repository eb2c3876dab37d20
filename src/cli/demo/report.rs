use std::io::{self, Write};

use super::{check::Reading, replay::Replay, strike::Struck, write::Writing};
use crate::cli::progress::{count, rates, size};

/// What the demo found.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) seed: u64,
    pub(super) partitions: usize,
    pub(super) records: u64,
    pub(super) nodes: usize,
    pub(super) replicas: i16,
    pub(super) written: Writing,
    /// Where a node was killed.
    pub(super) struck: Option<Struck>,
    pub(super) read: Reading,
    pub(super) replayed: Replay,
    /// The nodes' resident memory at the end, in bytes.
    pub(super) memory: u64,
}

impl Report {
    /// Whether everything matched.
    pub(super) fn is_right(&self) -> bool {
        let written = self.written.acknowledged == self.records && self.written.failed == 0;
        let read = self.read.records == self.records && self.read.different == 0;
        let ordered = self.read.out_of_order == 0 && self.written.misplaced == 0;
        let replayed = self.replayed.records == self.replayed.expected && self.replayed.wrong_starts == 0;
        written && read && ordered && replayed
    }

    /// Acknowledged and not read.
    const fn lost(&self) -> u64 {
        self.written.acknowledged.saturating_sub(self.read.records)
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let (written, read, replayed) = (&self.written, &self.read, &self.replayed);
        let partitions = self.partitions;
        writeln!(
            out,
            "web-shop events: {} from seed {}, {partitions} partitions",
            count(self.records),
            self.seed
        )?;
        let rate = rates("records", written.acknowledged, written.bytes, written.elapsed);
        writeln!(out, "  written       {} in {:.2?}, {rate}", size(written.bytes), written.elapsed)?;
        let by = if self.replicas > 1 {
            format!("the disks of all in sync, {} replicas on {} nodes", self.replicas, self.nodes)
        } else {
            "the disk".to_owned()
        };
        writeln!(out, "  acknowledged  {} by {by}", count(written.acknowledged))?;
        let rate = rates("records", read.records, read.bytes, read.elapsed);
        writeln!(
            out,
            "  read          {} records in {:.2?}, {rate}, each compared",
            count(read.records),
            read.elapsed
        )?;
        writeln!(out, "  lost          {}", count(self.lost()))?;
        writeln!(out, "  different     {}", count(read.different))?;
        writeln!(out, "  out of order  {}", count(read.out_of_order + written.misplaced))?;
        self.print_strike(out)?;
        let from = humantime::format_rfc3339_millis(
            std::time::UNIX_EPOCH + std::time::Duration::from_millis(replayed.from.get().unsigned_abs()),
        );
        let (found, expected) = (count(replayed.records), count(replayed.expected));
        writeln!(
            out,
            "  replayed      from {from}: {found} records of {expected} in {:.2?}",
            replayed.elapsed
        )?;
        let of = if self.nodes > 1 { format!(", {} nodes together", self.nodes) } else { String::new() };
        writeln!(out, "  node memory   {}{of}", size(self.memory))?;
        for (wrong, what) in self.wrongs() {
            writeln!(out, "  WRONG         {}: {what}", count(wrong))?;
        }
        if let Some(error) = &written.first_error {
            writeln!(out, "  first error   {error}")?;
        }
        writeln!(out, "{}", if self.is_right() { "everything matched" } else { "NOT everything matched" })
    }

    fn print_strike(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(struck) = self.struck else { return Ok(()) };
        writeln!(out, "  killed        node {}, back after {:.2?}", struck.node, struck.back_after)?;
        match self.written.failover {
            Some(took) => writeln!(out, "  fail-over     {:.0} ms", took.as_secs_f64() * 1e3),
            None => writeln!(out, "  fail-over     not seen: writing had ended"),
        }
    }

    fn wrongs(&self) -> impl Iterator<Item = (u64, &'static str)> {
        let wrongs = [
            (self.written.failed, "records were not acknowledged"),
            (self.lost(), "records were acknowledged and are not there"),
            (
                self.read.records.saturating_sub(self.written.acknowledged),
                "records are there that nobody wrote",
            ),
            (self.read.different, "records differ from what was sent"),
            (self.replayed.wrong_starts, "partitions began a replay at the wrong record"),
            (
                self.replayed.expected.abs_diff(self.replayed.records),
                "records too many or too few in the replay",
            ),
        ];
        wrongs.into_iter().filter(|(wrong, _)| *wrong > 0)
    }
}
