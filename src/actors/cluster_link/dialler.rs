//! Keeps a session with every address that is wanted.
//!
//! One task for each address. It never dials while there is a session; a node with a higher id than the peer's knocks, and
//! the peer dials. A dead session is dialled again at once, then with a wait that doubles up to a second, spread by chance so that
//! nodes which lost each other at one moment do not come back at one moment.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::task::{AbortHandle, JoinSet};

use super::{
    Expected, HANDSHAKE_WITHIN, HandshakeError, Kind, LinkError, RefusalCode, To,
    dial::dial,
    shared::{Shared, Want},
};
use crate::{config::node::HostPort, model::NodeId};

const WAIT_MIN: Duration = Duration::from_millis(20);
const WAIT_MAX: Duration = Duration::from_secs(1);
/// A session that lived so long was a good one.
const GOOD_SESSION: Duration = Duration::from_secs(1);

/// Runs for as long as the link does.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut wants = shared.wants.subscribe();
    let mut tasks = JoinSet::new();
    let mut running: HashMap<HostPort, AbortHandle> = HashMap::new();
    loop {
        let wanted: Vec<HostPort> = wants.borrow_and_update().keys().cloned().collect();
        running.retain(|address, task| {
            let keeps = wanted.contains(address) && !task.is_finished();
            if !keeps {
                task.abort();
            }
            keeps
        });
        for address in wanted {
            running.entry(address.clone()).or_insert_with(|| {
                let keeper = Keeper { shared: Arc::clone(&shared), address, node: None, said: None };
                tasks.spawn(keeper.run())
            });
        }
        tokio::select! {
            changed = wants.changed() => if changed.is_err() { return },
            Some(_ended) = tasks.join_next() => (),
        }
    }
}

/// Keeps up the session with one address.
struct Keeper {
    shared: Arc<Shared>,
    address: HostPort,
    /// Who was found there.
    node: Option<NodeId>,
    /// The last thing that was logged; it is not said twice.
    said: Option<String>,
}

impl Keeper {
    async fn run(mut self) {
        let mut wait = Wait::default();
        while self.shared.is_wanted(&self.address) {
            if self.is_connected() {
                let since = self.shared.clock.monotonic();
                self.while_connected().await;
                if self.shared.clock.monotonic().saturating_sub(since) >= GOOD_SESSION {
                    wait = Wait::default();
                }
            } else if let Err(error) = self.attempt().await {
                self.say(&error);
            }
            if !self.is_connected() {
                self.pause(wait.next()).await;
            }
        }
    }

    fn is_connected(&self) -> bool {
        let by_node = self.node.is_some_and(|node| self.shared.sessions.exists(&To::Node(node)));
        by_node || self.shared.sessions.exists(&To::from(&self.address))
    }

    async fn while_connected(&self) {
        let mut changes = self.shared.sessions.changes();
        while self.is_connected() && changes.changed().await.is_ok() {}
    }

    /// Waits, but not longer than until the peer has dialled us, or has asked to be dialled: then it is there.
    async fn pause(&self, wait: Duration) {
        let mut changes = self.shared.sessions.changes();
        let dialled = async { while !self.is_connected() && changes.changed().await.is_ok() {} };
        let mut wants = self.shared.wants.subscribe();
        let last = self.shared.knocked(&self.address);
        let knocked = wants.wait_for(|wants| wants.get(&self.address).and_then(Want::knocked) != last);
        let either = async {
            tokio::select! {
                () = dialled => {}
                _ = knocked => {}
            }
        };
        let _or_it_is_time = tokio::time::timeout(wait, either).await;
    }

    async fn attempt(&mut self) -> Result<(), LinkError> {
        let (shared, address) = (&self.shared, &self.address);
        let dialled = dial(shared, address, Kind::Session, Expected::default(), HANDSHAKE_WITHIN).await;
        let (stream, handshake) = dialled.inspect_err(|error| {
            if let LinkError::Handshake { source: HandshakeError::Refused { by: Some(node), .. }, .. } = error
            {
                self.node = Some(*node);
            }
        })?;
        self.node = Some(handshake.peer.node);
        self.said = None;
        // Taken: the peer has just connected to us; its session will do.
        let _link_or_taken = shared.begin_session(stream, handshake, Some(address.clone()));
        Ok(())
    }

    fn say(&mut self, error: &LinkError) {
        let is_expected = matches!(error.refusal(), Some(RefusalCode::LowerDials | RefusalCode::Connected));
        let text = error.to_string();
        if is_expected || self.said.as_ref() == Some(&text) {
            return;
        }
        tracing::warn!(address = %self.address, error = %text, "no session with this node yet");
        self.said = Some(text);
    }
}

/// The time between two attempts.
#[derive(Debug, Default)]
struct Wait {
    failures: u32,
}

impl Wait {
    fn next(&mut self) -> Duration {
        let longest = WAIT_MIN.saturating_mul(1 << self.failures.min(16)).min(WAIT_MAX);
        self.failures += 1;
        longest.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_second_and_is_spread() {
        let mut wait = Wait::default();
        for longest in [20, 40, 80, 160, 320, 640, 1000, 1000, 1000] {
            let (next, longest) = (wait.next(), Duration::from_millis(longest));
            assert!(next <= longest && next >= longest / 2, "{next:?} of {longest:?}");
        }
    }
}
