//! Groups through a broker that answers as it is told, in the versions that it is told.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{
    broker::{Call, FakeBroker, Reply, all_versions},
    config, topic,
};
use crate::{
    client::{
        Admin, Client, ClientConfig, ClientError,
        admin::groups::{GroupFilter, GroupKind, OffsetToCommit},
    },
    model::{NodeId, Offset, PartitionIndex},
    wire::{
        ApiKey, ErrorCode, Str,
        api::{
            api_versions::ApiVersionsResponse,
            consumer_group_describe as by_server, describe_groups as by_members,
            find_coordinator::{Coordinator, FindCoordinatorResponse},
            list_groups::{ListGroupsResponse, ListedGroup},
            metadata::{MetadataResponse, MetadataResponseBroker},
            offset_commit::{
                OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition,
                OffsetCommitResponseTopic,
            },
            offset_fetch::{
                OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup,
                OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
                OffsetFetchResponseTopics,
            },
        },
        consumer_protocol::{self, Subscription},
    },
};

const NODE: NodeId = NodeId::new(3);

/// A broker that is node 3 and coordinates all groups; `rest` answers what this leaves.
async fn broker(
    versions: ApiVersionsResponse,
    mut rest: impl FnMut(&Call) -> Reply + Send + 'static,
) -> FakeBroker {
    // Its port is known only once it listens.
    let port = Arc::new(Mutex::new(0));
    let told = Arc::clone(&port);
    let broker = FakeBroker::start_raw(move |call| {
        if call.api() == ApiKey::ApiVersions {
            call.answer(&versions)
        } else if call.api() == ApiKey::Metadata {
            let port = i32::from(*told.lock().unwrap());
            let brokers = vec![MetadataResponseBroker {
                node_id: NODE,
                host: "127.0.0.1".into(),
                port,
                ..MetadataResponseBroker::default()
            }];
            call.answer(&MetadataResponse { brokers, ..MetadataResponse::default() })
        } else if call.api() == ApiKey::FindCoordinator {
            let coordinators = vec![Coordinator { node_id: NODE, ..Coordinator::default() }];
            call.answer(&FindCoordinatorResponse {
                node_id: NODE,
                coordinators,
                ..FindCoordinatorResponse::default()
            })
        } else {
            rest(call)
        }
    })
    .await;
    *port.lock().unwrap() = broker.port();
    broker
}

fn only(api: ApiKey, highest: i16) -> ApiVersionsResponse {
    let mut versions = all_versions();
    let range = versions.api_keys.iter_mut().find(|range| range.api_key == api.code()).unwrap();
    range.max_version = highest;
    versions
}

fn admin(broker: &FakeBroker) -> Admin {
    Admin::new(&Client::new(config(broker)))
}

fn listed(id: &'static str, state: &'static str, kind: &'static str) -> ListedGroup {
    ListedGroup {
        group_id: id.into(),
        protocol_type: "consumer".into(),
        group_state: state.into(),
        group_type: kind.into(),
    }
}

#[tokio::test]
async fn a_coordinator_that_is_loading_is_asked_until_it_has_loaded() {
    let mut left = 3;
    let broker = broker(all_versions(), move |call| {
        left -= 1;
        let code = if left > 0 { ErrorCode::CoordinatorLoadInProgress } else { ErrorCode::None };
        let asked: OffsetCommitRequest = call.decode();
        assert_eq!((asked.generation_id_or_member_epoch, asked.member_id.as_str()), (-1, ""));
        let partitions = vec![OffsetCommitResponsePartition {
            partition_index: PartitionIndex::new(2),
            error_code: code,
            ..OffsetCommitResponsePartition::default()
        }];
        let topics = vec![OffsetCommitResponseTopic { name: "events".into(), partitions }];
        call.answer(&OffsetCommitResponse { topics, ..OffsetCommitResponse::default() })
    })
    .await;
    let to = OffsetToCommit { topic: topic(), partition: PartitionIndex::new(2), offset: Offset::new(7) };
    let outcomes = admin(&broker).commit_offsets("g", &[to]).await.unwrap();
    assert_eq!(outcomes.len(), 1);
    assert!(outcomes[0].outcome.is_ok(), "{outcomes:?}");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_not_reported_as_failed_and_not_sent_again() {
    let sent = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&sent);
    let broker = broker(all_versions(), move |_| {
        *counted.lock().unwrap() += 1;
        Reply::Close
    })
    .await;
    let to = OffsetToCommit { topic: topic(), partition: PartitionIndex::new(0), offset: Offset::new(7) };
    let refused = admin(&broker).commit_offsets("g", &[to]).await;
    assert!(matches!(refused, Err(ClientError::OutcomeUnknown(_))), "{refused:?}");
    assert_eq!(*sent.lock().unwrap(), 1);
}

