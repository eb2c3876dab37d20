"""aiokafka against a node. Usage: aio.py HOST:PORT"""

import asyncio
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from checks import CODECS, RECORDS, Checks, same

BOOTSTRAP = sys.argv[1]
WITHIN = 30


async def created(admin, topic, partitions=1, config=None):
    """The error code of each topic that was asked for."""
    answer = await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=config or {})])
    return answer.topic_errors[0][1]


async def written(topic, records, **settings):
    """Writes to partition 0; the offsets that were acknowledged, in order."""
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, **settings) as producer:
        sent = [
            await producer.send(topic, value, key, partition=0, headers=headers) for key, value, headers in records
        ]
        return [(await future).offset for future in sent]


async def read(topic, count, offset=0):
    """So many records of partition 0 from an offset on, by assignment."""
    async with AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP, check_crcs=True) as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek(partition, offset)
        return [await asyncio.wait_for(consumer.getone(), WITHIN) for _ in range(count)]


def content(record):
    return record.key, record.value, list(record.headers)


async def codec_round_trip(admin, codec):
    topic = f"codec-{codec}"
    same("the error of a creation", 0, await created(admin, topic))
    codec = None if codec == "none" else codec
    for settings in [{"enable_idempotence": True}, {"acks": 1}]:
        await written(topic, RECORDS, compression_type=codec, linger_ms=50, **settings)
    records = await read(topic, 2 * len(RECORDS))
    same("offsets", list(range(2 * len(RECORDS))), [record.offset for record in records])
    same("records", 2 * RECORDS, [content(record) for record in records])


async def positions(admin):
    await created(admin, "positions")
    before = int(time.time() * 1000)
    await written("positions", [(None, b"%d" % at, []) for at in range(10)], linger_ms=500)
    same("from the middle of a batch", [b"7", b"8", b"9"], [r.value for r in await read("positions", 3, 7)])
    partition = TopicPartition("positions", 0)
    async with AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP) as consumer:
        same("the first offset", {partition: 0}, await consumer.beginning_offsets([partition]))
        same("the end", {partition: 10}, await consumer.end_offsets([partition]))
        found = await consumer.offsets_for_times({partition: before})
        same("the offset of a time", 0, found[partition].offset)
        late = await consumer.offsets_for_times({partition: before + 3_600_000})
        same("the offset of a time that is to come", None, late[partition])


async def administration(admin):
    await created(admin, "managed", 2, {"retention.ms": "5000"})
    same("whether it is listed", True, "managed" in await admin.list_topics())
    same("the error of a topic that exists", 36, await created(admin, "managed"))
    same("the error of an unknown config", 40, await created(admin, "odd", 1, {"no.such.config": "1"}))
    await admin.create_partitions({"managed": NewPartitions(3)})
    (described,) = await admin.describe_topics(["managed"])
    same("more partitions", 3, len(described["partitions"]))
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "managed", {"retention.ms": "6000"})])
    shown = str(await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "managed")]))
    same("a config that was altered", True, "6000" in shown)
    await admin.delete_topics(["managed"])
    same("a topic that was deleted", False, "managed" in await admin.list_topics())


async def run(checks, name, check, *arguments):
    try:
        await check(*arguments)
        print("ok", name, flush=True)
    except Exception as error:  # whatever a client throws is a failed check
        checks.report(name, error)


async def main():
    checks, admin = Checks(), AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    for codec in CODECS:
        await run(checks, f"codec-{codec}", codec_round_trip, admin, codec)
    await run(checks, "positions", positions, admin)
    await run(checks, "administration", administration, admin)
    await admin.close()
    checks.end()


asyncio.run(main())
