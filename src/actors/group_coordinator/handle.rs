//! The coordinators of this node, as connections ask them.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    time::{sleep, timeout},
};

use super::{
    core::{Answer, Caller, Request},
    error::Refusal,
    message::{Ask, CoordinatorMessage},
};
use crate::{actors::supervise::Slot, model::PartitionIndex};

/// How long a coordinator that is still reading is waited for, and how long at first between two questions.
const LOADING_WAIT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// There are no coordinators here: the topic of the groups has yet to be made, or other nodes lead it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are no coordinators yet")]
pub struct Unavailable;

/// One for each partition of the topic; none for those that another node leads.
type Coordinators = Arc<Vec<Option<Slot<CoordinatorMessage>>>>;

/// All coordinators of this node, by partition of `__consumer_offsets`. Cheap to clone, valid over restarts.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    coordinators: watch::Sender<Coordinators>,
}

impl Groups {
    /// Asks the coordinator of `group`, and waits for its answer up to `within`.
    pub async fn ask(
        &self,
        group: &str,
        caller: Caller,
        request: Request,
        within: Duration,
    ) -> Result<Answer, Refusal> {
        let coordinators = self.now();
        let at = partition_of(group, coordinators.len()).ok_or(Refusal::NotCoordinator)?;
        let coordinator = coordinators.get(at).and_then(Option::as_ref).ok_or(Refusal::NotCoordinator)?;
        ask(coordinator, caller, request, within).await
    }

    /// Asks all coordinators of this node the same, one after the other.
    pub async fn ask_all(
        &self,
        caller: &Caller,
        request: &Request,
        within: Duration,
    ) -> Vec<Result<Answer, Refusal>> {
        let coordinators = self.now();
        let mut answers = Vec::with_capacity(coordinators.len());
        for coordinator in coordinators.iter().flatten() {
            answers.push(ask(coordinator, caller.clone(), request.clone(), within).await);
        }
        answers
    }

    /// Resolves once it is known of each partition whether this node coordinates it.
    pub async fn until_there(&self, within: Duration) -> Result<(), Unavailable> {
        let mut changes = self.coordinators.subscribe();
        match timeout(within, changes.wait_for(|all| !all.is_empty())).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Unavailable),
        }
    }

    /// Resolves once this node coordinates the groups of a partition.
    pub async fn until_coordinating(
        &self,
        partition: PartitionIndex,
        within: Duration,
    ) -> Result<(), Unavailable> {
        let at = usize::try_from(partition.get()).unwrap_or(usize::MAX);
        let mut changes = self.coordinators.subscribe();
        let there = changes.wait_for(|all| all.get(at).is_some_and(Option::is_some));
        match timeout(within, there).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Unavailable),
        }
    }

    pub(super) fn replace(&self, coordinators: Vec<Option<Slot<CoordinatorMessage>>>) {
        self.coordinators.send_replace(Arc::new(coordinators));
    }

    pub(super) fn now(&self) -> Coordinators {
        Arc::clone(&self.coordinators.borrow())
    }
}

/// Asks; a coordinator that is still reading is asked again for a moment, since a client that is told to wait waits
/// for longer, and some give up.
async fn ask(
    coordinator: &Slot<CoordinatorMessage>,
    caller: Caller,
    request: Request,
    within: Duration,
) -> Result<Answer, Refusal> {
    let (mut pause, mut left) = (FIRST_PAUSE, LOADING_WAIT.min(within));
    loop {
        match ask_once(coordinator, caller.clone(), request.clone(), within).await {
            Err(Refusal::Loading) if !left.is_zero() => {
                sleep(pause).await;
                left = left.saturating_sub(pause);
                pause *= 2;
            }
            answer => return answer,
        }
    }
}

async fn ask_once(
    coordinator: &Slot<CoordinatorMessage>,
    caller: Caller,
    request: Request,
    within: Duration,
) -> Result<Answer, Refusal> {
    // One that is being started again will have to load.
    let address = coordinator.get().ok_or(Refusal::Loading)?;
    let (reply, answer) = oneshot::channel();
    let ask = CoordinatorMessage::Ask(Box::new(Ask { caller, request, reply }));
    address.cast(ask).map_err(|_| Refusal::Loading)?;
    match timeout(within, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => Err(Refusal::OutcomeUnknown),
    }
}

/// The partition of a topic of so many that a group is kept in.
pub fn home_of(group: &str, partitions: usize) -> Option<PartitionIndex> {
    let at = partition_of(group, partitions)?;
    i32::try_from(at).ok().map(PartitionIndex::new)
}

/// Which of `partitions` a group belongs to: by the hash of its id, as Java computes it, so that a topic that Kafka
/// wrote means the same.
fn partition_of(group: &str, partitions: usize) -> Option<usize> {
    let hash =
        group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let hash = usize::try_from(hash.checked_abs().unwrap_or(0)).ok()?;
    hash.checked_rem(partitions)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Groups, Refusal, Unavailable, partition_of};
    use crate::{
        actors::{
            group_coordinator::core::{Caller, ListFilter, Request},
            supervise::Slot,
        },
        model::PartitionIndex,
    };

    /// `Utils.abs("...".hashCode()) % 50` of Java.
    #[test]
    fn a_group_belongs_to_the_partition_that_kafka_puts_it_in() {
        assert_eq!(partition_of("", 50), Some(0));
        assert_eq!(partition_of("a", 50), Some(97 % 50));
        assert_eq!(partition_of("hello", 50), Some(99_162_322 % 50));
        // Its hash is the lowest number there is.
        assert_eq!(partition_of("polygenelubricants", 50), Some(0));
        assert_eq!(partition_of("any", 0), None);
    }

    #[tokio::test(start_paused = true)]
    async fn s21_groups_of_partitions_that_other_nodes_lead_are_coordinated_elsewhere() {
        let (groups, second) = (Groups::default(), Duration::from_secs(1));
        groups.replace(vec![None, Some(Slot::new())]);
        assert_eq!(groups.until_there(second).await, Ok(()));
        assert_eq!(groups.until_coordinating(PartitionIndex::new(0), second).await, Err(Unavailable));
        assert_eq!(groups.until_coordinating(PartitionIndex::new(1), second).await, Ok(()));
        let ask = async |group| {
            groups.ask(group, Caller::default(), Request::List(ListFilter::default()), second).await
        };
        // 97 of 2 is 1, 98 of 2 is 0.
        assert_eq!(ask("b").await, Err(Refusal::NotCoordinator));
        assert_eq!(ask("a").await, Err(Refusal::Loading), "its coordinator has yet to start");
        let all = groups.ask_all(&Caller::default(), &Request::List(ListFilter::default()), second).await;
        assert_eq!(all, [Err(Refusal::Loading)], "of this node's only");
    }

    #[tokio::test(start_paused = true)]
    async fn without_coordinators_nobody_coordinates() {
        let groups = Groups::default();
        let list = Request::List(ListFilter::default());
        let asked = groups.ask("g", Caller::default(), list, Duration::from_secs(1)).await;
        assert_eq!(asked, Err(Refusal::NotCoordinator));
        assert_eq!(groups.until_there(Duration::from_secs(1)).await, Err(Unavailable));
    }
}
