"""The application of compose.yaml: an event a second, and the ack of each. Python's own library is all it needs."""

import json
import os
import socket
import time
import uuid


def connect(path):
    """A connection to the daemon; waits for as long as there is none."""
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            return connection.makefile("rw", encoding="utf-8")
        except OSError as error:
            connection.close()
            print(f"no daemon at {path} yet: {error}")
            time.sleep(1)


def main():
    path = os.environ.get("DISPATCHD_SOCKET", "/run/dispatchd/dispatchd.sock")
    daemon, order = connect(path), 0
    while True:
        # An id of our own: sent twice, the event is one event.
        options = {"partitionKey": f"customer-{order % 10}", "id": str(uuid.uuid4())}
        line = json.dumps({"type": "order.placed", "data": {"order": order}, "options": options})
        while True:
            try:
                print(line, file=daemon, flush=True)
                answer = daemon.readline()
            except OSError:
                answer = ""
            if answer:
                break
            daemon = connect(path)  # it went away before it answered: the next one gets the same line
        print(answer, end="")
        order += 1
        time.sleep(1)


main()
