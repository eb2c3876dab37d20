use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{
    PATIENCE,
    broker::{FakeBroker, Reply},
    config, topic,
    world::World,
};
use crate::{
    client::{
        Client, ClientConfig, ClientError, Producer, ProducerConfig, ProducerRecord,
        producer::{Delivery, ProduceError},
    },
    model::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicName},
    record::{BatchHeader, records},
    wire::{
        ApiKey, ErrorCode,
        api::produce::{LeaderIdAndEpoch, NodeEndpoint, ProduceRequest, ProduceResponse},
    },
};

/// Each record a batch of its own, so that several are on their way.
fn one_by_one() -> ProducerConfig {
    ProducerConfig { batch_bytes: 1, linger: Duration::ZERO, ..ProducerConfig::default() }
}

async fn send(producer: &Producer, value: &str) -> Delivery {
    let record = ProducerRecord {
        partition: Some(PartitionIndex::new(0)),
        value: Some(value.as_bytes()),
        ..ProducerRecord::default()
    };
    producer.send(&topic(), record).await.unwrap()
}

fn values(world: &World) -> Vec<String> {
    let state = world.lock();
    let all = state.logs[0].batches.iter().flat_map(|(_, bytes)| records(bytes.clone()).unwrap());
    all.map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap()).collect()
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// The answer to a produce request that refuses every batch.
fn refuse(world: &World, request: &ProduceRequest, code: ErrorCode) -> ProduceResponse {
    // Nobody leads as this node, so that nothing is appended.
    let mut response = world.lock().produce(crate::model::NodeId::new(-9), request);
    for answer in response.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
        answer.error_code = code;
    }
    response
}

#[tokio::test]
async fn a_batch_refused_by_a_former_leader_is_written_by_the_one_that_metadata_names_then() {
    let world = World::new(1);
    world.move_leader(0, 1, 0);
    let first = world
        .node(|world, call| {
            let reply = world.reply(crate::model::NodeId::new(0), call);
            if call.api() == ApiKey::Produce {
                world.move_leader(0, 1, 1);
            }
            Some(reply)
        })
        .await;
    let _second = world.node(|_, _| None).await;
    let producer = Producer::new(&Client::new(config(&first)), ProducerConfig::default());
    let written = timeout(PATIENCE, send(&producer, "0").await).await.unwrap().unwrap();
    assert_eq!(written.offset, Some(Offset::new(0)));
    assert_eq!(values(&world), numbered(1));
    let produced = &world.lock().produced;
    assert!(produced.len() >= 2);
    assert!(produced.iter().all(|batch| *batch == produced[0]), "a retry changed the batch");
}

#[tokio::test]
async fn a_leader_that_a_refusal_names_is_followed_although_metadata_does_not_know_it_yet() {
    let world = World::new(1);
    // Metadata is behind for as long as the test lasts.
    world.move_leader(0, 1, 0);
    let first = world
        .node(|world, call| {
            let mut response = (call.api() == ApiKey::Produce)
                .then(|| refuse(world, &call.decode(), ErrorCode::NotLeaderOrFollower))?;
            let (node_id, port) = (NodeId::new(1), i32::from(world.lock().ports[1]));
            for answer in response.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
                answer.current_leader =
                    LeaderIdAndEpoch { leader_id: node_id, leader_epoch: LeaderEpoch::new(2) };
            }
            response.node_endpoints =
                vec![NodeEndpoint { node_id, host: "127.0.0.1".into(), port, rack: None }];
            Some(call.answer(&response))
        })
        .await;
    let _second = world.node(|_, _| None).await;
    let producer = Producer::new(&Client::new(config(&first)), ProducerConfig::default());
    let written = timeout(PATIENCE, send(&producer, "0").await).await.unwrap().unwrap();
    assert_eq!(written.offset, Some(Offset::new(0)));
    assert_eq!(values(&world), numbered(1));
    assert_eq!(world.lock().produced.len(), 2, "refused once, and then at the right place");
}

#[tokio::test]
async fn a_leader_that_falls_silent_is_given_up_once_others_say_that_another_one_leads() {
    let world = World::new(1);
    let (_never, released) = oneshot::channel();
    let mut released = Some(released);
    let first = world
        .node(move |world, call| {
            let silence = (call.api() == ApiKey::Produce).then(|| released.take())??;
            world.move_leader(0, 1, 1);
            world.raise_epoch();
            Some(call.answer(&ProduceResponse::default()).when(silence))
        })
        .await;
    let second = world.node(|_, _| None).await;
    let mut config = ClientConfig { request_timeout: PATIENCE * 2, ..config(&first) };
    config.bootstrap.push(second.address());
    let producer = Producer::new(&Client::new(config), ProducerConfig::default());
    let written = timeout(PATIENCE, send(&producer, "0").await).await.unwrap().unwrap();
    assert_eq!(written.offset, Some(Offset::new(0)));
    assert_eq!(values(&world), numbered(1));
}

