//! Who is let in, by which port, and what he is told.

use std::{fs, net::TcpStream};

use polylogue::{
    local_cluster::LocalNode,
    wire::{
        ErrorCode,
        api::{
            describe_cluster::DescribeClusterRequest,
            describe_configs::{DescribeConfigsRequest, DescribeConfigsResource, resource},
        },
    },
};

use super::{assert_says, serve_by_hand};
use crate::{
    batches::{batch, batch_of},
    nodes::{log, options, start_with, stop},
    peer::Peer,
    support::{WITHIN, eventually},
};

/// The bound address of a listener, from the line that says that the node is ready.
fn bound(node: &LocalNode, listener: &str) -> String {
    let text = log(node);
    let start = format!("{listener} 127.0.0.1:");
    let port = text.split(&start).nth(1).unwrap_or_else(|| panic!("no {listener} in\n{text}"));
    format!("127.0.0.1:{}", port.split(' ').next().unwrap())
}

/// Where this peer is told to go, by Metadata and by `DescribeCluster`.
fn told(peer: &mut Peer) -> [(String, i32); 2] {
    let broker = peer.metadata(&[], false).brokers.remove(0);
    let by_cluster = peer.call(1, &DescribeClusterRequest::default()).brokers.remove(0);
    [(broker.host.to_string(), broker.port), (by_cluster.host.to_string(), by_cluster.port)]
}

#[test]
fn a_client_is_told_the_address_of_the_listener_that_it_came_in_by() {
    let node = start_with(&[
        ("kafka-advertise", "outside.example.org:19092"),
        ("listeners.internal.listen", "127.0.0.1:0"),
        ("listeners.internal.advertise", "inside.example.org:19093"),
        ("listeners.same-host.listen", "127.0.0.1:0"),
    ]);
    let internal = bound(&node, "internal");
    let same_host = bound(&node, "same-host");
    let by = |address: &str| Peer::over(TcpStream::connect(address).unwrap());
    let outside = ("outside.example.org".to_owned(), 19092);
    assert_eq!(told(&mut Peer::connect(&node)), [outside.clone(), outside]);
    let inside = ("inside.example.org".to_owned(), 19093);
    assert_eq!(told(&mut by(&internal)), [inside.clone(), inside]);
    let (host, port) = same_host.split_once(':').unwrap();
    let bound_port = (host.to_owned(), port.parse().unwrap());
    assert_eq!(told(&mut by(&same_host)), [bound_port.clone(), bound_port], "port 0 is the bound one");

    let mut peer = by(&internal);
    peer.create("shared", 1, &[]);
    peer.append("shared", batch(&["by the one"]));
    assert_eq!(Peer::connect(&node).read_all("shared"), [(0, b"by the one".to_vec())]);

    let tree = node.get("/tree?format=text").unwrap().body;
    let metrics = node.get("/metrics").unwrap().body;
    for name in ["kafka", "internal", "same-host"] {
        assert!(tree.contains(name), "no {name} in\n{tree}");
        let counted = format!("polylogue_connections_accepted_total{{listener=\"{name}\"}}");
        assert!(metrics.contains(&counted), "no {counted}");
    }
    let asked = DescribeConfigsResource {
        resource_type: resource::BROKER,
        resource_name: "1".into(),
        configuration_keys: Some(vec!["advertised.listeners".into()]),
    };
    let request = DescribeConfigsRequest { resources: vec![asked], ..DescribeConfigsRequest::default() };
    let shown = peer.call(4, &request).results.remove(0).configs.remove(0).value.unwrap();
    let expected = format!(
        "PLAINTEXT://outside.example.org:19092,INTERNAL://inside.example.org:19093,SAME-HOST://{same_host}"
    );
    assert_eq!(shown.as_str(), expected);
}

#[test]
fn a_listener_has_bounds_of_its_own() {
    let node =
        start_with(&[("listeners.narrow.listen", "127.0.0.1:0"), ("listeners.narrow.connections", "1")]);
    let narrow = bound(&node, "narrow");
    let mut first = Peer::over(TcpStream::connect(&narrow).unwrap());
    first.metadata(&[], false);
    Peer::over(TcpStream::connect(&narrow).unwrap()).assert_closed("a second connection");
    for _ in 0..3 {
        Peer::connect(&node).metadata(&[], false);
    }
    first.metadata(&[], false);
}

#[test]
fn every_listener_ends_in_order_and_a_taken_port_is_refused_by_its_setting() {
    let mut node = start_with(&[("listeners.second.listen", "127.0.0.1:0")]);
    let second = bound(&node, "second");
    let data = tempfile::tempdir().unwrap();
    let setting = format!("listeners.mine.listen={second}");
    let output = serve_by_hand(data.path(), &[("set", &setting)]);
    assert!(!output.status.success());
    let printed = [output.stdout, output.stderr].concat();
    assert_says(&String::from_utf8_lossy(&printed), &["listeners.mine.listen", &second]);
    stop(&mut node);
    assert!(TcpStream::connect(&second).is_err());
}

#[test]
fn a_partition_that_cannot_open_keeps_nobody_from_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = LocalNode::start(options(&[]).folder(folder.path())).unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    let mut peer = Peer::connect(&node);
    for topic in ["good", "stuck"] {
        peer.create(topic, 1, &[]);
        peer.append(topic, batch_of(10));
    }
    stop(&mut node);
    // A file where the folder should be opens for nobody.
    let (partition, aside) = (node.partition_folder("stuck", 0), node.data_folder().join("aside"));
    fs::rename(&partition, &aside).unwrap();
    fs::write(&partition, b"no folder").unwrap();
    node.start_again().unwrap();
    eventually("clients are let in", WITHIN, || log(&node).matches("ready after").nth(1).map(|_| ()));
    let mut peer = Peer::connect(&node);
    assert_eq!(peer.append("good", batch_of(10)), 1, "the other topic is served");
    let shown = &peer.metadata(&["stuck"], false).topics[0].partitions[0];
    assert_eq!(shown.error_code, ErrorCode::LeaderNotAvailable);
    assert!(peer.produce("stuck", batch_of(10)).error_code.is_retriable());
    let ready = node.get("/ready").unwrap();
    assert_eq!(ready.status, 503, "{}", ready.body);
    assert!(ready.body.contains("1 partitions that this node is to lead have no leader"), "{}", ready.body);
    let waited = log(&node).contains("1 partitions have no leader yet");
    assert!(waited, "clients waited for the bound and no longer:\n{}", log(&node));

    fs::remove_file(&partition).unwrap();
    fs::rename(&aside, &partition).unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    assert_eq!(peer.append("stuck", batch_of(10)), 1, "its supervisor has tried again");
}
