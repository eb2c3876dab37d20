use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use uuid::Uuid;

use super::{Cookie, Expected, Handshake, HandshakeError, Kind, Refusal, RefusalCode, Us, frames};
use crate::{
    actors::cluster_link::Peer,
    config::node::HostPort,
    model::{BootId, NodeId, RaftId},
};

fn peer(node: i32) -> Peer {
    Peer {
        node: NodeId::new(node),
        raft_id: RaftId::new(100 + node as u64),
        boot: BootId::random(),
        cluster_id: None,
        address: HostPort::new("127.0.0.1", 7000 + node as u16),
    }
}

fn cookie(text: &str) -> Cookie {
    Cookie::new(text.as_bytes()).unwrap()
}

type Outcome = Result<Handshake, HandshakeError>;

async fn meet(dialler: Us<'_>, acceptor: Us<'_>, expected: Expected) -> (Outcome, Outcome) {
    meet_for(Kind::Replication, dialler, acceptor, expected).await
}

async fn meet_for(kind: Kind, dialler: Us<'_>, acceptor: Us<'_>, expected: Expected) -> (Outcome, Outcome) {
    let (mut near, mut far) = duplex(4096);
    let dialled = async {
        let dialled = dialler.dial(&mut near, kind, expected).await;
        drop(near);
        dialled
    };
    let accepted = acceptor.accept(&mut far, None, |_, _| Ok(()));
    tokio::join!(dialled, accepted)
}

/// That the dialler is refused by the acceptor, and why; both ends say the same.
async fn refusal(dialler: Us<'_>, acceptor: Us<'_>, expected: Expected) -> Refusal {
    match meet(dialler, acceptor, expected).await {
        (Err(HandshakeError::Refused { refusal: told, .. }), Err(HandshakeError::Refuses(said))) => {
            assert_eq!(told, said);
            told
        }
        (Err(HandshakeError::Refuses(said)), Err(_)) => said,
        (dialled, accepted) => panic!("dialler: {dialled:?}; acceptor: {accepted:?}"),
    }
}

fn us<'a>(me: &'a Peer, cookie: Option<&'a Cookie>) -> Us<'a> {
    Us { me, cookie }
}

#[tokio::test]
async fn both_ends_learn_who_the_other_is_and_name_the_connection_alike() {
    let (one, two) = (peer(1), Peer { cluster_id: Some(Uuid::new_v4()), ..peer(2) });
    for cookie in [None, Some(&cookie("correct horse battery"))] {
        let (dialled, accepted) = meet(us(&one, cookie), us(&two, cookie), Expected::default()).await;
        let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
        assert_eq!((&dialled.peer, &accepted.peer), (&two, &one));
        assert_eq!((dialled.id, dialled.kind), (accepted.id, Kind::Replication));
    }
}

#[tokio::test]
async fn a_wrong_cookie_is_refused_with_the_reason() {
    let (one, two) = (peer(1), peer(2));
    let (right, wrong) = (cookie("correct horse battery"), cookie("correct horse batterz"));
    let refused = refusal(us(&one, Some(&wrong)), us(&two, Some(&right)), Expected::default()).await;
    assert_eq!(refused.code, RefusalCode::WrongCookie);
    assert_eq!(refused.reason, "node 2 at 127.0.0.1:7002 has another cookie");
}

#[tokio::test]
async fn a_cookie_at_one_end_only_is_refused_and_says_which_end_lacks_it() {
    let (one, two, known) = (peer(1), peer(2), cookie("correct horse battery"));
    let none_there = refusal(us(&one, Some(&known)), us(&two, None), Expected::default()).await;
    assert!(none_there.reason.starts_with("this node has no cookie"), "{none_there}");
    let none_here = refusal(us(&one, None), us(&two, Some(&known)), Expected::default()).await;
    assert!(none_here.reason.contains("start the other with --cluster-cookie-file"), "{none_here}");
    assert_eq!((none_there.code, none_here.code), (RefusalCode::OneCookie, RefusalCode::OneCookie));
}

#[tokio::test]
async fn who_does_not_know_the_cookie_proves_nothing_to_a_dialler_either() {
    let (one, two, known) = (peer(1), peer(2), cookie("correct horse battery"));
    let (mut near, mut far) = duplex(4096);
    let impostor = async {
        let _hello = frames::read_hello(&mut far).await.unwrap();
        frames::write(&mut far, frames::Tag::Challenge, &frames::challenge(&[7; 32], &two)).await.unwrap();
        let _proof = frames::read(&mut far).await.unwrap();
        frames::write(&mut far, frames::Tag::Accepted, &[0; 32]).await.unwrap();
    };
    let dialler = us(&one, Some(&known));
    let (dialled, ()) = tokio::join!(dialler.dial(&mut near, Kind::Session, Expected::default()), impostor);
    let Err(HandshakeError::Refuses(refusal)) = dialled else { panic!("{dialled:?}") };
    assert_eq!(refusal.code, RefusalCode::WrongCookie);
}

