//! What is under way for single partitions: none of it waits for another, nor does the reconciler for any of them.
//!
//! A replica that is started, stopped or given another role takes as long as its disk does. After a fail-over the clients
//! of hundreds of partitions wait for their new leaders; one whose log is in the middle of a truncation must not be in their
//! way. So each is lent to a task of its own, and a look that finds it there passes it by.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::task::{self, JoinError, JoinSet};

use super::{
    PartitionsArgs,
    replica::{NewReplica, Replica, Wanted},
};
use crate::{
    actors::supervise::{SupervisorError, SupervisorHandle},
    model::PartitionId,
};

/// What has come of one.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) id: PartitionId,
    /// None where it is gone, or was never there.
    pub(super) replica: Option<Replica>,
    /// What went wrong, for the log.
    pub(super) failed: Option<String>,
}

/// Replicas that are lent to tasks.
#[derive(Debug, Default)]
pub(super) struct Changing {
    tasks: JoinSet<Changed>,
    by_task: HashMap<task::Id, PartitionId>,
    lent: HashSet<PartitionId>,
}

impl Changing {
    /// Starts a replica, and gives it its role.
    pub(super) fn start(&mut self, args: PartitionsArgs, new: NewReplica, wanted: Option<Wanted>) {
        let id = new.partition.id();
        self.lend(id, async move {
            let label = Arc::clone(&new.label);
            match Replica::start(&args, new).await {
                Ok(replica) => match wanted {
                    Some(wanted) => agree(id, replica, &args, wanted).await,
                    None => Changed { id, replica: Some(replica), failed: None },
                },
                Err(error) => {
                    let failed = Some(format!("partition {label} could not be started: {error}"));
                    Changed { id, replica: None, failed }
                }
            }
        });
    }

    /// Brings one to what is wanted.
    pub(super) fn agree(&mut self, args: PartitionsArgs, id: PartitionId, replica: Replica, wanted: Wanted) {
        self.lend(id, async move { agree(id, replica, &args, wanted).await });
    }

    /// Stops one for good.
    pub(super) fn remove(&mut self, supervisor: SupervisorHandle, id: PartitionId, replica: Replica) {
        self.lend(id, async move {
            match supervisor.remove(&replica.label).await {
                Ok(()) | Err(SupervisorError::Unknown { .. }) => Changed { id, replica: None, failed: None },
                Err(error) => {
                    let failed = Some(format!("partition {} could not be stopped: {error}", replica.label));
                    Changed { id, replica: Some(replica), failed }
                }
            }
        });
    }

    fn lend(&mut self, id: PartitionId, change: impl Future<Output = Changed> + Send + 'static) {
        let task = self.tasks.spawn(change).id();
        self.by_task.insert(task, id);
        self.lent.insert(id);
    }

    /// Whether something is under way for the partition.
    pub(super) fn has(&self, id: PartitionId) -> bool {
        self.lent.contains(&id)
    }

    /// The partitions for which something is under way.
    pub(super) fn lent(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.lent.iter().copied()
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.lent.is_empty()
    }

    /// One that has ended, if there is one.
    pub(super) fn ended(&mut self) -> Option<Changed> {
        let ended = self.tasks.try_join_next_with_id()?;
        self.settle(ended)
    }

    /// The next one that ends; none where nothing is under way.
    pub(super) async fn next(&mut self) -> Option<Changed> {
        let ended = self.tasks.join_next_with_id().await?;
        self.settle(ended)
    }

    fn settle(&mut self, ended: Result<(task::Id, Changed), JoinError>) -> Option<Changed> {
        let (task, changed) = match ended {
            Ok((task, changed)) => (task, Ok(changed)),
            Err(error) => (error.id(), Err(error)),
        };
        let id = self.by_task.remove(&task)?;
        self.lent.remove(&id);
        let broken = |error| format!("what was under way for partition {id} ended: {error}");
        Some(changed.unwrap_or_else(|error| Changed { id, replica: None, failed: Some(broken(error)) }))
    }
}

async fn agree(id: PartitionId, mut replica: Replica, args: &PartitionsArgs, wanted: Wanted) -> Changed {
    let agreed = replica.agree(args, wanted).await;
    let failed =
        agreed.err().map(|error| format!("partition {} did not change its role: {error}", replica.label));
    Changed { id, replica: Some(replica), failed }
}
