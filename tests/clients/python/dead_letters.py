"""confluent-kafka (librdkafka) over a record that makes its consumer exit: no code of ours is in the consumer.

Usage: HOST:PORT and one of
  prepare            makes the topic and writes its records, the fourth of which is poison
  start              consumes until it has partitions, and exits hard before it fetches anything
  consume            consumes and commits record by record; exits hard over the poison, well behind the last record
  position           prints where the group stands
  letters            prints what became dead letters
Prints `ok STEP ...` for what it has come to.
"""

import os
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC, GROUP = "jobs", "workers"
VALUES = ["one", "two", "three", "poison", "five", "last"]
LIMIT = "3"
WITHIN = 60.0


def reader(bootstrap, group):
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500,
        }
    )


def messages(consumer):
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            yield message
        elif message is not None:
            print("told", message.error(), flush=True)
    raise AssertionError(f"nothing came within {WITHIN} s")


def leave_hard(said):
    """As a crash does: nothing is closed, nobody is told."""
    print("ok", said, flush=True)
    os._exit(0)


def prepare(bootstrap):
    topic = NewTopic(TOPIC, 1, 1, config={"max.delivery.attempts": LIMIT})
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([topic])[TOPIC].result(WITHIN)
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": "lz4", "linger.ms": 100})
    for value in VALUES:
        producer.produce(TOPIC, value, key=f"key of {value}", headers=[("own", b"header")])
    assert producer.flush(WITHIN) == 0
    print("ok prepare")


def start(bootstrap):
    consumer = reader(bootstrap, GROUP)
    # Partitions are fetched from once this has returned.
    consumer.subscribe([TOPIC], on_assign=lambda _, partitions: leave_hard(f"start {len(partitions)}"))
    for message in messages(consumer):
        raise AssertionError(f"{message.value()} came before any partition")


def consume(bootstrap):
    consumer = reader(bootstrap, GROUP)
    consumer.subscribe([TOPIC])
    seen = []
    for message in messages(consumer):
        value = message.value().decode()
        seen.append(value)
        if value == "poison":
            leave_hard("died " + ",".join(seen))
        consumer.commit(message, asynchronous=False)
        if value == VALUES[-1]:
            break
    consumer.close()
    print("ok consumed", ",".join(seen))


def position(bootstrap):
    consumer = reader(bootstrap, GROUP)
    print("ok position", consumer.committed([TopicPartition(TOPIC, 0)], timeout=WITHIN)[0].offset)
    consumer.close()


def letters(bootstrap):
    consumer = reader(bootstrap, "undertakers")
    consumer.subscribe([TOPIC + ".dead-letter"])
    message = next(messages(consumer))
    headers = {name.removeprefix("polylogue.dead-letter."): value.decode() for name, value in message.headers()}
    told = [headers[name] for name in ("own", "topic", "partition", "offset", "group", "attempts")]
    print("ok letter", message.offset(), message.key().decode(), message.value().decode(), *told)
    more = consumer.poll(2.0)
    assert more is None or more.error() is not None, f"another letter: {more.value()}"
    consumer.close()


if __name__ == "__main__":
    STEPS = {"prepare": prepare, "start": start, "consume": consume, "position": position, "letters": letters}
    STEPS[sys.argv[2]](sys.argv[1])