#[tokio::test]
async fn a_proof_of_one_connection_is_worth_nothing_on_another_or_for_another_kind() {
    let (one, two, known) = (peer(1), peer(2), cookie("correct horse battery"));
    let (mut near, mut far) = duplex(4096);
    // What an eavesdropper saw: the hello and the proof of a heartbeat connection.
    let seen = record(&one, &two, &known).await;
    let replay = async move {
        near.write_all(&seen.hello).await.unwrap();
        let _challenge = frames::read(&mut near).await.unwrap();
        frames::write(&mut near, frames::Tag::Proof, &seen.proof).await.unwrap();
        let (verdict, _) = frames::read(&mut near).await.unwrap();
        verdict
    };
    let acceptor = us(&two, Some(&known));
    let (verdict, accepted) = tokio::join!(replay, acceptor.accept(&mut far, None, |_, _| Ok(())));
    assert_eq!(verdict, frames::Tag::Refused);
    assert!(matches!(accepted, Err(HandshakeError::Refuses(r)) if r.code == RefusalCode::WrongCookie));
}

struct Seen {
    hello: Vec<u8>,
    proof: Vec<u8>,
}

async fn record(one: &Peer, two: &Peer, known: &Cookie) -> Seen {
    let (mut near, mut far) = duplex(4096);
    let acceptor = async {
        let (_, hello) = frames::read_hello(&mut far).await.unwrap();
        frames::write(&mut far, frames::Tag::Challenge, &frames::challenge(&[9; 32], two)).await.unwrap();
        let (_, proof) = frames::read(&mut far).await.unwrap();
        drop(far);
        Seen { hello, proof }
    };
    let dialler = us(one, Some(known));
    let (_cut, seen) = tokio::join!(dialler.dial(&mut near, Kind::Heartbeat, Expected::default()), acceptor);
    seen
}

#[tokio::test]
async fn s17_a_foreign_cluster_is_refused_by_name() {
    let (ours, theirs) = (Uuid::new_v4(), Uuid::new_v4());
    let one = Peer { cluster_id: Some(theirs), ..peer(3) };
    let two = Peer { cluster_id: Some(ours), ..peer(2) };
    let refused = refusal(us(&one, None), us(&two, None), Expected::default()).await;
    assert_eq!(refused.code, RefusalCode::ForeignCluster);
    // The dialler finds out first, and says it of the other.
    assert_eq!(
        refused.reason,
        format!("node 2 at 127.0.0.1:7002 belongs to cluster {ours}, this is {theirs}")
    );
    let blank = peer(4);
    let (dialled, accepted) = meet(us(&blank, None), us(&two, None), Expected::default()).await;
    assert!(dialled.is_ok() && accepted.is_ok(), "a node without a cluster may join one");
    let (dialled, accepted) =
        meet_for(Kind::Hello, us(&one, None), us(&two, None), Expected::default()).await;
    assert!(dialled.is_ok() && accepted.is_ok(), "by a hello strangers find out that they are");
}

#[tokio::test]
async fn s17_our_own_node_id_under_another_raft_id_is_refused() {
    let (one, other) = (peer(1), Peer { raft_id: RaftId::new(999), ..peer(1) });
    let refused = refusal(us(&other, None), us(&one, None), Expected::default()).await;
    assert_eq!(refused.code, RefusalCode::SameNode);
    assert!(refused.reason.starts_with("two nodes have the id 1"), "{refused}");
    let refused = refusal(us(&one, None), us(&one, None), Expected::default()).await;
    assert!(refused.reason.starts_with("node 1 dials itself"), "{refused}");
    let again = Peer { boot: BootId::random(), ..one.clone() };
    let refused = refusal(us(&again, None), us(&one, None), Expected::default()).await;
    assert!(refused.reason.starts_with("node 1 runs twice"), "{refused}");
}

