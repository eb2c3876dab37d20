//! Who gets a command, and when it may be sent again.
//!
//! Only the controller decides. Everybody else sends what is asked of it there: to whom the quorum says leads it, then to whom
//! the refusing node names, then to whom is elected next, within the time that the command has.
//!
//! **Invariant.** A command that may have been taken is not sent again, unless it is idempotent: a second `CreateTopics`
//! would be told that the topic exists. Its sender hears that the outcome is unknown.

mod core;

#[cfg(test)]
mod tests;

use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use tokio::{sync::watch, time};

pub use self::core::{Attempt, ForwardError, Forwarding, Leadership, Next, Target};
use crate::{actors::supervise::BoxFuture, clock::Clock};

/// What can be sent on.
pub trait Command: Clone + Send + 'static {
    /// The typed result, a refusal among it.
    type Answer: Send + 'static;

    /// Whether carrying it out twice does what carrying it out once does, and answers the same.
    fn is_idempotent(&self) -> bool;
}

/// The ways to a controller.
pub trait Ways<C: Command, P>: Send + Sync + 'static {
    /// Has the command decided here, where this node is the controller. [`Attempt::NotController`] only if nothing was
    /// proposed: a leader that is deposed with the proposal under way does not know.
    fn decide(&self, command: C, within: Duration) -> BoxFuture<Attempt<C::Answer, P>>;

    /// Sends it to a peer. [`Attempt::NotSent`] only if it cannot have arrived.
    fn send(&self, to: P, command: C, within: Duration) -> BoxFuture<Attempt<C::Answer, P>>;
}

/// Sends commands to whoever is the controller. `P` is how a peer is named.
pub struct Forward<C: Command, P> {
    ways: Arc<dyn Ways<C, P>>,
    leadership: watch::Receiver<Leadership<P>>,
    clock: Arc<dyn Clock>,
}

impl<C: Command, P> Clone for Forward<C, P> {
    fn clone(&self) -> Self {
        let (ways, clock) = (Arc::clone(&self.ways), Arc::clone(&self.clock));
        Self { ways, leadership: self.leadership.clone(), clock }
    }
}

impl<C: Command, P> fmt::Debug for Forward<C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").finish_non_exhaustive()
    }
}

impl<C: Command, P: Clone + Eq + Hash + Send + Sync + 'static> Forward<C, P> {
    /// Through these ways, to whom `leadership` names.
    pub fn new(
        ways: Arc<dyn Ways<C, P>>,
        leadership: watch::Receiver<Leadership<P>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { ways, leadership, clock }
    }

    /// Resolves with the controller's answer, or with why there is none, in little more than `within`.
    pub async fn command(&self, command: C, within: Duration) -> Result<C::Answer, ForwardError> {
        let mut leadership = self.leadership.clone();
        let mut forwarding = Forwarding::new(command.is_idempotent(), self.clock.monotonic(), within);
        loop {
            let now = self.clock.monotonic();
            let seen = leadership.borrow_and_update().clone();
            match forwarding.next(now, &seen) {
                Next::Try { target, within } => {
                    let attempt = self.attempt(target, command.clone(), within).await;
                    if let Some(done) = forwarding.on_attempt(self.clock.monotonic(), attempt) {
                        return done;
                    }
                }
                Next::Wait { until } => {
                    let changed = time::timeout(until.saturating_sub(now), leadership.changed());
                    if let Ok(Err(_quorum_is_gone)) = changed.await {
                        time::sleep(until.saturating_sub(now)).await;
                    }
                }
                Next::Over(error) => return Err(error),
            }
        }
    }

    async fn attempt(&self, target: Target<P>, command: C, within: Duration) -> Attempt<C::Answer, P> {
        let attempt = match target {
            Target::Us => self.ways.decide(command, within),
            Target::Peer(peer) => self.ways.send(peer, command, within),
        };
        time::timeout(within, attempt).await.unwrap_or(Attempt::Unknown)
    }
}