#[tokio::test]
async fn a_leader_that_takes_no_connection_is_not_waited_for_once_others_say_that_another_one_leads() {
    let world = World::new(1);
    let moved = world.clone();
    let first = FakeBroker::start_raw(move |_| {
        moved.move_leader(0, 1, 1);
        moved.raise_epoch();
        Reply::Silence
    });
    let first = first.await;
    world.lock().ports.push(first.port());
    let second = world.node(|_, _| None).await;
    let config = ClientConfig { connect_timeout: PATIENCE * 2, ..config(&second) };
    let producer = Producer::new(&Client::new(config), ProducerConfig::default());
    let written = timeout(PATIENCE, send(&producer, "0").await).await.unwrap().unwrap();
    assert_eq!(written.offset, Some(Offset::new(0)));
    assert_eq!(values(&world), numbered(1));
}

#[tokio::test]
async fn s9_a_batch_whose_answer_was_lost_keeps_its_sequence_and_is_written_once() {
    let world = World::new(1);
    let mut lost = false;
    let broker = world
        .node(move |world, call| {
            if call.api() == ApiKey::Produce && !lost {
                lost = true;
                world.reply(crate::model::NodeId::new(0), call);
                return Some(Reply::Close);
            }
            None
        })
        .await;
    let producer = Producer::new(&Client::new(config(&broker)), ProducerConfig::default());
    let written = timeout(PATIENCE, send(&producer, "0").await).await.unwrap().unwrap();
    assert_eq!(written.offset, Some(Offset::new(0)));
    assert_eq!(values(&world), numbered(1));
    let produced = &world.lock().produced;
    assert_eq!(produced.len(), 2);
    assert_eq!(produced[0], produced[1]);
}

#[tokio::test]
async fn batches_behind_one_that_is_tried_again_stay_in_order_and_are_written_once() {
    let world = World::new(1);
    let mut calls = 0;
    let broker = world
        .node(move |world, call| {
            if call.api() != ApiKey::Produce {
                return None;
            }
            calls += 1;
            // The first of a few that are on their way, again and again.
            let refused = calls % 7 == 1;
            refused.then(|| call.answer(&refuse(world, &call.decode(), ErrorCode::NotEnoughReplicas)))
        })
        .await;
    let producer = Producer::new(&Client::new(config(&broker)), one_by_one());
    let mut deliveries = Vec::new();
    for value in numbered(40) {
        deliveries.push(send(&producer, &value).await);
    }
    for (offset, delivery) in (0..).zip(deliveries) {
        let written = timeout(PATIENCE, delivery).await.unwrap().unwrap();
        assert_eq!(written.offset, Some(Offset::new(offset)));
    }
    assert_eq!(values(&world), numbered(40));
}

#[tokio::test]
async fn a_batch_refused_for_good_takes_no_other_with_it() {
    let world = World::new(1);
    let broker = world
        .node(|world, call| {
            let refused = call.api() == ApiKey::Produce && {
                let request: ProduceRequest = call.decode();
                let batch = request.topic_data[0].partition_data[0].records.clone().unwrap();
                let first = records(batch).unwrap().next().unwrap().unwrap();
                first.value.unwrap() == "3".as_bytes()
            };
            refused.then(|| call.answer(&refuse(world, &call.decode(), ErrorCode::InvalidRecord)))
        })
        .await;
    let producer = Producer::new(&Client::new(config(&broker)), one_by_one());
    let mut deliveries = Vec::new();
    for value in numbered(12) {
        deliveries.push(send(&producer, &value).await);
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        match timeout(PATIENCE, delivery).await.unwrap() {
            Ok(_) => assert_ne!(number, 3),
            Err(ProduceError::Refused { code, .. }) => {
                assert_eq!((number, code), (3, ErrorCode::InvalidRecord));
            }
            Err(error) => panic!("record {number}: {error}"),
        }
    }
    let expected: Vec<_> = numbered(12).into_iter().filter(|value| value != "3").collect();
    assert_eq!(values(&world), expected);
}

