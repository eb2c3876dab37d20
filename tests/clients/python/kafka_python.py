"""kafka-python against a node. Usage: kafka_python.py HOST:PORT"""

import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

from checks import CODECS, RECORDS, Checks, refused, same

BOOTSTRAP = sys.argv[1]
WITHIN = 30


def created(admin, topic, partitions=1, config=None):
    admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=config or {})])


def written(topic, records, **settings):
    """Writes to partition 0; the offsets that were acknowledged, in order."""
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, **settings)
    sent = [producer.send(topic, value, key, headers, partition=0) for key, value, headers in records]
    offsets = [future.get(WITHIN).offset for future in sent]
    producer.close(WITHIN)
    return offsets


def read(topic, count, offset=0):
    """So many records of partition 0 from an offset on, by assignment."""
    consumer = KafkaConsumer(
        bootstrap_servers=BOOTSTRAP, consumer_timeout_ms=WITHIN * 1000, enable_auto_commit=False, check_crcs=True
    )
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek(partition, offset)
    found = []
    for record in consumer:
        found.append(record)
        if len(found) == count:
            break
    consumer.close()
    return found


def content(record):
    return record.key, record.value, list(record.headers)


def codec_round_trip(admin, codec):
    topic = f"codec-{codec}"
    created(admin, topic)
    codec = None if codec == "none" else codec
    for settings in [{"enable_idempotence": True}, {"acks": 1, "enable_idempotence": False}]:
        written(topic, RECORDS, compression_type=codec, linger_ms=50, **settings)
    records = read(topic, 2 * len(RECORDS))
    same("offsets", list(range(2 * len(RECORDS))), [record.offset for record in records])
    same("records", 2 * RECORDS, [content(record) for record in records])


def positions(admin):
    created(admin, "positions")
    before = int(time.time() * 1000)
    written("positions", [(None, b"%d" % at, []) for at in range(10)], linger_ms=500)
    same("from the middle of a batch", [b"7", b"8", b"9"], [r.value for r in read("positions", 3, 7)])
    consumer, partition = KafkaConsumer(bootstrap_servers=BOOTSTRAP), TopicPartition("positions", 0)
    same("the first offset", {partition: 0}, consumer.beginning_offsets([partition]))
    same("the end", {partition: 10}, consumer.end_offsets([partition]))
    same("the offset of a time", 0, consumer.offsets_for_times({partition: before})[partition].offset)
    late = consumer.offsets_for_times({partition: before + 3_600_000})[partition]
    same("the offset of a time that is to come", None, late)
    consumer.close()


def administration(admin):
    created(admin, "managed", 2, {"retention.ms": "5000"})
    same("whether it is listed", True, "managed" in admin.list_topics())
    refused("a topic that exists", TopicAlreadyExistsError, lambda: created(admin, "managed"))
    refused("an unknown config", KafkaError, lambda: created(admin, "odd", 1, {"no.such.config": "1"}))
    admin.create_partitions({"managed": NewPartitions(3)})
    (described,) = admin.describe_topics(["managed"])
    same("more partitions", 3, len(described["partitions"]))
    resource = ConfigResource(ConfigResourceType.TOPIC, "managed", configs={"retention.ms": "6000"})
    admin.alter_configs([resource])
    shown = str(admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "managed")]))
    same("a config that was altered", True, "6000" in shown)
    written("managed", [(None, b"%d" % at, []) for at in range(5)])
    admin.delete_records({TopicPartition("managed", 0): 3})
    same("what is left", [b"3", b"4"], [record.value for record in read("managed", 2, 3)])
    admin.delete_topics(["managed"])
    same("a topic that was deleted", False, "managed" in admin.list_topics())
    refused("an unknown topic", UnknownTopicOrPartitionError, lambda: admin.delete_topics(["managed"]))


def main():
    checks, admin = Checks(), KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    for codec in CODECS:
        checks.run(f"codec-{codec}", codec_round_trip, admin, codec)
    checks.run("positions", positions, admin)
    checks.run("administration", administration, admin)
    admin.close()
    checks.end()


main()
