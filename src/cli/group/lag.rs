//! How far a group is behind in each partition, and who reads it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    client::{
        Client, ClientError, OffsetSpec,
        admin::groups::{CommittedOffset, FailedAttempts, GroupDescription, GroupMember},
    },
    model::{Offset, PartitionIndex, TopicName},
};

/// Ends of logs by partition. One without a leader has none.
type Ends = BTreeMap<PartitionIndex, Option<Offset>>;

/// The ends of whole topics, each asked for once.
#[derive(Debug, Default)]
pub(super) struct LogEnds {
    topics: HashMap<TopicName, Ends>,
}

impl LogEnds {
    pub(super) async fn ask(&mut self, client: &Client, topic: &TopicName) -> Result<(), ClientError> {
        if !self.topics.contains_key(topic) {
            let ends = match client.topic(topic).await {
                Ok(_) => ends_of(client, topic).await?,
                // Groups keep offsets of topics that are gone.
                Err(ClientError::UnknownTopic(_)) => Ends::new(),
                Err(error) => return Err(error),
            };
            self.topics.insert(topic.clone(), ends);
        }
        Ok(())
    }

    fn partitions(&self, topic: &TopicName) -> impl Iterator<Item = PartitionIndex> {
        self.topics.get(topic).into_iter().flat_map(|ends| ends.keys().copied())
    }

    fn end(&self, topic: &TopicName, partition: PartitionIndex) -> Option<Offset> {
        *self.topics.get(topic)?.get(&partition)?
    }
}

async fn ends_of(client: &Client, topic: &TopicName) -> Result<Ends, ClientError> {
    let described = client.topic(topic).await?;
    let mut ends: Ends = described.partitions.iter().map(|partition| (partition.index, None)).collect();
    let led = described.partitions.iter().filter(|partition| partition.leader.is_some());
    let wanted: Vec<_> = led.map(|partition| (partition.index, OffsetSpec::Latest)).collect();
    for found in client.offsets(topic, &wanted).await? {
        ends.insert(found.partition, Some(found.offset));
    }
    Ok(ends)
}

/// The topics that a group has to do with: committed, owned or wanted.
pub(super) fn topics(group: &GroupDescription, committed: &[CommittedOffset]) -> BTreeSet<TopicName> {
    let of_members = group.members.iter().flat_map(|member| member.topics.iter().chain(member.owned.keys()));
    let of_members = of_members.filter_map(|topic| TopicName::new(topic).ok());
    of_members.chain(committed.iter().map(|at| at.topic.clone())).collect()
}

/// A partition as a group sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) topic: TopicName,
    pub(super) partition: PartitionIndex,
    pub(super) committed: Option<Offset>,
    pub(super) end: Option<Offset>,
    pub(super) owner: Option<&'a GroupMember>,
    /// What its consumers were lost with, if they were.
    pub(super) attempts: Option<&'a FailedAttempts>,
}

impl Row<'_> {
    /// How many records are yet to be read. What was never committed has no lag: where reading would begin
    /// is for the consumer to say.
    pub(super) fn lag(&self) -> Option<i64> {
        Some(self.end?.distance_from(self.committed?).max(0))
    }
}

