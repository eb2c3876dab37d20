//! The life of a node towards its cluster, without a clock, an actor or a socket.

use std::time::Duration;

use super::{
    NodeAnswer, NodeCommand, NodeCommandError, NodeRegistration,
    controller::NodeCommandError::{
        DuplicateNode, NotNow, OutcomeUnknown, Refused, Superseded, UnknownEpoch,
    },
};
use crate::model::{BootId, BrokerEpoch, NodeId};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct JoiningTiming {
    /// One command.
    pub command_within: Duration,
    /// The first pause after a command that led nowhere; it doubles.
    pub again_after_min: Duration,
    /// The longest pause.
    pub again_after_max: Duration,
    /// How long a duplicate has to be alive to be one: longer than a lease, for a predecessor's has to run out.
    pub patience: Duration,
    /// How often it is said what the node waits for, when it does not change.
    pub say_every: Duration,
}

impl Default for JoiningTiming {
    fn default() -> Self {
        Self {
            command_within: Duration::from_secs(5),
            again_after_min: Duration::from_millis(50),
            again_after_max: Duration::from_secs(1),
            patience: Duration::from_secs(5),
            say_every: Duration::from_secs(10),
        }
    }
}

/// What the image of this node's quorum says about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OurImage {
    /// The entry up to which the image goes.
    pub index: u64,
    /// Our registration, if there is one.
    pub broker: Option<OurBroker>,
    /// How many partitions we lead that another live member of their in-sync sets could lead.
    pub movable_leaders: usize,
}

/// A registration under our node id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OurBroker {
    /// By which start.
    pub boot: BootId,
    /// The registration.
    pub epoch: BrokerEpoch,
    /// Whether it may not lead.
    pub fenced: bool,
    /// Whether it is about to stop.
    pub stopping: bool,
}

/// What happens to the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The outcome of a command.
    Answered(u64, Result<NodeAnswer, NodeCommandError>),
    /// What the image says now.
    Image(OurImage),
    /// All replicas that this node keeps are open, or have said why they are not.
    ReplicasOpened,
    /// The controller has answered a heartbeat: it knows no such registration.
    UnknownToController(BrokerEpoch),
    /// The node is to stop, and may take this long to move its leaders.
    Stop(Duration),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send it to the controller, and bring the answer back under this number.
    Command(u64, NodeCommand, Duration),
    /// The image has reached this node's registration: from now on it says what the node keeps (S12). Said once.
    Reconcile,
    /// Heartbeats carry this from now on.
    Beat {
        /// The registration.
        broker_epoch: BrokerEpoch,
        /// Whether the node is about to stop.
        stopping: bool,
    },
    /// Whether the node serves has changed.
    Serves(bool),
    /// To be logged.
    Say(String),
    /// The node cannot go on; end with this message.
    GiveUp(LeaveError),
    /// The leaders are gone, or the time is over: the node may stop.
    MayStop,
}

/// Why a node has no place in its cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaveError {
    /// There are two nodes of this id.
    #[error("node id {0} is taken: a node that is alive is registered under it")]
    DuplicateNode(NodeId),
    /// A later start has taken our place.
    #[error("another process has been started as node {0}, and has taken this one's place")]
    Superseded(NodeId),
    /// The controller refuses us for good.
    #[error("the controller refuses this node: {0}")]
    Refused(String),
}

/// A node on its way into the cluster, in it, and out of it.
#[derive(Clone, Debug)]
pub struct Joining {
    us: NodeRegistration,
    timing: JoiningTiming,
    image: OurImage,
    /// By which registration, and the entry that has it.
    registered: Option<(BrokerEpoch, u64)>,
    are_replicas_open: bool,
    /// The entry by which this registration was let lead.
    ready_at: Option<u64>,
    has_reconciled: bool,
    serves: bool,
    stop: Stop,
    out: Option<(u64, Kind, Duration)>,
    next_id: u64,
    failures: u32,
    not_before: Duration,
    duplicate_since: Option<Duration>,
    trouble: Option<String>,
    said: Option<(String, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    /// `known_at`: the entry that says that the node is about to stop.
    Until {
        deadline: Duration,
        known_at: Option<u64>,
    },
    Done,
    GivenUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Register,
    Ready,
    Stopping,
}

impl Joining {
    /// A node that has just become, or is, a member of the quorum.
    pub fn new(us: NodeRegistration, timing: JoiningTiming) -> Self {
        Self {
            us,
            timing,
            image: OurImage::default(),
            registered: None,
            are_replicas_open: false,
            ready_at: None,
            has_reconciled: false,
            serves: false,
            stop: Stop::No,
            out: None,
            next_id: 0,
            failures: 0,
            not_before: Duration::ZERO,
            duplicate_since: None,
            trouble: None,
            said: None,
        }
    }

