//! A follower has what is damaged in its log fetched from its leader, or from others that are in sync.

use std::sync::Arc;

use super::{
    FollowerArgs, FollowerMessage,
    following::{FollowerFault, Following, LogSlot},
};
use crate::{
    actors::{
        partition::repair::{Next, RepairMessage, Repairs, Workshop},
        supervise::Address,
    },
    storage::log::Log,
};

pub(super) fn begin(args: &FollowerArgs, me: &Address<FollowerMessage>, log: &Log) -> Repairs {
    let shop = Workshop {
        partition: args.partition.id(),
        label: Arc::clone(&args.label),
        us: args.node,
        streams: args.streams.clone(),
        io: args.io.clone(),
        metrics: Arc::clone(&args.metrics),
    };
    Repairs::begin(shop, log, &args.state(), (me, FollowerMessage::Repair))
}

impl Following {
    pub(super) fn on_repair(&mut self, message: RepairMessage) -> Result<(), FollowerFault> {
        let LogSlot::Here(log) = &mut self.log else { return Ok(()) };
        let is_busy = self.under_way.changes_files();
        let (next, has_ended) = match message {
            RepairMessage::Look => {
                self.repairs.look(log, &self.args.state(), self.core.leader());
                (Next::Nothing, false)
            }
            RepairMessage::Asked(asked) => (self.repairs.on_asked(log, *asked, is_busy), false),
            RepairMessage::Mended(done) => (self.repairs.on_mended(log, *done), true),
        };
        self.do_next(next);
        if has_ended {
            // What waited for the files.
            self.on_apply_retention()?;
            self.seal();
        }
        Ok(())
    }

    /// Goes on with a repair that waits for a flush, a checkpoint or a pass of compaction.
    pub(super) fn repair(&mut self) {
        let LogSlot::Here(log) = &mut self.log else { return };
        let next = self.repairs.go_on(log, self.under_way.changes_files());
        self.do_next(next);
    }

    fn do_next(&mut self, next: Next) {
        // Nobody waits at a follower's damage.
        if next == Next::Flush && !self.under_way.flush {
            self.flush(&self.args.upkeep.flushes.clone());
        }
    }
}
