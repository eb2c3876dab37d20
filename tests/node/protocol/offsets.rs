//! `ListOffsets`: each kind of offset in each version that has it.

use polylogue::{
    model::{LeaderEpoch, PartitionIndex, TimestampMs},
    wire::{
        ApiKey, ErrorCode,
        api::list_offsets::{
            EARLIEST, EARLIEST_LOCAL, LATEST, LATEST_TIERED, ListOffsetsPartition,
            ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic, MAX_TIMESTAMP,
        },
    },
};

use crate::{batches::batch_at, peer::Peer, support::start_node};

/// A time of the year 2023.
const BASE: i64 = 1_700_000_000_000;

fn ask(
    peer: &mut Peer,
    version: i16,
    topic: &str,
    partitions: &[(i32, TimestampMs)],
    isolation_level: i8,
) -> Vec<ListOffsetsPartitionResponse> {
    let partition = |(index, timestamp): &(i32, TimestampMs)| ListOffsetsPartition {
        partition_index: PartitionIndex::new(*index),
        timestamp: *timestamp,
        ..ListOffsetsPartition::default()
    };
    let topics =
        vec![ListOffsetsTopic { name: topic.into(), partitions: partitions.iter().map(partition).collect() }];
    let request = ListOffsetsRequest { topics, isolation_level, ..ListOffsetsRequest::default() };
    peer.call(version, &request).topics.remove(0).partitions
}

#[test]
fn each_kind_of_offset_is_told_from_its_version_on_and_refused_before_it() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("timed", 1, &[("retention.ms", "-1")]);
    for time in [10, 40, 20] {
        peer.append("timed", batch_at(&["a", "b"], BASE + time));
    }
    assert_eq!(peer.delete_records("timed", 1).error_code, ErrorCode::None);
    let at = |time| TimestampMs::new(BASE + time);
    for version in ApiKey::ListOffsets.served() {
        // Kind, the first version with it, offset, and timestamp after the base.
        for (kind, since, offset, time) in [
            (LATEST, 1, 6, None),
            (EARLIEST, 1, 1, None),
            (MAX_TIMESTAMP, 7, 2, Some(40)),
            (EARLIEST_LOCAL, 8, 1, None),
            (LATEST_TIERED, 9, -1, None),
            (TimestampMs::new(-6), i16::MAX, -1, None),
            (at(0), 1, 1, Some(10)),
            (at(11), 1, 2, Some(40)),
            (at(40), 1, 2, Some(40)),
            (at(41), 1, -1, None),
        ] {
            for isolation_level in 0..=1 {
                let found = ask(&mut peer, version, "timed", &[(0, kind)], isolation_level).remove(0);
                let context = format!("{kind} in version {version}");
                if version < since {
                    assert_eq!(
                        (found.error_code, found.offset.get()),
                        (ErrorCode::UnsupportedVersion, -1),
                        "{context}"
                    );
                    continue;
                }
                let timestamp = time.map_or(TimestampMs::NONE, at);
                assert_eq!(
                    (found.error_code, found.offset.get(), found.timestamp),
                    (ErrorCode::None, offset, timestamp),
                    "{context}"
                );
                let has_epoch = version >= 4 && offset >= 0;
                assert_eq!(found.leader_epoch > LeaderEpoch::NONE, has_epoch, "{context}");
            }
        }
    }
}

#[test]
fn an_empty_log_has_ends_and_no_highest_timestamp() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("empty", 1, &[]);
    for (kind, offset) in
        [(LATEST, 0), (EARLIEST, 0), (EARLIEST_LOCAL, 0), (MAX_TIMESTAMP, -1), (LATEST_TIERED, -1)]
    {
        let found = ask(&mut peer, 10, "empty", &[(0, kind)], 0).remove(0);
        assert_eq!((found.error_code, found.offset.get()), (ErrorCode::None, offset), "{kind}");
    }
}

#[test]
fn a_partition_that_is_not_there_or_is_named_twice_is_refused_by_itself() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("some", 2, &[]);
    let mut codes = |topic: &str, partitions: &[i32]| {
        let asked: Vec<_> = partitions.iter().map(|index| (*index, LATEST)).collect();
        let found = ask(&mut peer, 10, topic, &asked, 0).into_iter();
        found.map(|found| found.error_code.code()).collect::<Vec<_>>()
    };
    assert_eq!(codes("some", &[0, 7, 1]), [0, 3, 0]);
    assert_eq!(codes("some", &[0, 1, 0]), [42, 0, 42]);
    assert_eq!(codes("none", &[0]), [3]);
}
