"""A record processor that speaks the MultiLangDaemon protocol by hand, and fails once if it is to.

    child.py FOLDER FAULT

Each record that it is told goes into FOLDER/records, one a line: shard, sequence number,
sub-sequence number, data. Each action goes into FOLDER/actions. It sets a checkpoint after every
message, and at the end of a shard. A fault happens once: FOLDER/failed says that it did. `slow` is
none: the message that begins with the record 5, or the one after it, takes longer than any test.
"""

import base64
import json
import os
import subprocess
import sys
import time

FOLDER, FAULT = sys.argv[1:]


def note(name, line):
    with open(os.path.join(FOLDER, name), "a") as file:
        file.write(line + "\n")


def say(message):
    sys.stdout.write("\n" + json.dumps(message) + "\n")
    sys.stdout.flush()


def fails(fault):
    """Whether this fault is to happen now."""
    failed = os.path.join(FOLDER, "failed")
    if FAULT != fault or os.path.exists(failed):
        return False
    note("failed", str(os.getpid()))
    return True


def checkpoint():
    say({"action": "checkpoint", "sequenceNumber": None, "subSequenceNumber": None})
    answer = json.loads(sys.stdin.readline())
    assert answer["action"] == "checkpoint", answer
    return answer["error"]


def fail():
    """Fails as it is to, in the middle of a message: what it was told is lost to it."""
    if fails("exit"):
        print("it is of no use", file=sys.stderr)
        sys.exit(3)
    if fails("hang"):
        # What it started holds its pipes open, and goes on after it.
        held = subprocess.Popen(["sleep", "1000"])
        note("held", str(held.pid))
        time.sleep(1000)
    if fails("close"):
        os.close(1)
        time.sleep(1000)
    if fails("other"):
        say({"action": "status", "responseFor": "initialize"})
        time.sleep(1000)


note("pids", str(os.getpid()))
shard = None
for line in sys.stdin:
    message = json.loads(line)
    action = message["action"]
    note("actions", f"{shard} {action}")
    if FAULT == "print":
        print("hello", "x" * 100_000)
        print('{"action": "checkpoint", "checkpoint": "7"}')
    if FAULT == "flood":
        sys.stderr.write("a line on standard error\n" * 20_000)
    if action == "initialize":
        shard = message["shardId"]
    if action == "processRecords":
        fail()
        if FAULT == "slow" and base64.b64decode(message["records"][0]["data"]) >= b"5":
            note("slow", str(os.getpid()))
            time.sleep(1000)
        for record in message["records"]:
            data = base64.b64decode(record["data"]).decode()
            note("records", f"{shard} {record['sequenceNumber']} {record['subSequenceNumber']} {data}")
        assert checkpoint() is None
    if action == "shardEnded" and not fails("no-end"):
        assert checkpoint() is None
        if fails("end"):
            sys.exit(3)
    if action == "shutdownRequested":
        if FAULT == "stay":
            time.sleep(1000)
        assert checkpoint() is None
    if action == "leaseLost":
        assert checkpoint() == "InvalidStateException"
        if fails("leave"):
            nowhere = subprocess.DEVNULL
            held = subprocess.Popen(["sleep", "1000"], stdin=nowhere, stdout=nowhere, stderr=nowhere)
            note("held", str(held.pid))
    say({"action": "status", "responseFor": action})
note("actions", f"{shard} EOF")
