//! The tasks that feed followers, several streams in each.
//!
//! What is appended is sent to all followers at the same moment. Were each stream a task of its own, the first one that is
//! woken would run next on this thread, and for each other one a thread would be woken, that finds little to do and rests
//! again: with one message in flight that is most of what a leader asks the kernel for. Streams of one task are woken once.
//!
//! A stream gives way after each piece that it has written, and what it reads counts against its task's budget: one that
//! always has something to do lets the others of its task run between any two turns of its own.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::StreamError;
use crate::actors::supervise::caught;

/// Streams that a task gets before the next one gets any: those of two followers, for three replicas are what is usual.
const TOGETHER: usize = 2;

/// Why a stream is not fed any more though nothing has ended it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedingLost {
    /// What fed it has panicked, with this text.
    #[error("feeding it has panicked: {0}")]
    Panicked(String),
    /// The tasks have ended.
    #[error("nobody is fed any more")]
    Ended,
}

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The tasks. When this is dropped all of them end, and with them their streams.
#[derive(Debug)]
pub struct Feeders {
    tasks: Vec<Feeder>,
}

#[derive(Debug)]
struct Feeder {
    streams: Arc<AtomicUsize>,
    begin: mpsc::UnboundedSender<Serving>,
}

/// Counts a stream for as long as it is fed.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Feeders {
    /// As many tasks on `runtime`, at least one.
    pub fn start(tasks: usize, runtime: &Handle) -> Self {
        let start_one = || {
            let (begin, begun) = mpsc::unbounded_channel();
            runtime.spawn(feed_all(begun));
            Feeder { streams: Arc::default(), begin }
        };
        Self { tasks: (0..tasks.max(1)).map(|_| start_one()).collect() }
    }

    /// Runs what serves one stream until it says why the stream has ended. It ends too when nobody waits for this any more.
    ///
    /// # Errors
    ///
    /// [`FeedingLost`] if it cannot go on. Other streams are not touched by that.
    pub async fn run(
        &self,
        serving: impl Future<Output = StreamError> + Send + 'static,
    ) -> Result<StreamError, FeedingLost> {
        let feeder = self.next();
        feeder.streams.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&feeder.streams));
        let (mut tell, told) = oneshot::channel();
        let serving = Box::pin(async move {
            let _counted = counted;
            tokio::select! {
                ended = caught(serving) => {
                    // Nobody may wait for it any more.
                    let _ = tell.send(ended.map_err(FeedingLost::Panicked));
                }
                () = tell.closed() => {}
            }
        });
        feeder.begin.send(serving).map_err(|_| FeedingLost::Ended)?;
        told.await.map_err(|_| FeedingLost::Ended)?
    }

    /// Who takes the next stream.
    fn next(&self) -> &Feeder {
        let streams = |feeder: &&Feeder| feeder.streams.load(Ordering::Relaxed);
        let mut with_room = self.tasks.iter().filter(|feeder| streams(feeder) < TOGETHER);
        let least = || self.tasks.iter().min_by_key(streams);
        with_room.next().or_else(least).unwrap_or(&self.tasks[0])
    }
}

