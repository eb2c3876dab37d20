//! Followers that come to a partition on which something happens at every moment.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    runtime::Handle,
    time::timeout,
};

use super::{
    super::{
        Leaders,
        connection::Frames,
        frame::{Channel, PREAMBLE, ToFollower, ToLeader},
        serve,
    },
    bounds::from_the_beginning,
    nodes::{DEADLINE, FOLLOWER, LEADER, World, blank, partition, records},
};
use crate::{
    actors::partition::{Acks, PartitionHandle, core::Session},
    model::PartitionId,
};

/// So many followers come; all of them stay, so that the stream is at work all the time when the next one comes.
const FOLLOWERS: u32 = 500;
/// And so often. Without the lock, under which a bell is hung and its partition entered, one round in three found nothing.
const ROUNDS: u32 = 4;

/// Rings a partition's bells for as long as it is there.
struct Storm {
    over: Arc<AtomicBool>,
    ringing: Option<JoinHandle<()>>,
}

impl Storm {
    fn over(partition: &PartitionHandle) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (partition, is_over) = (partition.clone(), Arc::clone(&over));
        let ring = move || {
            while !is_over.load(Ordering::Relaxed) {
                partition.slot.bells.ring();
            }
        };
        Self { over, ringing: Some(std::thread::spawn(ring)) }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.ringing.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))));
    }
}

/// The follower's end of a stream, over which one partition is asked for again and again, each time under another number.
struct Asks {
    to: WriteHalf<DuplexStream>,
    from: Frames<ReadHalf<DuplexStream>>,
}

impl Asks {
    async fn begin(leaders: Arc<dyn Leaders>) -> Self {
        let (ours, theirs) = tokio::io::duplex(256 * 1024);
        tokio::spawn(serve(theirs, FOLLOWER, leaders, Handle::current()));
        let (from, mut to) = tokio::io::split(ours);
        let mut hello = BytesMut::from(&PREAMBLE[..]);
        ToLeader::Credit(1 << 30).encode(&mut hello);
        to.write_all(&hello).await.unwrap();
        Self { to, from: Frames::begin(from).await.unwrap() }
    }

    /// Asks, and waits until the first of what there is comes.
    async fn is_fed(&mut self, number: u32) {
        let mut asks = BytesMut::new();
        let (channel, session) = (Channel(number), Session::new(u64::from(number)));
        let subscription = from_the_beginning(session);
        ToLeader::Subscribe { channel, partition: partition(0), subscription }.encode(&mut asks);
        self.to.write_all(&asks).await.unwrap();
        loop {
            let frame =
                timeout(DEADLINE, self.from.next()).await.expect("a follower is fed nothing").unwrap();
            if let ToFollower::Data { head, .. } = ToFollower::decode(frame).unwrap()
                && head.channel == channel
            {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bell_that_rings_before_its_partition_is_there_is_heard() {
    let world = World::new("replicated");
    let leader = world.lead(LEADER, 0, 1, blank(world.open(LEADER, 0, 0))).await;
    leader.acknowledged(records(1, 10), Acks::Leader).await;
    let handle = leader.partition.clone();
    let leaders: Arc<dyn Leaders> = Arc::new(move |_: PartitionId| Some(handle.clone()));
    let _storm = Storm::over(&leader.partition);
    for round in 0..ROUNDS {
        let mut asks = Asks::begin(Arc::clone(&leaders)).await;
        for number in 1..=FOLLOWERS {
            asks.is_fed(round * FOLLOWERS + number).await;
        }
    }
}
