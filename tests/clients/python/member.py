"""What a member of a group in Python does, whichever client it uses: reads, says what it saw, commits, says so.

The lines are those that tests/clients/src/judge.rs reads:
  owns PARTITION...               the partitions that are its own now
  seen PARTITION OFFSET VALUE     a record, before it is committed
  committed PARTITION OFFSET      what the cluster said it has
  late WHY                        a rebalance came before a commit: whoever has the partitions now reads them again
  written COUNT                   a producer's records that were acknowledged, all in all
It ends when its standard input does.
"""

import sys
import threading


def say(*words):
    print(*words)


def input_ended():
    """An event that is set when the standard input ends."""
    ended = threading.Event()

    def wait():
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return ended


def live(poll, owned, commit, late):
    """Lives as a member. `poll` gives records as (partition, offset, value); `late` knows a commit's errors."""
    ended, told = input_ended(), None
    while not ended.is_set():
        records = poll()
        if owned() != told:
            told = owned()
            say("owns", *told)
        for partition, offset, value in records:
            say("seen", partition, offset, value.decode())
        # Said before it is committed: a member that is killed in between has not lost it.
        sys.stdout.flush()
        if not records:
            continue
        try:
            commit()
            for partition, offset in {partition: offset for partition, offset, _ in records}.items():
                say("committed", partition, offset + 1)
        except Exception as error:
            if not late(error):
                raise
            say("late", type(error).__name__)
        sys.stdout.flush()


def produce(send, flush, partitions):
    """Writes as many further numbers as each line of the input says."""
    written = 0
    for line in sys.stdin:
        for number in range(written, written + int(line)):
            send(number % partitions, str(number).encode())
        flush()
        written += int(line)
        say("written", written)
        sys.stdout.flush()