/// One task: runs all streams that it is given, until nobody can give it any.
async fn feed_all(mut begun: mpsc::UnboundedReceiver<Serving>) {
    let mut all = FuturesUnordered::new();
    loop {
        tokio::select! {
            serving = begun.recv() => match serving {
                Some(serving) => all.push(serving),
                None => return,
            },
            Some(()) = all.next(), if !all.is_empty() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        task::{JoinHandle, yield_now},
        time::timeout,
    };

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    type Running = JoinHandle<Result<StreamError, FeedingLost>>;

    fn feeders(tasks: usize) -> Arc<Feeders> {
        Arc::new(Feeders::start(tasks, &Handle::current()))
    }

    fn begin(feeders: &Arc<Feeders>, serving: impl Future<Output = StreamError> + Send + 'static) -> Running {
        let feeders = Arc::clone(feeders);
        tokio::spawn(async move { feeders.run(serving).await })
    }

    /// A stream on which nothing happens; what is given back ends without a value once it is dropped.
    async fn resting(feeders: &Arc<Feeders>) -> (Running, tokio::task::Id, oneshot::Receiver<()>) {
        let (tell_task, task) = oneshot::channel();
        let (held, gone) = oneshot::channel::<()>();
        let running = begin(feeders, async move {
            let _held = held;
            tell_task.send(tokio::task::id()).unwrap();
            pending().await
        });
        (running, task.await.unwrap(), gone)
    }

    #[tokio::test]
    async fn a_stream_that_panics_ends_alone() {
        let feeders = feeders(1);
        let (go_on, may_go_on) = oneshot::channel();
        let other = begin(&feeders, async move {
            may_go_on.await.unwrap();
            StreamError::Closed
        });
        let broken = begin(&feeders, async { panic!("came upon {}", "nonsense") });
        let lost = timeout(DEADLINE, broken).await.unwrap().unwrap().unwrap_err();
        assert_eq!(lost, FeedingLost::Panicked("came upon nonsense".to_owned()));
        go_on.send(()).unwrap();
        let ended = timeout(DEADLINE, other).await.unwrap().unwrap();
        assert!(matches!(ended, Ok(StreamError::Closed)), "{ended:?}");
        let next = timeout(DEADLINE, begin(&feeders, async { StreamError::Closed })).await.unwrap().unwrap();
        assert!(matches!(next, Ok(StreamError::Closed)), "no more streams are taken: {next:?}");
    }

    #[tokio::test]
    async fn streams_that_always_have_something_to_do_let_the_others_go_on() {
        let feeders = feeders(1);
        let _writes = begin(&feeders, async {
            loop {
                yield_now().await;
            }
        });
        // Its bytes are always there: only the budget of its task stops it.
        let _reads = begin(&feeders, async {
            let mut endless = tokio::io::repeat(7);
            let (mut to, mut from) = duplex(64);
            loop {
                let byte = endless.read_u8().await.unwrap();
                to.write_u8(byte).await.unwrap();
                from.read_u8().await.unwrap();
            }
        });
        let (mut client, mut server) = duplex(64);
        let other = begin(&feeders, async move {
            for _ in 0..100 {
                let byte = server.read_u8().await.unwrap();
                server.write_u8(byte).await.unwrap();
            }
            StreamError::Closed
        });
        let talking = async {
            for byte in 0..100 {
                client.write_u8(byte).await.unwrap();
                assert_eq!(client.read_u8().await.unwrap(), byte);
            }
        };
        timeout(DEADLINE, talking).await.expect("it waits for the busy ones");
        assert!(matches!(timeout(DEADLINE, other).await.unwrap().unwrap(), Ok(StreamError::Closed)));
    }

    #[tokio::test]
    async fn two_streams_share_a_task_and_more_are_spread() {
        let feeders = feeders(2);
        let mut tasks = Vec::new();
        let mut running = Vec::new();
        for _ in 0..5 {
            let (stream, task, _) = resting(&feeders).await;
            running.push(stream);
            tasks.push(task);
        }
        assert_eq!(tasks[0], tasks[1], "they are woken together");
        assert_eq!(tasks[2], tasks[3], "they are woken together");
        assert_ne!(tasks[0], tasks[2], "more than two are spread");
        assert!(tasks[..4].contains(&tasks[4]));
    }

    #[tokio::test]
    async fn the_end_of_the_feeders_ends_all_their_streams() {
        let feeders = feeders(2);
        let (mut running, mut gone) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let (stream, _, on_gone) = resting(&feeders).await;
            running.push(stream);
            gone.push(on_gone);
        }
        // Those who wait hold the feeders.
        running.iter().for_each(JoinHandle::abort);
        drop(feeders);
        for gone in gone {
            timeout(DEADLINE, gone).await.expect("a stream is still fed").unwrap_err();
        }
    }

    #[tokio::test]
    async fn a_stream_that_nobody_waits_for_ends_and_makes_room() {
        let feeders = feeders(2);
        let (first, task, gone) = resting(&feeders).await;
        let (_second, ..) = resting(&feeders).await;
        first.abort();
        timeout(DEADLINE, gone).await.expect("the stream is still fed").unwrap_err();
        let (_third, same, _) = resting(&feeders).await;
        assert_eq!(task, same);
    }
}
