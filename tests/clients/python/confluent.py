"""confluent-kafka (librdkafka) against a node. Usage: confluent.py HOST:PORT"""

import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from checks import CODECS, RECORDS, Checks, refused, same

BOOTSTRAP = sys.argv[1]
WITHIN = 30.0


def created(admin, topic, partitions=1, config=None):
    new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config or {})
    admin.create_topics([new])[topic].result(WITHIN)


def written(topic, records, **settings):
    """Writes to partition 0; the offsets that were acknowledged, in order."""
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 50} | settings)
    # Known beforehand, the topic's records are not sent in two batches as its leader is found out.
    producer.list_topics(topic, timeout=WITHIN)
    reports = []

    def on_delivery(error, message):
        if error is not None:
            raise KafkaException(error)
        reports.append(message.offset())

    for key, value, headers in records:
        producer.produce(topic, value, key, partition=0, headers=headers, on_delivery=on_delivery)
    same("messages left in the queue", 0, producer.flush(WITHIN))
    return reports


def read(topic, count, offset=0):
    """So many messages of partition 0 from an offset on, by assignment."""
    consumer = Consumer(
        {"bootstrap.servers": BOOTSTRAP, "group.id": "unused", "enable.auto.commit": False, "check.crcs": True}
    )
    consumer.assign([TopicPartition(topic, 0, offset)])
    found, deadline = [], time.monotonic() + WITHIN
    while len(found) < count and time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is not None and message.error():
            raise KafkaException(message.error())
        if message is not None:
            found.append(message)
    consumer.close()
    return found


def content(message):
    return message.key(), message.value(), message.headers() or []


def codec_round_trip(admin, codec):
    topic = f"codec-{codec}"
    created(admin, topic)
    for settings in [{"enable.idempotence": True}, {"acks": 1}, {"acks": "all", "enable.idempotence": False}]:
        written(topic, RECORDS, **{"compression.type": codec}, **settings)
    messages = read(topic, 3 * len(RECORDS))
    same("offsets", list(range(3 * len(RECORDS))), [message.offset() for message in messages])
    same("records", 3 * RECORDS, [content(message) for message in messages])


def positions(admin):
    created(admin, "positions")
    before = int(time.time() * 1000)
    written("positions", [(None, b"%d" % at, []) for at in range(10)], **{"linger.ms": 500})
    same("from the middle of a batch", [b"7", b"8", b"9"], [m.value() for m in read("positions", 3, 7)])
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "unused"})
    same("watermarks", (0, 10), consumer.get_watermark_offsets(TopicPartition("positions", 0), WITHIN))
    (found,) = consumer.offsets_for_times([TopicPartition("positions", 0, before)], WITHIN)
    same("the offset of a time", 0, found.offset)
    (late,) = consumer.offsets_for_times([TopicPartition("positions", 0, before + 3_600_000)], WITHIN)
    same("the offset of a time that is to come", -1, late.offset)
    consumer.close()


def administration(admin):
    created(admin, "managed", 2, {"retention.ms": "5000"})
    same("partitions", 2, len(admin.list_topics("managed", timeout=WITHIN).topics["managed"].partitions))
    refused("a topic that exists", KafkaException, lambda: created(admin, "managed"))
    refused("an unknown config", KafkaException, lambda: created(admin, "odd", 1, {"no.such.config": "1"}))
    admin.create_partitions([NewPartitions("managed", 3)])["managed"].result(WITHIN)
    same("more partitions", 3, len(admin.list_topics("managed", timeout=WITHIN).topics["managed"].partitions))
    entry = ConfigEntry("retention.ms", "6000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, "managed", incremental_configs=[entry])
    for outcome in admin.incremental_alter_configs([resource]).values():
        outcome.result(WITHIN)
    (described,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, "managed")]).values()
    same("a config that was altered", "6000", described.result(WITHIN)["retention.ms"].value)
    same("brokers", 1, len(admin.describe_cluster().result(WITHIN).nodes))
    written("managed", [(None, b"%d" % at, []) for at in range(5)])
    (deleted,) = admin.delete_records([TopicPartition("managed", 0, 3)]).values()
    same("the first offset after a deletion", 3, deleted.result(WITHIN).low_watermark)
    same("what is left", [b"3", b"4"], [message.value() for message in read("managed", 2, 3)])
    admin.delete_topics(["managed"])["managed"].result(WITHIN)
    same("a topic that was deleted", False, "managed" in admin.list_topics(timeout=WITHIN).topics)
    unknown = admin.delete_topics(["managed"])["managed"].exception(WITHIN)
    same("the error of an unknown topic", KafkaError.UNKNOWN_TOPIC_OR_PART, unknown.args[0].code())


def main():
    checks, admin = Checks(), AdminClient({"bootstrap.servers": BOOTSTRAP})
    for codec in CODECS:
        checks.run(f"codec-{codec}", codec_round_trip, admin, codec)
    checks.run("positions", positions, admin)
    checks.run("administration", administration, admin)
    checks.end()


main()
