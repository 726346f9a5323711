"""What the two clients share: their settings, their state in this process, their transactions, and what happens at a
fork and at exit. Nothing here waits: how a caller waits is all that tells the twins apart."""

from __future__ import annotations

import atexit
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from dispatchd._core import Core, Ids, Pending, Transaction
from dispatchd._link import Link
from dispatchd._types import (
    BatchError,
    Counters,
    Event,
    OnSettled,
    Published,
    Result,
    Settings,
    Settled,
    Trace,
)  # fmt: skip

SOCKET = "/run/dispatchd/dispatchd.sock"
SOCKET_BYTES_MAX = 107
"""The longest path that a socket can have."""
TIMEOUT_S = 150.0
"""Longer than the daemon's own two minutes, so that its verdict comes first."""
CLOSE_TIMEOUT_S = 5.0

_clients: weakref.WeakSet[Base[Any]] = weakref.WeakSet()
Future = TypeVar("Future")


class Base(Generic[Future]):
    _turn: AbstractContextManager[None]
    """As long as it lasts, the core is its caller's alone. Its end has done what the core then has to do."""

    def __init__(
        self,
        socket: str | None = None,
        *,
        producer_id: str | None = None,
        source_user_id: str | None = None,
        correlation_id: str | None = None,
        organisation_id: str | None = None,
        envelope: str | None = None,
        timeout: float = TIMEOUT_S,
        max_buffered_events: int = 10_000,
        max_buffered_bytes: int = 32 * 1024 * 1024,
        strict_order: bool = False,
        disabled: bool = False,
        trace: Trace | None = None,
        on_settled: OnSettled | None = None,
    ) -> None:
        """Reads no file and opens no socket: that is for the first call. The settings are those of docs/clients.md.

        `timeout` is in seconds. `trace` is given an empty dict for each event without a traceparent, to put
        `traceparent` and `tracestate` into it, as OpenTelemetry's `inject` does. `on_settled` is called for each event
        that ends, and must not wait for anything.
        """
        context = {
            "producerId": producer_id,
            "sourceUserId": source_user_id,
            "correlationId": correlation_id,
            "organisationId": organisation_id,
            "envelope": envelope,
        }
        if max_buffered_events < 1 or max_buffered_bytes < 1:
            raise ValueError("max_buffered_events and max_buffered_bytes must be at least 1")
        socket = socket or os.environ.get("DISPATCHD_SOCKET") or SOCKET
        size = len(os.fsencode(socket))
        if size > SOCKET_BYTES_MAX:
            raise ValueError(f"the socket's path has at most {SOCKET_BYTES_MAX} bytes, not {size}: {socket}")
        self._settings = Settings(
            socket,
            {name: value for name, value in context.items() if value},
            _seconds(timeout),
            max_buffered_events,
            max_buffered_bytes,
            strict_order,
            disabled,
            trace,
            on_settled,
        )
        self._fresh()
        _clients.add(self)

    @property
    def counters(self) -> Counters:
        self._here()
        with self._lock:
            return self._core.counters()

    def _use(self) -> None:
        """Each call begins with it."""
        self._here()

    def _future(self, pending: Pending) -> Future:
        raise NotImplementedError

    def _submit_all(self, events: Iterable[Event], timeout: float | None) -> list[Future]:
        self._use()
        pendings = [self._pending(event, timeout) for event in events]
        futures = list(map(self._future, pendings))
        with self._turn:
            now = time.monotonic()
            for pending in pendings:
                self._core.put(pending, now)
        return futures

    def _fresh(self) -> None:
        """A state of this process's own: at first, and in the child of a fork."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._core = Core(self._settings)
        self._ids = Ids()  # No child may go on with the parent's.
        self._link = Link(self._core, self._settings.socket)

    def _here(self) -> None:
        """For forks that Python was not told of."""
        if self._pid != os.getpid():
            self._forked()

    def _forked(self) -> None:
        """The child gets a connection of its own. The parent's events, futures and transactions stay the parent's."""
        was_closed = self._core.closed
        if self._link.sock:
            self._link.sock.close()  # Only here: the parent's connection stays open.
        self._fresh()
        self._core.closing = self._core.closed = was_closed

    def _exit(self, timeout: float) -> int:
        """At the end of the process: how many events are not confirmed, `timeout` seconds from now at the latest."""
        return len(self._core.unconfirmed())

    def _pending(self, event: Event, timeout: float | None, tx: Transaction | None = None) -> Pending:
        trace = self._settings.trace
        if trace and not event.traceparent:
            carrier: dict[str, str] = {}
            trace(carrier)
            event = event._replace(traceparent=carrier.get("traceparent"), tracestate=carrier.get("tracestate"))
        return Pending(event, event.id or self._ids.next(), time.monotonic(), self._timeout(timeout), tx)

    def _timeout(self, timeout: float | None) -> float:
        return self._settings.timeout if timeout is None else _seconds(timeout)

    def _deliver(self, settled: list[Pending]) -> None:
        """Tells the callers. Their code runs in here, so nothing may be locked."""
        hook = self._settings.on_settled
        for event in settled:
            outcome = event.outcome
            if event.done and outcome is not None:
                event.done(outcome)
            if hook and event.taken:
                now = time.monotonic()
                ok, code = isinstance(outcome, Published), getattr(outcome, "code", None)
                try:
                    hook(Settled(event.type, ok, code, (now - event.began) * 1000, max(0, event.sends - 1)))
                except Exception:  # The hook's fault must reach somebody, and must not stop the client.
                    sys.excepthook(*sys.exc_info())


class BaseTransaction(Generic[Future]):
    _client: Base[Future]

    def __init__(self, client: Base[Future]) -> None:
        client._use()
        self._client, self._core = client, client._core
        with client._turn:
            now = time.monotonic()
            self._core.want(now)
            client._link.connect(now)
            self._tx = self._core.begin()

    def _commit(self, timeout: float | None) -> list[Future]:
        self._check()
        seconds = self._client._timeout(timeout)
        with self._client._turn:
            futures = list(map(self._client._future, self._tx.events))
            self._core.commit(self._tx, time.monotonic(), seconds)
        return futures

    def _rollback(self) -> None:
        self._check()
        with self._client._turn:
            self._core.rollback(self._tx)

    def _check(self) -> None:
        self._client._use()
        if self._core is not self._client._core:
            raise RuntimeError("the transaction belongs to the process that began it")
        if self._tx.ended:
            raise RuntimeError("the transaction has ended")


def gathered(results: Iterable[Result]) -> list[Published]:
    all_results = list(results)
    published = [result for result in all_results if isinstance(result, Published)]
    if len(published) < len(all_results):
        raise BatchError(all_results)
    return published


def _seconds(timeout: float) -> float:
    if not 0 <= timeout < math.inf:
        raise ValueError(f"a timeout must be a number of seconds from 0, not {timeout!r}")
    return float(timeout)


def _after_fork() -> None:
    for client in list(_clients):
        client._forked()


def _at_exit() -> None:
    deadline = time.monotonic() + CLOSE_TIMEOUT_S
    for client in list(_clients):
        left = client._exit(max(0.0, deadline - time.monotonic()))
        if left:
            print(f"dispatchd: {left} events are not confirmed at exit ({client._settings.socket})", file=sys.stderr)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
