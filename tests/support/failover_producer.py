#!/usr/bin/env python3
"""A librdkafka program for `polylogue chaos failover --stock-client`: see docs/OPERATIONS.md.

Takes bootstrap addresses, topic and number of partitions. Needs confluent-kafka.
"""
import sys
import threading
import time

from confluent_kafka import Producer


def main():
    bootstrap, topic, partitions = sys.argv[1], sys.argv[2], int(sys.argv[3])
    producer = Producer({
        "bootstrap.servers": bootstrap,
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 0,
        "socket.timeout.ms": 1000,
        "message.timeout.ms": 60000,
    })
    stopped = threading.Event()

    def wait_for_end():
        sys.stdin.buffer.read()
        stopped.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    number = 0
    while not stopped.is_set():
        for partition in range(partitions):
            send(producer, topic, partition, number)
        number += 1
        producer.poll(0.001)
    return 1 if producer.flush(60) else 0


def send(producer, topic, partition, number):
    sent = time.monotonic()

    def told(error, message):
        if error:
            print("failed", error, flush=True)
            return
        took = int((time.monotonic() - sent) * 1e6)
        print(partition, number, message.offset(), took, flush=True)

    while True:
        try:
            producer.produce(topic, number.to_bytes(8, "big"), None, partition, on_delivery=told)
            return
        except BufferError:
            producer.poll(0.01)


if __name__ == "__main__":
    sys.exit(main())
