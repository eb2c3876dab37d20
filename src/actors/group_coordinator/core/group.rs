//! A group, whichever protocol its members speak.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Cx, Now,
    attempts::{Attempts, Share},
    classic::{CONSUMER, Classic},
    offsets::Offsets,
    stored::Stored,
};
use crate::{
    model::TimestampMs,
    wire::{ErrorCode, Str},
};

/// How members and the coordinator agree on who reads what.
#[derive(Clone, Debug)]
pub(super) enum Protocol {
    /// The members assign among themselves.
    Classic(Classic),
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) id: Str,
    pub(super) protocol: Protocol,
    pub(super) offsets: Offsets,
    pub(super) attempts: Attempts,
    /// When it is to be looked at, as it stands in `Coordinator::checks`.
    pub(super) check: Option<Duration>,
}

impl Group {
    pub(super) fn new(id: Str, now: TimestampMs) -> Self {
        let protocol = Protocol::Classic(Classic::new(id.clone(), now));
        let (offsets, attempts) = (Offsets::default(), Attempts::default());
        Self { id, protocol, offsets, attempts, check: None }
    }

    /// Whether nobody is in it or on the way into it.
    pub(super) fn is_empty(&self) -> bool {
        match &self.protocol {
            Protocol::Classic(classic) => classic.is_empty(),
        }
    }

    pub(super) fn members(&self) -> usize {
        match &self.protocol {
            Protocol::Classic(classic) => classic.members.len(),
        }
    }

    /// Since when it has been empty, if it is and ever was not.
    pub(super) fn empty_since(&self) -> Option<TimestampMs> {
        match &self.protocol {
            Protocol::Classic(classic) => classic.empty_since(),
        }
    }

    /// Whether there is anything of it that a log without it would lack.
    pub(super) fn is_known(&self) -> bool {
        let has_been = match &self.protocol {
            Protocol::Classic(classic) => classic.protocol_type.is_some(),
        };
        has_been || !self.is_empty() || self.keeps_anything()
    }

    /// Whether something is kept for members that may come.
    pub(super) fn keeps_anything(&self) -> bool {
        !self.offsets.is_empty() || !self.attempts.is_empty()
    }

    /// What each member owns, where that can be told.
    pub(super) fn shares(&self) -> Vec<Share> {
        match &self.protocol {
            Protocol::Classic(classic) => classic.shares(),
        }
    }

    /// The name of its state that clients are told.
    pub(super) fn state(&self) -> &'static str {
        match &self.protocol {
            Protocol::Classic(classic) => classic.state.name(),
        }
    }

    /// The kind of clients in it: `consumer`, `connect` and so on.
    pub(super) fn protocol_type(&self) -> Str {
        match &self.protocol {
            Protocol::Classic(classic) => classic.protocol_type.clone().unwrap_or_default(),
        }
    }

    /// Whether its members are consumers, as far as anybody is in it.
    pub(super) fn is_of_consumers(&self) -> bool {
        match &self.protocol {
            Protocol::Classic(classic) => {
                classic.protocol_type.as_ref().is_some_and(|kind| *kind == CONSUMER)
            }
        }
    }

    /// Topics that members consume or are about to, as far as can be told; `None`: it cannot.
    pub(super) fn subscribed_topics(&self) -> Option<BTreeSet<Str>> {
        match &self.protocol {
            Protocol::Classic(classic) => classic.subscribed_topics(),
        }
    }

    /// Whether a commit with these marks counts (S21). One by a member of the classic protocol is a sign of life.
    pub(super) fn may_commit(
        &mut self,
        cx: &Cx<'_>,
        member: &Str,
        instance: Option<&Str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        match &mut self.protocol {
            Protocol::Classic(classic) => classic.may_commit(cx, member, instance, generation),
        }
    }

    /// Does what time demands by now.
    pub(super) fn check(&mut self, cx: &mut Cx<'_>) {
        match &mut self.protocol {
            Protocol::Classic(classic) => classic.check(cx),
        }
    }

    /// When time will demand something again, at the earliest.
    pub(super) fn next_check(&self) -> Option<Duration> {
        match &self.protocol {
            Protocol::Classic(classic) => classic.next_check(),
        }
    }

    /// The log has been read: members of before have as long as any to say that they live.
    pub(super) fn loaded(&mut self, now: Now) {
        match &mut self.protocol {
            Protocol::Classic(classic) => {
                classic.members.values_mut().for_each(|member| member.heard_of(now.monotonic));
            }
        }
    }

    /// What takes back all that the log keeps of it, but for its offsets.
    pub(super) fn tombstones(&self) -> Vec<Stored> {
        match &self.protocol {
            Protocol::Classic(classic) => classic.tombstone().into_iter().collect(),
        }
    }
}
