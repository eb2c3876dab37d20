//! Connections by broker: one each, made when first needed and made anew after it broke.
//!
//! What failed is not tried again at once: each failure in a row doubles the wait, so that a broker
//! that is down is not knocked at in a loop by every task that needs it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::{Instant, sleep_until};

use super::{ClientConfig, Connection, ConnectionError};

/// Connections by address, `host:port`.
#[derive(Debug, Default)]
pub(super) struct Pool {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    live: Mutex<Option<Arc<Connection>>>,
    /// Held while a connection is being made, so that one is made and not many.
    making: tokio::sync::Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    in_a_row: u32,
    not_before: Option<Instant>,
}

impl Slot {
    fn live(&self) -> Option<Arc<Connection>> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.clone().filter(|connection| !connection.is_closed())
    }

    fn put(&self, connection: &Arc<Connection>) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(connection));
    }
}

impl Pool {
    fn slot(&self, address: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(address) {
            return Arc::clone(slot);
        }
        Arc::clone(slots.entry(address.to_owned()).or_default())
    }

    /// The connection, if there is one that works.
    pub(super) fn live(&self, address: &str) -> Option<Arc<Connection>> {
        self.slot(address).live()
    }

    /// The connection, made if need be. Waits out the backoff of earlier failures.
    pub(super) async fn get(
        &self,
        address: &str,
        config: &ClientConfig,
    ) -> Result<Arc<Connection>, ConnectionError> {
        let slot = self.slot(address);
        if let Some(live) = slot.live() {
            return Ok(live);
        }
        let mut failures = slot.making.lock().await;
        if let Some(live) = slot.live() {
            return Ok(live);
        }
        if let Some(not_before) = failures.not_before {
            sleep_until(not_before).await;
        }
        let made = Connection::open(address, config).await.map(Arc::new);
        failures.in_a_row = if made.is_ok() { 0 } else { failures.in_a_row + 1 };
        // Also after a success: who accepts and hangs up is not to be called in a loop.
        failures.not_before = Some(Instant::now() + config.backoff(failures.in_a_row.max(1)));
        let made = made?;
        slot.put(&made);
        Ok(made)
    }
}
