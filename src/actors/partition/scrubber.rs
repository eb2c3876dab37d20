//! Reads a replica's flushed data in the background, so that rot is found before a reader needs it: a leader's and a
//! follower's.
//!
//! One step at a time, on the blocking pool, at the node's pace: all scrubbers of a node share one
//! permit, so that together they read no faster than one of them may. A corrupt batch is reported once
//! per pass; the replica is told by its log, and mends it where it can.
//!
//! A log that was not closed in order is read first, and faster: what a crash has done to it is to be known soon.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::Semaphore, time::sleep};

use super::{LogReader, PartitionHandle, ReadError};
use crate::{
    actors::supervise::{Actor, ActorProcessingErr, ActorRef},
    metrics::Metrics,
    storage::scrub::{ScrubStep, Scrubber},
};

/// How fast the scrubbers of one node read, all together.
#[derive(Clone, Debug)]
pub struct ScrubPace {
    /// Bytes per second; 0 switches the scrub off.
    pub bytes_per_second: u64,
    /// The rest between the end of a pass over a partition and the next one's beginning.
    pub between_passes: Duration,
    /// Bytes per second of the first pass over a log that was not closed in order; 0: as otherwise.
    after_crash: u64,
    turn: Arc<Semaphore>,
}

impl ScrubPace {
    /// A pace that all scrubbers of one node have to share.
    pub fn new(bytes_per_second: u64, between_passes: Duration) -> Self {
        Self { bytes_per_second, between_passes, after_crash: 0, turn: Arc::new(Semaphore::new(1)) }
    }

    /// The first pass over a log that was not closed in order begins at once, at this pace; 0: it is one like the others.
    #[must_use]
    pub fn after_crash(self, bytes_per_second: u64) -> Self {
        Self { after_crash: bytes_per_second, ..self }
    }

    fn rate(&self, hurries: bool) -> u64 {
        if hurries { self.after_crash.max(self.bytes_per_second) } else { self.bytes_per_second }
    }

    /// A quarter of a second's worth, so that a step is short and a pass makes progress.
    fn step_bytes(&self, hurries: bool) -> u64 {
        (self.rate(hurries) / 4).clamp(64 << 10, 4 << 20)
    }

    /// How long `bytes` are to take.
    fn time_for(&self, bytes: u64, hurries: bool) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.rate(hurries).max(1) as f64)
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

/// Passes over one opening of the log; the next opening's begin anew.
#[derive(Debug)]
struct Pass {
    reader: LogReader,
    scrubber: Scrubber,
    /// It is the first one after a crash.
    hurries: bool,
    has_rested: bool,
}

impl Pass {
    fn of(reader: LogReader, pace: &ScrubPace) -> Self {
        let hurries = pace.after_crash > 0 && reader.was_unclean();
        Self { scrubber: Scrubber::new(reader.clone()), reader, hurries, has_rested: hurries }
    }
}

/// How long is waited at most until it is looked again whether there is a log.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

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
            me.cast(ScrubberMessage::Step)?;
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
        let rest = self.args.pace.between_passes;
        let Some(reader) = self.args.partition.reader() else {
            // Between two roles there is nothing to read.
            me.send_after(rest.min(LOOK_AGAIN), || ScrubberMessage::Step);
            return;
        };
        if self.stepping {
            return;
        }
        let known = self.pass.take().filter(|pass| pass.reader.is_same(&reader));
        let mut pass = known.unwrap_or_else(|| Pass::of(reader, &self.args.pace));
        if !std::mem::replace(&mut pass.has_rested, true) {
            self.pass = Some(pass);
            me.send_after(rest, || ScrubberMessage::Step);
            return;
        }
        self.stepping = true;
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
        let mut pass = stepped.pass;
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
        pass.hurries &= !pass_is_over;
        self.pass = Some(pass);
        let rest = if pass_is_over { self.args.pace.between_passes } else { Duration::ZERO };
        me.send_after(rest, || ScrubberMessage::Step);
    }
}

/// Reads on when it is this scrubber's turn, and keeps the turn for as long as the pace demands.
async fn step(args: ScrubberArgs, mut pass: Pass) -> Option<Stepped> {
    let _turn = args.pace.turn.acquire().await.ok()?;
    let hurries = pass.hurries;
    let budget = args.pace.step_bytes(hurries);
    let reading = args.io.spawn_blocking(move || {
        let result = pass.scrubber.step(budget);
        Stepped { pass, result }
    });
    let stepped = reading.await.ok()?;
    let read = stepped.result.as_ref().map_or(0, |scrubbed| scrubbed.bytes);
    sleep(args.pace.time_for(read, hurries)).await;
    Some(stepped)
}
