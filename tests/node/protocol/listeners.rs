//! Several listeners, each with the address that its clients are told.

use std::net::TcpStream;

use polylogue::wire::api::describe_cluster::DescribeClusterRequest;

use crate::{
    nodes::{labelled, log, start_with},
    peer::Peer,
};

#[test]
fn a_client_is_told_the_address_that_belongs_to_the_listener_it_came_in_by() {
    let node = start_with(&[
        ("listeners.outside.listen", "127.0.0.1:0"),
        ("listeners.outside.advertise", "log.example.org:19092"),
    ]);
    let ready = log(&node);
    let (_, rest) = ready.split_once("outside 127.0.0.1:").unwrap();
    let port: u16 = rest.split_once(' ').unwrap().0.parse().unwrap();
    let mut inside = Peer::connect(&node);
    let mut outside = Peer::over(TcpStream::connect(("127.0.0.1", port)).unwrap());
    inside.create("seen", 1, &[]);
    let told = |peer: &mut Peer| {
        let broker = peer.metadata(&["seen"], false).brokers.remove(0);
        let request = DescribeClusterRequest::default();
        let same = peer.call(1, &request).brokers.remove(0);
        let address = format!("{}:{}", broker.host, broker.port);
        assert_eq!(address, format!("{}:{}", same.host, same.port));
        address
    };
    assert_eq!(told(&mut inside), node.kafka_address());
    assert_eq!(told(&mut outside), "log.example.org:19092");
    assert_eq!(labelled(&node, "polylogue_connections", "listener=\"outside\""), 1);
    assert!(node.get("/tree?format=text").unwrap().body.contains("outside"));
}
