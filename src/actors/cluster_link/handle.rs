//! The link as the rest of the node holds it, and how it is put together.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use ractor_cluster::{NodeServer, NodeServerMessage, node::NodeConnectionMode};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    Cookie, Expected, HelloHandler, Kind, LinkError, LinkStream, Peer, Security, Service, ServiceHandler,
    StreamHandler, To, accept,
    dial::{dial, hello},
    dialler, gateway,
    liveness::{
        Answers, Beat, LeaseTable, OwnLease, Receiver, SenderParts, VoterView, Voters, send_heartbeats,
        watch_leases,
    },
    service::{FRAME_BYTES_MAX, Offer},
    session::ServerEvents,
    shared::Shared,
};
use crate::{
    actors::{
        listener::{self, BoundPort, ConnectionBounds, ListenerOptions},
        supervise::{
            ChildSpec, MakeTask, Placement, Slot, StartError, SupervisorError, SupervisorHandle,
            SupervisorOptions, task_spec,
        },
    },
    clock::Clock,
    config::node::{ClusterSettings, HostPort},
    metrics::Metrics,
    model::{BootId, NodeId},
};

/// Connections to the cluster listener, those in their handshake among them.
const BOUNDS: ConnectionBounds = ConnectionBounds { total: 2048, per_address: 512 };
/// How long connections may take to end when the listener stops; nothing on them is worth waiting for.
const GRACE: Duration = Duration::from_millis(200);

/// What a link is made of.
pub struct LinkOptions {
    /// Who we are; the address is what others are told.
    pub me: Peer,
    /// The cluster listener's port, bound already.
    pub port: Arc<BoundPort>,
    /// What is proved, and how.
    pub security: Security,
    /// Heartbeats and leases.
    pub settings: ClusterSettings,
    /// For leases and waits.
    pub clock: Arc<dyn Clock>,
    /// Where connections are counted.
    pub metrics: Arc<Metrics>,
    /// The voters, to whom heartbeats are sent.
    pub voters: watch::Receiver<Arc<Voters>>,
    /// What our heartbeats say.
    pub beat: watch::Receiver<Beat>,
    /// What we answer the heartbeats of others with.
    pub view: watch::Receiver<Arc<VoterView>>,
}

/// The link. Cheap to clone; stays good when its parts are restarted.
#[derive(Clone)]
pub struct ClusterLink {
    shared: Arc<Shared>,
    receiver: Arc<Receiver>,
    sender: SenderParts,
    port: Arc<BoundPort>,
    metrics: Arc<Metrics>,
}

impl ClusterLink {
    /// A link that does not run yet: name what is served ([`Self::serve`], [`Self::on_replication`], [`Self::on_hello`]), then
    /// [`Self::start`] it.
    pub fn new(options: LinkOptions) -> Self {
        let LinkOptions { me, port, security, settings, clock, metrics, voters, beat, view } = options;
        let shared = Arc::new(Shared::new(me, security, Arc::clone(&clock)));
        let receiver = Arc::new(Receiver::new(settings.lease, view, clock));
        shared.put_stream_handler(Kind::Heartbeat, receiver.handler());
        let sender = SenderParts {
            shared: Arc::clone(&shared),
            voters,
            beat,
            answers: watch::Sender::default(),
            interval: settings.heartbeat_interval,
            lease: settings.lease,
        };
        let link = Self { shared, receiver, sender, port, metrics };
        link.serve(Service::Link, 256, Arc::new(|_, _| Box::pin(async { Bytes::new() })));
        link
    }

