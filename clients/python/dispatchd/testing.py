"""A daemon in memory, for the tests of applications: it records what is published, and refuses what it is told to.

It listens on a real socket, so that the client under test is the real one, in whatever process it is. It never stores
anything, and forgets all when it is closed.
"""

from __future__ import annotations

import json
import shutil
import socketserver
import tempfile
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from dispatchd._types import Event

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

RETRYABLE = {"DeliveryTimeout", "Overloaded", "ShuttingDown", "TransactionEnded"}
_OPTIONS = {
    "partition_key": "partitionKey",
    "explicit_hash_key": "explicitHashKey",
    "source_user_id": "sourceUserId",
    "id": "id",
    "envelope": "envelope",
    "traceparent": "traceparent",
    "tracestate": "tracestate",
}

Answer = dict[str, Any]


class FakeDaemon:
    """Give `socket` to a client, or put it into `DISPATCHD_SOCKET`. Use it in a `with`, or close it.

    `published` has the events in the order in which they became durable, each with its id.
    """

    def __init__(self) -> None:
        self.published: list[Event] = []
        self._lock = threading.Lock()
        self._refusals: list[Answer] = []
        self._directory = tempfile.mkdtemp(prefix="dispatchd-")
        self.socket = f"{self._directory}/dispatchd.sock"
        self._server = _Server(self.socket, _Connection)
        self._server.daemon_of = self
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def refuse_next(self, code: str, message: str = "a test refused it", *, retryable: bool | None = None) -> None:
        """Refuses the next event that arrives. Call it again for the one after it.

        The client itself sends again what is `retryable`, which is what docs/protocol.md says of the code.
        """
        error = {"code": code, "message": message, "retryable": code in RETRYABLE if retryable is None else retryable}
        with self._lock:
            self._refusals.append({"ok": False, "error": error})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self.close()

    def _check(self, line: Answer) -> Answer | None:
        """Why the event is refused, if it is."""
        if self._refusals:
            return self._refusals.pop(0)
        if isinstance(line.get("type"), str) and line["type"] and isinstance(line.get("data"), dict):
            return None
        message = "an event needs a type, which is a string that is not empty, and data, which is an object"
        return {"ok": False, "error": {"code": "InvalidRequest", "message": message, "retryable": False}}

    def _publish(self, line: Answer) -> Answer:
        options = line.get("options", {})
        known = any(event.id == options["id"] for event in self.published)
        if not known:
            named = {name: options.get(wire) for name, wire in _OPTIONS.items()}
            self.published.append(Event(line["type"], line["data"], **named))
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        answer = {
            "ok": True,
            "id": options["id"],
            "timestamp": now,
            "partitionKey": options.get("partitionKey") or options["id"].lower(),
            "shardId": "shardId-000000000000",
            "sequenceNumber": f"{len(self.published):056d}",
        }
        return {**answer, "deduplicated": True} if known else answer

    def _event(self, line: Answer, transactions: dict[str, list[Answer]]) -> Answer:
        refusal = self._check(line)
        if refusal:
            return refusal
        if "tx" not in line:
            return self._publish(line)
        if line["tx"] not in transactions:
            error = {"code": "TransactionEnded", "message": "no such transaction is open", "retryable": True}
            return {"ok": False, "error": error}
        transactions[line["tx"]].append(line)
        return {"ok": True, "staged": True, "id": line["options"]["id"]}

    def _control(self, line: Answer, transactions: dict[str, list[Answer]]) -> Answer:
        op, name = line["op"], line.get("tx", "")
        if op == "hello":
            producer = line.get("context", {}).get("producerId", "test@localhost")
            return {"ok": True, "version": 1, "maxEventBytes": 1048576, "producerId": producer}
        if op == "begin":
            transactions[name] = []
        staged = transactions.pop(name, []) if op in ("commit", "rollback") else []
        if op != "commit":
            return {"ok": True}
        return {"ok": True, "results": [{"ref": event["ref"], **self._publish(event)} for event in staged]}

    def _answer(self, text: bytes, transactions: dict[str, list[Answer]]) -> bytes:
        line = json.loads(text)
        with self._lock:
            answer = self._control(line, transactions) if "op" in line else self._event(line, transactions)
        repeated = {name: line[name] for name in ("op", "ref") if name in line}
        return json.dumps({**repeated, **answer}).encode() + b"\n"


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    daemon_of: FakeDaemon


class _Connection(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        transactions: dict[str, list[Answer]] = {}
        try:
            for line in self.rfile:
                self.wfile.write(self.server.daemon_of._answer(line, transactions))
        except OSError:
            return  # The client is gone, and with it what it staged.
