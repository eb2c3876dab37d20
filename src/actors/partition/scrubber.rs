//! Reads a partition's flushed data in the background, so that rot is found before a reader needs it.
//!
//! One step at a time, on the blocking pool, at the node's pace: all scrubbers of a node share one
//! permit, so that together they read no faster than one of them may. A corrupt batch is reported once
//! per pass; readers skip it by themselves.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::Semaphore, time::sleep};

use super::{PartitionHandle, ReadError};
use crate::{
    actors::supervise::{Actor, ActorProcessingErr, ActorRef},
    metrics::Metrics,
    model::LeaderEpoch,
    storage::scrub::{ScrubStep, Scrubber},
};

/// How fast the scrubbers of one node read, all together.
#[derive(Clone, Debug)]
pub struct ScrubPace {
    /// Bytes per second; 0 switches the scrub off.
    pub bytes_per_second: u64,
    /// The rest between the end of a pass over a partition and the next one's beginning.
    pub between_passes: Duration,
    turn: Arc<Semaphore>,
}

impl ScrubPace {
    /// A pace that all scrubbers of one node have to share.
    pub fn new(bytes_per_second: u64, between_passes: Duration) -> Self {
        Self { bytes_per_second, between_passes, turn: Arc::new(Semaphore::new(1)) }
    }

    /// A quarter of a second's worth, so that a step is short and a pass makes progress.
    fn step_bytes(&self) -> u64 {
        (self.bytes_per_second / 4).clamp(64 << 10, 4 << 20)
    }

    /// How long `bytes` are to take.
    fn time_for(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.max(1) as f64)
    }
}

/// What a scrubber needs.
#[derive(Clone, Debug)]
pub struct ScrubberArgs {
    /// The partition to read.
    pub partition: PartitionHandle,
    /// Its name in logs.
    pub label: Arc<str>,
    /// Where blocking work runs.
    pub io: Handle,
    /// The node's pace.
    pub pace: ScrubPace,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The protocol of [`LogScrubber`].
#[derive(Debug)]
pub enum ScrubberMessage {
    /// Its own timer: read on.
    Step,
    /// The task of a step: what was read.
    Stepped(Box<Stepped>),
}

crate::actors::supervise::local_message!(ScrubberMessage);

/// A step's outcome, with the scrubber to go on with.
#[derive(Debug)]
pub struct Stepped {
    pass: Pass,
    result: Result<ScrubStep, ReadError>,
}

/// A pass over the log of one incarnation of the leader; the next incarnation's begins anew.
#[derive(Debug)]
struct Pass {
    epoch: LeaderEpoch,
    scrubber: Scrubber,
}

/// The actor.
#[derive(Debug)]
pub struct LogScrubber;

/// Its state.
#[derive(Debug)]
pub struct ScrubberState {
    args: ScrubberArgs,
    /// Where the pass stands; lent to the step while it runs.
    pass: Option<Pass>,
    stepping: bool,
}

impl Actor for LogScrubber {
    type Msg = ScrubberMessage;
    type State = ScrubberState;
    type Arguments = ScrubberArgs;

    async fn pre_start(
        &self,
        me: ActorRef<ScrubberMessage>,
        args: ScrubberArgs,
    ) -> Result<ScrubberState, ActorProcessingErr> {
        if args.pace.bytes_per_second > 0 {
            me.send_after(args.pace.between_passes, || ScrubberMessage::Step);
        }
        Ok(ScrubberState { args, pass: None, stepping: false })
    }

    async fn handle(
        &self,
        me: ActorRef<ScrubberMessage>,
        message: ScrubberMessage,
        state: &mut ScrubberState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ScrubberMessage::Step => state.on_step(&me),
            ScrubberMessage::Stepped(stepped) => state.on_stepped(&me, *stepped),
        }
        Ok(())
    }
}

impl ScrubberState {
    fn on_step(&mut self, me: &ActorRef<ScrubberMessage>) {
        let Some(leader) = self.args.partition.leader() else {
            // Between two leaders there is nothing to read.
            me.send_after(self.args.pace.between_passes, || ScrubberMessage::Step);
            return;
        };
        if std::mem::replace(&mut self.stepping, true) {
            return;
        }
        let begin = || Pass { epoch: leader.epoch, scrubber: Scrubber::new(leader.reader.clone()) };
        let pass = self.pass.take().filter(|pass| pass.epoch == leader.epoch).unwrap_or_else(begin);
        let step = step(self.args.clone(), pass);
        let me = me.clone();
        tokio::spawn(async move {
            if let Some(stepped) = step.await {
                let _ = me.cast(ScrubberMessage::Stepped(Box::new(stepped)));
            }
        });
    }

    fn on_stepped(&mut self, me: &ActorRef<ScrubberMessage>, stepped: Stepped) {
        self.stepping = false;
        self.pass = Some(stepped.pass);
        let label = &self.args.label;
        let mut pass_is_over = true;
        match stepped.result {
            Ok(scrubbed) => {
                self.args.metrics.scrubbed_bytes.inc_by(scrubbed.bytes);
                self.args.metrics.corrupt_batches.inc_by(scrubbed.found.len() as u64);
                for batch in &scrubbed.found {
                    tracing::error!(partition = %label, "scrub found a corrupt batch: {batch}");
                }
                for (file, bytes) in &scrubbed.changed {
                    let file = file.display();
                    tracing::error!(partition = %label, "scrub found changed bytes {bytes:?} in {file}");
                }
                pass_is_over = scrubbed.round_ended;
            }
            Err(error) => tracing::warn!(partition = %label, "scrub could not read: {error}"),
        }
        let rest = if pass_is_over { self.args.pace.between_passes } else { Duration::ZERO };
        me.send_after(rest, || ScrubberMessage::Step);
    }
}

/// Reads on when it is this scrubber's turn, and keeps the turn for as long as the pace demands.
async fn step(args: ScrubberArgs, mut pass: Pass) -> Option<Stepped> {
    let _turn = args.pace.turn.acquire().await.ok()?;
    let budget = args.pace.step_bytes();
    let reading = args.io.spawn_blocking(move || {
        let result = pass.scrubber.step(budget);
        Stepped { pass, result }
    });
    let stepped = reading.await.ok()?;
    let read = stepped.result.as_ref().map_or(0, |scrubbed| scrubbed.bytes);
    sleep(args.pace.time_for(read)).await;
    Some(stepped)
}
