//! Topic configs: shown, changed, and what a change does to a node that runs.

use polylogue::wire::{
    ErrorCode, Str,
    api::{
        describe_configs::{
            DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, resource, source,
        },
        incremental_alter_configs::{
            AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, operation,
        },
    },
};

use crate::{
    batches::{batch, batch_at, batch_of, now},
    nodes::{files, kill_and_start, start_with},
    peer::Peer,
    support::{WITHIN, eventually, start_node, stored_bytes},
};

fn describe(peer: &mut Peer, topic: &str, name: &str) -> DescribeConfigsResourceResult {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: resource::TOPIC,
            resource_name: topic.into(),
            configuration_keys: Some(vec![name.into()]),
        }],
        ..DescribeConfigsRequest::default()
    };
    let mut result = peer.call(4, &request).results.remove(0);
    assert_eq!(result.error_code, ErrorCode::None);
    assert_eq!(result.configs.len(), 1, "{name}");
    result.configs.remove(0)
}

fn alter(peer: &mut Peer, topic: &str, name: &str, change: (i8, Option<&str>)) -> ErrorCode {
    let config =
        AlterableConfig { name: name.into(), config_operation: change.0, value: change.1.map(Str::from) };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: resource::TOPIC,
            resource_name: topic.into(),
            configs: vec![config],
        }],
        validate_only: false,
    };
    peer.call(1, &request).responses.remove(0).error_code
}

fn set(value: &str) -> (i8, Option<&str>) {
    (operation::SET, Some(value))
}

#[test]
fn configs_are_shown_with_their_source_and_a_change_takes_effect_at_run_time_and_stays() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    let key = "max.message.bytes";
    peer.create("configured", 1, &[("retention.ms", "1234567")]);
    let shown = describe(&mut peer, "configured", key);
    assert_eq!((shown.value.as_deref(), shown.config_source), (Some("1048588"), source::DEFAULT));
    let shown = describe(&mut peer, "configured", "retention.ms");
    assert_eq!((shown.value.as_deref(), shown.config_source), (Some("1234567"), source::DYNAMIC_TOPIC));
    peer.append("configured", batch_of(2000));

    assert_eq!(alter(&mut peer, "configured", key, set("1000")), ErrorCode::None);
    let shown = describe(&mut peer, "configured", key);
    assert_eq!((shown.value.as_deref(), shown.config_source), (Some("1000"), source::DYNAMIC_TOPIC));
    let refused_now = |peer: &mut Peer| {
        eventually("the new bound holds", WITHIN, || {
            (peer.produce("configured", batch_of(2000)).error_code == ErrorCode::MessageTooLarge)
                .then_some(())
        });
    };
    refused_now(&mut peer);
    peer.append("configured", batch_of(500));
    kill_and_start(&mut node);
    let mut peer = Peer::connect(&node);
    refused_now(&mut peer);

    assert_eq!(alter(&mut peer, "configured", key, (operation::DELETE, None)), ErrorCode::None);
    assert_eq!(describe(&mut peer, "configured", key).config_source, source::DEFAULT);
    eventually("the default holds again", WITHIN, || {
        (peer.produce("configured", batch_of(2000)).error_code == ErrorCode::None).then_some(())
    });
}

#[test]
fn changes_that_cannot_be_are_refused_with_40_and_change_nothing() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("fixed", 1, &[]);
    for (name, value) in
        [("no.such.key", "1"), ("retention.ms", "soon"), ("durability", "perhaps"), ("segment.bytes", "-1")]
    {
        let refused = alter(&mut peer, "fixed", name, set(value));
        assert_eq!(refused, ErrorCode::InvalidConfig, "{name}={value}");
    }
    let unknown = alter(&mut peer, "nobody", "retention.ms", set("1"));
    assert_eq!(unknown, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(describe(&mut peer, "fixed", "retention.ms").config_source, source::DEFAULT);
}

#[test]
fn the_nodes_own_defaults_hold_for_topics_that_set_nothing() {
    let node = start_with(&[("topic.defaults.max.message.bytes", "700")]);
    let mut peer = Peer::connect(&node);
    peer.create("modest", 1, &[]);
    peer.create("own", 1, &[("max.message.bytes", "5000")]);
    assert_eq!(peer.produce("modest", batch_of(1000)).error_code, ErrorCode::MessageTooLarge);
    peer.append("own", batch_of(1000));
    let shown = describe(&mut peer, "modest", "max.message.bytes");
    assert_eq!((shown.value.as_deref(), shown.config_source), (Some("700"), source::STATIC_BROKER));
}

#[test]
fn retention_by_size_deletes_the_oldest_segments_and_keeps_the_rest_readable() {
    let node = start_with(&[("storage.retention-check-interval", "100ms")]);
    let mut peer = Peer::connect(&node);
    let configs = [("segment.bytes", "10000"), ("retention.bytes", "30000")];
    peer.create("bounded", 1, &configs);
    for number in 0..200 {
        peer.append("bounded", batch(&[vec![number as u8; 900]]));
    }
    eventually("old segments are gone", WITHIN, || {
        (stored_bytes(&node, "bounded", 0) <= 45_000).then_some(())
    });
    let earliest = peer.earliest("bounded");
    assert!(earliest > 0 && peer.latest("bounded") == 200, "from {earliest}");
    assert_eq!(peer.fetch("bounded", 0).error_code, ErrorCode::OffsetOutOfRange);
    let read = peer.read_all("bounded");
    let expected: Vec<_> = (earliest..200).map(|offset| (offset, vec![offset as u8; 900])).collect();
    assert!(read == expected, "{} records from {earliest}", read.len());
    assert!(stored_bytes(&node, "bounded", 0) >= 20_000, "no more than it has to");
    eventually("no remains", WITHIN, || files(&node, "bounded", "deleted").is_empty().then_some(()));
}

#[test]
fn retention_by_time_deletes_segments_whose_newest_record_is_too_old_also_after_a_change() {
    let mut node = start_with(&[("storage.retention-check-interval", "100ms")]);
    let mut peer = Peer::connect(&node);
    let configs = [("segment.bytes", "5000")];
    peer.create("aging", 1, &configs);
    let old = now().get() - 3_600_000;
    for _ in 0..20 {
        peer.append("aging", batch_at(&[[b'o'; 900]], old));
    }
    for _ in 0..20 {
        peer.append("aging", batch_of(900));
    }
    assert_eq!(peer.earliest("aging"), 0, "a week is the default");
    assert_eq!(alter(&mut peer, "aging", "retention.ms", set("1800000")), ErrorCode::None);
    // The segment that has the last old record may hold a new one too.
    eventually("the old ones are gone", WITHIN, || (peer.earliest("aging") >= 15).then_some(()));
    assert!(peer.earliest("aging") <= 20, "and no new one");
    let start = peer.earliest("aging");
    kill_and_start(&mut node);
    // Retention may have to do again what it did just before the kill.
    let mut peer = Peer::connect(&node);
    eventually("they do not come back", WITHIN, || (peer.earliest("aging") >= start).then_some(()));
}
