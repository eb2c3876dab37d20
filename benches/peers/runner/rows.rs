//! The rows: what is loaded, how, and what is to be reached. Targets are ratios to the ideal server
//! wherever the machine's own limit is in the figure, so that they hold on any machine.

use crate::groups::Protocol;

/// One line or a few of the table, measured together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// As `--rows` names it.
    pub(super) name: &'static str,
    pub(super) load: Load,
    pub(super) topic: Topic,
}

/// What is done to the broker.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// As fast as the driver can, over `partitions` in turns.
    Produce { size: usize, count: u64, partitions: i32, targets: RateTargets },
    /// What was produced just before, from the beginning, as fast as the driver can.
    Consume { size: usize, count: u64, partitions: i32, targets: RateTargets },
    /// At 1,000 messages a second, beside something else or not.
    EndToEnd { beside: Beside, target: Target },
    /// One message in flight; against an fdatasync where the topic's durability is `disk`.
    OneInFlight { count: u64 },
    /// Resident memory of a node that has just started.
    Idle { target: Target },
    /// Resident memory of a node that has taken and served millions of messages.
    Worked { target: Target },
    /// From the start of the process to the first acknowledged record.
    FirstRecord { target: Target },
    /// A member of a group of 100 joins, one leaves, one is killed.
    Rebalance { protocol: Protocol },
    /// From `kill -9` to the next commit of one of 1,000 groups with 1,000 offsets each.
    CoordinatorKill { target: Target },
    /// Processor time for the heartbeats of a group of 1,000 members.
    IdleGroup { target: Target },
    /// From the start of the process until all of 10,000 groups are listed.
    GroupsStart { target: Target },
}

/// What else the broker has to do while the latency of messages is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    Nothing,
    /// This many bytes were written right before.
    JustWritten {
        bytes: u64,
    },
    /// Another producer writes to another topic as fast as it can.
    FullSpeedProducer,
    /// This many bytes were written to another topic, and somebody reads them from the beginning, over and over.
    ReaderBehind {
        bytes: u64,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RateTargets {
    pub(super) rate: Target,
    /// Broker's processor seconds per million messages.
    pub(super) cpu: Target,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// Shown for comparison only.
    None,
    /// Ours is at least this share of the peer's.
    RatioAtLeast(f64),
    /// Ours is at most this many times the peer's.
    RatioAtMost(f64),
    /// Ours is at least and at most so many times the yardstick: below the first, it cannot have done
    /// what it says.
    RatioWithin(f64, f64),
    /// Ours is at most this.
    AtMost(f64),
}

/// The configs of the row's topic; the ideal server has none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Topic {
    pub(super) durability: &'static str,
    pub(super) verify_on_read: &'static str,
}

impl Topic {
    /// What the driver asks for. On a `disk` topic only `acks=all` waits for the disk.
    pub(super) fn acks(&self) -> &'static str {
        if self.durability == "disk" { "all" } else { "1" }
    }
}

pub(super) const REPLICATED: Topic = Topic { durability: "replicated", verify_on_read: "always" };
const REPLICATED_UNCHECKED: Topic = Topic { durability: "replicated", verify_on_read: "first" };
pub(super) const DISK: Topic = Topic { durability: "disk", verify_on_read: "always" };

const NO_TARGETS: RateTargets = RateTargets { rate: Target::None, cpu: Target::None };
const FIVE_GB: u64 = 5_000_000_000;

const fn rate(target: Target) -> RateTargets {
    RateTargets { rate: target, cpu: Target::None }
}

const fn rate_and_cpu(rate: Target, cpu: Target) -> RateTargets {
    RateTargets { rate, cpu }
}

const fn produce(name: &'static str, size: usize, count: u64, topic: Topic, targets: RateTargets) -> Row {
    Row { name, load: Load::Produce { size, count, partitions: 1, targets }, topic }
}

const fn consume(name: &'static str, size: usize, count: u64, topic: Topic, targets: RateTargets) -> Row {
    Row { name, load: Load::Consume { size, count, partitions: 1, targets }, topic }
}

const fn end_to_end(name: &'static str, beside: Beside, topic: Topic, target: Target) -> Row {
    Row { name, load: Load::EndToEnd { beside, target }, topic }
}

/// All rows, in the order of the table.
pub(super) const ROWS: [Row; 18] = [
    produce(
        "produce-100",
        100,
        5_000_000,
        REPLICATED,
        rate_and_cpu(Target::RatioAtLeast(0.9), Target::AtMost(0.10)),
    ),
    produce("produce-1k", 1024, 1_000_000, REPLICATED, rate(Target::RatioAtLeast(0.9))),
    consume(
        "consume-100",
        100,
        5_000_000,
        REPLICATED,
        rate_and_cpu(Target::RatioAtLeast(0.9), Target::AtMost(0.04)),
    ),
    consume("consume-1k", 1024, 2_000_000, REPLICATED, rate(Target::RatioAtLeast(0.75))),
    consume("consume-1k-first", 1024, 2_000_000, REPLICATED_UNCHECKED, rate(Target::RatioAtLeast(0.9))),
    produce("produce-100-disk", 100, 5_000_000, DISK, NO_TARGETS),
    produce("produce-1k-disk", 1024, 1_000_000, DISK, NO_TARGETS),
    consume("consume-100-disk", 100, 5_000_000, DISK, NO_TARGETS),
    consume("consume-1k-disk", 1024, 2_000_000, DISK, NO_TARGETS),
    Row {
        name: "produce-100-p16",
        load: Load::Produce { size: 100, count: 5_000_000, partitions: 16, targets: NO_TARGETS },
        topic: REPLICATED,
    },
    end_to_end("e2e", Beside::Nothing, REPLICATED, Target::RatioAtMost(1.3)),
    end_to_end("e2e-disk", Beside::Nothing, DISK, Target::None),
    end_to_end("e2e-beside-producer", Beside::FullSpeedProducer, REPLICATED, Target::RatioAtMost(1.3)),
    end_to_end("e2e-after-5gb", Beside::JustWritten { bytes: FIVE_GB }, REPLICATED, Target::RatioAtMost(1.3)),
    Row { name: "ack", load: Load::OneInFlight { count: 5000 }, topic: REPLICATED },
    Row { name: "ack-disk", load: Load::OneInFlight { count: 2000 }, topic: DISK },
    Row { name: "idle", load: Load::Idle { target: Target::AtMost(15.0) }, topic: DISK },
    Row { name: "first-record", load: Load::FirstRecord { target: Target::AtMost(100.0) }, topic: DISK },
];
