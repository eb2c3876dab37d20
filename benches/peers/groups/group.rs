//! A group with its members, each a task with a connection of its own.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use polylogue::wire::Str;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{Protocol, classic, consumer, owners::Owners};

const DISBANDED_WITHIN: Duration = Duration::from_secs(20);

/// What a member has to know.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) broker: SocketAddr,
    pub(super) group: Str,
    pub(super) topic: Str,
    /// Of the topic.
    pub(super) partitions: usize,
    /// Of the classic protocol; the broker says it in the other one.
    pub(super) heartbeat: Duration,
    /// Of the classic protocol.
    pub(super) session_timeout: Duration,
    pub(super) owners: Arc<Owners>,
    pub(super) number: usize,
}

/// The members in the order in which they came.
pub(super) struct Group {
    protocol: Protocol,
    /// The next to be taken.
    seat: Seat,
    members: Vec<Seated>,
}

struct Seated {
    number: usize,
    task: JoinHandle<()>,
    leave: oneshot::Sender<()>,
}

impl Group {
    pub(super) fn new(protocol: Protocol, seat: Seat) -> Self {
        Self { protocol, seat, members: Vec::new() }
    }

    /// Members come one by one during one heartbeat interval, so that they do not all say at the same moment that
    /// they live.
    pub(super) async fn fill(&mut self, members: usize) {
        let pause = self.seat.heartbeat / members as u32;
        for _ in 0..members {
            self.add();
            sleep(pause).await;
        }
    }

    pub(super) fn add(&mut self) {
        let (leave, left) = oneshot::channel();
        let (seat, protocol) = (self.seat.clone(), self.protocol);
        let number = seat.number;
        let task = tokio::spawn(async move {
            let owners = Arc::clone(&seat.owners);
            let lived = match protocol {
                Protocol::Classic => classic::live(seat, left).await,
                Protocol::Consumer => consumer::live(seat, left).await,
            };
            if let Err(error) = lived {
                owners.fail(format!("member {number}: {error:#}"));
            }
        });
        self.members.push(Seated { number, task, leave });
        self.seat.number += 1;
    }

    /// Everything is owned, by everybody.
    pub(super) async fn shared(&self) -> Result<()> {
        self.seat.owners.shared(self.members.len(), self.seat.partitions).await
    }

    /// How long ago the last member heard that it has to join again; nothing where nobody has to (KIP-848).
    pub(super) fn since_all_heard(&self) -> Option<Duration> {
        let heard = self.seat.owners.last_removed().filter(|_| self.protocol == Protocol::Classic);
        heard.map(|heard| heard.elapsed())
    }

    /// Everybody is in the same generation.
    pub(super) async fn together(&self) -> Result<()> {
        self.seat.owners.together(self.members.len()).await
    }

    /// The member that came last tells the others that it goes.
    pub(super) fn leave(&mut self) -> Result<()> {
        let last = self.members.pop().context("no member")?;
        self.seat.owners.remove(last.number);
        let _ = last.leave.send(()); // if it has ended, it failed, and that was noted
        Ok(())
    }

    /// The member that came last is not heard of any more.
    pub(super) fn kill(&mut self) -> Result<()> {
        let last = self.members.pop().context("no member")?;
        last.task.abort();
        self.seat.owners.remove(last.number);
        Ok(())
    }

    /// Everybody leaves, so that the broker has nothing to time out while the next run is measured.
    pub(super) async fn disband(self) -> Result<()> {
        // That nobody can tell them to leave any more tells them to.
        let leaving: Vec<JoinHandle<()>> = self.members.into_iter().map(|member| member.task).collect();
        let gone = async {
            for member in leaving {
                let _ = member.await; // how it ended was noted
            }
        };
        timeout(DISBANDED_WITHIN, gone).await.context("members do not leave")
    }
}
