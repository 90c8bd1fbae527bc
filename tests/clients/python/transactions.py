"""Transactions of confluent-kafka: what is committed is read once, what is aborted never.

A writer commits numbers and aborts others. Copiers read them, write them elsewhere and commit their offsets
in the same transactions; one stops in the middle of one without a word, and the next one takes over.

Usage: transactions.py BOOTSTRAP RECORDS
"""

import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 3
PATIENCE = 120
BATCH = 50


def producer(bootstrap, name):
    made = Producer({"bootstrap.servers": bootstrap, "transactional.id": name, "transaction.timeout.ms": 30000})
    made.init_transactions(PATIENCE)
    return made


def consumer(bootstrap, group, topic):
    made = Consumer({
        "bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "isolation.level": "read_committed", "session.timeout.ms": 6000,
    })
    made.subscribe([topic])
    return made


def write(bootstrap, topic, count):
    writer = producer(bootstrap, "writer")
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        if first // BATCH % 2 == 0:
            writer.begin_transaction()
            for number in numbers:
                writer.produce(topic, f"-{number}", partition=number % PARTITIONS)
            writer.flush()
            writer.abort_transaction(PATIENCE)
        writer.begin_transaction()
        for number in numbers:
            writer.produce(topic, str(number), partition=number % PARTITIONS)
        writer.commit_transaction(PATIENCE)


def read(bootstrap, topic, count):
    """All that a reader of committed data sees, by partition."""
    reader = consumer(bootstrap, f"reads-{topic}", topic)
    seen = {partition: [] for partition in range(PARTITIONS)}
    deadline, quiet = time.time() + PATIENCE, 0
    # A little longer than it needs, for what must not be there.
    while quiet < 3:
        assert time.time() < deadline, f"{sum(map(len, seen.values()))} of {count} after {PATIENCE} s"
        messages = [message for message in reader.consume(500, timeout=0.5) if message.error() is None]
        for message in messages:
            seen[message.partition()].append(int(message.value()))
        quiet = quiet + 1 if not messages and sum(map(len, seen.values())) >= count else 0
    reader.close()
    return seen


def copy(bootstrap, source, sink, batches):
    """Copies so many batches, or all that there is; leaves the last of so many open."""
    reader, writer = consumer(bootstrap, "copiers", source), producer(bootstrap, "copier")
    done, quiet, deadline = 0, 0, time.time() + PATIENCE
    while quiet < 10 and (batches is None or done < batches):
        assert time.time() < deadline, f"the copy takes longer than {PATIENCE} s"
        messages = [message for message in reader.consume(BATCH, timeout=0.5) if message.error() is None]
        quiet = 0 if messages else quiet + 1
        if not messages:
            continue
        writer.begin_transaction()
        for message in messages:
            writer.produce(sink, message.value(), partition=message.partition())
        positions = reader.position(reader.assignment())
        writer.send_offsets_to_transaction(positions, reader.consumer_group_metadata(), PATIENCE)
        done += 1
        if done == batches:
            writer.flush()
            return reader, writer
        if done % 5 == 4:
            writer.abort_transaction(PATIENCE)
            for committed in reader.committed(reader.assignment(), PATIENCE):
                if committed.offset < 0:
                    committed.offset = 0
                reader.seek(committed)
        else:
            writer.commit_transaction(PATIENCE)
    reader.close()
    return None, writer


def check(seen, count):
    for partition, numbers in seen.items():
        expected = list(range(partition, count, PARTITIONS))
        assert numbers == expected, f"partition {partition}: {len(numbers)} of {len(expected)}, {numbers[:20]}..."


def main(bootstrap, count):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    source, sink = "numbers", "copies"
    topics = [NewTopic(topic, PARTITIONS, 3) for topic in (source, sink)]
    for made in admin.create_topics(topics).values():
        made.result(PATIENCE)
    write(bootstrap, source, count)
    check(read(bootstrap, source, count), count)
    left, zombie = copy(bootstrap, source, sink, 4)
    left.close()
    copy(bootstrap, source, sink, None)
    check(read(bootstrap, sink, count), count)
    try:
        zombie.commit_transaction(PATIENCE)
    except KafkaException as error:
        assert error.args[0].name() in ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"), error
    else:
        raise AssertionError("a producer that was shut out committed")
    print("ok")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
