//! What a slow partition, and a peer that speaks another language, cost the others.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Handle,
    sync::Notify,
    time::timeout,
};

use super::{
    super::{Arrival, Arrivals, Leaders, StreamError, WINDOW, frame::PREAMBLE, serve},
    nodes::{DEADLINE, FOLLOWER, LEADER, World, blank, partition, records},
};
use crate::{
    actors::partition::{
        Acks, PartitionHandle,
        core::{Session, Subscription, Verdict},
    },
    model::{BrokerEpoch, LeaderEpoch, Offset, PartitionId},
};

const BATCH: usize = 100_000;
const BATCHES: usize = 80;

pub(in crate::actors::partition::replication) fn from_the_beginning(session: Session) -> Subscription {
    Subscription {
        node: FOLLOWER,
        broker_epoch: BrokerEpoch::new(1),
        session,
        leader_epoch: LeaderEpoch::new(1),
        last_epoch: LeaderEpoch::NONE,
        end: Offset::ZERO,
        flushed: Offset::ZERO,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_takes_nothing_gets_a_window_full_and_the_others_go_on() {
    let world = World::new("replicated");
    let mut leaders = Vec::new();
    for index in 0..2 {
        let leader = world.lead(LEADER, index, 1, blank(world.open(LEADER, index, 0))).await;
        for _ in 0..BATCHES {
            leader.acknowledged(records(1, BATCH), Acks::Leader).await;
        }
        leaders.push(leader);
    }
    world.show(LEADER, leaders.iter().map(|leader| leader.partition.clone()).collect());
    let (streams, session) = (world.streams(FOLLOWER), Session::new(1));
    let slow = Arrivals::new(|| ());
    let rung = Arc::new(Notify::new());
    let rings = Arc::clone(&rung);
    let quick = Arrivals::new(move || rings.notify_one());
    streams.subscribe(LEADER, partition(0), from_the_beginning(session), &slow);
    streams.subscribe(LEADER, partition(1), from_the_beginning(session), &quick);
    let mut end = Offset::ZERO;
    while end < Offset::new(BATCHES as i64) {
        timeout(DEADLINE, rung.notified()).await.expect("the quick one waits for the slow one");
        for (_, arrival) in quick.take() {
            match arrival {
                Arrival::Data(data) => {
                    assert_eq!(data.from, end);
                    end = data.end;
                    streams.report(LEADER, partition(1), session, (end, end));
                }
                Arrival::Verdict(verdict) => assert_eq!(verdict, Verdict::Follows),
                Arrival::Watermark(..) => {}
                Arrival::Broken => panic!("the stream broke"),
            }
        }
    }
    let waiting: usize = slow
        .take()
        .iter()
        .map(|(_, arrival)| if let Arrival::Data(data) = arrival { data.batches.len() } else { 0 })
        .sum();
    assert!((WINDOW / 2..WINDOW * 2).contains(&waiting), "{waiting} bytes wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_speaks_no_sense_loses_its_stream_and_nothing_else() {
    let nobody: Arc<dyn Leaders> = Arc::new(|_: PartitionId| None::<PartitionHandle>);
    let said = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [&PREAMBLE[..], &[0, 0, 0, 0]].concat(),
        [&PREAMBLE[..], &u32::MAX.to_be_bytes()].concat(),
        [&PREAMBLE[..], &[0, 0, 0, 1, 200]].concat(),
        [&PREAMBLE[..], &[0, 0, 0, 2, 1, 7]].concat(),
    ];
    for bytes in said {
        let (mut ours, theirs) = tokio::io::duplex(1024);
        let serving = tokio::spawn(serve(theirs, FOLLOWER, Arc::clone(&nobody), Handle::current()));
        ours.write_all(&bytes).await.unwrap();
        let ended = timeout(DEADLINE, serving).await.unwrap().unwrap();
        assert!(matches!(ended, StreamError::Frame(_)), "{bytes:?}: {ended}");
    }
    // A frame that never comes: no memory is taken for what it claims.
    let (mut ours, theirs) = tokio::io::duplex(1024);
    let serving = tokio::spawn(serve(theirs, FOLLOWER, nobody, Handle::current()));
    ours.write_all(&[&PREAMBLE[..], &(200_u32 << 20).to_be_bytes(), &[2; 100]].concat()).await.unwrap();
    let mut preamble = [0; PREAMBLE.len()];
    ours.read_exact(&mut preamble).await.unwrap();
    drop(ours);
    let ended = timeout(DEADLINE, serving).await.unwrap().unwrap();
    assert!(matches!(ended, StreamError::Closed | StreamError::Io(_)), "{ended}");
}
