//! From "the metadata says so" to "it can be used".
//!
//! The registry answers once a change is durable; this node's replicas follow a moment later. Clients
//! produce to a topic right after they were told that it was made, so who makes or removes one waits
//! for the replicas, within a bound. What another node leads is not waited for: the metadata is all that is known
//! of it here.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    actors::{
        membership::{MetadataImage, NOBODY},
        partition::{
            PartitionHandle, Waiter,
            table::{Topic, TopicTable},
        },
    },
    kafka::{Broker, Others, cluster_view::ClusterView, connection::Session},
    model::{NodeId, PartitionId, TopicId},
};

/// How long an administrator's request waits at most, whatever it allows.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// When a request with this time-out stops waiting.
pub(crate) fn deadline(timeout_ms: i32) -> Instant {
    let asked = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    Instant::now() + asked.min(LONGEST_WAIT)
}

/// The topic, once the table has it with so many partitions.
pub(crate) async fn until_known(
    topics: &TopicTable,
    id: TopicId,
    partitions: usize,
    deadline: Instant,
) -> Option<Arc<Topic>> {
    until(topics, deadline, || topics.by_id(id).filter(|topic| topic.partitions().len() >= partitions)).await
}

/// Whether the table has the topic, with so many partitions and a leader for each.
pub(crate) async fn until_led(
    broker: &Broker,
    session: &Session,
    id: TopicId,
    partitions: usize,
    deadline: Instant,
) -> bool {
    match until_known(&broker.topics, id, partitions, deadline).await {
        Some(topic) => settled(broker, session, topic.partitions(), deadline).await,
        None => false,
    }
}

/// Whether the table has lost the topic.
pub(crate) async fn until_gone(topics: &TopicTable, id: TopicId, deadline: Instant) -> bool {
    until(topics, deadline, || topics.by_id(id).is_none().then_some(())).await.is_some()
}

/// How long a successor of a leader that was just lost is waited for.
const SUCCESSOR_WAIT: Duration = Duration::from_millis(300);

/// Waits while one of these partitions is led, by the metadata, by a node that was lost a moment ago: its successor is about
/// to be elected, and a client that is told the old one's name turns to it.
pub(crate) async fn succeeded<'a>(broker: &Broker, partitions: impl Iterator<Item = &'a PartitionHandle>) {
    let Some(others) = &broker.others else { return };
    let ids: Vec<PartitionId> = partitions.map(PartitionHandle::id).collect();
    all_succeeded(others.as_ref(), broker.membership.watch(), broker.node_id, &ids).await;
}

async fn all_succeeded(
    others: &dyn Others,
    mut images: watch::Receiver<Arc<MetadataImage>>,
    us: NodeId,
    ids: &[PartitionId],
) {
    let deadline = Instant::now() + SUCCESSOR_WAIT;
    let leaders: BTreeSet<NodeId> = {
        let image = images.borrow_and_update();
        let leaders = ids.iter().filter_map(|id| image.partition(*id)).map(|partition| partition.leader);
        leaders.filter(|leader| *leader != NOBODY && *leader != us).collect()
    };
    if leaders.is_empty() {
        return;
    }
    let lost = others.lost(leaders).await;
    let is_led_by_lost = |image: &MetadataImage, id: PartitionId| {
        image.partition(id).is_some_and(|partition| lost.contains(&partition.leader))
    };
    if !lost.is_empty() {
        let succeeded = images.wait_for(|image| !ids.iter().any(|id| is_led_by_lost(image, *id)));
        let _or_not_in_time = timeout_at(deadline, succeeded).await;
    }
}

/// Waits for the leaders of these partitions, all of them within one deadline, where one is a matter of moments;
/// whether each has one that this client can turn to.
pub(crate) async fn settled(
    broker: &Broker,
    session: &Session,
    partitions: &[PartitionHandle],
    deadline: Instant,
) -> bool {
    let mut images = broker.membership.watch();
    let mut view = ClusterView::of(broker, session).at(images.borrow_and_update().clone());
    let mut all_led = true;
    for partition in partitions {
        all_led &= one_settled(&mut view, &mut images, partition, deadline).await;
    }
    all_led
}

async fn one_settled(
    view: &mut ClusterView,
    images: &mut watch::Receiver<Arc<MetadataImage>>,
    partition: &PartitionHandle,
    deadline: Instant,
) -> bool {
    if !view.led_now(partition).is_soon() {
        return view.led_now(partition).is_led();
    }
    let waiter = Waiter::default();
    let _signed_in = partition.sign_in(&waiter);
    loop {
        let led = view.led_now(partition);
        if !led.is_soon() {
            return led.is_led();
        }
        tokio::select! {
            () = waiter.notified() => {}
            changed = images.changed() => match changed {
                Ok(()) => *view = view.at(images.borrow_and_update().clone()),
                Err(_) => return false,
            },
            () = sleep_until(deadline) => return false,
        }
    }
}

