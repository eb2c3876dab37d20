//! What is told to whoever measures lag.

use super::super::{Commit, CommitTopic, Coordinator, Now, Request, Ticket};
use crate::{
    actors::group_coordinator::core::Caller,
    config::node::GroupSettings,
    model::{Offset, PartitionIndex, TimestampMs},
    wire::{Str, api::offset_commit::OffsetCommitRequestPartition},
};

/// A coordinator whose groups have committed in so many partitions of a topic each.
fn coordinator(groups: &[(&str, i32)]) -> Coordinator {
    let mut coordinator = Coordinator::new(GroupSettings::default());
    let now = Now { monotonic: std::time::Duration::ZERO, wall: TimestampMs::new(1) };
    for (group, partitions) in groups {
        let partition = |index| OffsetCommitRequestPartition {
            partition_index: PartitionIndex::new(index),
            committed_offset: Offset::new(i64::from(index) + 100),
            ..OffsetCommitRequestPartition::default()
        };
        let topic = CommitTopic {
            name: "t".into(),
            partitions: (0..*partitions).map(partition).collect(),
            ..CommitTopic::default()
        };
        let commit =
            Commit { group: Str::from(*group), generation: -1, topics: vec![topic], ..Commit::default() };
        let mut effects = Vec::new();
        coordinator.step(now, Ticket(0), &Caller::default(), Request::Commit(commit), &mut effects);
    }
    coordinator
}

#[test]
fn offsets_are_told_by_group_and_partition_up_to_the_bound_and_the_rest_is_counted() {
    let coordinator = coordinator(&[("b", 2), ("a", 3)]);
    let all = coordinator.survey(100);
    let told: Vec<_> =
        all.offsets.iter().map(|one| (one.group.as_str(), one.partition.get(), one.offset.get())).collect();
    assert_eq!(told, [("a", 0, 100), ("a", 1, 101), ("a", 2, 102), ("b", 0, 100), ("b", 1, 101)]);
    assert_eq!(all.left_out, 0);
    for most in 0..=5 {
        let some = coordinator.survey(most);
        assert_eq!((some.offsets.len(), some.left_out), (most, 5 - most));
        assert_eq!(some.offsets, all.offsets[..most]);
    }
}

#[test]
fn a_group_with_an_overlong_name_is_counted_and_not_told() {
    let coordinator = coordinator(&[(&"x".repeat(256), 2), (&"y".repeat(255), 1)]);
    let survey = coordinator.survey(100);
    assert_eq!((survey.offsets.len(), survey.left_out), (1, 2));
    assert!(survey.offsets[0].group.starts_with('y'));
}
