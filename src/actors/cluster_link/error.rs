//! Why another node could not be asked.

use std::{io, time::Duration};

use super::{HandshakeError, RefusalCode, To};
use crate::config::node::HostPort;

/// Where a call is concerned, every one but `Silent`, `Lost` and `Failed` says that the other node has not carried it out.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing listens there, or it cannot be found.
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        /// Where.
        address: HostPort,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing would be proved, and it is another machine.
    #[error(
        "{address} is not on this machine: without --cluster-cookie-file or certificates only nodes of one machine \
         talk to each other"
    )]
    LoopbackOnly {
        /// Where.
        address: HostPort,
    },
    /// The certificates did not suit.
    #[error("TLS with {address} failed: {source}")]
    Tls {
        /// Where.
        address: HostPort,
        /// What is wrong with them.
        source: io::Error,
    },
    /// The handshake came to no good end.
    #[error("{address}: {source}")]
    Handshake {
        /// Where.
        address: HostPort,
        /// Why.
        source: HandshakeError,
    },
    /// Not connected, or not accepted, within the time allowed.
    #[error("{to} did not answer within {after:?}")]
    Silent {
        /// Who.
        to: To,
        /// The time allowed.
        after: Duration,
    },
    /// There is no session now.
    #[error("there is no session with {to}")]
    NotConnected {
        /// Who.
        to: To,
    },
    /// The session ended with the call under way.
    #[error("the session with {to} ended before the answer came")]
    Lost {
        /// Who.
        to: To,
    },
    /// More than a call may carry.
    #[error("{bytes} bytes are more than the {max} that a call carries")]
    TooLarge {
        /// What was to be sent.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// The other node has as many calls of this service under way as it takes.
    #[error("{to} is busy")]
    Busy {
        /// Who.
        to: To,
    },
    /// The other node takes nothing: what waits for the socket is as much as may wait.
    #[error("{to} takes nothing, and too much waits to be sent already")]
    Backlog {
        /// Who.
        to: To,
    },
    /// The other node does not serve this.
    #[error("{to} does not serve {what}")]
    NotServed {
        /// Who.
        to: To,
        /// The service.
        what: String,
    },
    /// The handler there failed, or its answer is of no use.
    #[error("{to} failed: {cause}")]
    Failed {
        /// Who.
        to: To,
        /// How.
        cause: &'static str,
    },
    /// The connection broke.
    #[error("connection with {address} broke: {source}")]
    Broken {
        /// Where.
        address: HostPort,
        /// What the system said.
        source: io::Error,
    },
}

impl LinkError {
    /// The code with which the other node refused us, if it did.
    pub fn refusal(&self) -> Option<RefusalCode> {
        if let Self::Handshake { source: HandshakeError::Refused { refusal, .. }, .. } = self {
            return Some(refusal.code);
        }
        None
    }

    /// Whether nothing listened: the process that did is gone.
    pub fn is_connection_refused(&self) -> bool {
        matches!(self, Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
    }
}
