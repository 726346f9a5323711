"""The client for threads. One thread of its own reads and writes; it starts with the first call."""

from __future__ import annotations

import math
import select
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

from dispatchd._base import CLOSE_TIMEOUT_S, Base, BaseTransaction, gathered
from dispatchd._core import Pending
from dispatchd._types import DispatchdError, Event, Options, Published, Result

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

GATHER_S = 0.0001
"""How long the thread lets its callers go on once they have woken it, so that what they publish meanwhile goes in one
write. Without it, a caller that publishes all the time gives way to the thread ten times as often."""


class Client(Base["Future[Published]"]):
    """Publishes events through the daemon's socket. Make one for a process, and share it among all threads.

    Every call that waits raises `DispatchdError` when its `timeout` ends (seconds; 150 unless the client was made with
    another). `data` is serialised within the call: what becomes of it afterwards changes nothing.
    """

    def publish(
        self, type: str, data: Mapping[str, Any], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> Published:
        """Returns once the event is durable in the stream. Raises `DispatchdError` where it is not."""
        self._may_wait()
        return self._submit(Event(type, data, **options), timeout, True).result()

    def submit(
        self, type: str, data: Mapping[str, Any], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> Future[Published]:
        """Takes the event on, and returns a future of its outcome. Waits only while the buffer is full.

        An event that could not be taken on raises `DispatchdError` from here.
        """
        return self._submit(Event(type, data, **options), timeout, not self._is_own_thread())

    def try_submit(
        self, type: str, data: Mapping[str, Any], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> Future[Published]:
        """As `submit`, but where the buffer is full it raises `BufferFull` instead of waiting."""
        return self._submit(Event(type, data, **options), timeout, False)

    def publish_batch(self, events: Iterable[Event], *, timeout: float | None = None) -> list[Published]:
        """Returns when all events are durable, in their order. Raises `BatchError`, with all results, if any is not."""
        self._may_wait()
        return gathered(map(_result, self._submit_all(events, timeout)))

    def begin(self) -> Transaction:
        """Opens a transaction: events that are published when you commit, and not if you roll back."""
        return Transaction(self)

    def flush(self, timeout: float = CLOSE_TIMEOUT_S) -> int:
        """Waits for all events taken on so far. Returns how many have no outcome when `timeout` seconds are over."""
        self._may_wait()
        self._use()
        return len(self._watch(self._core.unconfirmed, timeout))

    def close(self, timeout: float = CLOSE_TIMEOUT_S) -> int:
        """Flushes, then closes: calls that are still open end with `Closed`. Returns what `flush` does."""
        self._may_wait()
        self._use()
        with self._turn:
            self._core.closing = True
        left = self.flush(timeout)
        with self._turn:
            self._core.shut()
            self._link.close()
        return left

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fresh(self) -> None:
        super()._fresh()
        self._turn: _Turn = _Turn(self)
        self._thread: threading.Thread | None = None
        self._wakes: tuple[socket.socket, ...] = ()
        self._asleep = False

    def _forked(self) -> None:
        for wake in self._wakes:
            wake.close()
        super()._forked()

    def _exit(self, timeout: float) -> int:
        return self.close(timeout)

    def _submit(self, event: Event, timeout: float | None, wait: bool) -> Future[Published]:
        self._use()
        pending = self._pending(event, timeout)
        future = self._future(pending)
        self._put(pending, wait)
        return future

    def _put(self, pending: Pending, wait: bool) -> None:
        """Returns when the event is taken on. Raises where it was not."""
        with self._turn:
            self._core.put(pending, time.monotonic(), wait)
            waits = not pending.taken and pending.outcome is None
            if waits:
                admitted = threading.Event()
                pending.admitted = admitted.set
        if waits:
            try:
                admitted.wait()
            except BaseException:
                with self._turn:
                    self._core.withdraw(pending)
                raise
        if not pending.taken and isinstance(pending.outcome, DispatchdError):
            raise pending.outcome

    def _watch(self, refs: Callable[[], set[int]], timeout: float) -> set[int]:
        """Waits until the core has let go of all of `refs`, or the timeout ends. Returns what is left."""
        done = threading.Event()
        with self._turn:
            left = self._core.watch(refs(), done.set)
        done.wait(timeout)
        with self._turn:
            self._core.unwatch(left)
        return left

    def _future(self, pending: Pending) -> Future[Published]:
        future = _Future()
        pending.done = future.settle
        return future

    def _is_own_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def _may_wait(self) -> None:
        if self._is_own_thread():
            raise RuntimeError("a callback of this client must not wait for the client: use submit")

    def _start(self) -> None:
        thread = self._thread
        assert thread
        try:
            self._wakes = socket.socketpair()
            thread.start()
        except (OSError, RuntimeError):  # No file or no thread is to be had: the next call tries again.
            self._thread = None
            raise

    def _run(self) -> None:
        core, link, turn, wake = self._core, self._link, self._turn, self._wakes[0]
        readable = False
        try:
            while not core.closed:
                with turn.lock:
                    now = time.monotonic()
                    link.pump(now, readable)
                    settled = core.drain()
                    self._asleep = not settled
                    wait_s = 0.0 if settled else max(0.0, min(core.next_at() - now, 60.0))
                    poll = select.poll()
                    poll.register(wake, select.POLLIN)
                    if link.sock:
                        poll.register(link.sock, select.POLLIN | (select.POLLOUT if link.writing() else 0))
                self._deliver(settled)
                readable = False
                for fd, events in poll.poll(math.ceil(wait_s * 1000)):
                    if fd == wake.fileno():
                        wake.recv(64)
                        time.sleep(GATHER_S)
                    else:
                        readable |= events != select.POLLOUT
        finally:  # Whatever ends this thread, nobody waits for it.
            with turn:
                core.shut()
                link.close()
            for end in self._wakes:
                end.close()


class _Turn:
    """One caller at a time in the core; at the end of its turn, the thread is woken and those who wait are told."""

    def __init__(self, client: Client) -> None:
        self.lock, self._client = client._lock, client

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        client = self._client
        settled = client._core.drain()
        starts = client._thread is None and client._core.wanted
        if starts:
            client._thread = threading.Thread(target=client._run, name="dispatchd", daemon=True)
        wakes, client._asleep = client._asleep, False
        self.lock.release()
        if starts:
            # Not under the lock: with gevent, a thread runs while it is started, and may block all others.
            client._start()
        if wakes:
            client._wakes[1].send(b"\0")
        client._deliver(settled)


class Transaction(BaseTransaction["Future[Published]"]):
    """Events that are published after your database's commit. Leave the `with` normally to commit, by an exception to
    roll back.

    `publish` gives the event's id at once. `staged` raises the first refusal: call it before you commit your database.
    Make this the outer of the two `with` blocks, so that the database commits first.
    """

    _client: Client

    def publish(
        self, type: str, data: Mapping[str, Any], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> str:
        """Stages the event, and returns its id. Waits only while the buffer is full, `timeout` seconds at most."""
        self._check()
        pending = self._client._pending(Event(type, data, **options), timeout, self._tx)
        self._client._put(pending, not self._client._is_own_thread())
        return pending.id

    def staged(self, *, timeout: float | None = None) -> None:
        """Returns when the daemon has checked all events. Raises the first refusal, or `Timeout`."""
        self._check()
        self._client._may_wait()
        seconds = self._client._timeout(timeout)
        left = self._client._watch(lambda: set(self._tx.unchecked), seconds)
        self._core.check_staged(self._tx, left, seconds)

    def commit(self, *, timeout: float | None = None) -> list[Published]:
        """Publishes what was staged: returns and raises as `publish_batch` does."""
        self._client._may_wait()
        return gathered(map(_result, self._commit(timeout)))

    def rollback(self) -> None:
        """Forgets what was staged."""
        self._rollback()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        if self._tx.ended:
            return
        if kind is None:
            self.commit()
        else:
            self.rollback()


class _Future(Future):  # type: ignore[type-arg]
    """Nobody can take an event back, so nobody can cancel its future."""

    def cancel(self) -> bool:
        return False

    def settle(self, outcome: Result) -> None:
        if isinstance(outcome, DispatchdError):
            self.set_exception(outcome)
        else:
            self.set_result(outcome)


def _result(future: Future[Published]) -> Result:
    try:
        return future.result()
    except DispatchdError as error:
        return error
