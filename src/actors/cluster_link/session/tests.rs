use std::sync::Arc;

use super::{NewSession, Sessions, Taken, table::Unsent};
use crate::{
    actors::cluster_link::{Peer, SessionId, To},
    config::node::HostPort,
    model::{BootId, NodeId, RaftId},
};

fn new(node: i32) -> NewSession {
    let peer = Peer {
        node: NodeId::new(node),
        raft_id: RaftId::new(7),
        boot: BootId::random(),
        cluster_id: None,
        address: HostPort::new("127.0.0.1", node as u16),
    };
    NewSession { peer: Arc::new(peer), id: SessionId::from_bytes([node as u8; 16]), dialled: None }
}

#[test]
fn a_second_session_with_a_node_does_not_replace_the_first() {
    let sessions = Sessions::default();
    let first = new(1);
    let link = sessions.enter(first.clone()).unwrap();
    let taken = Taken { link, boot: first.peer.boot };
    assert_eq!(sessions.enter(new(1)).unwrap_err(), taken, "also of another start of it");
    sessions.enter(new(2)).unwrap();
    sessions.ready(link, 40);
    assert_eq!(sessions.find(&To::Node(NodeId::new(1))).unwrap().remote, 40);
    sessions.end(link);
    assert!(sessions.enter(new(1)).is_ok());
}

#[test]
fn a_session_is_found_when_it_is_ready_by_node_by_its_address_and_by_where_it_was_dialled() {
    let sessions = Sessions::default();
    let dialled = HostPort::new("localhost", 99);
    let session = NewSession { dialled: Some(dialled.clone()), ..new(1) };
    let link = sessions.enter(session.clone()).unwrap();
    let names = [
        To::Node(NodeId::new(1)),
        To::Member(RaftId::new(7)),
        To::from(&dialled),
        To::from(&session.peer.address),
    ];
    assert!(names.iter().all(|to| sessions.exists(to) && sessions.find(to).is_none()));
    assert_eq!(
        sessions.peer_of(session.id),
        Some(session.peer),
        "calls of the peer may come before it is ready here"
    );
    sessions.ready(link, 3);
    assert!(names.iter().all(|to| sessions.find(to).is_some_and(|found| found.link == link)));
    assert!(sessions.find(&To::Node(NodeId::new(2))).is_none());
}

#[test]
fn the_connected_change_only_when_a_node_comes_or_goes() {
    let sessions = Sessions::default();
    let mut connected = sessions.connected();
    let link = sessions.enter(new(1)).unwrap();
    assert!(!connected.has_changed().unwrap());
    sessions.ready(link, 1);
    assert!(connected.has_changed().unwrap());
    assert_eq!(connected.borrow_and_update().keys().copied().collect::<Vec<_>>(), [NodeId::new(1)]);
    sessions.end(link);
    sessions.end(link);
    assert!(connected.borrow_and_update().is_empty());
}

#[test]
fn a_session_of_a_superseded_start_is_ended_and_no_other() {
    let sessions = Sessions::default();
    let (old, other) = (new(1), new(2));
    sessions.enter(old.clone()).unwrap();
    sessions.enter(other.clone()).unwrap();
    sessions.end_other_boots(NodeId::new(1), old.peer.boot);
    assert!(sessions.exists(&To::Node(NodeId::new(1))));
    sessions.end_other_boots(NodeId::new(1), BootId::random());
    assert!(!sessions.exists(&To::Node(NodeId::new(1))) && sessions.exists(&To::Node(NodeId::new(2))));
}

#[test]
fn what_waits_to_be_sent_is_bounded_and_what_was_written_makes_room() {
    let unsent = Unsent::default();
    assert!(unsent.add(60, 100) && !unsent.add(41, 100) && unsent.add(40, 100));
    unsent.wrote(50);
    assert!(unsent.add(50, 100) && !unsent.add(1, 100));
    unsent.wrote(1000);
    assert!(unsent.add(100, 100) && !unsent.add(usize::MAX, 100));
}
