"""A group of confluent-kafka consumers grows and shrinks while records flow.

Every record is seen by the group at least once, and no committed offset ever goes back.

Usage: groups.py BOOTSTRAP RECORDS
"""

import sys
import threading
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 6
PATIENCE = 120
# What a commit is told that comes after a rebalance, in either protocol.
LATE = ("REBALANCE_IN_PROGRESS", "ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "STALE_MEMBER_EPOCH",
        "FENCED_MEMBER_EPOCH", "_NO_OFFSET")


def classic(strategy):
    """The settings of a member of the classic protocol."""
    return {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "partition.assignment.strategy": strategy}


class Member(threading.Thread):
    """One consumer in a thread of its own."""

    def __init__(self, bootstrap, group, topic, settings, seen, lock):
        super().__init__(daemon=True)
        self.seen, self.lock, self.stopping, self.failed = seen, lock, threading.Event(), None
        # Asked for here alone: two threads in one consumer wait for each other for ever.
        self.owned = []
        self.consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
            "enable.auto.commit": False, **settings,
        })
        self.consumer.subscribe([topic])
        self.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                messages = self.consumer.consume(num_messages=200, timeout=0.2)
                self.owned = sorted((it.topic, it.partition) for it in self.consumer.assignment())
                values = [int(message.value()) for message in messages if message.error() is None]
                with self.lock:
                    self.seen.update(values)
                if values:
                    self.commit()
            self.consumer.close()
        except Exception as error:  # told by stop()
            self.failed = error

    def commit(self):
        try:
            self.consumer.commit(asynchronous=False)
        except KafkaException as error:
            # A rebalance took the partitions: whoever has them now reads those records again.
            if error.args[0].name() not in LATE:
                raise

    def stop(self):
        self.stopping.set()
        self.join(PATIENCE)
        assert not self.is_alive(), "a member does not stop"
        assert self.failed is None, self.failed


def committed(admin, group, topic):
    partitions = [TopicPartition(topic, index) for index in range(PARTITIONS)]
    asked = ConsumerGroupTopicPartitions(group, partitions)
    answer = admin.list_consumer_group_offsets([asked])[group].result(30)
    return [max(partition.offset, 0) for partition in answer.topic_partitions]


def produce(bootstrap, topic, records, pause=0.05):
    """Writes numbers; pauses after each 500."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 5})
    for number in range(records):
        producer.produce(topic, str(number).encode(), partition=number % PARTITIONS)
        producer.poll(0)
        if number % 500 == 0:
            time.sleep(pause)
    assert producer.flush(60) == 0, "not everything was delivered"


def flow(bootstrap, records, strategy):
    topic = f"flow-{strategy}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, PARTITIONS, -1)])[topic].result(30)
    seen, lock = set(), threading.Lock()
    new = lambda: Member(bootstrap, topic, topic, classic(strategy), seen, lock)
    members = [new()]
    producing = threading.Thread(target=produce, args=(bootstrap, topic, records), daemon=True)
    producing.start()
    before, deadline = [0] * PARTITIONS, time.monotonic() + PATIENCE
    steps = iter(["grow", "grow", "grow", "shrink", "shrink", "grow"])
    while len(seen) < records:
        assert time.monotonic() < deadline, f"{len(seen)} of {records} records were seen"
        step = next(steps, None)
        if step == "grow":
            members.append(new())
        elif step == "shrink":
            members.pop(0).stop()
        time.sleep(1)
        now = committed(admin, topic, topic)
        assert all(a <= b for a, b in zip(before, now)), f"an offset went back: {before} {now}"
        before = now
    producing.join(PATIENCE)
    described = admin.describe_consumer_groups([topic])[topic].result(30)
    assert len(described.members) == len(members), described.members
    for member in members:
        member.stop()
    assert sum(committed(admin, topic, topic)) == records, committed(admin, topic, topic)
    assert seen == set(range(records))
    states = {group.group_id: group.state.name for group in admin.list_consumer_groups().result(30).valid}
    assert states[topic] == "EMPTY", states
    admin.delete_consumer_groups([topic])[topic].result(30)


def main():
    bootstrap, records = sys.argv[1], int(sys.argv[2])
    for strategy in ("range", "cooperative-sticky"):
        flow(bootstrap, records, strategy)
    print("ok")


if __name__ == "__main__":
    main()
