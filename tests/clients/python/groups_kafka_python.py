"""kafka-python in consumer groups."""

import threading

from kafka import (
    ConsumerRebalanceListener,
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import CommitFailedError, FencedInstanceIdError, NoError, RebalanceInProgressError

import groups
from groups import HEARTBEAT_MS, SESSION_MS, WITHIN

REASONS = {
    "NonEmptyGroupError": "non-empty",
    "GroupIdNotFoundError": "not found",
    "GroupSubscribedToTopicError": "subscribed",
}


def as_offsets(offsets):
    return {
        partition.partition: (each.offset, each.metadata, -1 if each.leader_epoch is None else each.leader_epoch)
        for partition, each in offsets.items()
        if each is not None and each.offset >= 0
    }


class KafkaPython:
    CAN = {"fence", "cooperative", "epochs", "alter-offsets", "delete-offsets", "delete-groups", "exclusive"}

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self._admin, self._lock = KafkaAdminClient(bootstrap_servers=bootstrap), threading.Lock()

    def ask(self, action):
        with self._lock:
            return action(self._admin)

    def consumer(self, group, member, **settings):
        return Reader(self.bootstrap, group, member, **settings)

    def reason(self, error):
        if isinstance(error, (CommitFailedError, RebalanceInProgressError)):
            return "rebalancing"
        return "fenced" if isinstance(error, FencedInstanceIdError) else repr(error)

    def create(self, topic, partitions):
        self.ask(lambda admin: admin.create_topics([NewTopic(topic, partitions, 1)]))

    def exists(self, topic):
        return topic in self.ask(lambda admin: admin.list_topics())

    def produce(self, topic, values):
        producer = KafkaProducer(bootstrap_servers=self.bootstrap)
        sent = [producer.send(topic, value, partition=each) for each, of in values.items() for value in of]
        for each in sent:
            each.get(WITHIN)
        producer.close(WITHIN)

    def groups(self):
        return {each["group_id"] for each in self.ask(lambda admin: admin.list_groups())}

    def _described(self, group):
        return self.ask(lambda admin: admin.describe_groups([group]))[group]

    def members(self, group):
        return len(self._described(group)["members"])

    def state(self, group):
        return self._described(group)["group_state"].lower()

    def offsets(self, group):
        return as_offsets(self.ask(lambda admin: admin.list_group_offsets(group))[group])

    def alter(self, group, offsets):
        wanted = {TopicPartition(group, each): OffsetAndMetadata(offset, "", -1) for each, offset in offsets.items()}
        altered = self.ask(lambda admin: admin.alter_group_offsets(group, wanted))
        groups.same("errors of altered offsets", {each: NoError for each in wanted}, altered)

    def make_exclusive(self, group):
        resource = ConfigResource(ConfigResourceType.GROUP, group, {"assignor": "exclusive"})
        self.ask(lambda admin: admin.alter_configs([resource]))

    def delete_offset(self, group, partition):
        deleted = self.ask(lambda admin: admin.delete_group_offsets(group, [TopicPartition(group, partition)]))
        (error,) = deleted.values()
        return None if error is NoError else REASONS.get(error.__name__, error)

    def delete(self, group):
        (outcome,) = self.ask(lambda admin: admin.delete_groups([group])).values()
        return None if outcome == "OK" else REASONS.get(outcome, outcome)


class Listener(ConsumerRebalanceListener):
    def __init__(self, member):
        self.member = member

    def on_partitions_assigned(self, assigned):
        self.member.on_assigned([each.partition for each in assigned])

    def on_partitions_revoked(self, revoked):
        self.member.on_revoked([each.partition for each in revoked])


class Reader:
    """One consumer of a group on the topic of the same name."""

    def __init__(self, bootstrap, group, member, instance=None, cooperative=False):
        self.topic = group
        settings = {"partition_assignment_strategy": [CooperativeStickyAssignor]} if cooperative else {}
        self.inner = KafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=group,
            group_instance_id=instance,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **settings,
        )
        # Known beforehand: it may stay with the assignment that a leader made which knew no partition yet.
        self.inner.partitions_for_topic(group)
        self.inner.subscribe([group], listener=Listener(member))

    def poll(self):
        # Where a poll ends while it joins, it may go on for ever without doing so.
        polled = self.inner.poll(timeout_ms=1000)
        return [(each.partition, each.offset, each.value) for records in polled.values() for each in records]

    def commit(self, offsets=None):
        if offsets is not None:
            offsets = {TopicPartition(self.topic, each): OffsetAndMetadata(*of) for each, of in offsets.items()}
        self.inner.commit(offsets)

    def committed(self, partitions):
        asked = [TopicPartition(self.topic, each) for each in partitions]
        return as_offsets({each: self.inner.committed(each, metadata=True) for each in asked})

    def close(self):
        self.inner.close()


if __name__ == "__main__":
    groups.main(KafkaPython)
