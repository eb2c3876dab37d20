//! Replicas that compact their logs by a wall clock that jumps.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

use super::nodes::{FOLLOWER, Follows, LEADER, Leads, World, blank, bytes_of, until};
use crate::{
    actors::partition::{Acks, LeaderMessage, LogReader, follower::FollowerMessage},
    clock::{Clock, GuardedClock, ManualClock},
    config::topic::TopicConfig,
    model::TimestampMs,
    record::{self, BatchBuilder, BatchHeader, Compression, NewRecord, Producer},
};

const GONE: &[u8] = b"gone";
const FILLER: &[u8] = b"filler";
/// How long a tombstone stays, and how far the clock jumps: twice as far.
const KEPT: Duration = Duration::from_hours(12);

fn compacted() -> TopicConfig {
    let overrides = [
        ("cleanup.policy", "compact".to_owned()),
        ("delete.retention.ms", KEPT.as_millis().to_string()),
        ("durability", "disk".to_owned()),
        ("min.cleanable.dirty.ratio", "0".to_owned()),
        ("min.insync.replicas", "1".to_owned()),
        ("segment.bytes", "1024".to_owned()),
    ];
    let overrides: BTreeMap<_, _> = overrides.map(|(key, value)| (key.to_owned(), value)).into();
    TopicConfig::resolve(&overrides).unwrap()
}

fn keyed(key: &[u8], value: Option<&[u8]>) -> Bytes {
    let mut builder = BatchBuilder::new(1 << 20);
    let record = NewRecord { timestamp: TimestampMs::new(1), key: Some(key), value, headers: &[] };
    assert!(builder.append(&record));
    builder.finish(Compression::None, None, Producer::NONE).unwrap()
}

fn has_tombstone(reader: &LogReader) -> bool {
    let mut rest = Bytes::from(bytes_of(reader));
    let mut found = false;
    while !rest.is_empty() {
        let batch = rest.split_to(BatchHeader::parse(&rest).unwrap().total_len());
        let mut records = record::records(batch).unwrap().map(Result::unwrap);
        found |= records.any(|record| record.key.as_deref() == Some(GONE) && record.value.is_none());
    }
    found
}

struct Pair {
    leader: Leads,
    follower: Follows,
}

impl Pair {
    async fn new(world: &World) -> Self {
        let leader = world.lead(LEADER, 0, 1, blank(world.open(LEADER, 0, 0))).await;
        world.show(LEADER, vec![leader.partition.clone()]);
        let follower = world.follow((FOLLOWER, 0), (LEADER, 1), &world.streams(FOLLOWER), None).await;
        Self { leader, follower }
    }

    /// None while a replica is not shown.
    fn readers(&self) -> Option<[LogReader; 2]> {
        Some([self.leader.partition.reader()?, self.follower.partition.reader()?])
    }

    /// Both have compacted some of what is appended from here on: by a pass that has begun since. A few segments are enough.
    async fn compact_anew(&self) {
        let from = self.leader.reader().log_end_offset();
        for _batch in 0..12 {
            self.leader.acknowledged(keyed(FILLER, Some(&[b'x'; 300])), Acks::All).await;
        }
        until("both have compacted", || {
            // As the reconciler's timer does: a pass that came too early is not the last one.
            let (leader, follower) = (&self.leader.address, &self.follower.address);
            leader.cast(LeaderMessage::ApplyRetention).unwrap();
            follower.cast(FollowerMessage::ApplyRetention).unwrap();
            self.readers().is_some_and(|both| both.iter().all(|reader| reader.cleaned_to() > from))
        })
        .await;
    }

    fn have_tombstone(&self) -> [bool; 2] {
        self.readers().unwrap().map(|reader| has_tombstone(&reader))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_jumps_takes_no_tombstone_before_it_has_stood_for_an_hour() {
    let mut world = World::new("disk");
    *world.config.write().unwrap() = Arc::new(compacted());
    let hands = Arc::new(ManualClock::at(TimestampMs::new(1_000_000_000_000)));
    let inner: Arc<dyn Clock> = Arc::<ManualClock>::clone(&hands);
    world.clock = Arc::new(GuardedClock::new(inner));
    let pair = Pair::new(&world).await;
    pair.leader.acknowledged(keyed(GONE, None), Acks::All).await;
    pair.compact_anew().await;
    assert_eq!(pair.have_tombstone(), [true; 2], "compacted for the first time: it stays from then on");

    hands.set_wall(hands.wall().later(2 * KEPT));
    pair.compact_anew().await;
    assert_eq!(pair.have_tombstone(), [true; 2], "the clock has just jumped");
    hands.advance(Duration::from_mins(59));
    pair.compact_anew().await;
    assert_eq!(pair.have_tombstone(), [true; 2], "it is still doubted");
    hands.advance(Duration::from_mins(1));
    pair.compact_anew().await;
    assert_eq!(pair.have_tombstone(), [false; 2], "it has stood");
}
