//! The rows of `--beside-kafka`: memory against memory and disk against disk, and what is to be reached.

use crate::groups::Protocol;

use super::rows::{Beside, DISK, Load, REPLICATED, RateTargets, Row, Target, Topic};

/// Ahead of Kafka; where librdkafka itself is the limit no more than a tenth behind.
const PRODUCE: RateTargets = RateTargets { rate: Target::RatioAtLeast(1.0), cpu: Target::RatioAtMost(0.2) };
const CONSUME: RateTargets = RateTargets { rate: Target::RatioAtLeast(0.9), cpu: Target::RatioAtMost(0.5) };
const AHEAD: Target = Target::RatioAtMost(1.0);
const HALF: Target = Target::RatioAtMost(0.5);
const TWENTIETH: Target = Target::RatioAtMost(0.05);

const SMALL: u64 = 5_000_000;
const LARGE: u64 = 1_000_000;
const FIVE_GB: u64 = 5_000_000_000;

const fn produce(name: &'static str, (size, count): (usize, u64), partitions: i32, topic: Topic) -> Row {
    Row { name, load: Load::Produce { size, count, partitions, targets: PRODUCE }, topic }
}

const fn consume(name: &'static str, (size, count): (usize, u64), partitions: i32, topic: Topic) -> Row {
    Row { name, load: Load::Consume { size, count, partitions, targets: CONSUME }, topic }
}

const fn end_to_end(name: &'static str, beside: Beside, topic: Topic) -> Row {
    Row { name, load: Load::EndToEnd { beside, target: AHEAD }, topic }
}

const fn groups(name: &'static str, load: Load) -> Row {
    Row { name, load, topic: REPLICATED }
}

/// All rows, in the order of the table.
pub(super) const ROWS: [Row; 29] = [
    produce("produce-100", (100, SMALL), 1, REPLICATED),
    produce("produce-100-p8", (100, SMALL), 8, REPLICATED),
    produce("produce-1k", (1024, LARGE), 1, REPLICATED),
    produce("produce-1k-p8", (1024, LARGE), 8, REPLICATED),
    produce("produce-100-disk", (100, SMALL), 1, DISK),
    produce("produce-100-p8-disk", (100, SMALL), 8, DISK),
    produce("produce-1k-disk", (1024, LARGE), 1, DISK),
    produce("produce-1k-p8-disk", (1024, LARGE), 8, DISK),
    consume("consume-100", (100, SMALL), 1, REPLICATED),
    consume("consume-100-p8", (100, SMALL), 8, REPLICATED),
    consume("consume-1k", (1024, LARGE), 1, REPLICATED),
    consume("consume-1k-p8", (1024, LARGE), 8, REPLICATED),
    consume("consume-100-disk", (100, SMALL), 1, DISK),
    consume("consume-100-p8-disk", (100, SMALL), 8, DISK),
    consume("consume-1k-disk", (1024, LARGE), 1, DISK),
    consume("consume-1k-p8-disk", (1024, LARGE), 8, DISK),
    end_to_end("e2e", Beside::Nothing, REPLICATED),
    end_to_end("e2e-disk", Beside::Nothing, DISK),
    end_to_end("e2e-after-5gb", Beside::JustWritten { bytes: FIVE_GB }, REPLICATED),
    end_to_end("e2e-beside-producer", Beside::FullSpeedProducer, REPLICATED),
    end_to_end("e2e-beside-reader", Beside::ReaderBehind { bytes: FIVE_GB }, REPLICATED),
    Row { name: "idle", load: Load::Idle { target: TWENTIETH }, topic: DISK },
    Row { name: "worked", load: Load::Worked { target: TWENTIETH }, topic: REPLICATED },
    Row { name: "first-record", load: Load::FirstRecord { target: TWENTIETH }, topic: DISK },
    groups("group-rebalance-100", Load::Rebalance { protocol: Protocol::Classic }),
    groups("group-rebalance-100-consumer", Load::Rebalance { protocol: Protocol::Consumer }),
    groups("group-coordinator-kill", Load::CoordinatorKill { target: HALF }),
    groups("group-idle", Load::IdleGroup { target: Target::AtMost(2.0) }),
    groups("groups-start", Load::GroupsStart { target: Target::AtMost(2000.0) }),
];
