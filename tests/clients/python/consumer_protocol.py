"""Groups of the new protocol (KIP-848): confluent-kafka with `group.protocol=consumer`.

Members come, go and are killed while records flow; a static member keeps its place; the server looks up a regular
expression; a group goes from the classic protocol to the new one and back without stopping. Every record is seen by
the group at least once, and no committed offset ever goes back.

Usage: consumer_protocol.py BOOTSTRAP RECORDS [SITUATION...]
       consumer_protocol.py member BOOTSTRAP GROUP TOPIC (one member; prints what it reads)
"""

import subprocess
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from groups import LATE, PARTITIONS, PATIENCE, Member, classic, committed, produce

NEW = {"group.protocol": "consumer"}


def wait(what, check):
    """Waits until `check` is true."""
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def settled(members, topics):
    """Waits until the members share every partition of the topics, each read by one."""
    every = sorted((topic, index) for topic in topics for index in range(PARTITIONS))
    shares = lambda: [member.owned for member in members]
    wait(shares, lambda: sorted(sum(shares(), [])) == every and all(shares()))
    return shares()


def group_type(admin, group):
    listed = admin.list_consumer_groups().result(30).valid
    return next((found.type.name for found in listed if found.group_id == group), None)


def create(admin, *topics):
    for created in admin.create_topics([NewTopic(topic, PARTITIONS, -1) for topic in topics]).values():
        created.result(30)


class Watch:
    """Watches that the offsets of a group never go back."""

    def __init__(self, admin, group, topic):
        self.admin, self.group, self.topic, self.before = admin, group, topic, [0] * PARTITIONS

    def look(self):
        now = committed(self.admin, self.group, self.topic)
        assert all(a <= b for a, b in zip(self.before, now)), f"an offset went back: {self.before} {now}"
        self.before = now
        return now

    def until(self, total):
        wait(lambda: self.before, lambda: sum(self.look()) == total)


class Mortal:
    """A member in a process of its own, to be killed."""

    def __init__(self, bootstrap, group, topic, seen, lock):
        command = [sys.executable, __file__, "member", bootstrap, group, topic]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self.read, args=(seen, lock), daemon=True)
        self.read_some = threading.Event()
        self.reader.start()

    def read(self, seen, lock):
        for line in self.process.stdout:
            # The last line of a killed process may be cut short.
            if line.endswith("\n"):
                with lock:
                    seen.add(int(line))
                self.read_some.set()

    def kill(self):
        assert self.read_some.wait(PATIENCE), "it reads nothing"
        self.process.kill()
        self.process.wait()
        self.reader.join(PATIENCE)


