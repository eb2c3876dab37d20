//! `DescribeTopicPartitions`: topics page by page, so that an answer never holds them all (KIP-966).
//!
//! A page begins at the cursor and ends after so many partitions; the cursor in the answer is where the
//! next one begins.

use std::{mem, ops::Range};

use tokio::time::Instant;

use crate::{
    actors::partition::PartitionHandle,
    kafka::{Broker, cluster_view::ClusterView, connection::Session},
    model::{PartitionIndex, TopicId, TopicName},
    wire::{
        ApiKey, ErrorCode, Str,
        api::describe_topic_partitions::{
            Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
            DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
        },
    },
};

use super::{
    metadata::{LEADER_WAIT, TOPIC_OPERATIONS},
    readiness,
};

/// The most partitions of a page, whatever the client allows: Kafka's `max.request.partition.size.limit`.
const MOST_PARTITIONS: usize = 2_000;

/// Answers one page.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: DescribeTopicPartitionsRequest,
    _version: i16,
) -> DescribeTopicPartitionsResponse {
    let all = request.topics.is_empty();
    let asked: Vec<Str> = request.topics.into_iter().map(|topic| topic.name).collect();
    let limit = room(request.response_partition_limit);
    let begun = if all {
        let names = broker.topics.all().iter().map(|topic| Str::from(&topic.name)).collect();
        Page::begin(names, request.cursor, false, limit)
    } else {
        Page::begin(asked.clone(), request.cursor, true, limit)
    };
    match begun {
        Ok(page) => answer(broker, session, page, all).await,
        Err(error_code) => {
            broker.meters.refused(ApiKey::DescribeTopicPartitions, error_code);
            let topics = asked.into_iter().map(|name| refused(name, error_code)).collect();
            DescribeTopicPartitionsResponse { topics, ..DescribeTopicPartitionsResponse::default() }
        }
    }
}

fn room(limit: i32) -> usize {
    usize::try_from(limit).unwrap_or(0).clamp(1, MOST_PARTITIONS)
}

/// What is left of a page, and what is left to be put on it.
#[derive(Debug)]
struct Page {
    /// In order, each once.
    names: Vec<Str>,
    cursor: Option<Cursor>,
    room: usize,
}

impl Page {
    /// A cursor that cannot come from an answer to the same request is refused.
    fn begin(
        mut names: Vec<Str>,
        cursor: Option<Cursor>,
        must_name_cursor: bool,
        room: usize,
    ) -> Result<Self, ErrorCode> {
        names.sort_unstable();
        names.dedup();
        if let Some(cursor) = &cursor {
            names.retain(|name| *name >= cursor.topic_name);
            let unnamed = must_name_cursor && names.first() != Some(&cursor.topic_name);
            if unnamed || cursor.partition_index < PartitionIndex::new(0) {
                return Err(ErrorCode::InvalidRequest);
            }
        }
        Ok(Self { names, cursor, room })
    }

    /// The first partition of a topic that belongs on this page.
    fn first(&self, name: &Str) -> usize {
        let cursor = self.cursor.as_ref().filter(|cursor| cursor.topic_name == *name);
        cursor.map_or(0, |cursor| usize::try_from(cursor.partition_index.get()).unwrap_or(0))
    }

    /// Which of a topic's partitions still fit, and whether all of the rest do.
    fn take(&mut self, name: &Str, partitions: usize) -> (Range<usize>, bool) {
        let first = self.first(name).min(partitions);
        let end = partitions.min(first + self.room);
        self.room -= end - first;
        (first..end, end == partitions)
    }
}

async fn answer(
    broker: &Broker,
    session: &Session,
    mut page: Page,
    all: bool,
) -> DescribeTopicPartitionsResponse {
    let leaders_by = Instant::now() + LEADER_WAIT;
    let mut topics = Vec::new();
    for name in mem::take(&mut page.names) {
        if page.room == 0 {
            return cut(topics, name, 0);
        }
        let Some(topic) = broker.topics.by_name(&name) else {
            if !all {
                let error_code = missing(&name);
                broker.meters.refused(ApiKey::DescribeTopicPartitions, error_code);
                topics.push(refused(name, error_code));
            }
            continue;
        };
        let (taken, whole) = page.take(&name, topic.partitions().len());
        let end = taken.end;
        let handles = topic.partitions().get(taken).unwrap_or_default();
        readiness::settled(broker, session, handles, leaders_by).await;
        let view = ClusterView::of(broker, session);
        topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(name.clone()),
            topic_id: topic.id,
            partitions: handles.iter().map(|handle| partition(&view, handle)).collect(),
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..DescribeTopicPartitionsResponseTopic::default()
        });
        if !whole {
            return cut(topics, name, end);
        }
    }
    DescribeTopicPartitionsResponse { topics, ..DescribeTopicPartitionsResponse::default() }
}