#[tokio::test]
async fn a_record_that_cannot_be_sent_fails_in_time_as_not_written() {
    let world = World::new(1);
    world.move_leader(0, 0, -1);
    let broker = world.node(|_, _| None).await;
    let config_ = ProducerConfig { delivery_timeout: Duration::from_millis(50), ..ProducerConfig::default() };
    let producer = Producer::new(&Client::new(config(&broker)), config_);
    let error = timeout(PATIENCE, send(&producer, "0").await).await.unwrap().unwrap_err();
    assert!(matches!(error, ProduceError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn a_record_that_was_sent_and_never_answered_fails_as_of_unknown_outcome() {
    let world = World::new(1);
    let broker = world.node(|_, call| (call.api() == ApiKey::Produce).then_some(Reply::Silence)).await;
    let client = ClientConfig { request_timeout: Duration::from_millis(50), ..config(&broker) };
    let config_ = ProducerConfig { delivery_timeout: Duration::from_millis(80), ..ProducerConfig::default() };
    let producer = Producer::new(&Client::new(client), config_);
    let error = timeout(PATIENCE, send(&producer, "0").await).await.unwrap().unwrap_err();
    assert!(matches!(error, ProduceError::OutcomeUnknown { .. }), "{error}");
    assert!(error.outcome_is_unknown());
}

#[tokio::test]
async fn a_full_buffer_makes_the_next_send_wait_for_an_answer() {
    let world = World::new(1);
    let (release, released) = oneshot::channel();
    let released = Arc::new(Mutex::new(Some(released)));
    let broker = world
        .node(move |world, call| {
            let held = (call.api() == ApiKey::Produce).then(|| released.lock().unwrap().take()).flatten();
            held.map(|held| world.reply(crate::model::NodeId::new(0), call).when(held))
        })
        .await;
    let config_ = ProducerConfig { buffer_bytes: 1000, ..one_by_one() };
    let producer = Producer::new(&Client::new(config(&broker)), config_);
    let first = send(&producer, &"x".repeat(900)).await;
    let second = "y".repeat(900);
    let second = send(&producer, &second);
    tokio::pin!(second);
    assert!(timeout(Duration::from_millis(30), &mut second).await.is_err(), "there was no room to take it");
    release.send(()).unwrap();
    let second = timeout(PATIENCE, second).await.unwrap();
    first.await.unwrap();
    second.await.unwrap();
    let huge = "z".repeat(1001);
    let record = ProducerRecord { value: Some(huge.as_bytes()), ..ProducerRecord::default() };
    let refused = producer.send(&topic(), record).await;
    assert!(matches!(refused, Err(ProduceError::TooLarge { .. })));
}

#[tokio::test]
async fn records_share_batches_and_flush_does_not_linger() {
    let world = World::new(1);
    let broker = world.node(|_, _| None).await;
    let config_ = ProducerConfig { linger: Duration::from_hours(1), ..ProducerConfig::default() };
    let producer = Producer::new(&Client::new(config(&broker)), config_);
    let mut deliveries = Vec::new();
    for value in numbered(500) {
        deliveries.push(send(&producer, &value).await);
    }
    timeout(PATIENCE, producer.flush()).await.unwrap();
    assert!(deliveries.iter().all(|delivery| matches!(delivery.result(), Some(Ok(_)))));
    assert_eq!(values(&world), numbered(500));
    assert_eq!(world.lock().logs[0].batches.len(), 1);
}

#[tokio::test]
async fn an_idempotent_producer_numbers_its_batches_without_a_gap() {
    let world = World::new(1);
    let broker = world.node(|_, _| None).await;
    let producer = Producer::new(&Client::new(config(&broker)), one_by_one());
    for value in numbered(20) {
        drop(send(&producer, &value).await);
    }
    timeout(PATIENCE, producer.close()).await.unwrap();
    let state = world.lock();
    let headers: Vec<BatchHeader> = state.logs[0].batches.iter().map(|(header, _)| *header).collect();
    let sequences: Vec<i32> = headers.iter().map(|header| header.base_sequence.get()).collect();
    assert_eq!(sequences, (0..20).collect::<Vec<_>>());
    assert_eq!(headers.iter().map(|header| header.producer_id).collect::<BTreeSet<_>>().len(), 1);
}

#[tokio::test]
async fn a_closed_producer_takes_nothing_and_a_dropped_one_says_so() {
    let world = World::new(1);
    let broker = world.node(|_, call| (call.api() == ApiKey::Produce).then_some(Reply::Silence)).await;
    let client = Client::new(config(&broker));
    let producer = Producer::new(&client, ProducerConfig::default());
    let delivery = send(&producer, "0").await;
    drop(producer);
    let error = timeout(PATIENCE, delivery).await.unwrap().unwrap_err();
    assert!(matches!(error, ProduceError::Closed));
    let producer = Producer::new(&client, ProducerConfig::default());
    producer.close().await;
    let refused = producer.send(&topic(), ProducerRecord::default()).await;
    assert!(matches!(refused, Err(ProduceError::Closed)));
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_refused_at_once() {
    let world = World::new(1);
    let broker = world.node(|_, _| None).await;
    let producer = Producer::new(&Client::new(config(&broker)), ProducerConfig::default());
    let refused = producer.send(&TopicName::new("other").unwrap(), ProducerRecord::default()).await;
    assert!(matches!(refused, Err(ProduceError::Client(ClientError::UnknownTopic(_)))));
    let beyond = ProducerRecord { partition: Some(PartitionIndex::new(1)), ..ProducerRecord::default() };
    let refused = producer.send(&topic(), beyond).await;
    assert!(matches!(refused, Err(ProduceError::Client(ClientError::UnknownPartition { .. }))));
}