#[tokio::test]
async fn committed_offsets_are_read_in_the_old_form_and_in_the_new() {
    let (partition_index, committed_offset) = (PartitionIndex::new(1), Offset::new(42));
    let none = Offset::new(-1);
    for highest in [7, 8] {
        let broker = broker(only(ApiKey::OffsetFetch, highest), move |call| {
            let asked: OffsetFetchRequest = call.decode();
            let mut answer = OffsetFetchResponse::default();
            if call.header.api_version < 8 {
                assert_eq!((asked.group_id.as_str(), asked.topics), ("g", None));
                let old = |partition_index, committed_offset| OffsetFetchResponsePartition {
                    partition_index,
                    committed_offset,
                    ..OffsetFetchResponsePartition::default()
                };
                let partitions =
                    vec![old(partition_index, committed_offset), old(PartitionIndex::new(0), none)];
                answer.topics.push(OffsetFetchResponseTopic { name: "events".into(), partitions });
            } else {
                assert_eq!((asked.groups[0].group_id.as_str(), &asked.groups[0].topics), ("g", &None));
                let new = |partition_index, committed_offset| OffsetFetchResponsePartitions {
                    partition_index,
                    committed_offset,
                    ..OffsetFetchResponsePartitions::default()
                };
                let partitions =
                    vec![new(partition_index, committed_offset), new(PartitionIndex::new(0), none)];
                let topics = vec![OffsetFetchResponseTopics { name: "events".into(), partitions }];
                answer.groups.push(OffsetFetchResponseGroup {
                    group_id: "g".into(),
                    topics,
                    ..OffsetFetchResponseGroup::default()
                });
            }
            call.answer(&answer)
        })
        .await;
        let committed = admin(&broker).committed_offsets("g").await.unwrap();
        assert_eq!(committed.len(), 1, "one without a commit is none");
        assert_eq!((committed[0].partition, committed[0].offset), (partition_index, committed_offset));
    }
}

fn of_classic() -> by_members::DescribeGroupsResponse {
    let wants = Subscription { topics: vec!["events".into()], ..Subscription::default() };
    let owns = [(Str::from_static("events"), [PartitionIndex::new(4)].into())].into();
    let member = |member_id: &'static str, member_assignment| by_members::DescribedGroupMember {
        member_id: member_id.into(),
        client_id: "reader".into(),
        member_metadata: consumer_protocol::encode_subscription(&wants).unwrap(),
        member_assignment,
        ..by_members::DescribedGroupMember::default()
    };
    let owner = member("b", consumer_protocol::encode_assignment(&owns, None).unwrap());
    // Nobody can keep a client from sending this.
    let garbled = member("a", Bytes::from_static(b"\0"));
    let group = by_members::DescribedGroup {
        group_id: "old".into(),
        group_state: "Stable".into(),
        protocol_type: "consumer".into(),
        protocol_data: "range".into(),
        members: vec![owner, garbled],
        ..by_members::DescribedGroup::default()
    };
    by_members::DescribeGroupsResponse {
        groups: vec![group],
        ..by_members::DescribeGroupsResponse::default()
    }
}

