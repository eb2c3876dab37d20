//! How many connections there may be, in all and from one address.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::metrics::Gauge;

/// The most connections served at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionBounds {
    /// In all.
    pub total: usize,
    /// From one address.
    pub per_address: usize,
}

/// Why a connection was closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// As many connections are open as there may be.
    #[error("too many connections in all")]
    Total,
    /// As many are open from this address as there may be.
    #[error("too many connections from this address")]
    PerAddress,
}

impl Refusal {
    /// The metric's label.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::PerAddress => "per_address",
        }
    }
}

#[derive(Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The connections that count now.
pub(super) struct Connections {
    bounds: ConnectionBounds,
    counted: Gauge,
    open: Mutex<Open>,
}

impl Connections {
    pub(super) fn new(bounds: ConnectionBounds, counted: Gauge) -> Arc<Self> {
        Arc::new(Self { bounds, counted, open: Mutex::default() })
    }

    /// Lets one more in from `address`, until its guard is dropped. An IPv4 address counts as one with
    /// its IPv6-mapped form.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionGuard, Refusal> {
        let address = address.to_canonical();
        let mut open = self.open();
        if open.total >= self.bounds.total {
            return Err(Refusal::Total);
        }
        if open.by_address.get(&address).is_some_and(|open| *open >= self.bounds.per_address) {
            return Err(Refusal::PerAddress);
        }
        open.total += 1;
        *open.by_address.entry(address).or_default() += 1;
        self.counted.inc();
        Ok(ConnectionGuard { connections: Arc::clone(self), address })
    }

    fn leave(&self, address: IpAddr) {
        let mut open = self.open();
        open.total = open.total.saturating_sub(1);
        if let Some(count) = open.by_address.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_address.remove(&address);
            }
        }
        self.counted.dec();
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one connection for as long as it lives.
pub struct ConnectionGuard {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl fmt::Debug for ConnectionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionGuard({})", self.address)
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.connections.leave(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_hold_in_all_and_per_address_and_free_up_again() {
        let counted = Gauge::default();
        let connections = Connections::new(ConnectionBounds { total: 3, per_address: 2 }, counted.clone());
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let a_mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();

        let first = connections.admit(a).unwrap();
        let second = connections.admit(a_mapped).unwrap();
        assert_eq!(connections.admit(a).unwrap_err(), Refusal::PerAddress);
        let third = connections.admit(b).unwrap();
        assert_eq!(connections.admit(b).unwrap_err(), Refusal::Total);
        assert_eq!(counted.get(), 3);
        drop(first);
        let fourth = connections.admit(a).unwrap();
        drop((second, third, fourth));
        assert_eq!(counted.get(), 0);
        assert!(connections.open().by_address.is_empty(), "an address without connections costs nothing");
    }
}
