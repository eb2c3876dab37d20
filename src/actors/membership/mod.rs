//! The membership registry: the one actor that changes what the cluster knows.
//!
//! Topics, configs, leader epochs and producer ids are decided here, written to the metadata log, and
//! published as an image that everyone else only reads. On one node the log is local; a quorum will
//! replicate the same records behind the same state machine.
//!
//! **Invariants.**
//! - Nothing is answered or published before it is on disk. A refusal rests on what is on disk too: it
//!   waits for what was pending when it was decided.
//! - An epoch, a producer id and a topic id are handed out once, whatever is killed when (S6).
//! - No handler waits for the disk. A writer thread owns the log; one group of records is written at
//!   a time with one sync, and what is asked meanwhile is the next group.
//! - A failed write or sync ends the registry, and the next one reads the log again. A full disk does
//!   not: what was asked is refused, and nothing has changed.

mod core;
mod error;
pub mod formation;
pub mod forward;
mod handle;
pub mod joining;
pub mod member;
mod message;
pub mod offline;
pub mod quorum;
pub mod registry;
pub mod voters;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use tokio::sync::watch;

pub use self::core::{
    Applied, ApplyError, Assignment, BrokerImage, CLUSTER_LISTENER, Command, CommandAnswer, ConfigOwner,
    Controller, CreatedTopic, Decision, DeletedTopic, Elections, Endpoint, FEATURE_LEVEL, GroupConfigs,
    InSyncChange, MetadataImage, MetadataRecord, NOBODY, NewTopic, PARTITIONS_MAX, PREFERRED_MAX,
    PRODUCER_ID_BLOCK, PartitionImage, Proposal, Proposed, Refusal, Registration as BrokerRegistration,
    Rules, TopicImage, TopicRef, Uncertain, WrongChange, decide,
};
use self::{
    core::{ProposeError, Registry},
    error::Fault,
    message::Answer,
    writer::{Place, Told, Writer},
};
pub use self::{
    error::{MembershipError, StartupError, WriteError},
    handle::MembershipHandle,
    message::MembershipMessage,
    writer::{LOGS_DIR, METADATA_DIR, Registration},
};
use crate::{
    actors::supervise::{Actor, ActorProcessingErr, ActorRef, Address, ChildSpec, Placement, Slot, Vitals},
    model::ProducerId,
    storage::{fs::Fs, metadata_log::AppendError},
};

/// What a registry stands on.
#[derive(Clone, Debug)]
pub struct MembershipArgs {
    /// The file system.
    pub fs: Arc<dyn Fs>,
    /// The node's data folder, which exists: the log is in `meta`, partitions are in `logs`.
    pub data_dir: PathBuf,
    /// Who this broker is.
    pub registration: Registration,
    /// What commands are decided by.
    pub rules: Rules,
}

/// The registry as the child of a supervisor, and the handle that reaches it over all its restarts.
pub fn membership(name: &str, place: Placement, args: MembershipArgs) -> (MembershipHandle, ChildSpec) {
    let slot = Slot::new();
    let (published, image) = watch::channel(Arc::new(MetadataImage::default()));
    let (published, had_by_us) = (Arc::new(published), Arc::new(AtomicBool::new(false)));
    let spec = ChildSpec::actor(name, place, slot.clone(), move |vitals| {
        let place = Place {
            fs: Arc::clone(&args.fs),
            data_dir: args.data_dir.clone(),
            registration: args.registration.clone(),
            had_by_us: Arc::clone(&had_by_us),
        };
        let rules = args.rules.clone();
        (MembershipRegistry, IncarnationArgs { place, rules, published: Arc::clone(&published), vitals })
    });
    (MembershipHandle::new(slot, image), spec)
}

/// The actor; made by [`membership`].
#[derive(Clone, Copy, Debug)]
pub struct MembershipRegistry;

/// What an incarnation is started with.
pub struct IncarnationArgs {
    place: Place,
    rules: Rules,
    published: Arc<watch::Sender<Arc<MetadataImage>>>,
    vitals: Arc<Vitals>,
}

/// Told whether what an answer rests on is on disk.
type Waiter = Box<dyn FnOnce(Result<(), MembershipError>) + Send>;

/// The state of an incarnation.
pub struct MembershipState {
    registry: Registry,
    writer: Writer,
    published: Arc<watch::Sender<Arc<MetadataImage>>>,
    /// Who waits for the group that is being written.
    in_flight: Vec<Waiter>,
    /// Who waits for the group that is being filled.
    queued: Vec<Waiter>,
    ids_wanted: VecDeque<Answer<ProducerId>>,
}

impl Actor for MembershipRegistry {
    type Msg = MembershipMessage;
    type State = MembershipState;
    type Arguments = IncarnationArgs;

    async fn pre_start(
        &self,
        me: ActorRef<MembershipMessage>,
        args: IncarnationArgs,
    ) -> Result<MembershipState, ActorProcessingErr> {
        let me = ToRegistry(Address::new(me, args.vitals));
        let (writer, image) = writer::start(args.place, me).await?;
        args.published.send_replace(Arc::clone(&image));
        Ok(MembershipState {
            registry: Registry::new(args.rules, image),
            writer,
            published: args.published,
            in_flight: Vec::new(),
            queued: Vec::new(),
            ids_wanted: VecDeque::new(),
        })
    }

    async fn handle(
        &self,
        _me: ActorRef<MembershipMessage>,
        message: MembershipMessage,
        state: &mut MembershipState,
    ) -> Result<(), ActorProcessingErr> {
        state.on_message(message)?;
        Ok(())
    }

