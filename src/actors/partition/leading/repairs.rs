//! A leader has what is damaged in its log fetched from its followers.

use std::sync::Arc;

use super::{Leading, LogSlot, Work};
use crate::{
    actors::{
        partition::{
            LeaderArgs, LeaderMessage,
            core::PartitionState,
            repair::{Next, RepairMessage, Repairs, Workshop},
        },
        supervise::Address,
    },
    storage::log::Log,
};

pub(super) fn begin(args: &LeaderArgs, me: &Address<LeaderMessage>, log: &Log) -> Repairs {
    let cluster = &args.cluster;
    let shop = Workshop {
        partition: args.partition.id(),
        label: Arc::clone(&args.label),
        us: cluster.node,
        streams: cluster.streams.clone(),
        io: args.io.clone(),
        metrics: Arc::clone(&args.metrics),
    };
    Repairs::begin(shop, log, &cluster.state(), (me, LeaderMessage::Repair))
}

impl Leading {
    pub(super) fn on_repair(&mut self, message: RepairMessage) {
        let LogSlot::Here(log) = &mut self.log else { return };
        let is_busy = self.under_way.changes_files();
        let (next, has_ended) = match message {
            RepairMessage::Look => {
                self.repairs.look(log, &self.args.cluster.state(), None);
                (Next::Nothing, false)
            }
            RepairMessage::Asked(asked) => (self.repairs.on_asked(log, *asked, is_busy), false),
            RepairMessage::Mended(done) => (self.repairs.on_mended(log, *done), true),
        };
        self.do_next(next);
        if has_ended {
            self.seal();
            self.compact();
        }
    }

    /// Goes on with a repair that waits for a flush, a checkpoint or a pass of compaction.
    pub(super) fn repair(&mut self) {
        let LogSlot::Here(log) = &mut self.log else { return };
        let next = self.repairs.go_on(log, self.under_way.changes_files());
        self.do_next(next);
    }

    fn do_next(&mut self, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Flush if self.under_way.is(Work::Flush) => {}
            Next::Flush => self.flush(&self.args.io.clone()),
            Next::Wake => self.args.partition.slot.wake(),
        }
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
