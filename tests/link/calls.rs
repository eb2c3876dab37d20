//! Calls, streams and hellos between two nodes.

use std::time::Duration;

use polylogue::{
    actors::cluster_link::{BODY_BYTES_MAX, Expected, LinkError, Security, Service, To},
    config::node::HostPort,
    model::NodeId,
};
use ractor::{ActorRef, RpcReplyPort, rpc::CallResult};
use ractor_cluster::RactorClusterMessage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    WITHIN,
    here::{Here, test},
    peer::OtherNode,
};

const SHORT: Duration = Duration::from_secs(2);

/// Two nodes with a session.
async fn two(here: i32, other: i32) -> (Here, OtherNode) {
    let there = OtherNode::start(other);
    let here = Here::start(here, Security::default()).await;
    here.link.want(there.address());
    here.connected(other).await;
    (here, there)
}

#[test]
fn the_lower_id_dials_whoever_wants_the_session() {
    test(async {
        // Here is lower and dials; then here is higher, knocks, and is dialled.
        for (me, other) in [(1, 2), (2, 1)] {
            let (here, there) = two(me, other).await;
            assert!(here.echo(there.node()).await && here.echo(&there.address()).await);
            let asked = here.link.call(there.node(), Service::Membership, &[], SHORT).await.unwrap();
            assert_eq!(asked, me.to_string().as_bytes(), "the handler is told who asks");
            here.stop().await;
        }
    });
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_sent_and_the_session_lives_on() {
    test(async {
        let (here, there) = two(1, 2).await;
        let connected = here.link.connected();
        let body = vec![7; BODY_BYTES_MAX + 1];
        let refused = here.link.call(there.node(), Service::Raft, &body, WITHIN).await;
        assert!(matches!(refused, Err(LinkError::TooLarge { .. })), "{refused:?}");
        let largest = here.link.call(there.node(), Service::Raft, &body[1..], WITHIN).await.unwrap();
        assert_eq!(largest.len(), BODY_BYTES_MAX);
        assert!(here.echo(there.node()).await);
        assert!(!connected.has_changed().unwrap(), "it is the same session");
        here.stop().await;
    });
}

/// A later version's protocol: a variant that the other node does not know.
#[derive(RactorClusterMessage)]
enum LaterMessage {
    #[rpc]
    Later(Vec<u8>, RpcReplyPort<Vec<u8>>),
}

#[test]
fn a_variant_that_the_other_node_does_not_know_costs_a_time_out_and_nothing_else() {
    test(async {
        let (here, there) = two(1, 2).await;
        let boot = here.link.connected().borrow()[&there.node()].boot;
        let group = format!("{}/{boot}", Service::Raft.name());
        let gateway = ractor::pg::get_scoped_members(&"polylogue".to_owned(), &group);
        let gateway: ActorRef<LaterMessage> = gateway.into_iter().next().unwrap().into();
        let within = Duration::from_millis(300);
        // The other node drops the port of what it cannot read: nothing comes back, not even an error.
        let answer = gateway.call(|port| LaterMessage::Later(vec![1], port), Some(within)).await.unwrap();
        assert!(!matches!(answer, CallResult::Success(_)));
        assert!(here.echo(there.node()).await);
        here.stop().await;
    });
}

#[test]
fn every_call_is_answered_also_when_its_handler_panics_or_there_is_none() {
    test(async {
        let (here, there) = two(1, 2).await;
        let panicked = here.link.call(there.node(), Service::Groups, &[], SHORT).await;
        assert!(matches!(panicked, Err(LinkError::Failed { .. })), "{panicked:?}");
        let unknown = here.link.call(there.node(), Service::Chaos, &[], SHORT).await;
        assert!(matches!(unknown, Err(LinkError::NotServed { .. })), "{unknown:?}");
        let nobody = here.link.call(NodeId::new(9), Service::Raft, &[], SHORT).await;
        assert!(matches!(nobody, Err(LinkError::NotConnected { to: To::Node(_) })), "{nobody:?}");
        assert!(here.echo(there.node()).await);
        here.stop().await;
    });
}

#[test]
fn a_service_over_its_bound_answers_busy_and_a_slow_one_times_out() {
    test(async {
        let (here, there) = two(1, 2).await;
        let slow = here.link.call(there.node(), Service::Controller, b"1500", Duration::from_millis(400));
        let second = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            here.link.call(there.node(), Service::Controller, b"0", SHORT).await
        };
        let (slow, second) = tokio::join!(slow, second);
        assert!(matches!(slow, Err(LinkError::Silent { .. })), "{slow:?}");
        assert!(matches!(second, Err(LinkError::Busy { .. })), "{second:?}");
        assert!(here.echo(there.node()).await, "other services have their own bound");
        here.stop().await;
    });
}

#[test]
fn a_hello_is_answered_without_a_session() {
    test(async {
        let there = OtherNode::start(2);
        let here = Here::start(1, Security::default()).await;
        let (peer, answer) = here.link.hello(&there.address(), b" asks", SHORT).await.unwrap();
        assert_eq!((peer.node, &answer[..]), (there.node(), &b"1 asks"[..]));
        assert!(here.link.connected().borrow().is_empty());
        let nobody = here.link.hello(&HostPort::new("127.0.0.1", 1), b"", SHORT).await;
        assert!(nobody.is_err_and(|error| error.is_connection_refused()));
        here.stop().await;
    });
}

#[test]
fn a_replication_stream_reaches_whom_it_expects_and_nobody_else() {
    test(async {
        let there = OtherNode::start(2);
        let here = Here::start(1, Security::default()).await;
        let expected = Expected { node: Some(there.node()), raft_id: None };
        let opened = here.link.open_replication(&there.address(), expected, SHORT).await;
        let (peer, mut stream) = opened.unwrap();
        stream.write_all(b"bytes").await.unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!((peer.node, &back), (there.node(), b"bytes"));
        let expected = Expected { node: Some(NodeId::new(3)), raft_id: None };
        let refused = here.link.open_replication(&there.address(), expected, SHORT).await.unwrap_err();
        assert!(refused.to_string().ends_with("is node 2, not node 3"), "{refused}");
        here.stop().await;
    });
}
