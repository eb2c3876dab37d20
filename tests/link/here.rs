//! A link in this process.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use polylogue::{
    actors::{
        cluster_link::{
            ClusterLink, LinkOptions, Peer, Security, Service, To,
            liveness::{Beat, VoterView, Voters},
        },
        listener::BoundPort,
        supervise::{Ended, Exit, Placement, SupervisorHandle, SupervisorOptions, Tree},
    },
    clock::{Clock, SystemClock},
    config::node::{ClusterSettings, HostPort},
    metrics::Metrics,
    model::{BootId, BrokerEpoch, NodeId, RaftId},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    time::timeout,
};

use crate::WITHIN;

/// One link at a time in this process.
static ONE: Mutex<()> = Mutex::new(());

/// Runs a test on a runtime as a node has it.
pub(crate) fn test(body: impl Future<Output = ()>) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    run(body);
}

pub(crate) fn run(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(body);
    runtime.shutdown_background();
}

/// A link that runs, and what a node would tell it.
pub(crate) struct Here {
    pub(crate) link: ClusterLink,
    pub(crate) voters: watch::Sender<Arc<Voters>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tree: Tree,
    _beat: watch::Sender<Beat>,
    _view: watch::Sender<Arc<VoterView>>,
    root: SupervisorHandle,
    ended: Ended,
}

impl Here {
    /// On a free port of loopback.
    pub(crate) async fn start(node: i32, security: Security) -> Self {
        Self::start_at(node, security, 0).await
    }

    pub(crate) async fn start_at(node: i32, security: Security, port: u16) -> Self {
        let clock = SystemClock::shared();
        let port = Arc::new(BoundPort::bind(([127, 0, 0, 1], port).into()).unwrap());
        let me = Peer {
            node: NodeId::new(node),
            raft_id: RaftId::new(1000 + node as u64),
            boot: BootId::random(),
            cluster_id: None,
            address: HostPort::new("127.0.0.1", port.address().port()),
        };
        let says = Beat { broker_epoch: BrokerEpoch::new(node.into()), ..Beat::default() };
        let (beat, beats) = watch::channel(says);
        let view = VoterView {
            controller_epoch: 40 + node as u64,
            controller: Some(NodeId::new(node)),
            fenced: BTreeSet::from([NodeId::new(2)]),
        };
        let (view, views) = watch::channel(Arc::new(view));
        let voters = watch::Sender::new(Arc::<Voters>::default());
        let link = ClusterLink::new(LinkOptions {
            me,
            port,
            security,
            settings: ClusterSettings::default(),
            clock: Arc::clone(&clock),
            metrics: Metrics::new(clock.wall()),
            voters: voters.subscribe(),
            beat: beats,
            view: views,
        });
        offer(&link);
        let root = SupervisorHandle::new(SupervisorOptions::default());
        let tree = Tree::new(Arc::clone(&clock));
        let ended = root.start_root(&tree, &Placement::here(), "node").await.unwrap();
        link.start(&root, &Placement::here()).await.unwrap();
        Self { link, voters, clock, tree, _beat: beat, _view: view, root, ended }
    }

    pub(crate) fn address(&self) -> HostPort {
        self.link.me().address.clone()
    }

    pub(crate) async fn stop(self) {
        self.root.stop();
        assert_eq!(timeout(WITHIN, self.ended).await.unwrap(), Exit::Stopped);
    }

    pub(crate) async fn connected(&self, node: i32) {
        let mut connected = self.link.connected();
        let there = connected.wait_for(|nodes| nodes.contains_key(&NodeId::new(node)));
        let _there = timeout(WITHIN, there).await.expect("connected in time").unwrap();
    }

    pub(crate) async fn echo(&self, to: impl Into<To>) -> bool {
        let answer = self.link.call(to, Service::Raft, b"hallo", Duration::from_secs(2)).await;
        answer.is_ok_and(|answer| answer == b"hallo"[..])
    }

    /// A call that is answered as soon as there is a session again.
    pub(crate) async fn echo_in_time(&self, node: i32) {
        let echoed = async {
            while !self.echo(NodeId::new(node)).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(WITHIN, echoed).await.expect("answered in time");
    }

    pub(crate) fn name_voters(&self, voters: impl IntoIterator<Item = (i32, HostPort)>) {
        let voters: BTreeMap<_, _> = voters.into_iter().map(|(node, at)| (NodeId::new(node), at)).collect();
        self.voters.send_replace(Arc::new(voters));
    }
}

/// What every node of these tests serves.
fn offer(link: &ClusterLink) {
    link.serve(Service::Raft, 64, Arc::new(|_, body| Box::pin(async move { body })));
    link.serve(
        Service::Membership,
        64,
        Arc::new(|peer, _| Box::pin(async move { Bytes::from(peer.node.to_string()) })),
    );
    link.serve(
        Service::Controller,
        1,
        Arc::new(|_, body| {
            Box::pin(async move {
                let ms = std::str::from_utf8(&body).unwrap().parse().unwrap();
                tokio::time::sleep(Duration::from_millis(ms)).await;
                body
            })
        }),
    );
    link.serve(Service::Groups, 4, Arc::new(|_, _| Box::pin(async { panic!("asked to") })));
    link.on_hello(Arc::new(|peer, body| {
        Box::pin(async move { [peer.node.to_string().as_bytes(), &body].concat().into() })
    }));
    link.on_replication(Arc::new(|_, mut stream| {
        Box::pin(async move {
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() && stream.write_all(&byte).await.is_ok() {}
        })
    }));
}
