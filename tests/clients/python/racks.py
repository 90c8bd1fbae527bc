"""confluent-kafka in the rack of one broker reads all partitions there, what is written meanwhile too.

Usage: racks.py BOOTSTRAP NODE
"""

import json
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 6
RECORDS = 300


def write(producer, topic, begin):
    failed = []
    for number in range(begin, begin + RECORDS):
        producer.produce(topic, f"v{number}".encode(), partition=number % PARTITIONS,
                         on_delivery=lambda error, _: failed.append(error) if error else None)
        producer.poll(0)
    assert producer.flush(30) == 0 and not failed, failed[:3]


def read(consumer, seen, wanted):
    deadline = time.time() + 30
    while len(seen) < wanted:
        assert time.time() < deadline, f"{len(seen)} of {wanted} records came"
        message = consumer.poll(1)
        if message is not None:
            assert message.error() is None, message.error()
            seen.append(int(message.value()[1:]))


def main():
    bootstrap, node = sys.argv[1], int(sys.argv[2])
    topic = f"racks-{node}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, PARTITIONS, 3)])[topic].result(30)
    read_at, leaders, seen = {}, {}, []

    def statistics(text):
        partitions = json.loads(text)["topics"].get(topic, {}).get("partitions", {})
        for number, partition in partitions.items():
            if int(number) >= 0:
                read_at[int(number)], leaders[int(number)] = partition["broker"], partition["leader"]

    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "racks", "client.rack": f"r{node}",
                         "enable.auto.commit": False, "statistics.interval.ms": 100, "stats_cb": statistics})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    write(producer, topic, 0)
    read(consumer, seen, RECORDS)
    for round_number in range(1, 4):
        write(producer, topic, round_number * RECORDS)
        read(consumer, seen, (round_number + 1) * RECORDS)
    assert sorted(seen) == list(range(4 * RECORDS)), "some came twice, or not at all"
    deadline = time.time() + 10
    while set(read_at.values()) != {node}:
        assert time.time() < deadline, f"read at {read_at}, led by {leaders}"
        consumer.poll(0.1)
    assert len(read_at) == PARTITIONS and set(leaders.values()) != {node}, (read_at, leaders)
    consumer.close()
    print("ok")


main()
