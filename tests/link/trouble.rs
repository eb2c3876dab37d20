//! Peers that freeze, die, come back, or dial when they should not.

use std::{sync::Arc, time::Duration};

use polylogue::{
    actors::{
        cluster_link::{
            Expected, HandshakeError, Kind, LinkError, RefusalCode, Security, Service, Us,
            liveness::{Cause, LeaseTable, Life},
        },
        supervise::{Actor, ActorProcessingErr, ActorRef, Fault},
    },
    config::node::HostPort,
    model::NodeId,
};
use rustix::process::Signal;
use tokio::{io::AsyncReadExt, net::TcpStream, sync::watch, time::timeout};

use crate::{
    WITHIN,
    here::{Here, test},
    peer::OtherNode,
};

const NODE: NodeId = NodeId::new(2);

/// A node that sends its heartbeats to us, and a session with it.
async fn beating() -> (Here, OtherNode, watch::Receiver<Arc<LeaseTable>>) {
    let mut there = OtherNode::start(2);
    let here = Here::start(1, Security::default()).await;
    there.tell(&format!("voter 1={}", here.address()));
    here.link.want(there.address());
    here.connected(2).await;
    let mut leases = here.link.leases();
    lived(&mut leases, |life| matches!(life, Life::Alive { .. })).await;
    (here, there, leases)
}

async fn lived(leases: &mut watch::Receiver<Arc<LeaseTable>>, wanted: impl Fn(Life) -> bool) -> Life {
    let wanted = |table: &Arc<LeaseTable>| table.nodes.get(&NODE).is_some_and(|lease| wanted(lease.life));
    let found = timeout(WITHIN, leases.wait_for(wanted)).await.expect("in time").unwrap();
    found.nodes[&NODE].life
}

#[test]
fn a_frozen_peer_times_calls_out_and_loses_its_lease_and_its_session_in_under_two_seconds() {
    test(async {
        let (here, there, mut leases) = beating().await;
        let frozen = here.clock.monotonic();
        there.signal(Signal::STOP);
        // The signal takes effect a moment after it was sent.
        let call = loop {
            let call = here.link.call(NODE, Service::Raft, b"x", Duration::from_millis(300)).await;
            if call.is_err() {
                break call;
            }
        };
        assert!(matches!(call, Err(LinkError::Silent { .. })), "{call:?}");
        assert!(takes_no_more(&here).await, "memory for a peer that takes nothing is bounded");
        let link = here.link.clone();
        let call = tokio::spawn(async move { link.call(NODE, Service::Link, b"", WITHIN).await });
        let life = lived(&mut leases, |life| matches!(life, Life::Dead { .. })).await;
        let Life::Dead { since, cause } = life else { panic!("{life:?}") };
        assert_eq!(cause, Cause::Silent);
        assert!(since - frozen < Duration::from_secs(2), "{:?}", since - frozen);
        let mut connected = here.link.connected();
        let cut_off = connected.wait_for(|connected| !connected.contains_key(&NODE));
        timeout(Duration::from_secs(1), cut_off).await.expect("the session ends with the lease").unwrap();
        let call =
            timeout(Duration::from_secs(1), call).await.expect("it does not wait its time out").unwrap();
        assert!(matches!(call, Err(LinkError::Lost { .. } | LinkError::Backlog { .. })), "{call:?}");
        there.signal(Signal::CONT);
        lived(&mut leases, |life| matches!(life, Life::Alive { .. })).await;
        here.echo_in_time(2).await;
        here.stop().await;
    });
}

/// Whether calls are refused before they are sent when enough of them wait.
async fn takes_no_more(here: &Here) -> bool {
    let body = vec![7; 2 << 20];
    for _ in 0..50 {
        let call = here.link.call(NODE, Service::Raft, &body, Duration::from_millis(5)).await;
        if matches!(call, Err(LinkError::Backlog { .. })) {
            return true;
        }
    }
    false
}

