"""A daemon that does what a test says, a line at a time, on a real socket. It decides nothing by itself."""

from __future__ import annotations

import json
import os
import socket
import time

DEADLINE_S = 20.0


class Scripted:
    """Listens at `path`. Each wait has a deadline that no working client reaches."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.listener.settimeout(DEADLINE_S)

    def accept(self, hello: bool = True) -> Conversation:
        connection = Conversation(self.listener.accept()[0])
        if hello:
            assert connection.line()["op"] == "hello"
            connection.say({"op": "hello", "ok": True, "version": 1, "maxEventBytes": 1 << 23, "producerId": "p@host"})
        return connection

    def close(self) -> None:
        self.listener.close()
        os.unlink(self.path)


class Conversation:
    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE_S)
        self.sock = sock
        self.lines = sock.makefile("rb")

    def line(self) -> dict:
        line = self.lines.readline()
        assert line, "the client hung up"
        return json.loads(line)

    def say(self, *answers: dict) -> None:
        self.sock.sendall(b"".join(json.dumps(answer).encode() + b"\n" for answer in answers))

    def ack(self, *lines: dict, **more: object) -> None:
        self.say(*(ack(line, **more) for line in lines))

    def ended(self) -> bool:
        """Waits for the client to hang up. It may do so with answers unread, which resets the connection."""
        try:
            while self.lines.readline():
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self) -> None:
        self.lines.close()
        self.sock.close()


def ack(line: dict, **more: object) -> dict:
    options = line["options"]
    return {
        "ref": line["ref"],
        "ok": True,
        "id": options["id"],
        "timestamp": "2026-01-01T00:00:00.000Z",
        "partitionKey": options.get("partitionKey", options["id"]),
        "shardId": "shardId-000000000001",
        "sequenceNumber": "49",
        **more,
    }


def refusal(line: dict, code: str, retryable: bool = False, **more: str) -> dict:
    error = {"code": code, "message": "because", "retryable": retryable, **more}
    return {"ref": line["ref"], "ok": False, "error": error}


def until(condition) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.002)
