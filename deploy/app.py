"""The application of compose.yaml: it sends an event each second and prints the answer.

It needs nothing but Python's standard library.
"""

import json
import os
import socket
import time
import uuid

PATH = os.environ.get("DISPATCHD_SOCKET", "/run/dispatchd/dispatchd.sock")
PAUSE_SECONDS = 1


def connect():
    """Returns a connection to the daemon; waits until there is one."""
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(PATH)
                return connection.makefile("rw", encoding="utf-8")
            except OSError as error:
                print(f"no daemon at {PATH} yet: {error}")
        time.sleep(PAUSE_SECONDS)


def ask(daemon, line):
    """Returns the daemon's answer to one line, or None if the daemon went away before it answered."""
    try:
        print(line, file=daemon, flush=True)
        answer = daemon.readline()
    except OSError:
        return None
    return json.loads(answer) if answer.endswith("\n") else None


def close(daemon):
    try:
        daemon.close()
    except OSError:
        pass  # what could not be written is sent on the next connection


def deliver(daemon, line):
    """Sends an event until its answer is final. Returns the answer and the connection to use next."""
    while True:
        answer = ask(daemon, line)
        if answer and (answer["ok"] or not answer["error"]["retryable"]):
            return answer, daemon
        if answer:
            print(f"not yet: {answer['error']['message']}")
            time.sleep(PAUSE_SECONDS)
        # A daemon that is overloaded or stops has closed the connection, or is about to.
        close(daemon)
        daemon = connect()


def main():
    daemon, order = connect(), 0
    while True:
        # The id is our own, so that an event that is sent twice is stored once.
        options = {"partitionKey": f"customer-{order % 10}", "id": str(uuid.uuid4())}
        event = {"type": "order.placed", "data": {"order": order}, "options": options}
        answer, daemon = deliver(daemon, json.dumps(event))
        print(json.dumps(answer))
        order += 1
        time.sleep(1)


main()
