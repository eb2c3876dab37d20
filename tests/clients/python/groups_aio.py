"""aiokafka in consumer groups; all its consumers share one loop, each is polled by a thread of its own."""

import asyncio
import threading

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import groups
from groups import HEARTBEAT_MS, SESSION_MS, WITHIN


class Aio:
    # It knows neither a leader epoch with an offset nor what fences a static member, and its admin client
    # changes nothing of a group.
    CAN = set()

    def __init__(self, bootstrap):
        self.bootstrap, self.loop = bootstrap, asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.admin = self.run(self._connected())

    async def _connected(self):
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        return admin

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(WITHIN)

    def reason(self, error):
        return repr(error)

    def consumer(self, group, member, **settings):
        return Reader(self, group, member, **settings)

    def create(self, topic, partitions):
        self.run(self.admin.create_topics([NewTopic(topic, partitions, 1)]))

    def exists(self, topic):
        return topic in self.run(self.admin.list_topics())

    def produce(self, topic, values):
        self.run(self._produced(topic, values))

    async def _produced(self, topic, values):
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
            sent = [await producer.send(topic, value, partition=each) for each, of in values.items() for value in of]
            await asyncio.gather(*sent)

    def groups(self):
        return {name for name, *_ in self.run(self.admin.list_consumer_groups())}

    def _described(self, group):
        (answer,) = self.run(self.admin.describe_consumer_groups([group]))
        (described,) = answer.to_object()["groups"]
        return described

    def members(self, group):
        return len(self._described(group)["members"])

    def state(self, group):
        return self._described(group)["state"].lower()

    def offsets(self, group):
        found = self.run(self.admin.list_consumer_group_offsets(group))
        return {partition.partition: (each.offset, each.metadata, None) for partition, each in found.items()}


class Listener(ConsumerRebalanceListener):
    def __init__(self, member):
        self.member = member

    def on_partitions_assigned(self, assigned):
        self.member.on_assigned([each.partition for each in assigned])

    def on_partitions_revoked(self, revoked):
        self.member.on_revoked([each.partition for each in revoked])


class Reader:
    """One consumer of a group on the topic of the same name."""

    def __init__(self, client, group, member, instance=None):
        self.client, self.topic = client, group
        self.inner = client.run(self._started(client.bootstrap, member, instance))

    async def _started(self, bootstrap, member, instance):
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=self.topic,
            group_instance_id=instance,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        consumer.subscribe([self.topic], listener=Listener(member))
        await consumer.start()
        return consumer

    def poll(self):
        polled = self.client.run(self.inner.getmany(timeout_ms=100))
        return [(each.partition, each.offset, each.value) for records in polled.values() for each in records]

    def commit(self, offsets=None):
        if offsets is not None:
            offsets = {TopicPartition(self.topic, each): (at, note) for each, (at, note, _) in offsets.items()}
        self.client.run(self.inner.commit(offsets))

    def committed(self, partitions):
        """It gives no metadata of an offset: that is taken from the admin client's answer."""
        asked = {each: self.client.run(self.inner.committed(TopicPartition(self.topic, each))) for each in partitions}
        seen = self.client.offsets(self.topic)
        return {each: (offset, *seen[each][1:]) for each, offset in asked.items() if offset is not None}

    def close(self):
        self.client.run(self.inner.stop())


if __name__ == "__main__":
    groups.main(Aio)
