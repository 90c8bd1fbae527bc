"""kafka-python as a member of a group, or as a producer.

Usage: kafka_python_member.py member BOOTSTRAP GROUP TOPIC eager|cooperative [INSTANCE]
       kafka_python_member.py produce BOOTSTRAP TOPIC PARTITIONS
"""

import sys

from kafka import KafkaConsumer, KafkaProducer, errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor

from member import live, produce

STYLES = {"eager": RangePartitionAssignor, "cooperative": CooperativeStickyAssignor}
LATE = (errors.CommitFailedError, errors.RebalanceInProgressError, errors.IllegalGenerationError,
        errors.UnknownMemberIdError)


def member(bootstrap, group, topic, style, instance=None):
    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap.split(","), group_id=group, group_instance_id=instance,
        partition_assignment_strategy=[STYLES[style]], auto_offset_reset="earliest", enable_auto_commit=False,
        session_timeout_ms=6000, heartbeat_interval_ms=500)

    def poll():
        batches = consumer.poll(timeout_ms=200, max_records=500)
        return [(record.partition, record.offset, record.value) for batch in batches.values() for record in batch]

    owned = lambda: sorted(it.partition for it in consumer.assignment())
    live(poll, owned, consumer.commit, lambda error: isinstance(error, LATE))
    consumer.close()


def write(bootstrap, topic, partitions):
    producer = KafkaProducer(bootstrap_servers=bootstrap.split(","), linger_ms=5)
    sent = []

    def flush():
        producer.flush()
        for future in sent:
            future.get(0)
        sent.clear()

    produce(lambda partition, value: sent.append(producer.send(topic, value, partition=partition)), flush, int(partitions))


if __name__ == "__main__":
    {"member": member, "produce": write}[sys.argv[1]](*sys.argv[2:])