/// Every partition that a group has committed, has failed on, owns, or is to own since a member wants the topic.
pub(super) fn rows<'a>(
    group: &'a GroupDescription,
    committed: &[CommittedOffset],
    attempts: &'a [FailedAttempts],
    ends: &LogEnds,
) -> Vec<Row<'a>> {
    let mut owners: HashMap<(TopicName, PartitionIndex), &GroupMember> = HashMap::new();
    let mut places: BTreeSet<(TopicName, PartitionIndex)> = BTreeSet::new();
    for member in &group.members {
        for (topic, partitions) in &member.owned {
            let Ok(topic) = TopicName::new(topic) else { continue };
            owners.extend(partitions.iter().map(|partition| ((topic.clone(), *partition), member)));
        }
        for topic in member.topics.iter().filter_map(|topic| TopicName::new(topic).ok()) {
            places.extend(ends.partitions(&topic).map(|partition| (topic.clone(), partition)));
        }
    }
    let committed: HashMap<_, _> =
        committed.iter().map(|at| ((at.topic.clone(), at.partition), at.offset)).collect();
    let attempts: HashMap<_, _> =
        attempts.iter().map(|failed| ((failed.topic.clone(), failed.partition), failed)).collect();
    places.extend(owners.keys().chain(committed.keys()).chain(attempts.keys()).cloned());
    let row = |place: (TopicName, PartitionIndex)| Row {
        committed: committed.get(&place).copied(),
        end: ends.end(&place.0, place.1),
        owner: owners.get(&place).copied(),
        attempts: attempts.get(&place).copied(),
        topic: place.0,
        partition: place.1,
    };
    places.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::{Ends, LogEnds, rows, topics};
    use crate::{
        client::admin::groups::{CommittedOffset, GroupDescription, GroupKind, GroupMember, OwnedPartitions},
        model::{NodeId, Offset, PartitionIndex, TopicName},
    };

    fn member(id: &str, topics: &[&str], owned: &[(&str, &[i32])]) -> GroupMember {
        let one = |(topic, partitions): &(&str, &[i32])| {
            ((*topic).to_owned(), partitions.iter().copied().map(PartitionIndex::new).collect())
        };
        GroupMember {
            id: id.to_owned(),
            instance_id: None,
            client_id: "client".to_owned(),
            host: "/127.0.0.1".to_owned(),
            epoch: None,
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            owned: owned.iter().map(one).collect::<OwnedPartitions>(),
            target: None,
        }
    }

    fn group(members: Vec<GroupMember>) -> GroupDescription {
        GroupDescription {
            id: "g".to_owned(),
            kind: GroupKind::Classic,
            state: "Stable".to_owned(),
            protocol_type: "consumer".to_owned(),
            assignor: "range".to_owned(),
            coordinator: NodeId::new(1),
            epochs: None,
            members,
        }
    }

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    fn at(name: &str, partition: i32, offset: i64) -> CommittedOffset {
        CommittedOffset {
            topic: topic(name),
            partition: PartitionIndex::new(partition),
            offset: Offset::new(offset),
            metadata: String::new(),
        }
    }

    fn ends(topics: &[(&str, &[i64])]) -> LogEnds {
        let of_topic = |(name, ends): &(&str, &[i64])| {
            let ends = (0..).zip(*ends).map(|(at, end)| (PartitionIndex::new(at), Some(Offset::new(*end))));
            (topic(name), ends.collect::<Ends>())
        };
        LogEnds { topics: topics.iter().map(of_topic).collect() }
    }

    type Shown<'a> = (String, i32, Option<i64>, Option<&'a str>);

    fn shown<'a>(
        group: &'a GroupDescription,
        committed: &[CommittedOffset],
        ends: &LogEnds,
    ) -> Vec<Shown<'a>> {
        let one = |row: super::Row<'a>| {
            (row.topic.to_string(), row.partition.get(), row.lag(), row.owner.map(|owner| owner.id.as_str()))
        };
        rows(group, committed, &[], ends).into_iter().map(one).collect()
    }

    #[test]
    fn partitions_that_a_member_wants_and_none_owns_are_shown() {
        let group = group(vec![member("a", &["t"], &[("t", &[0])]), member("b", &["t"], &[])]);
        let shown = shown(&group, &[at("t", 0, 4)], &ends(&[("t", &[10, 5])]));
        assert_eq!(shown, [("t".to_owned(), 0, Some(6), Some("a")), ("t".to_owned(), 1, None, None)]);
    }

    #[test]
    fn a_group_without_members_shows_what_it_committed_and_no_more() {
        let group = group(Vec::new());
        let shown = shown(&group, &[at("t", 1, 5)], &ends(&[("t", &[10, 5, 7])]));
        assert_eq!(shown, [("t".to_owned(), 1, Some(0), None)]);
    }

    #[test]
    fn offsets_of_a_topic_that_is_gone_have_no_lag() {
        let committed = [at("gone", 0, 5)];
        let group = group(Vec::new());
        assert_eq!(topics(&group, &committed), [topic("gone")].into());
        let shown = shown(&group, &committed, &ends(&[("gone", &[])]));
        assert_eq!(shown, [("gone".to_owned(), 0, None, None)]);
    }

    #[test]
    fn a_log_that_ends_before_the_committed_offset_is_no_negative_lag() {
        let group = group(Vec::new());
        let shown = shown(&group, &[at("t", 0, 50)], &ends(&[("t", &[10])]));
        assert_eq!(shown, [("t".to_owned(), 0, Some(0), None)]);
    }
}
