"""The application of compose.yaml: an event a second, and the ack of each. Python's own library is all it needs."""

import json
import os
import socket
import time
import uuid

PATH = os.environ.get("DISPATCHD_SOCKET", "/run/dispatchd/dispatchd.sock")
PAUSE_SECONDS = 1


def connect():
    """A connection to the daemon; waits for as long as there is none."""
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(PATH)
                return connection.makefile("rw", encoding="utf-8")
            except OSError as error:
                print(f"no daemon at {PATH} yet: {error}")
        time.sleep(PAUSE_SECONDS)


def ask(daemon, line):
    """The daemon's answer to one line; nothing if it went away before it answered."""
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
        pass  # what it could not write goes to the next one


def deliver(daemon, line):
    """Sends an event until it is answered for good. Gives the answer, and the connection for the next one."""
    while True:
        answer = ask(daemon, line)
        if answer and (answer["ok"] or not answer["error"]["retryable"]):
            return answer, daemon
        if answer:
            print(f"not yet: {answer['error']['message']}")
            time.sleep(PAUSE_SECONDS)
        # Who is overloaded or stops has closed the connection, or is about to.
        close(daemon)
        daemon = connect()


def main():
    daemon, order = connect(), 0
    while True:
        # An id of our own: sent twice, the event is one event.
        options = {"partitionKey": f"customer-{order % 10}", "id": str(uuid.uuid4())}
        answer, daemon = deliver(daemon, json.dumps({"type": "order.placed", "data": {"order": order}, "options": options}))
        print(json.dumps(answer))
        order += 1
        time.sleep(1)


main()
