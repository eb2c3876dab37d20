//! Ports: bound before any file is touched, and what is told of them.

use std::{fmt, net::ToSocketAddrs};

use super::NodeError;
use crate::{
    actors::listener::{BoundPort, ConnectionBounds},
    config::node::{HostPort, KafkaListener},
};

/// A bound port for clients.
pub(super) struct Door {
    pub(super) settings: KafkaListener,
    pub(super) port: BoundPort,
}

impl Door {
    pub(super) fn bind(settings: KafkaListener) -> Result<Self, NodeError> {
        let port = bind(&settings.listen_key(), &settings.listen)?;
        Ok(Self { settings, port })
    }

    /// What clients are told: port 0 stands for the one that was bound.
    pub(super) fn advertised(&self) -> HostPort {
        self.with_bound_port(&self.settings.advertise)
    }

    /// Its settings, with the ports that were bound.
    pub(super) fn as_bound(&self) -> KafkaListener {
        KafkaListener {
            listen: self.with_bound_port(&self.settings.listen),
            advertise: self.advertised(),
            ..self.settings.clone()
        }
    }

    pub(super) fn bounds(&self) -> ConnectionBounds {
        bounds(self.settings.connections, self.settings.connections_per_address)
    }

    fn with_bound_port(&self, configured: &HostPort) -> HostPort {
        let port = if configured.port == 0 { self.port.address().port() } else { configured.port };
        HostPort::new(configured.host.clone(), port)
    }
}

impl fmt::Display for Door {
    /// For the line that says that the node is ready.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} advertised as {}", self.settings.name, self.port.address(), self.advertised())
    }
}

pub(super) fn bounds(total: u32, per_address: u32) -> ConnectionBounds {
    ConnectionBounds { total: total as usize, per_address: per_address as usize }
}

/// Binds the port that a setting names.
pub(super) fn bind(key: &str, address: &HostPort) -> Result<BoundPort, NodeError> {
    let failed = |source| NodeError::Listen { key: key.to_owned(), address: address.clone(), source };
    let mut found = (address.host.as_str(), address.port).to_socket_addrs().map_err(failed)?;
    let socket = found.next().ok_or_else(|| failed(std::io::ErrorKind::AddrNotAvailable.into()))?;
    BoundPort::bind(socket).map_err(failed)
}
