//! The registry of a node without others, for tests of what stands on it.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;
use uuid::Uuid;

use super::{CommandPeers, PeerAttempt, RegistryArgs, RegistryHandle, registry};
use crate::{
    actors::{
        membership::{
            MembershipError,
            core::{Command, CommandAnswer, Endpoint, FEATURE_LEVEL, Registration, Rules},
            quorum::{PeerError, Quorum, RaftNode, RaftPeers},
        },
        supervise::{BoxFuture, ChildSpec, Placement},
    },
    clock::SystemClock,
    config::node::QuorumPace,
    metrics::Metrics,
    model::{BootId, RaftId, TimestampMs},
    storage::fs::Fs,
};

/// There is nobody else.
struct Nobody;

impl RaftPeers for Nobody {
    fn call(
        &self,
        _to: RaftId,
        _node: &RaftNode,
        _body: Bytes,
        _within: Duration,
    ) -> BoxFuture<Result<Bytes, PeerError>> {
        Box::pin(async { Err(PeerError::Unreachable("there is nobody else".to_owned())) })
    }
}

impl CommandPeers for Nobody {
    fn send(&self, _to: crate::model::NodeId, _body: Bytes, _within: Duration) -> BoxFuture<PeerAttempt> {
        Box::pin(async { PeerAttempt::NotSent })
    }
}

/// The registry as the child `membership` of a supervisor, over the folder of a node that has nobody else.
pub(crate) fn of_one(fs: Arc<dyn Fs>, data_dir: &Path, rules: Rules) -> (RegistryHandle, ChildSpec) {
    let args = RegistryArgs {
        fs,
        data_dir: data_dir.to_owned(),
        rules,
        pace: QuorumPace::default(),
        peers: Arc::new(Nobody),
        commands: Arc::new(Nobody),
        is_alive: Arc::new(|_, _| false),
        clock: SystemClock::shared(),
        metrics: Metrics::new(TimestampMs::new(0)),
    };
    registry("membership", Placement::here(), args)
}

/// Makes it a cluster of one, unless it is one, and this start of the node a broker that can lead.
pub(crate) async fn begin(
    registry: &RegistryHandle,
    endpoints: Vec<Endpoint>,
    within: Duration,
) -> Result<(), MembershipError> {
    let quorum = registry.quorum().ok_or(MembershipError::NotTaken)?;
    let node = registry.us().node();
    if quorum.is_blank() {
        let member = RaftNode { node, address: "localhost:1".to_owned() };
        let initialized = timeout(within, quorum.initialize(BTreeMap::from([(quorum.id(), member)]))).await;
        initialized.map_err(|_| MembershipError::OutcomeUnknown)?.map_err(|_| MembershipError::NotTaken)?;
    }
    if until_led(&quorum, within).await && registry.image().cluster_id().is_nil() {
        registry.command(Command::CreateCluster(Uuid::new_v4()), within).await?;
    }
    let registration = Registration {
        node,
        boot: BootId::random(),
        raft_id: quorum.id(),
        endpoints,
        rack: None,
        feature_level: FEATURE_LEVEL,
        clean: None,
        another_is_alive: false,
    };
    let answer = registry.command(Command::RegisterBroker(registration), within).await?;
    let CommandAnswer::Registered { epoch, .. } = answer else { panic!("{answer:?}") };
    registry.us().registered(epoch);
    registry.command(Command::BrokerReady { node, broker_epoch: epoch }, within).await.map(drop)
}

/// Waits until the only member leads: then its image has all that was committed.
async fn until_led(quorum: &Quorum, within: Duration) -> bool {
    let mut leadership = quorum.leadership();
    let led = leadership.wait_for(|leadership| leadership.is_self);
    matches!(timeout(within, led).await, Ok(Ok(_)))
}