fn of_consumer() -> by_server::ConsumerGroupDescribeResponse {
    let share = |partition| by_server::Assignment {
        topic_partitions: vec![by_server::TopicPartitions {
            topic_name: "events".into(),
            partitions: vec![PartitionIndex::new(partition)],
            ..by_server::TopicPartitions::default()
        }],
    };
    let member = by_server::Member {
        member_id: "m".into(),
        member_epoch: 5,
        subscribed_topic_names: vec!["events".into()],
        assignment: share(1),
        target_assignment: share(2),
        ..by_server::Member::default()
    };
    let group = by_server::DescribedGroup {
        group_id: "new".into(),
        group_state: "Reconciling".into(),
        group_epoch: 6,
        assignment_epoch: 5,
        assignor_name: "uniform".into(),
        members: vec![member],
        ..by_server::DescribedGroup::default()
    };
    by_server::ConsumerGroupDescribeResponse {
        groups: vec![group],
        ..by_server::ConsumerGroupDescribeResponse::default()
    }
}

async fn broker_with_both_kinds() -> FakeBroker {
    broker(all_versions(), |call| {
        if call.api() == ApiKey::ListGroups {
            let groups = vec![listed("old", "Stable", "classic"), listed("new", "Reconciling", "consumer")];
            call.answer(&ListGroupsResponse { groups, ..ListGroupsResponse::default() })
        } else if call.api() == ApiKey::DescribeGroups {
            call.answer(&of_classic())
        } else {
            assert_eq!(call.api(), ApiKey::ConsumerGroupDescribe);
            call.answer(&of_consumer())
        }
    })
    .await
}

#[tokio::test]
async fn each_kind_of_group_is_described_by_its_own_request() {
    let broker = broker_with_both_kinds().await;
    let ids = ["new", "nobody", "old"].map(str::to_owned);
    let mut described = admin(&broker).describe_groups(&ids).await.unwrap();
    let old = described.pop().unwrap().1.unwrap();
    assert_eq!((old.kind, old.assignor.as_str(), old.epochs), (GroupKind::Classic, "range", None));
    assert_eq!(old.coordinator, NODE);
    assert_eq!((old.members[0].id.as_str(), old.members[0].owned.len()), ("a", 0), "by id, unreadable");
    assert_eq!(old.members[1].topics, ["events"]);
    assert_eq!(old.members[1].owned["events"], [PartitionIndex::new(4)]);
    let (id, nobody) = described.pop().unwrap();
    assert_eq!((id.as_str(), nobody.unwrap_err().code()), ("nobody", Some(ErrorCode::GroupIdNotFound)));
    let new = described.pop().unwrap().1.unwrap();
    assert_eq!((new.kind, new.epochs.unwrap().group), (GroupKind::Consumer, 6));
    assert_eq!(
        (new.members[0].epoch, &new.members[0].owned["events"][..]),
        (Some(5), &[PartitionIndex::new(1)][..])
    );
    assert_eq!(new.members[0].target.as_ref().unwrap()["events"], [PartitionIndex::new(2)]);
}

#[tokio::test]
async fn groups_are_filtered_also_where_the_broker_knows_no_filters() {
    let broker = broker_with_both_kinds().await;
    let admin = admin(&broker);
    let names = async |filter: GroupFilter| -> Vec<String> {
        admin.list_groups(&filter).await.unwrap().into_iter().map(|group| group.id).collect()
    };
    assert_eq!(names(GroupFilter::default()).await, ["new", "old"]);
    assert_eq!(names(GroupFilter { states: vec!["stable".to_owned()], kind: None }).await, ["old"]);
    let consumers = GroupFilter { states: Vec::new(), kind: Some(GroupKind::Consumer) };
    assert_eq!(names(consumers).await, ["new"]);
}

#[tokio::test]
async fn a_coordinator_that_never_settles_is_given_up_in_time() {
    let broker = broker(all_versions(), |call| {
        call.answer(&ListGroupsResponse {
            error_code: ErrorCode::CoordinatorNotAvailable,
            ..ListGroupsResponse::default()
        })
    })
    .await;
    let config = ClientConfig { metadata_timeout: std::time::Duration::from_millis(100), ..config(&broker) };
    let refused = Admin::new(&Client::new(config)).list_groups(&GroupFilter::default()).await;
    assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::CoordinatorNotAvailable));
}
