//! A node's side: one task for each voter sends what the node says of itself, and keeps what the voter answers.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{Answers, Beat, Voters, frames};
use crate::{
    actors::cluster_link::{Expected, HANDSHAKE_WITHIN, Kind, LinkStream, dial::dial, shared::Shared},
    config::node::HostPort,
    model::NodeId,
};

/// What the tasks that send share.
#[derive(Clone)]
pub(in crate::actors::cluster_link) struct SenderParts {
    pub(in crate::actors::cluster_link) shared: Arc<Shared>,
    pub(in crate::actors::cluster_link) voters: watch::Receiver<Arc<Voters>>,
    pub(in crate::actors::cluster_link) beat: watch::Receiver<Beat>,
    pub(in crate::actors::cluster_link) answers: watch::Sender<Arc<Answers>>,
    pub(in crate::actors::cluster_link) interval: Duration,
    pub(in crate::actors::cluster_link) lease: Duration,
}

/// Sends heartbeats to every voter but ourselves, for as long as the link runs.
pub(in crate::actors::cluster_link) async fn send_heartbeats(mut parts: SenderParts) {
    let mut tasks = JoinSet::new();
    let mut running: HashMap<(NodeId, HostPort), AbortHandle> = HashMap::new();
    loop {
        let voters = Arc::clone(&parts.voters.borrow_and_update());
        let me = parts.shared.me().node;
        running.retain(|(node, address), task| {
            let keeps = voters.get(node) == Some(address) && !task.is_finished();
            if !keeps {
                task.abort();
                forget(&parts.answers, *node);
            }
            keeps
        });
        for (node, address) in voters.iter().filter(|(node, _)| **node != me) {
            running.entry((*node, address.clone())).or_insert_with(|| {
                tasks.spawn(ToVoter { parts: parts.clone(), node: *node, address: address.clone() }.run())
            });
        }
        tokio::select! {
            changed = parts.voters.changed() => if changed.is_err() {
                // Nobody will ever name other voters: those that there are stay.
                while tasks.join_next().await.is_some() {}
                return;
            },
            Some(_ended) = tasks.join_next() => (),
        }
    }
}

fn forget(answers: &watch::Sender<Arc<Answers>>, node: NodeId) {
    answers.send_if_modified(|answers| Arc::make_mut(answers).remove(&node).is_some());
}

/// The heartbeats to one voter.
struct ToVoter {
    parts: SenderParts,
    node: NodeId,
    address: HostPort,
}

impl ToVoter {
    async fn run(self) {
        let expected = Expected { node: Some(self.node), raft_id: None };
        loop {
            let shared = &self.parts.shared;
            let dialled = dial(shared, &self.address, Kind::Heartbeat, expected, HANDSHAKE_WITHIN).await;
            let ended = match dialled {
                Ok((stream, handshake)) => {
                    let ended = self.speak(stream).await.err();
                    // It takes what it is sent and says nothing: so it is with the session.
                    if ended.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                        shared.sessions.end_of(self.node, handshake.peer.boot);
                    }
                    ended.map(|error| error.to_string())
                }
                Err(error) => Some(error.to_string()),
            };
            tracing::debug!(voter = %self.node, address = %self.address, ?ended, "no heartbeats to this voter");
            sleep(self.parts.interval).await;
        }
    }

    /// Until the connection breaks, or the voter has not answered for a lease.
    async fn speak(&self, stream: LinkStream) -> io::Result<()> {
        let (reader, writer) = split(stream);
        tokio::select! {
            sent = self.send(writer) => sent,
            heard = self.hear(reader) => heard,
        }
    }

    async fn send(&self, mut writer: WriteHalf<LinkStream>) -> io::Result<()> {
        let mut beat = self.parts.beat.clone();
        let mut due = interval(self.parts.interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = due.tick() => (),
                // What changed is said at once; when nobody can change it any more the ticks go on alone.
                Ok(()) = beat.changed() => (),
            }
            let says = *beat.borrow_and_update();
            let frame = frames::beat(self.parts.shared.clock.monotonic(), says);
            writer.write_all(&frame).await?;
            writer.flush().await?;
        }
    }

    async fn hear(&self, mut reader: ReadHalf<LinkStream>) -> io::Result<()> {
        loop {
            let body = timeout(self.parts.lease, frames::read(&mut reader)).await??;
            let answer = frames::answer_of(&body)?;
            self.parts.answers.send_modify(|answers| {
                Arc::make_mut(answers).insert(self.node, answer);
            });
        }
    }
}