/// What `look` finds in the table, looking at once and after each change until the deadline.
async fn until<T>(topics: &TopicTable, deadline: Instant, look: impl Fn() -> Option<T>) -> Option<T> {
    let mut changes = topics.changes();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        timeout_at(deadline, changes.next()).await.ok()?;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::BTreeSet, sync::Arc, time::Duration};

    use tokio::{sync::watch, time::Instant};

    use super::{
        LONGEST_WAIT, SUCCESSOR_WAIT, all_succeeded, deadline, one_settled, until, until_gone, until_known,
    };
    use crate::{
        actors::{
            membership::MetadataImage,
            partition::{PartitionHandle, table::TopicTable},
            supervise::BoxFuture,
        },
        kafka::{
            Others,
            cluster_view::{
                ClusterView,
                tests::{image, lead, partition_id, view},
            },
        },
        model::{NodeId, TopicId},
    };

    #[tokio::test(start_paused = true)]
    async fn a_look_is_taken_even_when_the_time_is_up() {
        let (topics, past) = (TopicTable::default(), Instant::now());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(until(&topics, past, || Some(7)).await, Some(7));
        assert_eq!(until(&topics, past, || None::<u8>).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_comes_ends_at_the_deadline_and_is_looked_for_once() {
        let (topics, looks) = (TopicTable::default(), Cell::new(0));
        let never = || {
            looks.set(looks.get() + 1);
            None::<u8>
        };
        let began = Instant::now();
        assert_eq!(until(&topics, deadline(1000), never).await, None);
        assert_eq!((began.elapsed(), looks.get()), (Duration::from_secs(1), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_cannot_have_a_request_wait_for_ever() {
        assert_eq!(deadline(i32::MAX) - Instant::now(), LONGEST_WAIT);
        assert_eq!(deadline(-1), Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_is_not_there_is_gone_and_does_not_come() {
        let (topics, id) = (TopicTable::default(), TopicId::random());
        assert!(until_gone(&topics, id, deadline(0)).await);
        assert!(until_known(&topics, id, 1, deadline(10)).await.is_none());
    }

    /// A view and the watch that it follows, of node 1.
    fn followed(image: MetadataImage) -> (ClusterView, watch::Sender<Arc<MetadataImage>>) {
        let view = view(image.clone(), 1, "out");
        (view, watch::Sender::new(Arc::new(image)))
    }

    #[tokio::test(start_paused = true)]
    async fn many_partitions_without_a_leader_cost_one_wait_in_all() {
        let (mut view, images) = followed(image());
        let partitions: Vec<_> = (0..100).map(|_| PartitionHandle::new(partition_id(0))).collect();
        let (began, by) = (Instant::now(), deadline(150));
        for partition in &partitions {
            assert!(!one_settled(&mut view, &mut images.subscribe(), partition, by).await);
        }
        assert_eq!(began.elapsed(), Duration::from_millis(150));
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_is_elected_meanwhile_ends_the_wait() {
        let mut image = image();
        lead(&mut image, 0, -1, 8);
        let (mut view, images) = followed(image.clone());
        let partition = PartitionHandle::new(partition_id(0));
        let mut watch = images.subscribe();
        let waiting = one_settled(&mut view, &mut watch, &partition, deadline(1000));
        let electing = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            lead(&mut image, 0, 2, 9);
            images.send_replace(Arc::new(image));
        };
        let began = Instant::now();
        let (led, ()) = tokio::join!(waiting, electing);
        assert!(led);
        assert_eq!(began.elapsed(), Duration::from_millis(20));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_led_elsewhere_or_by_nobody_that_lives_is_not_waited_for() {
        let (mut view, images) = followed(image());
        let began = Instant::now();
        let mut settled = async |index| {
            let partition = PartitionHandle::new(partition_id(index));
            one_settled(&mut view, &mut images.subscribe(), &partition, deadline(1000)).await
        };
        assert!(settled(1).await, "led by node 2");
        assert!(!settled(2).await, "led by a node out of reach");
        assert!(!settled(3).await, "its only replica is gone");
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    /// Says of these that they are lost.
    #[derive(Debug)]
    struct Lost(BTreeSet<NodeId>);

    impl Others for Lost {
        fn lost(&self, nodes: BTreeSet<NodeId>) -> BoxFuture<BTreeSet<NodeId>> {
            let lost = self.0.intersection(&nodes).copied().collect();
            Box::pin(async move { lost })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_was_just_lost_is_not_told_while_its_successor_may_be_elected() {
        let mut image = image();
        let (images, us) = (watch::Sender::new(Arc::new(image.clone())), NodeId::new(1));
        let (gone, ids) = (Lost(BTreeSet::from([NodeId::new(2)])), [partition_id(0), partition_id(1)]);
        let began = Instant::now();
        all_succeeded(&Lost(BTreeSet::new()), images.subscribe(), us, &ids).await;
        all_succeeded(&gone, images.subscribe(), us, &ids[..1]).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "node 2 is there, or leads nothing that was asked for");
        let electing = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            lead(&mut image, 1, 3, 9);
            images.send_replace(Arc::new(image.clone()));
        };
        tokio::join!(all_succeeded(&gone, images.subscribe(), us, &ids), electing);
        assert_eq!(began.elapsed(), Duration::from_millis(20));
        let never = Lost(BTreeSet::from([NodeId::new(3)]));
        let began = Instant::now();
        all_succeeded(&never, images.subscribe(), us, &ids).await;
        assert_eq!(began.elapsed(), SUCCESSOR_WAIT, "nobody waits for ever");
    }
}
