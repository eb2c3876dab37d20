//! A member of a group of the classic protocol.

use std::time::Duration;

use bytes::Bytes;

use super::{Ticket, stored::ClassicMemberValue};
use crate::wire::{Str, api::join_group::JoinGroupRequestProtocol};

/// A protocol that a member speaks, with what it tells whoever assigns.
pub(super) type Protocols = Vec<(Str, Bytes)>;

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) instance_id: Option<Str>,
    pub(super) client_id: Str,
    pub(super) client_host: Str,
    pub(super) rebalance_timeout: Duration,
    pub(super) session_timeout: Duration,
    /// The best first.
    pub(super) protocols: Protocols,
    pub(super) assignment: Bytes,
    /// It waits for the others to join.
    pub(super) joining: Option<Ticket>,
    /// It waits for its assignment.
    pub(super) syncing: Option<Ticket>,
    /// It was told of a generation whose assignment it has not asked for yet.
    pub(super) owes_sync: bool,
    /// It was told of a generation that it is in; one that is new still waits for its first.
    pub(super) let_in: bool,
    /// When it counts as dead, unless it waits for us.
    pub(super) deadline: Duration,
}

impl Member {
    pub(super) fn heard_of(&mut self, now: Duration) {
        self.deadline = now.saturating_add(self.session_timeout);
    }

    /// Whoever waits for an answer of ours is not late with a heartbeat.
    pub(super) fn waits(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }

    pub(super) fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    pub(super) fn metadata(&self, protocol: &Str) -> Bytes {
        let of = self.protocols.iter().find(|(name, _)| name == protocol);
        of.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    pub(super) fn speaks(&self, protocol: &Str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    pub(super) fn value(&self, id: &Str, protocol: Option<&Str>) -> ClassicMemberValue {
        ClassicMemberValue {
            member_id: id.clone(),
            group_instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout: millis(self.rebalance_timeout),
            session_timeout: millis(self.session_timeout),
            subscription: protocol.map(|protocol| self.metadata(protocol)).unwrap_or_default(),
            assignment: self.assignment.clone(),
        }
    }

    /// A member of before this coordinator began; it is as if it had been heard of just now.
    pub(super) fn of_value(value: &ClassicMemberValue, protocol: Option<&Str>) -> Self {
        let protocols = protocol.map(|name| (own(name), own_bytes(&value.subscription)));
        Self {
            instance_id: value.group_instance_id.as_ref().map(own),
            client_id: own(&value.client_id),
            client_host: own(&value.client_host),
            rebalance_timeout: duration(value.rebalance_timeout),
            session_timeout: duration(value.session_timeout),
            protocols: protocols.into_iter().collect(),
            assignment: own_bytes(&value.assignment),
            joining: None,
            syncing: None,
            owes_sync: false,
            let_in: true,
            deadline: Duration::MAX,
        }
    }
}

/// A copy that does not keep the request's frame in memory.
pub(super) fn own(text: &Str) -> Str {
    Str::from(text.as_str())
}

pub(super) fn own_bytes(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

pub(super) fn own_protocols(protocols: &[JoinGroupRequestProtocol]) -> Protocols {
    protocols.iter().map(|protocol| (own(&protocol.name), own_bytes(&protocol.metadata))).collect()
}

pub(super) fn duration(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

pub(super) fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
