//! The actor through which a service of this node is reached from others, and the only kind that is.
//!
//! **Invariants.** It has no name (a peer's shim with the name of a local actor unregisters that actor when the peer dies);
//! it is found by a group that bears this start's id, so that nobody is taken for somebody else. It decodes nothing: it looks
//! up who asks by the session that the call names, and hands the body to the service's handler in a task of its own. The
//! number of those is bounded, and every call that is taken is answered, also when its handler panics.

use std::sync::Arc;

use ractor::RpcReplyPort;
use ractor_cluster::RactorClusterMessage;
use tokio::sync::Semaphore;

use super::{
    Service,
    service::{BODY_BYTES_MAX, Offer, Status, answer, open_request},
    shared::Shared,
};
use crate::{
    actors::supervise::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent},
    model::BootId,
};

/// The scope of the gateways' groups.
pub(super) const SCOPE: &str = "polylogue";

/// The group of one service's gateway on one start of a node.
pub(super) fn group(service: Service, boot: BootId) -> String {
    format!("{}/{boot}", service.name())
}

/// What other nodes can send to this one. Variants are added, never changed.
#[derive(Debug, RactorClusterMessage)]
pub enum GatewayMessage {
    /// From a peer's link: the session's id and the body. Answered with a status and a body.
    #[rpc]
    Call(Vec<u8>, RpcReplyPort<Vec<u8>>),
}

/// The actor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gateway;

pub(super) struct GatewayState {
    service: Service,
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
}

impl Actor for Gateway {
    type Msg = GatewayMessage;
    type State = GatewayState;
    type Arguments = (Service, Arc<Shared>);

    async fn pre_start(
        &self,
        me: ActorRef<GatewayMessage>,
        (service, shared): Self::Arguments,
    ) -> Result<GatewayState, ActorProcessingErr> {
        let calls_max = shared.offer(service).map_or(1, |offer| offer.calls_max);
        let group = group(service, shared.me().boot);
        ractor::pg::join_scoped(SCOPE.to_owned(), group, vec![me.get_cell()]);
        Ok(GatewayState { service, shared, permits: Arc::new(Semaphore::new(calls_max)) })
    }

    async fn handle(
        &self,
        _me: ActorRef<GatewayMessage>,
        message: GatewayMessage,
        state: &mut GatewayState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            GatewayMessage::Call(request, reply) => state.on_call(request, reply),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<GatewayMessage>,
        _event: SupervisionEvent,
        _state: &mut GatewayState,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

impl GatewayState {
    fn on_call(&self, request: Vec<u8>, reply: RpcReplyPort<Vec<u8>>) {
        let refused = |reply: RpcReplyPort<Vec<u8>>, status| {
            let _caller_gone = reply.send(answer(status, &[]));
        };
        let asker =
            open_request(request).and_then(|(id, body)| Some((self.shared.sessions.peer_of(id)?, body)));
        let Some((peer, body)) = asker else { return refused(reply, Status::UnknownSession) };
        let Some(Offer { handler, .. }) = self.shared.offer(self.service) else {
            return refused(reply, Status::NotServed);
        };
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return refused(reply, Status::Busy);
        };
        tokio::spawn(async move {
            // A task of its own, so that its panic is an answer too.
            let done = tokio::spawn(async move { handler(peer, body).await }).await;
            drop(permit);
            let answer = match done {
                Ok(body) if body.len() <= BODY_BYTES_MAX => answer(Status::Answered, &body),
                Ok(_) => answer(Status::AnswerTooLarge, &[]),
                Err(_) => answer(Status::HandlerFailed, &[]),
            };
            let _caller_gone = reply.send(answer);
        });
    }
}

/// The gateway of a service on the other end of a session, as it is now.
pub(super) fn gateway_of(service: Service, boot: BootId, remote: u64) -> Option<ActorRef<GatewayMessage>> {
    let members = ractor::pg::get_scoped_members(&SCOPE.to_owned(), &group(service, boot));
    let is_theirs = |id| matches!(id, ractor::ActorId::Remote { node_id, .. } if node_id == remote);
    members.into_iter().find(|member| is_theirs(member.get_id())).map(Into::into)
}