def member(bootstrap, group, topic):
    """Reads and commits until it is killed; what it has printed counts as seen."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, **NEW})
    consumer.subscribe([topic])
    while True:
        messages = [message for message in consumer.consume(num_messages=50, timeout=0.2) if not message.error()]
        for message in messages:
            print(message.value().decode(), flush=True)
        try:
            if messages:
                consumer.commit(asynchronous=False)
        except KafkaException as error:
            if error.args[0].name() not in LATE:
                raise


def flow(bootstrap, admin, records, assignor="uniform"):
    """Members come, go and are killed while records flow."""
    topic = f"flow-{assignor}"
    create(admin, topic)
    seen, lock = set(), threading.Lock()
    new = lambda: Member(bootstrap, topic, topic, {**NEW, "group.remote.assignor": assignor}, seen, lock)
    members, watch = [new()], Watch(admin, topic, topic)
    # Records flow for ten seconds.
    pause = 10 * 500 / records
    producing = threading.Thread(target=produce, args=(bootstrap, topic, records, pause), daemon=True)
    producing.start()
    settled(members, [topic])
    mortal = Mortal(bootstrap, topic, topic, seen, lock)
    for step in ("grow", "grow", "kill", "shrink", "shrink", "grow"):
        if step == "grow":
            members.append(new())
        elif step == "shrink":
            members.pop(0).stop()
        else:
            mortal.kill()
        time.sleep(1)
        watch.look()
    producing.join(PATIENCE)
    # The killed member's session has to end before others may have its partitions.
    settled(members, [topic])
    watch.until(records)
    assert seen == set(range(records)), f"{len(seen)} of {records} records were seen"
    described = admin.describe_consumer_groups([topic])[topic].result(30)
    assert (described.type.name, described.state.name) == ("CONSUMER", "STABLE"), (described.type, described.state)
    assert described.partition_assignor == assignor, described.partition_assignor
    told = sorted((part.topic, part.partition) for one in described.members for part in one.assignment.topic_partitions)
    assert told == sorted(sum((one.owned for one in members), [])), told
    for one in members:
        one.stop()
    wait(lambda: "it is not empty", lambda: admin.describe_consumer_groups([topic])[topic].result(30).state.name == "EMPTY")
    admin.delete_consumer_groups([topic])[topic].result(30)
    assert group_type(admin, topic) is None


def ranges(bootstrap, admin, records):
    flow(bootstrap, admin, records, "range")


def static(bootstrap, admin, _):
    """A static member goes and comes back: nobody else is touched, and nobody may take its name meanwhile."""
    topic = "static"
    create(admin, topic)
    new = lambda name: Member(bootstrap, topic, topic, {**NEW, "group.instance.id": name}, set(), threading.Lock())
    first, second = new("one"), new("two")
    shares = settled([first, second], [topic])
    first.stop()
    for _ in range(20):
        assert second.owned == shares[1], "the other was touched while its mate may come back"
        time.sleep(0.1)
    first = new("one")
    assert settled([first, second], [topic]) == shares, "it has its own partitions back"
    rival = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "group.instance.id": "one", **NEW})
    rival.subscribe([topic])
    told = []
    def refused():
        message = rival.poll(0.2)
        told.append(message.error() if message else None)
        return told[-1] is not None
    wait(lambda: told, refused)
    assert told[-1].code() in (KafkaError._FATAL, KafkaError.UNRELEASED_INSTANCE_ID), told[-1]
    rival.close()
    assert settled([first, second], [topic]) == shares
    first.stop()
    second.stop()


def regex(bootstrap, admin, _):
    """The server looks an expression up, and again when there are more topics."""
    create(admin, "found-a", "found-c", "lost")
    seen, lock = set(), threading.Lock()
    members = [Member(bootstrap, "regex", "^found-[ab]$", NEW, seen, lock) for _ in range(2)]
    settled(members, ["found-a"])
    create(admin, "found-b")
    settled(members, ["found-a", "found-b"])
    producer = Producer({"bootstrap.servers": bootstrap})
    for number, topic in enumerate(["found-a", "found-b", "found-c", "lost"] * PARTITIONS):
        producer.produce(topic, str(number).encode(), partition=number // 4)
    assert producer.flush(60) == 0
    expected = {number for number in range(4 * PARTITIONS) if number % 4 < 2}
    wait(lambda: seen, lambda: expected <= seen)
    assert seen == expected, seen
    for one in members:
        one.stop()


def migration(bootstrap, admin, records, strategy="range"):
    """From the classic protocol to the new one and back, a member at a time, without stopping."""
    topic = f"migration-{strategy}"
    create(admin, topic)
    seen, lock = set(), threading.Lock()
    new = lambda settings: Member(bootstrap, topic, topic, settings, seen, lock)
    old, watch = classic(strategy), Watch(admin, topic, topic)
    # Records flow for ten seconds.
    pause = 10 * 500 / records
    producing = threading.Thread(target=produce, args=(bootstrap, topic, records, pause), daemon=True)
    producing.start()
    members = [new(old), new(old)]
    settled(members, [topic])
    assert group_type(admin, topic) == "CLASSIC"
    for settings, expected in ((NEW, "CONSUMER"), (old, "CLASSIC")):
        for _ in range(2):
            members.append(new(settings))
            settled(members, [topic])
            assert group_type(admin, topic) == "CONSUMER", "both protocols are in it"
            members.pop(0).stop()
            settled(members, [topic])
            watch.look()
        assert group_type(admin, topic) == expected
    producing.join(PATIENCE)
    watch.until(records)
    assert seen == set(range(records)), f"{len(seen)} of {records} records were seen"
    for one in members:
        one.stop()
    # An empty group goes over as it is, offsets and all.
    last = new(NEW)
    settled([last], [topic])
    assert (group_type(admin, topic), sum(watch.look())) == ("CONSUMER", records)
    last.stop()
    last = new(old)
    settled([last], [topic])
    assert (group_type(admin, topic), sum(watch.look())) == ("CLASSIC", records)
    last.stop()


def cooperative(bootstrap, admin, records):
    migration(bootstrap, admin, records, "cooperative-sticky")


SITUATIONS = {"flow": flow, "ranges": ranges, "static": static, "regex": regex, "migration": migration,
              "cooperative": cooperative}


def main():
    if sys.argv[1] == "member":
        member(*sys.argv[2:])
    bootstrap, records = sys.argv[1], int(sys.argv[2])
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for name in sys.argv[3:] or SITUATIONS:
        began = time.monotonic()
        SITUATIONS[name](bootstrap, admin, records)
        print(f"{name}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    print("ok")


if __name__ == "__main__":
    main()
