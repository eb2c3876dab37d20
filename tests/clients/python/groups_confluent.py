"""confluent-kafka (librdkafka) in consumer groups, of the classic protocol and of the server's own."""

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

import groups
from groups import HEARTBEAT_MS, SESSION_MS, WITHIN

REASONS = {
    KafkaError.NON_EMPTY_GROUP: "non-empty",
    KafkaError.GROUP_ID_NOT_FOUND: "not found",
}


def as_offsets(partitions):
    """Of those that have an offset."""
    return {
        each.partition: (each.offset, each.metadata or "", -1 if each.leader_epoch is None else each.leader_epoch)
        for each in partitions
        if each.offset >= 0
    }


class Confluent:
    CAN = {"fence", "cooperative", "epochs", "alter-offsets", "delete-groups", "exclusive"}

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def consumer(self, group, member, **settings):
        return Reader(self.bootstrap, group, member, **settings)

    def reason(self, error):
        found = error.args[0]
        # What ends a client for good is told by its text alone.
        if found.code() == KafkaError._FATAL and "fenced by other consumer" in found.str():
            return "fenced"
        return REASONS.get(found.code(), str(found))

    def exists(self, topic):
        return len(self.admin.list_topics(topic, timeout=WITHIN).topics[topic].partitions) > 0

    def create(self, topic, partitions):
        self.admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(WITHIN)

    def produce(self, topic, values):
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for partition, each in values.items():
            for value in each:
                producer.produce(topic, value, partition=partition)
        groups.same("messages left in the queue", 0, producer.flush(WITHIN))

    def groups(self):
        return {each.group_id for each in self.admin.list_consumer_groups().result(WITHIN).valid}

    def _described(self, group):
        return self.admin.describe_consumer_groups([group])[group].result(WITHIN)

    def members(self, group):
        return len(self._described(group).members)

    def state(self, group):
        return self._described(group).state.name.lower()

    def offsets(self, group):
        asked = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
        return as_offsets(asked[group].result(WITHIN).topic_partitions)

    def alter(self, group, offsets):
        partitions = [TopicPartition(group, partition, offset) for partition, offset in offsets.items()]
        asked = self.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, partitions)])
        for each in asked[group].result(WITHIN).topic_partitions:
            groups.same("the error of an altered offset", None, each.error)

    def make_exclusive(self, group):
        set_it = ConfigEntry("assignor", "exclusive", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=[set_it])
        self.admin.incremental_alter_configs([resource])[resource].result(WITHIN)

    def delete(self, group):
        error = self.admin.delete_consumer_groups([group])[group].exception(WITHIN)
        return None if error is None else self.reason(error)


class Reader:
    """One consumer of a group on the topic of the same name."""

    def __init__(self, bootstrap, group, member, instance=None, cooperative=False, server_side=False):
        self.topic = group
        settings = {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
        if server_side:
            settings["group.protocol"] = "consumer"
        else:
            settings |= {"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": HEARTBEAT_MS}
        if cooperative:
            settings["partition.assignment.strategy"] = "cooperative-sticky"
        if instance is not None:
            settings["group.instance.id"] = instance
        self.inner = Consumer(settings)
        self.inner.subscribe(
            [group],
            on_assign=lambda _, partitions: member.on_assigned([each.partition for each in partitions]),
            on_revoke=lambda _, partitions: member.on_revoked([each.partition for each in partitions]),
        )

    def poll(self):
        messages = self.inner.consume(100, 0.1)
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
        return [(message.partition(), message.offset(), message.value()) for message in messages]

    def commit(self, offsets=None):
        if offsets is None:
            self.inner.commit(asynchronous=False)
            return
        partitions = [
            TopicPartition(self.topic, partition, offset, note, epoch)
            for partition, (offset, note, epoch) in offsets.items()
        ]
        self.inner.commit(offsets=partitions, asynchronous=False)

    def committed(self, partitions):
        return as_offsets(self.inner.committed([TopicPartition(self.topic, each) for each in partitions], WITHIN))

    def close(self):
        self.inner.close()


if __name__ == "__main__":
    groups.main(Confluent)
