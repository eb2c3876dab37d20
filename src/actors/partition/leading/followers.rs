//! What a leader does about its followers. It decides nothing: the core does.

use std::mem;

use tokio::sync::oneshot;

use super::{
    super::{
        LeaderMessage,
        cluster::{ClusterMessage, HandedOver},
        core::{
            Carried, Generation, Input, LeaderCore, PartitionState, SetChange, Subscription, Term, Verdict,
        },
        replication::Report,
    },
    Leading, LogSlot, Ticket,
};
use crate::{
    actors::partition::LeaderArgs,
    config::topic::TopicConfig,
    model::{LeaderEpoch, Offset},
    storage::{leader_epochs::EpochStart, log::Log},
};

/// The core of a replica that begins to lead.
pub(super) fn begin_core(
    args: &LeaderArgs,
    config: &TopicConfig,
    (epoch, high_watermark): (LeaderEpoch, Option<Offset>),
    log: &Log,
) -> LeaderCore<Ticket> {
    let cluster = &args.cluster;
    let term = Term {
        node: cluster.node,
        begins: EpochStart { epoch, start: log.log_end_offset() },
        durability: config.durability,
        min_in_sync: config.min_in_sync_replicas as usize,
        partition: cluster.state(),
        lag_time_max: cluster.lag_time_max,
        now: args.clock.monotonic(),
    };
    let known = high_watermark.unwrap_or(Offset::ZERO);
    LeaderCore::lead(term, &carried(log, known))
}

/// What is known of a log.
pub(in crate::actors::partition) fn carried(log: &Log, high_watermark: Offset) -> Carried {
    let (log_start, log_end) = (log.log_start_offset(), log.log_end_offset());
    Carried {
        log_start,
        log_end,
        flushed: log.flushed_end(),
        high_watermark: high_watermark.max(log_start).min(log_end),
        generation: Generation::new(log.generation()),
    }
}

impl Leading {
    pub(super) fn on_cluster(&mut self, message: ClusterMessage) {
        let now = self.args.clock.monotonic();
        match message {
            ClusterMessage::Subscribe { subscription, kept_from, reply } => {
                self.on_subscribe(&subscription, kept_from, reply);
            }
            ClusterMessage::FollowersMoved => self.on_followers_moved(),
            ClusterMessage::Partition(state) => self.on_partition(*state),
            ClusterMessage::Answered { id, answer } => {
                self.core.step(Input::Answered { id, answer, now }, &mut self.effects);
                self.carry_out();
            }
            ClusterMessage::Resign { reply } => self.on_resign(reply),
        }
        if self.core.wants_tick() {
            self.maintain_soon();
        }
    }

    pub(super) fn set_minimum(&mut self, config: &TopicConfig) {
        let minimum = config.min_in_sync_replicas as usize;
        self.core.step(Input::MinInSync(minimum), &mut self.effects);
    }

    fn on_subscribe(&mut self, asked: &Subscription, kept_from: Offset, reply: oneshot::Sender<Verdict>) {
        let LogSlot::Here(log) = &self.log else { return };
        let found = log.reader().epoch_end(asked.last_epoch);
        let now = self.args.clock.monotonic();
        let verdict = self.core.subscribe(asked, found, kept_from, now, &mut self.effects);
        if !matches!(verdict, Verdict::Refused(_)) {
            self.published.leader.set_followed_by(asked.node);
        }
        // A stream that has ended meanwhile says so by itself.
        let _ = reply.send(verdict);
        self.carry_out();
    }

    fn on_followers_moved(&mut self) {
        let now = self.args.clock.monotonic();
        for report in self.published.leader.reports.take() {
            let input = match report {
                Report::Moved(at) => Input::Follower { at, now },
                Report::Silent(node, session) => Input::Silent { node, session },
            };
            self.core.step(input, &mut self.effects);
        }
        self.carry_out();
    }

    fn on_partition(&mut self, state: PartitionState) {
        let now = self.args.clock.monotonic();
        self.hope_again(&state);
        self.core.step(Input::Partition { state, now }, &mut self.effects);
        self.carry_out();
    }

    pub(super) fn tick(&mut self) {
        if self.core.wants_tick() {
            let now = self.args.clock.monotonic();
            self.core.step(Input::Tick { now }, &mut self.effects);
            self.carry_out();
            self.maintain_soon();
        }
    }

    pub(super) fn propose(&self, change: SetChange) {
        let (id, to) = (change.id, self.me.clone());
        let answer = Box::new(move |answer| {
            // A leader that has ended waits for no answer.
            let _ = to.cast(LeaderMessage::Cluster(ClusterMessage::Answered { id, answer }));
        });
        self.args.cluster.proposer.propose(self.args.partition.id(), change, answer);
    }

    /// Nobody is acknowledged any more, and nobody finds a leader here, before the log goes.
    fn on_resign(&mut self, reply: oneshot::Sender<HandedOver>) {
        let LogSlot::Here(mut log) = mem::replace(&mut self.log, LogSlot::Closed) else { return };
        let high_watermark = self.core.resign(&mut self.effects);
        self.carry_out();
        self.published.withdraw();
        log.end_epoch();
        self.me.vitals().set_detail(Some("resigned".to_owned()));
        if let Err(HandedOver { log, .. }) = reply.send(HandedOver { log, high_watermark }) {
            // Nobody wants it: it closes.
            drop(log);
        }
    }
}