#[tokio::test]
async fn somebody_else_than_expected_is_refused() {
    let (one, two) = (peer(1), peer(2));
    let expected = Expected { node: Some(NodeId::new(3)), raft_id: None };
    let refused = refusal(us(&one, None), us(&two, None), expected).await;
    assert_eq!(refused.reason, "127.0.0.1:7002 is node 2, not node 3");
    let expected = Expected { node: Some(NodeId::new(2)), raft_id: Some(RaftId::new(7)) };
    assert_eq!(refusal(us(&one, None), us(&two, None), expected).await.code, RefusalCode::NotExpected);
    let expected = Expected { node: Some(NodeId::new(2)), raft_id: Some(RaftId::new(102)) };
    assert!(meet(us(&one, None), us(&two, None), expected).await.0.is_ok());
}

#[tokio::test]
async fn what_the_acceptor_does_not_admit_is_told_with_its_reason() {
    let (one, two) = (peer(1), peer(2));
    let (mut near, mut far) = duplex(4096);
    let refusal = Refusal::new(RefusalCode::StaleBoot, "an old start");
    let dialled = async {
        let dialled = us(&one, None).dial(&mut near, Kind::Session, Expected::default()).await;
        drop(near);
        dialled
    };
    let accepted = us(&two, None).accept(&mut far, None, |_, _| Err(refusal.clone()));
    let (dialled, _) = tokio::join!(dialled, accepted);
    assert!(matches!(dialled, Err(HandshakeError::Refused { refusal: told, .. }) if told == refusal));
}

#[tokio::test]
async fn whom_the_acceptor_bars_is_told_before_anything_is_asked() {
    let (one, two) = (peer(1), peer(2));
    let (mut near, mut far) = duplex(4096);
    let bar = Refusal::new(RefusalCode::NotLoopback, "from elsewhere");
    let dialled = async {
        let dialled = us(&one, None).dial(&mut near, Kind::Session, Expected::default()).await;
        drop(near);
        dialled
    };
    let accepted = us(&two, None).accept(&mut far, Some(bar.clone()), |_, _| Ok(()));
    let (dialled, _) = tokio::join!(dialled, accepted);
    assert!(matches!(dialled, Err(HandshakeError::Refused { by: None, refusal }) if refusal == bar));
}

/// What an acceptor says to these bytes and the end behind them.
async fn said_to(bytes: &[u8]) -> Outcome {
    let (mut near, mut far): (DuplexStream, _) = duplex(4096);
    near.write_all(bytes).await.unwrap();
    near.shutdown().await.unwrap();
    let outcome = us(&peer(2), None).accept(&mut far, None, |_, _| Ok(())).await;
    drop(far);
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    outcome
}

fn hello() -> Vec<u8> {
    let (me, expected) = (peer(1), Expected::default());
    frames::Hello { kind: 1, has_cookie: false, nonce: [1; 32], me, expected }.encode()
}

#[tokio::test]
async fn a_frame_cut_anywhere_or_garbled_is_refused_without_a_panic() {
    let whole = hello();
    for cut in 0..whole.len() {
        assert!(said_to(&whole[..cut]).await.is_err(), "cut at {cut}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut garbled = whole.clone();
            garbled[at] ^= 1 << bit;
            // Without a cookie a changed nonce is another nonce; it ends for lack of a proof then.
            assert!(said_to(&garbled).await.is_err(), "bit {bit} of byte {at}");
        }
    }
    let other = said_to(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(matches!(other, Err(HandshakeError::Malformed(_))), "{other:?}");
}

#[tokio::test]
async fn another_version_is_refused_in_a_frame_that_every_version_reads() {
    let mut later = hello();
    later[4] = 2;
    let Err(HandshakeError::Refuses(refusal)) = said_to(&later).await else { panic!("taken") };
    assert_eq!(refusal.code, RefusalCode::Version);
    assert_eq!(refusal.reason, "the link's version is 2, and this node speaks 1");
}

#[test]
fn a_refusal_is_cut_to_its_length_and_keeps_no_control_characters() {
    let long = Refusal::new(RefusalCode::Busy, "é\n".repeat(600));
    let read = Refusal::decode(&long.encode()).unwrap();
    assert_eq!(read.code, RefusalCode::Busy);
    assert!(read.reason.len() <= 512 && read.reason.starts_with("é é "), "{}", read.reason.len());
    assert_eq!(Refusal::decode(&[200, b'x']).unwrap(), Refusal::new(RefusalCode::Other, "x"));
}

#[test]
fn a_cookie_is_trimmed_and_never_shown() {
    assert_eq!(Cookie::new(b"  0123456789abcdef\n"), Cookie::new(b"0123456789abcdef"));
    assert_eq!(Cookie::new(b"0123456789abcde\n"), None, "too short");
    assert_eq!(format!("{:?}", cookie("0123456789abcdef")), "Cookie(hidden)");
}
