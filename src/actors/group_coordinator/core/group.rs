//! A group, whichever protocol its members speak.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Cx, Image, Now,
    attempts::{Attempts, Share},
    classic::{CONSUMER, Classic},
    consumer::{Consumer, can_become_consumer},
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
    Classic(Box<Classic>),
    /// The coordinator assigns.
    Consumer(Consumer),
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
        let protocol = Protocol::Classic(Box::new(Classic::new(id.clone(), now)));
        let (offsets, attempts) = (Offsets::default(), Attempts::default());
        Self { id, protocol, offsets, attempts, check: None }
    }

    /// Whether nobody is in it or on the way into it.
    pub(super) fn is_empty(&self) -> bool {
        match &self.protocol {
            Protocol::Classic(classic) => classic.is_empty(),
            Protocol::Consumer(consumer) => consumer.members.is_empty(),
        }
    }

    pub(super) fn members(&self) -> usize {
        match &self.protocol {
            Protocol::Classic(classic) => classic.members.len(),
            Protocol::Consumer(consumer) => consumer.members.len(),
        }
    }

    /// Partitions of topics that members subscribe to and that no member owns.
    pub(super) fn unowned(&self) -> usize {
        match &self.protocol {
            Protocol::Classic(classic) => classic.unowned(),
            Protocol::Consumer(consumer) => consumer.unowned(),
        }
    }

    /// Since when it has been empty, if it is and ever was not.
    pub(super) fn empty_since(&self) -> Option<TimestampMs> {
        match &self.protocol {
            Protocol::Classic(classic) => classic.empty_since(),
            Protocol::Consumer(consumer) => consumer.empty_since(),
        }
    }

    /// Whether there is anything of it that a log without it would lack.
    pub(super) fn is_known(&self) -> bool {
        let has_been = match &self.protocol {
            Protocol::Classic(classic) => classic.protocol_type.is_some(),
            Protocol::Consumer(consumer) => consumer.has_been(),
        };
        has_been || !self.is_empty() || self.keeps_anything()
    }

    /// Whether something is kept for members that may come.
    pub(super) fn keeps_anything(&self) -> bool {
        !self.offsets.is_empty() || !self.attempts.is_empty()
    }

    /// What each member owns, where that can be told.
    pub(super) fn shares(&self, image: &Image) -> Vec<Share> {
        match &self.protocol {
            Protocol::Classic(classic) => classic.shares(),
            Protocol::Consumer(consumer) => consumer.shares(image),
        }
    }

    /// The name of its state that clients are told.
    pub(super) fn state(&self) -> &'static str {
        match &self.protocol {
            Protocol::Classic(classic) => classic.state.name(),
            Protocol::Consumer(consumer) => consumer.state(),
        }
    }

    /// The kind of clients in it: `consumer`, `connect` and so on.
    pub(super) fn protocol_type(&self) -> Str {
        match &self.protocol {
            Protocol::Classic(classic) => classic.protocol_type.clone().unwrap_or_default(),
            Protocol::Consumer(_) => Str::from_static(CONSUMER),
        }
    }

    /// Whether its members are consumers, as far as anybody is in it.
    pub(super) fn is_of_consumers(&self) -> bool {
        match &self.protocol {
            Protocol::Classic(classic) => classic.is_of_consumers(),
            Protocol::Consumer(_) => true,
        }
    }

    /// Topics that members consume or are about to, as far as can be told; `None`: it cannot.
    pub(super) fn subscribed_topics(&self, image: &Image) -> Option<BTreeSet<Str>> {
        match &self.protocol {
            Protocol::Classic(classic) => classic.subscribed_topics(),
            Protocol::Consumer(consumer) => Some(consumer.subscribed_topics(image)),
        }
    }

    /// Whether a commit with these marks counts (S21). One by a member of the classic protocol is a sign of life.
    pub(super) fn may_commit(
        &mut self,
        cx: &Cx<'_>,
        member: &Str,
        instance: Option<&Str>,
        generation: i32,
        version: i16,
    ) -> Result<(), ErrorCode> {
        match &mut self.protocol {
            Protocol::Classic(classic) => classic.may_commit(cx, member, instance, generation),
            Protocol::Consumer(consumer) => consumer.may_commit(member, instance, generation, version),
        }
    }

    /// Does what time demands by now.
    pub(super) fn check(&mut self, cx: &mut Cx<'_>) {
        match &mut self.protocol {
            Protocol::Classic(classic) => classic.check(cx),
            Protocol::Consumer(consumer) => consumer.check(cx),
        }
        self.settle(cx);
    }

    /// When time will demand something again, at the earliest.
    pub(super) fn next_check(&self) -> Option<Duration> {
        match &self.protocol {
            Protocol::Classic(classic) => classic.next_check(),
            Protocol::Consumer(consumer) => consumer.next_check(),
        }
    }

    /// When time will demand something of a member that has said nothing but that it lives, or never.
    pub(super) fn due(&self, member: &Str) -> Duration {
        match &self.protocol {
            // Its session ends later than before.
            Protocol::Classic(_) => Duration::MAX,
            Protocol::Consumer(consumer) => consumer.due(member),
        }
    }

    /// The log has been read: members of before have as long as any to say that they live.
    pub(super) fn loaded(&mut self, now: Now) {
        match &mut self.protocol {
            Protocol::Classic(classic) => {
                classic.members.values_mut().for_each(|member| member.heard_of(now.monotonic));
                classic.read_holdings();
            }
            Protocol::Consumer(consumer) => consumer.loaded(),
        }
    }

    /// What takes back all that the log keeps of it, but for its offsets.
    pub(super) fn tombstones(&self) -> Vec<Stored> {
        match &self.protocol {
            Protocol::Classic(classic) => classic.tombstone().into_iter().collect(),
            Protocol::Consumer(consumer) => consumer.tombstones(),
        }
    }

    /// The same group as one of the classic protocol, if it is one or can become one.
    pub(super) fn classic(&mut self, cx: &mut Cx<'_>) -> Option<&mut Classic> {
        if matches!(&self.protocol, Protocol::Consumer(consumer) if consumer.members.is_empty()) {
            self.become_classic(cx);
        }
        match &mut self.protocol {
            Protocol::Classic(classic) => Some(classic),
            Protocol::Consumer(_) => None,
        }
    }

    /// The same group as one whose partitions the coordinator assigns, if it is one or can become one.
    pub(super) fn consumer(&mut self, cx: &mut Cx<'_>) -> Option<&mut Consumer> {
        if let Protocol::Classic(classic) = &mut self.protocol
            && can_become_consumer(classic)
        {
            let classic = std::mem::replace(&mut **classic, Classic::new(self.id.clone(), cx.now.wall));
            self.protocol = Protocol::Consumer(Consumer::of_classic(cx, classic));
        }
        match &mut self.protocol {
            Protocol::Classic(_) => None,
            Protocol::Consumer(consumer) => Some(consumer),
        }
    }

    /// Members have gone: if only those of the classic protocol are left the group is theirs.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>) {
        if matches!(&self.protocol, Protocol::Consumer(consumer) if consumer.is_classic_again()) {
            self.become_classic(cx);
        }
    }

    fn become_classic(&mut self, cx: &mut Cx<'_>) {
        if let Protocol::Consumer(consumer) = &mut self.protocol {
            let consumer = std::mem::replace(consumer, Consumer::new(self.id.clone()));
            self.protocol = Protocol::Classic(Box::new(consumer.into_classic(cx)));
        }
    }
}
