//! Former actors of several nodes, each of which hears the others through their handles.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

use super::*;
use crate::{
    actors::supervise::{BoxFuture, Placement, SupervisorHandle, SupervisorOptions, Tree},
    clock::SystemClock,
    model::{NodeId, RaftId},
};

const DEADLINE: Duration = Duration::from_secs(30);

/// Who is up, and the first membership once it is written: raft sends it to everybody at once here.
#[derive(Default)]
struct Net {
    up: Mutex<BTreeMap<HostPort, FormerHandle>>,
    begun: Mutex<Vec<(Uuid, Vec<Member>)>>,
    members: Mutex<BTreeMap<RaftId, watch::Sender<Option<Uuid>>>>,
}

struct Around {
    net: Arc<Net>,
    new_cluster_id: Uuid,
    learned: OnceLock<()>,
}

impl Surroundings for Around {
    fn on_disk(&self) -> OnDisk {
        OnDisk::Blank { new_cluster_id: self.new_cluster_id }
    }

    fn ask(&self, seed: HostPort, hello: Hello, _within: Duration) -> BoxFuture<SeedAnswer> {
        let to = self.net.up.lock().unwrap().get(&seed).cloned();
        Box::pin(async move {
            match to {
                Some(to) => SeedAnswer::Answered(to.answer(hello).await),
                None => SeedAnswer::Unreachable,
            }
        })
    }

    fn initialise(
        &self,
        cluster_id: Uuid,
        voters: Vec<Member>,
        learners: Vec<Member>,
    ) -> BoxFuture<Result<(), String>> {
        let members: Vec<_> = voters.into_iter().chain(learners).collect();
        for who in &members {
            self.net.members.lock().unwrap()[&who.raft_id].send_replace(Some(cluster_id));
        }
        self.net.begun.lock().unwrap().push((cluster_id, members));
        Box::pin(async { Ok(()) })
    }

    fn join(&self, _at: HostPort, us: Member, cluster_id: Uuid, _within: Duration) -> BoxFuture<JoinAnswer> {
        self.net.members.lock().unwrap()[&us.raft_id].send_replace(Some(cluster_id));
        Box::pin(async { JoinAnswer::Taken })
    }

    fn learned(&self, _member: Member) {
        let _again = self.learned.set(());
    }
}

fn address(node: i32) -> HostPort {
    HostPort::new(format!("host-{node}"), 9_093)
}

async fn start(net: &Arc<Net>, root: &SupervisorHandle, node: i32, seeds: &[i32]) -> FormerHandle {
    let us =
        Member { node: NodeId::new(node), raft_id: RaftId::new(node as u64 + 100), address: address(node) };
    let (sender, member) = watch::channel(None);
    net.members.lock().unwrap().insert(us.raft_id, sender);
    let around = Around {
        net: Arc::clone(net),
        new_cluster_id: Uuid::from_u128(node as u128),
        learned: OnceLock::new(),
    };
    let args = FormerArgs {
        us,
        seeds: seeds.iter().map(|seed| address(*seed)).collect(),
        voters_max: 3,
        timing: Timing::default(),
        surroundings: Arc::new(around),
        member,
        cluster: watch::channel(None).1,
        settled: watch::channel(false).1,
        clock: SystemClock::shared(),
    };
    let (handle, spec) = former(&format!("former-{node}"), Placement::here(), args);
    net.up.lock().unwrap().insert(address(node), handle.clone());
    root.add(spec).await.unwrap();
    handle
}

async fn cluster_of(handle: &FormerHandle) -> Uuid {
    let mut status = handle.watch();
    let member = timeout(DEADLINE, status.wait_for(|status| status.cluster_id.is_some())).await;
    member.unwrap_or_else(|_| panic!("never: {:?}", handle.status())).unwrap().cluster_id.unwrap()
}

#[tokio::test]
async fn s16_actors_with_the_same_seeds_are_one_cluster_and_a_late_one_joins_it() {
    let tree = Tree::new(SystemClock::shared());
    let root = SupervisorHandle::new(SupervisorOptions::default());
    root.start_root(&tree, &Placement::here(), "node").await.unwrap();
    let net = Arc::new(Net::default());
    let third = start(&net, &root, 3, &[1, 2, 3]).await;
    let second = start(&net, &root, 2, &[3, 1, 2]).await;
    let mut status = second.watch();
    let waits =
        |status: &FormationStatus| status.waits_for.as_ref().is_some_and(|text| text.contains("host-1"));
    timeout(DEADLINE, status.wait_for(waits)).await.unwrap().unwrap();

    let first = start(&net, &root, 1, &[2, 3, 1]).await;
    for handle in [&first, &second, &third] {
        assert_eq!(cluster_of(handle).await, Uuid::from_u128(1), "the lowest begins it");
    }
    let late = start(&net, &root, 4, &[2]).await;
    assert_eq!(cluster_of(&late).await, Uuid::from_u128(1));
    assert_eq!(net.begun.lock().unwrap().len(), 1);
    root.stop();
}
