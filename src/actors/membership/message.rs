//! What the registry is told.

use std::{collections::BTreeMap, fmt};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    core::{ConfigOwner, CreatedTopic, NewTopic, TopicRef},
    error::{MembershipError, WriteError},
};
use crate::{
    actors::supervise::Reply,
    config::topic::ConfigChange,
    model::{LeaderEpoch, PartitionId, ProducerId, TopicId},
};

/// Where an answer goes. Holds the request's place in the queue until it has gone.
pub struct Answer<T> {
    reply: Reply<Result<T, MembershipError>>,
    _place: OwnedSemaphorePermit,
}

impl<T> Answer<T> {
    pub(super) fn new(reply: Reply<Result<T, MembershipError>>, place: OwnedSemaphorePermit) -> Self {
        Self { reply, _place: place }
    }

    pub(super) fn send(self, answer: Result<T, MembershipError>) {
        let _asker_may_be_gone = self.reply.send(answer);
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

/// All but the last two come from [`MembershipHandle`](super::MembershipHandle), and each is answered
/// once what it says is on disk and published; a refusal, once what it rests on is.
#[derive(Debug)]
pub enum MembershipMessage {
    /// For `CreateTopics`, and for metadata requests that may create.
    CreateTopic {
        /// What is asked for.
        new: NewTopic,
        /// Whether it is only checked.
        validate_only: bool,
        /// Answered with what was created.
        answer: Answer<CreatedTopic>,
    },
    /// For `CreatePartitions`.
    CreatePartitions {
        /// The topic.
        name: String,
        /// How many there shall be in all.
        count: i32,
        /// Whether it is only checked.
        validate_only: bool,
        /// Answered when done.
        answer: Answer<()>,
    },
    /// For `DeleteTopics`.
    DeleteTopic {
        /// Which.
        which: TopicRef,
        /// Answered with its id.
        answer: Answer<TopicId>,
    },
    /// From whoever has removed the last of a deleted topic's folders.
    PurgeTopic {
        /// Which.
        topic: TopicId,
        /// Answered when it is forgotten.
        answer: Answer<()>,
    },
    /// For `IncrementalAlterConfigs`.
    AlterConfigs {
        /// Whose.
        owner: ConfigOwner,
        /// One after the other, all or none.
        changes: Vec<ConfigChange>,
        /// Whether it is only checked.
        validate_only: bool,
        /// Answered when done.
        answer: Answer<()>,
    },
    /// For `AlterConfigs`.
    ReplaceConfigs {
        /// Whose.
        owner: ConfigOwner,
        /// All that shall be set there.
        configs: BTreeMap<String, String>,
        /// Whether it is only checked.
        validate_only: bool,
        /// Answered when done.
        answer: Answer<()>,
    },
    /// From a replica that is about to open its log for writing (S6).
    OpenEpoch {
        /// Its partition.
        partition: PartitionId,
        /// Answered with an epoch that nobody has had.
        answer: Answer<LeaderEpoch>,
    },
    /// For `InitProducerId`.
    NextProducerId {
        /// Answered with an id that nobody has had.
        answer: Answer<ProducerId>,
    },
    /// From the writer: the group that it was given is on disk, or is not.
    Written(Result<(), WriteError>),
    /// From the writer, when its thread ends.
    WriterEnded,
}

crate::actors::supervise::local_message!(MembershipMessage);
