//! Folders of deleted topics on their way out: a topic with many partitions takes seconds, for which nobody else waits.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::task::{self, JoinError, JoinSet};

use super::PartitionsArgs;
use crate::{
    actors::membership::{DeletedTopic, MembershipError},
    model::{PartitionId, PartitionIndex, TopicId},
    storage::partition_folder,
};

/// Why a topic that is to go is still there. The next look tries again.
#[derive(Debug, thiserror::Error)]
enum PurgeError {
    #[error(transparent)]
    Folder(#[from] partition_folder::FolderError),
    #[error("deleting thread ended: {0}")]
    Thread(#[from] JoinError),
    #[error(transparent)]
    Membership(#[from] MembershipError),
}

/// What has come of one; what went wrong, for the log.
pub(super) type Purged = Result<(), String>;

/// Topics that are being deleted.
#[derive(Debug, Default)]
pub(super) struct Purging {
    tasks: JoinSet<Purged>,
    by_task: HashMap<task::Id, TopicId>,
    /// Those that could not be deleted when that was last tried.
    failed: HashSet<TopicId>,
}

impl Purging {
    /// Begins, unless it has.
    pub(super) fn begin(&mut self, args: &PartitionsArgs, topic: TopicId, deleted: DeletedTopic) {
        if self.by_task.values().any(|purged| *purged == topic) {
            return;
        }
        let (args, name) = (args.clone(), deleted.name.clone());
        let task = self.tasks.spawn(async move {
            let outcome = purge(&args, topic, deleted).await;
            outcome.map_err(|error| format!("deleted topic {name} is still on disk: {error}"))
        });
        self.by_task.insert(task.id(), topic);
    }

    /// Whether it could not be deleted when that was last tried.
    pub(super) fn has_failed(&self, topic: TopicId) -> bool {
        self.failed.contains(&topic)
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.by_task.is_empty()
    }

    /// One that has ended, if there is one.
    pub(super) fn ended(&mut self) -> Option<Purged> {
        let ended = self.tasks.try_join_next_with_id()?;
        Some(self.settle(ended))
    }

    /// The next one that ends; none where nothing is under way.
    pub(super) async fn next(&mut self) -> Option<Purged> {
        let ended = self.tasks.join_next_with_id().await?;
        Some(self.settle(ended))
    }

    fn settle(&mut self, ended: Result<(task::Id, Purged), JoinError>) -> Purged {
        let (task, purged) = match ended {
            Ok((task, purged)) => (task, purged),
            Err(error) => (error.id(), Err(format!("deletion of a topic ended: {error}"))),
        };
        if let Some(topic) = self.by_task.remove(&task) {
            match purged {
                Ok(()) => self.failed.remove(&topic),
                Err(_) => self.failed.insert(topic),
            };
        }
        purged
    }
}

async fn purge(args: &PartitionsArgs, topic: TopicId, deleted: DeletedTopic) -> Result<(), PurgeError> {
    let (fs, logs) = (Arc::clone(&args.fs), args.logs.clone());
    let deleting = args.upkeep.rest.spawn_blocking(move || {
        (0..deleted.partitions).map(PartitionIndex::new).try_for_each(|index| {
            let folder = partition_folder::path_of(&logs, &deleted.name, index);
            partition_folder::delete(fs.as_ref(), &folder, PartitionId { topic, index })
        })
    });
    deleting.await??;
    Ok(args.membership.purge_topic(topic).await?)
}
