//! What a node tells of its partitions: sizes on disk, producers, topics page by page.

use std::net::TcpStream;

use polylogue::{
    model::PartitionIndex,
    wire::{
        ErrorCode,
        api::{
            describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResult},
            describe_producers::{self, DescribeProducersRequest, PartitionResponse},
            describe_topic_partitions::{
                self, Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
            },
        },
    },
};

use crate::{
    batches::{batch_of, sequenced},
    nodes::{kill_and_start, labelled},
    peer::Peer,
    support::{WITHIN, eventually, start_node, stored_bytes},
};

fn index(partition: i32) -> PartitionIndex {
    PartitionIndex::new(partition)
}

fn log_dirs(peer: &mut Peer, asked: Option<&[(&str, &[i32])]>) -> DescribeLogDirsResult {
    let topic = |(topic, partitions): &(&str, &[i32])| DescribableLogDirTopic {
        topic: (*topic).into(),
        partitions: partitions.iter().copied().map(index).collect(),
    };
    let topics = asked.map(|asked| asked.iter().map(topic).collect());
    let mut answer = peer.call(4, &DescribeLogDirsRequest { topics });
    assert_eq!((answer.error_code, answer.results.len()), (ErrorCode::None, 1), "one folder");
    answer.results.remove(0)
}

/// Topic, partition and size, in the order of the answer.
fn sizes(result: &DescribeLogDirsResult) -> Vec<(String, i32, i64)> {
    let of_topic = |topic: &polylogue::wire::api::describe_log_dirs::DescribeLogDirsTopic| {
        let name = topic.name.to_string();
        let each = topic.partitions.iter();
        each.map(move |of| (name.clone(), of.partition_index.get(), of.partition_size)).collect::<Vec<_>>()
    };
    result.topics.iter().flat_map(of_topic).collect()
}

#[test]
fn a_log_folder_is_told_with_the_bytes_of_its_replicas_and_the_room_of_its_disk() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("b", 2, &[]);
    peer.create("a", 1, &[]);
    peer.append("b", batch_of(1000));
    let all = log_dirs(&mut peer, None);
    let on_disk = stored_bytes(&node, "b", 0) as i64;
    assert!(on_disk >= 1000);
    let expected = [("a".to_owned(), 0, 0), ("b".to_owned(), 0, on_disk), ("b".to_owned(), 1, 0)];
    assert_eq!(sizes(&all), expected);
    assert_eq!(std::path::Path::new(all.log_dir.as_str()), node.data_folder().join("logs"));
    assert!(0 < all.usable_bytes && all.usable_bytes <= all.total_bytes, "{all:?}");
    let replicas = all.topics.iter().flat_map(|topic| &topic.partitions);
    assert!(replicas.into_iter().all(|replica| replica.offset_lag == 0 && !replica.is_future_key));
    let some = log_dirs(&mut peer, Some(&[("b", &[1, 1, 7]), ("no-such", &[0])]));
    assert_eq!(sizes(&some), [("b".to_owned(), 1, 0)], "what is not there is left out");
    assert!(log_dirs(&mut peer, Some(&[])).topics.is_empty());
}

#[test]
fn a_replica_whose_log_cannot_be_opened_is_told_with_the_bytes_of_its_files_and_no_lag_that_is_known() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("t", 2, &[]);
    peer.append("t", batch_of(1000));
    drop(peer);
    let on_disk = stored_bytes(&node, "t", 0) as i64;
    node.kill().unwrap();
    let checkpoint = node.data_folder().join("logs/t-0/checkpoint");
    std::fs::remove_file(&checkpoint).unwrap();
    std::fs::create_dir(&checkpoint).unwrap();
    node.start_again().unwrap();
    let told = eventually("the other log is open", WITHIN, || {
        TcpStream::connect(node.kafka_address()).ok()?;
        let told = log_dirs(&mut Peer::connect(&node), None);
        let lags: Vec<_> = told.topics.first()?.partitions.iter().map(|replica| replica.offset_lag).collect();
        (lags == [-1, 0]).then_some(told)
    });
    assert_eq!(sizes(&told), [("t".to_owned(), 0, on_disk), ("t".to_owned(), 1, 0)]);
}

fn producers(peer: &mut Peer, topic: &str, partitions: &[i32]) -> Vec<PartitionResponse> {
    let topics = vec![describe_producers::TopicRequest {
        name: topic.into(),
        partition_indexes: partitions.iter().copied().map(index).collect(),
    }];
    peer.call(0, &DescribeProducersRequest { topics }).topics.remove(0).partitions
}

#[test]
fn the_idempotent_producers_of_a_partition_are_told_also_after_a_kill() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("produced", 2, &[]);
    assert!(producers(&mut peer, "produced", &[0])[0].active_producers.is_empty());
    let (one, other) = (peer.producer_id(), peer.producer_id());
    peer.append("produced", batch_of(10));
    for (producer, sequence) in [(one, 0), (other, 0), (one, 1), (one, 2)] {
        peer.append("produced", sequenced(&["value"], producer, 0, sequence));
    }
    let check = |peer: &mut Peer| {
        let answer = producers(peer, "produced", &[0]).remove(0);
        assert_eq!((answer.error_code, answer.error_message), (ErrorCode::None, None));
        let told: Vec<_> = answer
            .active_producers
            .iter()
            .map(|of| (of.producer_id.get(), of.producer_epoch, of.last_sequence.get()))
            .collect();
        assert_eq!(told, [(one, 0, 2), (other, 0, 0)]);
        for of in &answer.active_producers {
            assert!(of.last_timestamp.get() > 0);
            assert_eq!((of.coordinator_epoch, of.current_txn_start_offset.get()), (-1, -1));
        }
    };
    check(&mut peer);
    kill_and_start(&mut node);
    check(&mut Peer::connect(&node));
}

