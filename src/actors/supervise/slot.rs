//! Where the current incarnation of a restarted actor is found.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Address, CallError};

/// Holds the address of an actor's current incarnation; each restart replaces it.
///
/// Made by whoever composes the tree, filled by the [`ChildSpec`](super::ChildSpec) that starts the
/// actor, read by everyone who sends to it.
pub struct Slot<M> {
    current: Arc<watch::Sender<Option<Address<M>>>>,
}

impl<M> Clone for Slot<M> {
    fn clone(&self) -> Self {
        Self { current: Arc::clone(&self.current) }
    }
}

impl<M> Default for Slot<M> {
    fn default() -> Self {
        Self { current: Arc::new(watch::Sender::new(None)) }
    }
}

impl<M> fmt::Debug for Slot<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({:?})", self.get())
    }
}

impl<M> Slot<M> {
    /// A slot that nobody has filled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a new incarnation in.
    pub fn set(&self, address: Address<M>) {
        self.current.send_replace(Some(address));
    }

    /// The latest incarnation, which may have ended since.
    pub fn get(&self) -> Option<Address<M>> {
        self.current.borrow().clone()
    }

    /// The latest incarnation; awaits the first one for at most `timeout`.
    pub async fn wait(&self, timeout: Duration) -> Result<Address<M>, CallError> {
        let mut current = self.current.subscribe();
        let filled = tokio::time::timeout(timeout, current.wait_for(Option::is_some)).await;
        match filled {
            Ok(Ok(address)) => address.clone().ok_or(CallError::Gone),
            Ok(Err(_)) => Err(CallError::Gone),
            Err(_) => Err(CallError::Timeout { after: timeout }),
        }
    }
}
