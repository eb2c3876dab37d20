//! How many connections there may be, in all and from one address.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    os::fd::RawFd,
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

/// The bounds as they are when a connection comes: they may change while the listener runs.
#[derive(Clone)]
pub struct CurrentBounds {
    by: Arc<dyn Fn() -> ConnectionBounds + Send + Sync>,
    descriptors: u64,
}

impl CurrentBounds {
    /// Bounds that are looked up for each connection.
    pub fn looked_up(by: impl Fn() -> ConnectionBounds + Send + Sync + 'static) -> Self {
        Self { by: Arc::new(by), descriptors: u64::MAX }
    }

    /// No connection is let in with so many descriptors in use, by whatever: the rest is kept for others.
    #[must_use]
    pub fn with_descriptors(self, descriptors: u64) -> Self {
        Self { descriptors, ..self }
    }

    fn get(&self) -> ConnectionBounds {
        (self.by)()
    }
}

impl From<ConnectionBounds> for CurrentBounds {
    fn from(bounds: ConnectionBounds) -> Self {
        Self::looked_up(move || bounds)
    }
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
    /// The last descriptors are kept for others.
    #[error("too many open files: raise the hard limit (`ulimit -Hn`, `LimitNOFILE=`)")]
    Descriptors,
}

impl Refusal {
    /// The metric's label.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::PerAddress => "per_address",
            Self::Descriptors => "descriptors",
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
    bounds: CurrentBounds,
    counted: Gauge,
    open: Mutex<Open>,
}

impl Connections {
    pub(super) fn new(bounds: CurrentBounds, counted: Gauge) -> Arc<Self> {
        Arc::new(Self { bounds, counted, open: Mutex::default() })
    }

    /// Whether a connection with this descriptor leaves enough to others: the lowest number that is free is given out, so it tells
    /// how many are in use.
    pub(super) fn spare(&self, descriptor: RawFd) -> Result<(), Refusal> {
        let is_spare = u64::try_from(descriptor).is_ok_and(|number| number < self.bounds.descriptors);
        if is_spare { Ok(()) } else { Err(Refusal::Descriptors) }
    }

    /// Lets one more in from `address`, until its guard is dropped. An IPv4 address counts as one with
    /// its IPv6-mapped form.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionGuard, Refusal> {
        let address = address.to_canonical();
        let bounds = self.bounds.get();
        let mut open = self.open();
        if open.total >= bounds.total {
            return Err(Refusal::Total);
        }
        if open.by_address.get(&address).is_some_and(|open| *open >= bounds.per_address) {
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_bounds_hold_in_all_and_per_address_and_free_up_again() {
        let counted = Gauge::default();
        let connections =
            Connections::new(ConnectionBounds { total: 3, per_address: 2 }.into(), counted.clone());
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

    #[test]
    fn the_last_descriptors_are_kept_for_others() {
        let bounds = CurrentBounds::from(ConnectionBounds { total: 3, per_address: 2 });
        let all = Connections::new(bounds.clone(), Gauge::default());
        assert_eq!(all.spare(RawFd::MAX), Ok(()));
        let some = Connections::new(bounds.with_descriptors(960), Gauge::default());
        assert_eq!((some.spare(959), some.spare(960)), (Ok(()), Err(Refusal::Descriptors)));
    }

    #[test]
    fn a_bound_that_is_lowered_or_raised_holds_for_the_next_connection() {
        let total = Arc::new(AtomicUsize::new(1));
        let now = Arc::clone(&total);
        let bounds = CurrentBounds::looked_up(move || ConnectionBounds {
            total: now.load(Ordering::SeqCst),
            per_address: 10,
        });
        let connections = Connections::new(bounds, Gauge::default());
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let _first = connections.admit(address).unwrap();
        assert_eq!(connections.admit(address).unwrap_err(), Refusal::Total);
        total.store(2, Ordering::SeqCst);
        let _second = connections.admit(address).unwrap();
        total.store(1, Ordering::SeqCst);
        assert_eq!(connections.admit(address).unwrap_err(), Refusal::Total);
    }
}