    /// Takes an input at a monotonic time, and says what is to be done.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        if matches!(self.stop, Stop::Done | Stop::GivenUp) {
            return effects;
        }
        self.take(now, input, &mut effects);
        self.forget_late_command(now);
        self.look_at_image(&mut effects);
        self.command(now, &mut effects);
        self.stop_if_free(now, &mut effects);
        self.say(now, &mut effects);
        effects
    }

    /// When to come back at the latest.
    pub fn next_wake(&self, now: Duration) -> Option<Duration> {
        let stop = match self.stop {
            Stop::No => None,
            Stop::Until { deadline, .. } => Some(deadline),
            Stop::Done | Stop::GivenUp => return None,
        };
        let command = match (&self.out, self.due()) {
            (Some((_, _, since)), _) => Some(*since + self.lost_after()),
            (None, Some(_)) => Some(self.not_before),
            (None, None) => None,
        };
        let said = self.said.as_ref().map(|(_, at)| *at + self.timing.say_every);
        [stop, command, said].into_iter().flatten().min().map(|at| at.max(now))
    }

    /// What the node waits for; `None` once it serves.
    pub fn waits_for(&self) -> Option<String> {
        let (what, of) = match self.registered {
            _ if self.serves && self.stop == Stop::No => return None,
            _ if self.stop != Stop::No => ("its leaders to move", self.image.movable_leaders.to_string()),
            None => ("its registration", format!("node {}", self.us.node)),
            Some((_, index)) if !self.has_reconciled => {
                ("the metadata of its registration", format!("entry {index}, at {}", self.image.index))
            }
            Some(_) if !self.are_replicas_open => ("its replicas to open", format!("node {}", self.us.node)),
            Some(_) => ("the controller to let it lead", format!("node {}", self.us.node)),
        };
        let trouble = self.trouble.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        Some(format!("waiting for {what} ({of}){trouble}"))
    }

    fn take(&mut self, now: Duration, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Answered(id, outcome) => self.on_answered(now, id, outcome, effects),
            Input::Image(image) if image.index >= self.image.index => self.image = image,
            Input::Tick | Input::Image(_) => {}
            Input::ReplicasOpened => self.are_replicas_open = true,
            Input::UnknownToController(epoch) => {
                if self.registered.is_some_and(|(ours, _)| ours == epoch) {
                    self.register_again(effects);
                }
            }
            Input::Stop(within) => {
                if self.stop == Stop::No {
                    self.stop = Stop::Until { deadline: now + within, known_at: None };
                    // What was asked before is of no use any more, and would hold this up.
                    self.out = None;
                    self.failures = 0;
                    self.not_before = now;
                    self.beat(effects);
                }
            }
        }
    }

    fn on_answered(
        &mut self,
        now: Duration,
        id: u64,
        outcome: Result<NodeAnswer, NodeCommandError>,
        effects: &mut Vec<Effect>,
    ) {
        let Some((_, kind, _)) = self.out.take_if(|(out, ..)| *out == id) else { return };
        match outcome {
            Ok(answer) => self.on_done(kind, answer, effects),
            Err(error) => self.on_error(now, &error, effects),
        }
    }

    fn on_done(&mut self, kind: Kind, answer: NodeAnswer, effects: &mut Vec<Effect>) {
        (self.failures, self.trouble, self.duplicate_since) = (0, None, None);
        self.not_before = Duration::ZERO;
        match (kind, answer) {
            (Kind::Register, NodeAnswer::Registered { broker_epoch, index }) => {
                self.on_registered(broker_epoch, index, effects);
            }
            (Kind::Ready, NodeAnswer::Done { index }) => self.ready_at = Some(index),
            (Kind::Stopping, NodeAnswer::Done { index }) => {
                if let Stop::Until { known_at, .. } = &mut self.stop {
                    *known_at = Some(index);
                }
            }
            // An answer to another question says nothing, and the question is asked again.
            (Kind::Register, NodeAnswer::Done { .. })
            | (Kind::Ready | Kind::Stopping, NodeAnswer::Registered { .. }) => {}
        }
    }

    fn on_registered(&mut self, epoch: BrokerEpoch, index: u64, effects: &mut Vec<Effect>) {
        if self.registered.is_none_or(|(before, _)| before != epoch) {
            (self.registered, self.ready_at) = (Some((epoch, index)), None);
            self.beat(effects);
        }
    }

    fn on_error(&mut self, now: Duration, error: &NodeCommandError, effects: &mut Vec<Effect>) {
        self.trouble = Some(error.to_string());
        self.pause(now);
        let is_duplicate = matches!(error, DuplicateNode(_));
        self.duplicate_since = self.duplicate_since.or(Some(now)).filter(|_| is_duplicate);
        match error {
            DuplicateNode(node) => {
                if self.duplicate_since.is_some_and(|since| now >= since + self.timing.patience) {
                    self.give_up(LeaveError::DuplicateNode(*node), effects);
                }
            }
            Superseded(node) => self.give_up(LeaveError::Superseded(*node), effects),
            Refused(why) => self.give_up(LeaveError::Refused(why.clone()), effects),
            UnknownEpoch => self.register_again(effects),
            NotNow(_) | OutcomeUnknown => {}
        }
    }

    fn pause(&mut self, now: Duration) {
        let doubled = self.timing.again_after_min.saturating_mul(1 << self.failures.min(16));
        self.not_before = now + doubled.min(self.timing.again_after_max);
        self.failures = self.failures.saturating_add(1);
    }

    /// Who is not registered leads nothing.
    fn register_again(&mut self, effects: &mut Vec<Effect>) {
        (self.registered, self.ready_at) = (None, None);
        self.set_serves(false, effects);
    }

    fn give_up(&mut self, why: LeaveError, effects: &mut Vec<Effect>) {
        self.set_serves(false, effects);
        self.stop = Stop::GivenUp;
        effects.push(Effect::GiveUp(why));
    }

    fn beat(&self, effects: &mut Vec<Effect>) {
        if let Some((broker_epoch, _)) = self.registered {
            effects.push(Effect::Beat { broker_epoch, stopping: self.stop != Stop::No });
        }
    }

    fn set_serves(&mut self, serves: bool, effects: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.serves, serves) != serves {
            effects.push(Effect::Serves(serves));
        }
    }

    /// Whoever carries the commands answers in time; should an answer be lost all the same, its outcome is unknown.
    fn forget_late_command(&mut self, now: Duration) {
        if self.out.is_some_and(|(_, _, since)| now >= since + self.lost_after()) {
            self.out = None;
            self.trouble = Some(OutcomeUnknown.to_string());
            self.pause(now);
        }
    }

    fn lost_after(&self) -> Duration {
        self.timing.command_within * 2
    }

    fn look_at_image(&mut self, effects: &mut Vec<Effect>) {
        let Some(broker) = self.image.broker else { return };
        if self.stop == Stop::GivenUp {
            return;
        }
        if broker.boot != self.us.boot {
            // Before our own registration it is a predecessor's.
            if self.registered.is_some_and(|(_, index)| self.image.index >= index) {
                self.give_up(LeaveError::Superseded(self.us.node), effects);
            }
            return;
        }
        // The answer to our registration may have been lost; the image has it all the same. An image from before our
        // registration was forgotten says the same and does no harm: registering is what comes next then.
        if self.registered.is_none() && !self.has_reconciled {
            self.on_registered(broker.epoch, self.image.index, effects);
        }
        let Some((epoch, index)) = self.registered else { return };
        if self.image.index < index || broker.epoch != epoch {
            return;
        }
        if !std::mem::replace(&mut self.has_reconciled, true) {
            effects.push(Effect::Reconcile);
        }
        // Fenced again, after a silence of ours: the replicas are as open as they were.
        if broker.fenced && self.ready_at.is_some_and(|at| self.image.index >= at) {
            self.ready_at = None;
        }
        self.set_serves(!broker.fenced, effects);
    }

    /// The command that is to be sent, if any.
    fn due(&self) -> Option<Kind> {
        match (self.stop, self.registered) {
            (Stop::Done | Stop::GivenUp, _) | (Stop::Until { .. }, None) => None,
            (Stop::Until { known_at, .. }, Some(_)) => known_at.is_none().then_some(Kind::Stopping),
            (Stop::No, None) => Some(Kind::Register),
            (Stop::No, Some(_)) => {
                let can_lead = self.has_reconciled && self.are_replicas_open;
                (can_lead && !self.serves && self.ready_at.is_none()).then_some(Kind::Ready)
            }
        }
    }

    fn command(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let Some(kind) = self.due().filter(|_| self.out.is_none() && now >= self.not_before) else { return };
        let node = self.us.node;
        let command = match (kind, self.registered) {
            (Kind::Ready, Some((broker_epoch, _))) => NodeCommand::Ready { node, broker_epoch },
            (Kind::Stopping, Some((broker_epoch, _))) => NodeCommand::Stopping { node, broker_epoch },
            (Kind::Register | Kind::Ready | Kind::Stopping, _) => NodeCommand::Register(self.us.clone()),
        };
        self.next_id += 1;
        self.out = Some((self.next_id, kind, now));
        effects.push(Effect::Command(self.next_id, command, self.timing.command_within));
    }

    fn stop_if_free(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let Stop::Until { deadline, known_at } = self.stop else { return };
        let is_known = known_at.is_some_and(|at| self.image.index >= at);
        let is_free = self.registered.is_none() || (is_known && self.image.movable_leaders == 0);
        if !is_free && now < deadline {
            return;
        }
        if !is_free {
            let left = self.image.movable_leaders;
            effects
                .push(Effect::Say(format!("stopping though {left} partitions are still led by this node")));
        }
        self.stop = Stop::Done;
        self.set_serves(false, effects);
        effects.push(Effect::MayStop);
    }

    fn say(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let Some(sentence) = self.waits_for().filter(|_| !matches!(self.stop, Stop::Done | Stop::GivenUp))
        else {
            self.said = None;
            return;
        };
        let is_due = self
            .said
            .as_ref()
            .is_none_or(|(before, at)| *before != sentence || now >= *at + self.timing.say_every);
        if is_due {
            self.said = Some((sentence.clone(), now));
            effects.push(Effect::Say(sentence));
        }
    }
}