#[test]
fn a_killed_peer_is_dead_at_once_and_its_calls_end_with_it() {
    test(async {
        let (here, mut there, mut leases) = beating().await;
        let link = here.link.clone();
        let call = tokio::spawn(async move { link.call(NODE, Service::Controller, b"9000", WITHIN).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let killed = here.clock.monotonic();
        there.kill();
        let life = lived(&mut leases, |life| matches!(life, Life::Dead { .. })).await;
        let Life::Dead { since, cause } = life else { panic!("{life:?}") };
        assert_eq!(cause, Cause::Refused, "silence alone would take a lease");
        println!("kill -9 to dead: {:?}", since - killed);
        assert!(since - killed < Duration::from_secs(1), "{:?}", since - killed);
        let call =
            timeout(Duration::from_secs(1), call).await.expect("it does not wait its time out").unwrap();
        assert!(matches!(call, Err(LinkError::Lost { .. })), "{call:?}");
        here.stop().await;
    });
}

#[test]
fn after_a_restart_of_the_peer_the_next_call_works() {
    test(async {
        let (here, mut there, mut leases) = beating().await;
        let boot = here.link.connected().borrow()[&NODE].boot;
        assert!(here.echo(NODE).await);
        there.start_again();
        here.echo_in_time(2).await;
        let now = here.link.connected().borrow()[&NODE].boot;
        assert_ne!(now, boot, "it is another start of it");
        // Its lease is taken over by the new start.
        there.tell(&format!("voter 1={}", here.address()));
        let taken = leases.wait_for(|table| table.is_alive(NODE, now));
        let _taken = timeout(WITHIN, taken).await.expect("in time").unwrap();
        here.stop().await;
    });
}

#[test]
fn a_node_server_that_fails_is_started_again_and_sessions_come_back() {
    test(async {
        let (here, mut there, _) = beating().await;
        here.tree.faults().arm("node/cluster-link/node-server", Fault::Panic, 1);
        // The next connection is the message that it fails at.
        there.start_again();
        here.echo_in_time(2).await;
        let server = here.tree.snapshot().into_iter().find(|actor| actor.path.ends_with("/node-server"));
        assert_eq!(server.unwrap().restarts, 1);
        here.stop().await;
    });
}

#[test]
fn a_second_dial_does_not_replace_the_live_session() {
    test(async {
        let (here, there, _) = beating().await;
        let connected = here.link.connected();
        let link = here.link.clone();
        let slow = tokio::spawn(async move { link.call(NODE, Service::Controller, b"1000", WITHIN).await });
        let me = here.link.me();
        let us = Us { me: &me, cookie: None };
        for _ in 0..3 {
            let mut second = TcpStream::connect(("127.0.0.1", there.address().port)).await.unwrap();
            let refused = us.dial(&mut second, Kind::Session, Expected::default()).await;
            let Err(HandshakeError::Refused { by, refusal }) = refused else { panic!("{refused:?}") };
            assert_eq!((by, refusal.code), (Some(NODE), RefusalCode::Connected));
        }
        // Wanted once more under another name of the same address: one session is enough.
        here.link.want(HostPort::new("localhost", there.address().port));
        assert_eq!(slow.await.unwrap().unwrap(), b"1000"[..], "the call under way was not cut off");
        assert!(!connected.has_changed().unwrap() && here.echo(NODE).await);
        here.stop().await;
    });
}

/// An actor under a name.
struct Named;

struct Nothing;

impl ractor::Message for Nothing {}

impl Actor for Named {
    type Msg = Nothing;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _me: ActorRef<Nothing>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "names are what this is about")]
fn a_peers_death_takes_no_local_name_with_it() {
    test(async {
        // The names that a peer's actors could bring, if they had any, would be those of our paths.
        let names = ["gateway-raft", "node/cluster-link/gateway-raft", "raft"];
        for name in names {
            ractor::Actor::spawn(Some(name.to_owned()), Named, ()).await.unwrap();
        }
        let before = ractor::registry::registered();
        let (here, mut there, mut leases) = beating().await;
        let during = ractor::registry::registered();
        there.kill();
        lived(&mut leases, |life| matches!(life, Life::Dead { .. })).await;
        timeout(WITHIN, here.link.connected().wait_for(|nodes| nodes.is_empty())).await.unwrap().unwrap();
        for name in names {
            let actor = ractor::registry::where_is(name).expect("still registered");
            actor.stop(None);
        }
        assert_eq!(during.len(), before.len(), "neither we nor the peer name anything: {during:?}");
        here.stop().await;
    });
}

#[test]
fn idle_sockets_in_the_handshake_hold_nobody_up_and_are_closed() {
    test(async {
        let there = OtherNode::start(2);
        let mut idle = Vec::new();
        for _ in 0..100 {
            idle.push(TcpStream::connect(("127.0.0.1", there.address().port)).await.unwrap());
        }
        let here = Here::start(1, Security::default()).await;
        here.link.want(there.address());
        let began = here.clock.monotonic();
        here.connected(2).await;
        let took = here.clock.monotonic() - began;
        assert!(took < Duration::from_millis(1500), "less than a handshake may take: {took:?}");
        for mut socket in idle {
            let closed = timeout(WITHIN, socket.read(&mut [0])).await.expect("closed in time");
            assert!(!matches!(closed, Ok(1..)), "{closed:?}");
        }
        assert!(here.echo(NODE).await);
        here.stop().await;
    });
}

#[test]
fn voters_answer_heartbeats_with_what_they_know_of_the_sender() {
    test(async {
        let there = OtherNode::start(3);
        let here = Here::start(2, Security::default()).await;
        here.name_voters([(3, there.address()), (2, here.address())]);
        let mut answers = here.link.answers();
        let three = NodeId::new(3);
        let answered = answers.wait_for(|answers| answers.contains_key(&three));
        let answer = timeout(WITHIN, answered).await.expect("in time").unwrap()[&three];
        assert_eq!((answer.controller_epoch, answer.controller, answer.fenced), (43, Some(three), true));
        assert!(answer.sent <= here.clock.monotonic());
        here.name_voters([(2, here.address())]);
        timeout(WITHIN, answers.wait_for(|answers| answers.is_empty())).await.expect("in time").unwrap();
        here.stop().await;
    });
}

#[test]
fn s17_a_start_that_was_succeeded_is_cut_off_and_refused() {
    test(async {
        let (here, there, mut leases) = beating().await;
        let boot = here.link.connected().borrow()[&NODE].boot;
        here.link.registered(NODE, boot);
        assert!(here.echo(NODE).await);
        here.link.registered(NODE, polylogue::model::BootId::random());
        assert!(!here.link.is_connected(NODE));
        lived(&mut leases, |life| matches!(life, Life::Dead { cause: Cause::Succeeded, .. })).await;
        let _alive = there.address();
        // Heartbeats go on coming, and renew nothing.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(leases.borrow().nodes.values().all(|lease| !lease.is_alive()));
        here.stop().await;
    });
}
