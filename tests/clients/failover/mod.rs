//! Clients that others wrote, as their users have them, while the nodes under them die and are restarted.
//!
//! Each writes to every partition with its own settings but for idempotence, and reads all of it in a group. Leaders are
//! killed, then all nodes are restarted one after the other. No error may reach the application, and what was read is each
//! record once and in order: nothing is lost, nothing doubled, nothing out of place.

mod java;
mod kcat;
mod librdkafka;

use std::{
    process::Child,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    cluster::{Cluster, SOON},
    support::eventually,
};

const TOPIC: &str = "through";
const GROUP: &str = "readers";
const KILLS: usize = 2;
/// So many records more, written and read, show that a client goes on.
const GOES_ON: u64 = 200;
/// A client's own time-outs may come before it goes on: librdkafka's longest back-off is a second, a member of a group that has
/// lost its coordinator looks for the next one every half a second.
const GOES_ON_WITHIN: Duration = Duration::from_secs(20);

fn cluster(partitions: i32) -> Cluster {
    Cluster::with_topic(TOPIC, partitions, &[("min.insync.replicas", "2")])
}

/// Ends with the test, however that ends.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many records a client has written and read so far, all partitions together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    written: u64,
    read: u64,
}

/// Strikes the nodes; after each blow the client has to go on.
#[track_caller]
fn strike(cluster: &mut Cluster, progress: &dyn Fn() -> Progress) {
    goes_on("at first", progress);
    for _ in 0..KILLS {
        let victim = cluster.leader(TOPIC, 0);
        cluster.kill(&[victim]);
        goes_on("after its leader was killed", progress);
        cluster.start_again(&[victim]);
        cluster.until_in_sync(TOPIC, SOON).unwrap();
    }
    for id in cluster.ids() {
        let node = cluster.node(id).unwrap();
        assert_eq!(node.stop(SOON).unwrap().code(), Some(0), "{}", node.log_tail());
        goes_on("while a node is restarted", progress);
        cluster.start_again(&[id]);
        cluster.until_in_sync(TOPIC, SOON).unwrap();
    }
    goes_on("in the end", progress);
}

#[track_caller]
fn goes_on(when: &str, progress: &dyn Fn() -> Progress) {
    let before = progress();
    eventually(&format!("the client goes on {when}"), GOES_ON_WITHIN, || {
        let now = progress();
        (now.written >= before.written + GOES_ON && now.read >= before.read + GOES_ON).then_some(())
    });
}

/// What was read of each partition, held to be 0, 1, 2 and so on.
#[derive(Debug, Default)]
struct Read(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The next number, by partition.
    next: Vec<u64>,
    /// What was wrong, the first of it.
    wrong: Option<String>,
}

impl Read {
    fn of(partitions: i32) -> Self {
        Self(Mutex::new(State { next: vec![0; partitions as usize], wrong: None }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, partition: i32, offset: i64, number: u64) {
        let mut state = self.lock();
        let next = &mut state.next[partition as usize];
        let expected = *next;
        *next = expected.max(number + 1);
        if number != expected {
            let what = format!("partition {partition}: {number} at offset {offset} where {expected} is next");
            state.wrong.get_or_insert(what);
        }
    }

    fn wrong(&self, what: String) {
        self.lock().wrong.get_or_insert(what);
    }

    fn count(&self) -> u64 {
        self.lock().next.iter().sum()
    }

    /// Waits until so many were read of each partition; fails where anything was wrong.
    #[track_caller]
    fn until(&self, written: &[u64]) {
        eventually("all that was written is read", GOES_ON_WITHIN, || {
            let state = self.lock();
            (state.next == written || state.wrong.is_some()).then_some(())
        });
        assert_eq!(self.lock().wrong, None);
    }
}