    async fn post_stop(
        &self,
        _me: ActorRef<MembershipMessage>,
        state: &mut MembershipState,
    ) -> Result<(), ActorProcessingErr> {
        state.writer.close().await;
        Ok(())
    }
}

/// How the writer's thread speaks to the incarnation that started it, and to no other.
struct ToRegistry(Address<MembershipMessage>);

impl Told for ToRegistry {
    fn written(&self, outcome: Result<(), WriteError>) {
        let _may_have_ended = self.0.cast(MembershipMessage::Written(outcome));
    }

    fn ended(&self) {
        let _may_have_ended = self.0.cast(MembershipMessage::WriterEnded);
    }
}

impl MembershipState {
    fn on_message(&mut self, message: MembershipMessage) -> Result<(), Fault> {
        match message {
            MembershipMessage::CreateTopic { new, validate_only, answer } => {
                let outcome = self.registry.create_topic(&new, validate_only);
                self.answer_once_durable(outcome, answer)?;
            }
            MembershipMessage::CreatePartitions { name, count, validate_only, answer } => {
                let outcome = self.registry.create_partitions(&name, count, validate_only);
                self.answer_once_durable(outcome, answer)?;
            }
            MembershipMessage::DeleteTopic { which, answer } => {
                let outcome = self.registry.delete_topic(&which);
                self.answer_once_durable(outcome, answer)?;
            }
            MembershipMessage::PurgeTopic { topic, answer } => {
                let outcome = self.registry.purge_topic(topic);
                self.answer_once_durable(outcome, answer)?;
            }
            MembershipMessage::AlterConfigs { owner, changes, validate_only, answer } => {
                let outcome = self.registry.alter_configs(&owner, &changes, validate_only);
                self.answer_once_durable(outcome, answer)?;
            }
            MembershipMessage::ReplaceConfigs { owner, configs, validate_only, answer } => {
                let outcome = self.registry.replace_configs(&owner, &configs, validate_only);
                self.answer_once_durable(outcome, answer)?;
            }
            MembershipMessage::OpenEpoch { partition, answer } => {
                let outcome = self.registry.open_epoch(partition);
                self.answer_once_durable(outcome, answer)?;
            }
            MembershipMessage::NextProducerId { answer } => self.on_next_producer_id(answer)?,
            MembershipMessage::Written(outcome) => self.on_written(outcome)?,
            MembershipMessage::WriterEnded => return Err(Fault::WriterEnded),
        }
        self.write_next()
    }

    fn on_next_producer_id(&mut self, answer: Answer<ProducerId>) -> Result<(), Fault> {
        self.ids_wanted.push_back(answer);
        self.give_producer_ids()
    }

    fn on_written(&mut self, outcome: Result<(), WriteError>) -> Result<(), Fault> {
        match outcome {
            Ok(()) => {
                self.registry.on_committed();
                self.published.send_replace(Arc::clone(self.registry.committed()));
                tell_all(self.in_flight.drain(..), &Ok(()));
                self.give_producer_ids()
            }
            Err(WriteError::Append(AppendError::Full)) => {
                tracing::warn!("metadata was not written: the disk is full");
                self.registry.on_not_written();
                let refused = Err(MembershipError::StorageFull);
                tell_all(self.in_flight.drain(..).chain(self.queued.drain(..)), &refused);
                self.ids_wanted.drain(..).for_each(|wanted| wanted.send(Err(MembershipError::StorageFull)));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// As many as there are; another block for those who get none.
    fn give_producer_ids(&mut self) -> Result<(), Fault> {
        while !self.ids_wanted.is_empty() {
            let Some(id) = self.registry.take_producer_id() else {
                return match self.registry.propose_producer_ids() {
                    Ok(()) => Ok(()),
                    Err(ProposeError::Broken(error)) => Err(error.into()),
                    Err(ProposeError::Refused(refusal)) => {
                        let refused = |wanted: Answer<_>| wanted.send(Err(refusal.clone().into()));
                        self.ids_wanted.drain(..).for_each(refused);
                        Ok(())
                    }
                };
            };
            if let Some(wanted) = self.ids_wanted.pop_front() {
                wanted.send(Ok(id));
            }
        }
        Ok(())
    }

    /// The answer waits for everything that was proposed up to now: it may rest on any of it.
    fn answer_once_durable<T: Send + 'static>(
        &mut self,
        outcome: Result<T, ProposeError>,
        answer: Answer<T>,
    ) -> Result<(), Fault> {
        let outcome = match outcome {
            Ok(value) => Ok(value),
            Err(ProposeError::Refused(refusal)) => Err(refusal.into()),
            Err(ProposeError::Broken(error)) => return Err(error.into()),
        };
        let waiter: Waiter = Box::new(move |durable| answer.send(durable.and(outcome)));
        if self.registry.has_queued() {
            self.queued.push(waiter);
        } else if self.registry.is_writing() {
            self.in_flight.push(waiter);
        } else {
            waiter(Ok(()));
        }
        Ok(())
    }

    fn write_next(&mut self) -> Result<(), Fault> {
        let Some(group) = self.registry.next_group() else { return Ok(()) };
        self.in_flight = std::mem::take(&mut self.queued);
        if self.writer.write(group) { Ok(()) } else { Err(Fault::WriterEnded) }
    }
}

fn tell_all(waiters: impl Iterator<Item = Waiter>, durable: &Result<(), MembershipError>) {
    waiters.for_each(|waiter| waiter(durable.clone()));
}
