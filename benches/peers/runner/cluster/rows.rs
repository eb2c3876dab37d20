//! The rows of `--cluster`, and what is to be reached beside three nodes of Kafka.

use crate::runner::rows::Target;

/// One line or a few of the table, measured together.
#[derive(Clone, Copy, Debug)]
pub(in crate::runner) struct Row {
    /// As `--rows` names it: without waiting for a disk.
    pub(in crate::runner) name: &'static str,
    /// The same on a `durability=disk` topic of ours, beside the same figures of Kafka; nothing where it makes no
    /// difference.
    pub(super) on_disk: Option<&'static str>,
    pub(super) load: Load,
}

/// What is done to the three nodes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// As fast as the driver can, over `partitions` in turns.
    Produce { size: usize, count: u64, partitions: i32 },
    /// One message in flight.
    OneInFlight { count: u64 },
    /// At 1,000 messages a second.
    EndToEnd,
    /// Resident memory of each node, once it has a topic and after it has taken and served messages.
    Memory,
    /// From before the first process to the first record that three replicas have, on empty folders.
    FirstRecord,
}

pub(super) const TWICE: Target = Target::RatioAtLeast(2.0);
pub(super) const HALF: Target = Target::RatioAtMost(0.5);
pub(super) const AHEAD: Target = Target::RatioAtMost(1.0);
pub(super) const UNDER_800_US: Target = Target::AtMost(800.0);
pub(super) const UNDER_A_SECOND: Target = Target::AtMost(1000.0);

const SMALL: u64 = 5_000_000;
const LARGE: u64 = 1_000_000;

const fn produce(
    name: &'static str,
    on_disk: &'static str,
    (size, count): (usize, u64),
    partitions: i32,
) -> Row {
    Row { name, on_disk: Some(on_disk), load: Load::Produce { size, count, partitions } }
}

/// All rows, in the order of the table.
pub(in crate::runner) const ROWS: [Row; 8] = [
    produce("produce-100", "produce-100-disk", (100, SMALL), 1),
    produce("produce-100-p8", "produce-100-p8-disk", (100, SMALL), 8),
    produce("produce-1k", "produce-1k-disk", (1024, LARGE), 1),
    produce("produce-1k-p8", "produce-1k-p8-disk", (1024, LARGE), 8),
    Row { name: "ack", on_disk: Some("ack-disk"), load: Load::OneInFlight { count: 5000 } },
    Row { name: "e2e", on_disk: Some("e2e-disk"), load: Load::EndToEnd },
    Row { name: "memory", on_disk: None, load: Load::Memory },
    Row { name: "first-record", on_disk: None, load: Load::FirstRecord },
];
