"""confluent-kafka writes with each codec and reads everything back, to the byte.

Usage: roundtrip.py BOOTSTRAP RECORDS
"""

import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition, TIMESTAMP_CREATE_TIME
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

BASE_TIME = 1_700_000_000_000


def record(number):
    return {
        "key": None if number % 5 == 1 else f"key {number}".encode(),
        "value": None if number % 7 == 3 else b"v" * (number % 400),
        "timestamp": BASE_TIME + number,
        "headers": [("n", str(number).encode()), ("n", None), ("empty", b"")],
    }


def produce(bootstrap, topic, codec, records):
    failed = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True,
                         "compression.type": codec, "linger.ms": 20})

    def delivered(error, _message):
        if error is not None:
            failed.append(error)

    for number in range(records):
        producer.produce(topic, partition=0, on_delivery=delivered, **record(number))
        producer.poll(0)
    assert producer.flush(30) == 0, "not everything was delivered"
    assert not failed, failed[:3]


def consume(bootstrap, topic, records):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False,
                         "enable.partition.eof": True, "check.crcs": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    number = 0
    while True:
        message = consumer.poll(30)
        assert message is not None, f"nothing after record {number}"
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            if number == records:
                break
            continue
        sent = record(number)
        assert message.offset() == number
        assert message.key() == sent["key"], (number, message.key())
        assert message.value() == sent["value"], number
        assert message.timestamp() == (TIMESTAMP_CREATE_TIME, sent["timestamp"]), message.timestamp()
        assert message.headers() == sent["headers"], message.headers()
        number += 1
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
    assert (low, high) == (0, records), (low, high)
    found = consumer.offsets_for_times([TopicPartition(topic, 0, BASE_TIME + records // 2)], timeout=10)
    assert found[0].offset == records // 2, found
    consumer.close()


def describe(admin, resource):
    """Asks until the broker that happens to be asked has heard of the topic: as in Kafka, the
    controller answers a creation before every broker has replayed it."""
    deadline = time.monotonic() + 5
    while True:
        try:
            return admin.describe_configs([resource])[resource].result(30)
        except KafkaException as error:
            unknown = error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
            if not unknown or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def administer(bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic("admin", 3, 3, config={"retention.ms": "60000"})]).values():
        future.result(30)
    entries = describe(admin, ConfigResource(ConfigResource.Type.TOPIC, "admin"))
    assert entries["retention.ms"].value == "60000", entries["retention.ms"]
    assert len(entries) > 25, "every config is listed with its default"
    for future in admin.create_partitions([NewPartitions("admin", 5)]).values():
        future.result(30)
    for future in admin.delete_topics(["admin"]).values():
        future.result(30)
    assert admin.describe_cluster().result(30).controller.id in (1, 2, 3)


def main():
    bootstrap, records = sys.argv[1], int(sys.argv[2])
    administer(bootstrap)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        topic = f"python-{codec}"
        produce(bootstrap, topic, codec, records)
        consume(bootstrap, topic, records)
    print("ok")


if __name__ == "__main__":
    main()