#[test]
fn producers_of_a_partition_that_is_not_there_or_named_twice_are_refused() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("there", 1, &[]);
    let codes = |answers: Vec<PartitionResponse>| {
        let told = |answer: &PartitionResponse| answer.error_message.is_some() != answer.error_code.is_none();
        assert!(answers.iter().all(told), "{answers:?}");
        answers.iter().map(|answer| answer.error_code.code()).collect::<Vec<_>>()
    };
    assert_eq!(codes(producers(&mut peer, "there", &[0, 1])), [0, 3]);
    assert_eq!(codes(producers(&mut peer, "nowhere", &[0])), [3]);
    assert_eq!(codes(producers(&mut peer, "there", &[0, 0])), [42, 42]);
    let counted = |error: &str| {
        let labels = format!("api=\"DescribeProducers\",error=\"{error}\"");
        labelled(&node, "polylogue_requests_total", &labels)
    };
    assert_eq!((counted("none"), counted("UnknownTopicOrPartition"), counted("InvalidRequest")), (3, 2, 2));
}

fn page(
    peer: &mut Peer,
    topics: &[&str],
    limit: i32,
    cursor: Option<Cursor>,
) -> DescribeTopicPartitionsResponse {
    let topic = |name: &&str| describe_topic_partitions::TopicRequest { name: (*name).into() };
    let request = DescribeTopicPartitionsRequest {
        topics: topics.iter().map(topic).collect(),
        response_partition_limit: limit,
        cursor,
    };
    peer.call(0, &request)
}

/// Topic, error and indexes of the partitions.
fn shown(page: &DescribeTopicPartitionsResponse) -> Vec<(String, i16, Vec<i32>)> {
    let topics = page.topics.iter().map(|topic| {
        let name = topic.name.as_ref().unwrap().to_string();
        let indexes = topic.partitions.iter().map(|partition| partition.partition_index.get());
        (name, topic.error_code.code(), indexes.collect())
    });
    topics.collect()
}

#[test]
fn topics_come_page_by_page_each_partition_once_whatever_the_size_of_a_page() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let sizes = [("a", 3), ("b", 1), ("c", 4)];
    for (name, partitions) in sizes {
        peer.create(name, partitions, &[]);
    }
    let expected: Vec<(String, i32)> =
        sizes.iter().flat_map(|(name, n)| (0..*n).map(move |index| ((*name).to_owned(), index))).collect();
    for asked in [&[][..], &["c", "a", "b", "a"]] {
        for limit in 1..=9 {
            let (mut seen, mut cursor) = (Vec::new(), None);
            loop {
                let answer = page(&mut peer, asked, limit, cursor);
                let of_page = shown(&answer);
                assert!(of_page.iter().all(|(_, error, _)| *error == 0), "{of_page:?}");
                let partitions: usize = of_page.iter().map(|(_, _, indexes)| indexes.len()).sum();
                assert!(partitions <= limit as usize);
                seen.extend(of_page.into_iter().flat_map(|(name, _, indexes)| {
                    indexes.into_iter().map(move |index| (name.clone(), index))
                }));
                cursor = answer.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, expected, "{asked:?} by {limit}");
        }
    }
}

#[test]
fn a_partition_on_a_page_has_its_leader_and_no_replica_that_is_eligible_beside_it() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let id = peer.create("shown", 1, &[]);
    let topic = page(&mut peer, &["shown"], 2000, None).topics.remove(0);
    assert_eq!((topic.topic_id, topic.is_internal), (id, false));
    assert!(topic.topic_authorized_operations > 0);
    let partition = &topic.partitions[0];
    assert_eq!((partition.leader_id.get(), partition.error_code), (1, ErrorCode::None));
    assert!(partition.leader_epoch.get() >= 0);
    let replicas = [&partition.replica_nodes, &partition.isr_nodes];
    assert!(replicas.into_iter().all(|nodes| nodes.len() == 1 && nodes[0].get() == 1));
    assert_eq!(
        (&partition.eligible_leader_replicas, &partition.last_known_elr),
        (&Some(vec![]), &Some(vec![]))
    );
    assert!(partition.offline_replicas.is_empty());
}

#[test]
fn a_page_of_what_is_not_there_says_so_and_a_cursor_from_elsewhere_is_refused() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("b", 2, &[]);
    let answer = page(&mut peer, &["b", "a", "no/name"], 10, None);
    let expected = [("a", 3, vec![]), ("b", 0, vec![0, 1]), ("no/name", 17, vec![])];
    assert_eq!(shown(&answer), expected.map(|(name, code, indexes)| (name.to_owned(), code, indexes)));
    let at =
        |topic: &str, partition| Some(Cursor { topic_name: topic.into(), partition_index: index(partition) });
    for cursor in [at("c", 0), at("b", -1)] {
        let refused = page(&mut peer, &["b"], 10, cursor);
        assert_eq!(shown(&refused), [("b".to_owned(), 42, vec![])]);
    }
    // All topics are asked for, and that of the cursor was deleted meanwhile.
    assert_eq!(shown(&page(&mut peer, &[], 10, at("a", 5))), [("b".to_owned(), 0, vec![0, 1])]);
    assert!(page(&mut peer, &[], 10, at("b", 9)).topics[0].partitions.is_empty());
}
