"""confluent-kafka as a member of a group, or as a producer.

Usage: confluent_kafka_member.py member BOOTSTRAP GROUP TOPIC eager|cooperative|consumer [INSTANCE]
       confluent_kafka_member.py produce BOOTSTRAP TOPIC PARTITIONS
"""

import sys

from confluent_kafka import Consumer, KafkaException, Producer

from groups import LATE
from member import live, produce

CLASSIC = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
STYLES = {
    "eager": {**CLASSIC, "partition.assignment.strategy": "range"},
    "cooperative": {**CLASSIC, "partition.assignment.strategy": "cooperative-sticky"},
    "consumer": {"group.protocol": "consumer"},
}


def member(bootstrap, group, topic, style, instance=None):
    static = {"group.instance.id": instance} if instance else {}
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, **STYLES[style], **static})
    consumer.subscribe([topic])

    def poll():
        messages = consumer.consume(num_messages=500, timeout=0.2)
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
        return [(message.partition(), message.offset(), message.value()) for message in messages]

    owned = lambda: sorted(it.partition for it in consumer.assignment())
    late = lambda error: isinstance(error, KafkaException) and error.args[0].name() in LATE
    live(poll, owned, lambda: consumer.commit(asynchronous=False), late)
    consumer.close()


def write(bootstrap, topic, partitions):
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5})

    def failed(error, _):
        if error:
            raise KafkaException(error)

    def send(partition, value):
        producer.produce(topic, value, partition=partition, on_delivery=failed)
        producer.poll(0)

    produce(send, producer.flush, int(partitions))


if __name__ == "__main__":
    {"member": member, "produce": write}[sys.argv[1]](*sys.argv[2:])