/// A page that is full, and where the next one begins.
fn cut(
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    topic_name: Str,
    next: usize,
) -> DescribeTopicPartitionsResponse {
    let partition_index = PartitionIndex::new(i32::try_from(next).unwrap_or(i32::MAX));
    let next_cursor = Some(Cursor { topic_name, partition_index });
    DescribeTopicPartitionsResponse { topics, next_cursor, ..DescribeTopicPartitionsResponse::default() }
}

fn missing(name: &str) -> ErrorCode {
    if TopicName::new(name).is_ok() { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopic }
}

fn refused(name: Str, error_code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code,
        name: Some(name),
        topic_id: TopicId::default(),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn partition(view: &ClusterView, handle: &PartitionHandle) -> DescribeTopicPartitionsResponsePartition {
    let of = view.partition_of(handle);
    DescribeTopicPartitionsResponsePartition {
        error_code: of.error_code,
        partition_index: of.partition_index,
        leader_id: of.leader_id,
        leader_epoch: of.leader_epoch,
        replica_nodes: of.replica_nodes,
        isr_nodes: of.isr_nodes,
        eligible_leader_replicas: Some(view.eligible(handle.id())),
        last_known_elr: Some(view.last_known(handle.id())),
        offline_replicas: of.offline_replicas,
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursor, MOST_PARTITIONS, Page, room};
    use crate::{
        model::PartitionIndex,
        wire::{ErrorCode, Str},
    };

    fn at(topic: &str, index: i32) -> Cursor {
        Cursor { topic_name: topic.into(), partition_index: PartitionIndex::new(index) }
    }

    fn names(names: &[&str]) -> Vec<Str> {
        names.iter().map(|name| Str::from(*name)).collect()
    }

    #[test]
    fn a_page_begins_at_the_cursor_in_the_order_of_names_and_has_each_topic_once() {
        let page = Page::begin(names(&["c", "a", "b", "c"]), Some(at("b", 3)), true, 10).unwrap();
        assert_eq!(page.names, names(&["b", "c"]));
        assert_eq!((page.first(&"b".into()), page.first(&"c".into())), (3, 0));
    }

    #[test]
    fn a_cursor_outside_of_what_is_asked_for_is_refused_unless_all_is_asked_for() {
        let begin = |cursor, must| Page::begin(names(&["a", "c"]), cursor, must, 1).map(|page| page.names);
        assert_eq!(begin(Some(at("b", 0)), true), Err(ErrorCode::InvalidRequest));
        assert_eq!(begin(Some(at("a", -1)), true), Err(ErrorCode::InvalidRequest));
        // The topic may have been deleted between two pages.
        assert_eq!(begin(Some(at("b", 0)), false), Ok(names(&["c"])));
    }

    #[test]
    fn a_page_takes_as_many_partitions_as_it_has_room_for() {
        let mut page = Page::begin(names(&["a", "b"]), Some(at("a", 2)), true, 4).unwrap();
        assert_eq!(page.take(&"a".into(), 5), (2..5, true));
        assert_eq!(page.take(&"b".into(), 3), (0..1, false));
        assert_eq!(page.room, 0);
        let mut behind = Page::begin(names(&["a"]), Some(at("a", 9)), true, 4).unwrap();
        assert_eq!(behind.take(&"a".into(), 5), (5..5, true), "the topic is smaller than it was");
    }

    #[test]
    fn a_client_cannot_ask_for_no_partition_or_for_more_than_the_bound() {
        assert_eq!((room(0), room(-7), room(5)), (1, 1, 5));
        assert_eq!(room(i32::MAX), MOST_PARTITIONS);
    }
}