    /// Starts the link under `parent` as `cluster-link`, all of it on the runtime of `place`.
    pub async fn start(&self, parent: &SupervisorHandle, place: &Placement) -> Result<(), SupervisorError> {
        let supervisor = SupervisorHandle::new(SupervisorOptions::default());
        parent.add(supervisor.child_spec("cluster-link", place.clone())).await?;
        supervisor.add(self.node_server(place.clone())).await?;
        for service in Service::ALL.into_iter().filter(|service| self.shared.offer(*service).is_some()) {
            let shared = Arc::clone(&self.shared);
            let make = move |_| (gateway::Gateway, (service, Arc::clone(&shared)));
            let name = format!("gateway-{}", service.name());
            supervisor.add(ChildSpec::actor(&name, place.clone(), Slot::new(), make)).await?;
        }
        let (dialling, receiver, sender) =
            (Arc::clone(&self.shared), Arc::clone(&self.receiver), self.sender.clone());
        let sessions = Arc::clone(&self.shared.sessions);
        let tasks: [(&str, MakeTask); 3] = [
            (
                "leases",
                Arc::new(move || Box::pin(watch_leases(Arc::clone(&receiver), Arc::clone(&sessions)))),
            ),
            ("heartbeats", Arc::new(move || Box::pin(send_heartbeats(sender.clone())))),
            ("dialler", Arc::new(move || Box::pin(dialler::run(Arc::clone(&dialling))))),
        ];
        for (name, task) in tasks {
            supervisor.add(task_spec(name, place.clone(), task)).await?;
        }
        let listening = ListenerOptions {
            port: Arc::clone(&self.port),
            bounds: BOUNDS.into(),
            grace: GRACE,
            serve: accept::serve(Arc::clone(&self.shared)),
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.shared.clock),
        };
        supervisor.add(listener::child_spec("cluster", place.clone(), listening)).await
    }

    /// The server of `ractor_cluster`. It insists on a port of its own: on loopback, and whatever comes in there is cut off.
    fn node_server(&self, place: Placement) -> ChildSpec {
        let shared = Arc::clone(&self.shared);
        ChildSpec::new("node-server", move |context| {
            let (shared, place) = (Arc::clone(&shared), place.clone());
            async move {
                let me = shared.me();
                let cookie = Cookie::of_inner_sessions(shared.security.cookie());
                // The host is this start's id: with a real one, two nodes whose servers got the same free port on their
                // machines would take each other for themselves.
                let mode = Some(NodeConnectionMode::Isolated);
                let server =
                    NodeServer::new(0, cookie, format!("node-{}", me.node), me.boot.to_string(), None, mode)
                        .with_listen_addr(Ipv4Addr::LOCALHOST.into())
                        .with_max_inbound_frame_size(FRAME_BYTES_MAX);
                let address = context.spawn(&place, server, ()).await?;
                let subscription = Box::new(ServerEvents(Arc::clone(&shared.sessions)));
                let message = NodeServerMessage::SubscribeToEvents { id: "link".to_owned(), subscription };
                let gone = |_| StartError::Failed { cause: "the node server ended at once".to_owned() };
                address.cast(message).map_err(gone)?;
                shared.server.set(address.clone());
                Ok(address.into())
            }
        })
    }

    /// Who we are to others.
    pub fn me(&self) -> Arc<Peer> {
        self.shared.me()
    }

    /// We belong to this cluster from now on: nodes of another are refused.
    pub fn set_cluster_id(&self, cluster_id: Uuid) {
        self.shared.set_cluster_id(cluster_id);
    }

    /// The metadata says that this start of the node is the registered one: earlier ones are refused, and cut off.
    pub fn registered(&self, node: NodeId, boot: BootId) {
        self.shared.registered(node, boot);
        self.receiver.registered(node, boot);
    }

    /// Offers a service to other nodes, of which at most `calls_max` calls are under way at a time. Before [`Self::start`].
    pub fn serve(&self, service: Service, calls_max: usize, handler: ServiceHandler) {
        self.shared.put_offer(service, Offer { handler, calls_max });
    }

    /// Serves the replication streams that peers open; connections of the kind are refused before.
    pub fn on_replication(&self, handler: StreamHandler) {
        self.shared.put_stream_handler(Kind::Replication, handler);
    }

    /// Answers hellos; they are refused before.
    pub fn on_hello(&self, handler: HelloHandler) {
        self.shared.put_hello_handler(handler);
    }

    /// Keeps a session with whoever is at this address from now on.
    pub fn want(&self, address: HostPort) {
        self.shared.want(address);
    }

    /// No longer dials this address; a session that there is stays.
    pub fn unwant(&self, address: &HostPort) {
        self.shared.unwant(address);
    }

    /// Calls a service of another node over the session with it. Only [`LinkError::Silent`], [`LinkError::Lost`] and
    /// [`LinkError::Failed`] leave open whether it was carried out.
    pub async fn call(
        &self,
        to: impl Into<To>,
        service: Service,
        body: &[u8],
        within: Duration,
    ) -> Result<Bytes, LinkError> {
        self.shared.call(&to.into(), service, body, within).await
    }

    /// Opens a replication stream to a node that proves to be the expected one.
    pub async fn open_replication(
        &self,
        to: &HostPort,
        expected: Expected,
        within: Duration,
    ) -> Result<(Arc<Peer>, LinkStream), LinkError> {
        let (stream, handshake) = dial(&self.shared, to, Kind::Replication, expected, within).await?;
        Ok((Arc::new(handshake.peer), stream))
    }

    /// Asks whoever is at this address one thing, without a session.
    pub async fn hello(
        &self,
        to: &HostPort,
        body: &[u8],
        within: Duration,
    ) -> Result<(Arc<Peer>, Bytes), LinkError> {
        hello(&self.shared, to, body, within).await
    }

    /// The nodes that can be called now.
    pub fn connected(&self) -> watch::Receiver<Arc<BTreeMap<NodeId, Arc<Peer>>>> {
        self.shared.sessions.connected()
    }

    /// Whether there is a session that can be called on.
    pub fn is_connected(&self, to: impl Into<To>) -> bool {
        self.shared.sessions.find(&to.into()).is_some()
    }

    /// The leases that we keep as a voter.
    pub fn leases(&self) -> watch::Receiver<Arc<LeaseTable>> {
        self.receiver.table()
    }

    /// The lease that we hold, as far as we can know.
    pub fn own_lease(&self) -> OwnLease {
        OwnLease {
            node: self.shared.me().node,
            length: self.sender.lease,
            answers: self.answers(),
            voters: self.sender.voters.clone(),
            clock: Arc::clone(&self.shared.clock),
        }
    }

    /// What the voters answer our heartbeats.
    pub fn answers(&self) -> watch::Receiver<Arc<Answers>> {
        self.sender.answers.subscribe()
    }
}
