//! A leader has what is damaged in its log fetched from its followers.

use std::sync::Arc;

use super::{Leading, LogSlot, Work};
use crate::{
    actors::{
        partition::{
            InCluster, LeaderArgs, LeaderMessage,
            core::PartitionState,
            repair::{Next, RepairMessage, Repairs, Workshop},
        },
        supervise::Address,
    },
    storage::log::Log,
};

/// `None` where nobody else has the partition: then damage is left out at once.
fn begin(args: &LeaderArgs, me: &Address<LeaderMessage>, log: &Log) -> Option<Repairs> {
    let cluster = args.cluster.as_ref().filter(|cluster| cluster.state().replicas.len() > 1);
    let Some(cluster) = cluster else {
        log.set_damage_bell(None);
        return None;
    };
    let to = me.clone();
    let shop = Workshop {
        partition: args.partition.id(),
        label: Arc::clone(&args.label),
        us: cluster.node,
        streams: cluster.streams.clone(),
        io: args.io.clone(),
        metrics: Arc::clone(&args.metrics),
        post: Arc::new(move |message| {
            // A leader that has ended mends nothing; the next role that has the log begins anew.
            let _ = to.cast(LeaderMessage::Repair(message));
        }),
    };
    Some(Repairs::begin(shop, log))
}

impl Leading {
    pub(super) fn begin_repairs(&mut self) {
        if let LogSlot::Here(log) = &self.log {
            self.repairs = begin(&self.args, &self.me, log);
        }
    }

    pub(super) fn on_repair(&mut self, message: RepairMessage) {
        let (LogSlot::Here(log), Some(repairs)) = (&mut self.log, &mut self.repairs) else { return };
        let is_busy = self.under_way.is(Work::Seal) || self.under_way.is(Work::Compaction);
        let (next, has_ended) = match message {
            RepairMessage::Look => {
                let state = self.args.cluster.as_ref().map(InCluster::state).unwrap_or_default();
                repairs.look(log, &state, None);
                (Next::Nothing, false)
            }
            RepairMessage::Asked(asked) => (repairs.on_asked(log, *asked, is_busy), false),
            RepairMessage::Mended(done) => (repairs.on_mended(log, *done), true),
        };
        self.do_next(next);
        if has_ended {
            self.seal();
            self.compact();
        }
    }

    /// Goes on with a repair that waits for a flush, a checkpoint or a pass of compaction.
    pub(super) fn repair(&mut self) {
        let (LogSlot::Here(log), Some(repairs)) = (&mut self.log, &mut self.repairs) else { return };
        let is_busy = self.under_way.is(Work::Seal) || self.under_way.is(Work::Compaction);
        let next = repairs.go_on(log, is_busy);
        self.do_next(next);
    }

    fn do_next(&mut self, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Flush if self.under_way.is(Work::Flush) => {}
            Next::Flush => self.flush(),
            Next::Wake => self.args.partition.slot.wake(),
        }
    }

    pub(super) fn is_mending(&self) -> bool {
        self.repairs.as_ref().is_some_and(Repairs::is_mending)
    }

    /// Who has come into sync may have what the others had not.
    pub(super) fn hope_again(&mut self, state: &PartitionState) {
        let LogSlot::Here(log) = &self.log else { return };
        if self.in_sync != state.in_sync {
            self.in_sync.clone_from(&state.in_sync);
            log.hope_again();
        }
    }
}
