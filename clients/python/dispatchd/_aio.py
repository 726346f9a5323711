"""The client for asyncio: the same calls as `Client`, for one event loop, without a thread."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

from dispatchd._base import CLOSE_TIMEOUT_S, Base, BaseTransaction, gathered
from dispatchd._core import Core, Pending
from dispatchd._link import Link
from dispatchd._types import DispatchdError, Event, Options, Published, Result

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class AsyncClient(Base["asyncio.Future[Published]"]):
    """Publishes events through the daemon's socket. Make one for an event loop; it may be made before the loop runs.

    The calls are those of `Client`. A call that is cancelled while it waits for room publishes nothing; after that,
    the event goes on without its caller.
    """

    async def publish(
        self, type: str, data: Mapping[str, Any], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> Published:
        """Returns once the event is durable in the stream. Raises `DispatchdError` where it is not."""
        return await (await self.submit(type, data, timeout=timeout, **options))

    async def submit(
        self, type: str, data: Mapping[str, Any], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> asyncio.Future[Published]:
        """Takes the event on, and returns a future of its outcome. Waits only while the buffer is full."""
        self._use()
        pending = self._pending(Event(type, data, **options), timeout)
        future = self._future(pending)
        await self._put(pending)
        return future

    def try_submit(
        self, type: str, data: Mapping[str, Any], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> asyncio.Future[Published]:
        """As `submit`, but where the buffer is full it raises `BufferFull`. It never waits, so it is not awaited."""
        self._use()
        pending = self._pending(Event(type, data, **options), timeout)
        future = self._future(pending)
        with self._turn:
            self._core.put(pending, time.monotonic(), wait=False)
        _raise_untaken(pending)
        return future

    async def publish_batch(self, events: Iterable[Event], *, timeout: float | None = None) -> list[Published]:
        """Returns when all events are durable, in their order. Raises `BatchError`, with all results, if any is not."""
        return await _gather(self._submit_all(events, timeout))

    def begin(self) -> AsyncTransaction:
        """Opens a transaction: events that are published when you commit, and not if you roll back."""
        return AsyncTransaction(self)

    async def flush(self, timeout: float = CLOSE_TIMEOUT_S) -> int:
        """Waits for all events taken on so far. Returns how many have no outcome when `timeout` seconds are over."""
        self._use()
        left = self._core.unconfirmed()
        await self._watch(left, timeout)
        return len(left)

    async def close(self, timeout: float = CLOSE_TIMEOUT_S) -> int:
        """Flushes, then closes: calls that are still open end with `Closed`. Returns what `flush` does."""
        self._use()
        self._core.closing = True
        left = await self.flush(timeout)
        self._core.shut()
        self._pump()
        return left

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _fresh(self) -> None:
        super()._fresh()
        self._turn: _Turn = _Turn(self)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._scheduled = False

    def _use(self) -> None:
        self._here()
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None:
            if not self._loop.is_closed():
                raise RuntimeError("this client is used by another event loop: make one for each")
            self._forked()
        self._loop = loop
        self._link = _LoopLink(self._core, self._settings.socket, loop, self._pump)

    async def _put(self, pending: Pending) -> None:
        """Returns when the event is taken on. Raises where it was not."""
        with self._turn:
            self._core.put(pending, time.monotonic())
        if not pending.taken and pending.outcome is None:
            admitted = asyncio.Event()
            pending.admitted = admitted.set
            try:
                await admitted.wait()
            finally:
                self._core.withdraw(pending)
        _raise_untaken(pending)

    async def _watch(self, refs: set[int], timeout: float) -> None:
        """Waits until the core has let go of all of `refs`, or the timeout ends: then `refs` has what is left."""
        done = asyncio.Event()
        with self._turn:
            self._core.watch(refs, done.set)
        try:
            await asyncio.wait_for(done.wait(), timeout)
        except asyncio.TimeoutError:
            pass
        finally:
            self._core.unwatch(refs)

    def _future(self, pending: Pending) -> asyncio.Future[Published]:
        assert self._loop is not None
        future: asyncio.Future[Published] = self._loop.create_future()

        def done(outcome: Result) -> None:
            if future.done():
                return  # The caller was cancelled.
            if isinstance(outcome, Published):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

        pending.done = done
        return future

    def _pump(self, readable: bool = False) -> None:
        assert self._loop is not None
        self._scheduled = False
        now = time.monotonic()
        self._link.pump(now, readable)
        self._deliver(self._core.drain())
        when = self._core.next_at()
        if when < self._timer_at:
            if self._timer:
                self._timer.cancel()
            self._timer_at = when
            self._timer = self._loop.call_later(max(0.0, when - now), self._tick)

    def _tick(self) -> None:
        self._timer_at = math.inf
        self._pump()


class _Turn:
    """At its end the core's work is due soon: what is published in one turn of the loop goes in one write."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        client = self._client
        if not client._scheduled and client._loop:
            client._scheduled = True
            client._loop.call_soon(client._pump)


class _LoopLink(Link):
    """A link whose socket the event loop watches."""

    def __init__(self, core: Core, path: str, loop: asyncio.AbstractEventLoop, pump: Callable[[bool], None]) -> None:
        super().__init__(core, path)
        self._loop, self._pump = loop, pump
        self._watches_write = False

    def pump(self, now: float, readable: bool = False) -> None:
        super().pump(now, readable)
        if self.sock and self.writing() != self._watches_write:
            self._watches_write = self.writing()
            if self._watches_write:
                self._loop.add_writer(self.sock, self._pump, False)
            else:
                self._loop.remove_writer(self.sock)

    def connect(self, now: float) -> None:
        before = self.sock
        super().connect(now)
        if self.sock and self.sock is not before:
            self._loop.add_reader(self.sock, self._pump, True)

    def close(self) -> None:
        if self.sock:
            self._loop.remove_reader(self.sock)
            self._loop.remove_writer(self.sock)
            self._watches_write = False
        super().close()


class AsyncTransaction(BaseTransaction["asyncio.Future[Published]"]):
    """Events that are published after your database's commit: `Transaction` for asyncio."""

    _client: AsyncClient

    async def publish(
        self, type: str, data: Mapping[str, Any], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> str:
        """Stages the event, and returns its id. Waits only while the buffer is full, `timeout` seconds at most."""
        self._check()
        pending = self._client._pending(Event(type, data, **options), timeout, self._tx)
        await self._client._put(pending)
        return pending.id

    async def staged(self, *, timeout: float | None = None) -> None:
        """Returns when the daemon has checked all events. Raises the first refusal, or `Timeout`."""
        self._check()
        seconds = self._client._timeout(timeout)
        left = set(self._tx.unchecked)
        await self._client._watch(left, seconds)
        self._core.check_staged(self._tx, left, seconds)

    async def commit(self, *, timeout: float | None = None) -> list[Published]:
        """Publishes what was staged: returns and raises as `publish_batch` does."""
        return await _gather(self._commit(timeout))

    async def rollback(self) -> None:
        """Forgets what was staged."""
        self._rollback()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        if self._tx.ended:
            return
        if kind is None:
            await self.commit()
        else:
            await self.rollback()


async def _gather(futures: list[asyncio.Future[Published]]) -> list[Published]:
    results = await asyncio.gather(*futures, return_exceptions=True)
    return gathered(result for result in results if isinstance(result, (Published, DispatchdError)))


def _raise_untaken(pending: Pending) -> None:
    if not pending.taken and isinstance(pending.outcome, DispatchdError):
        pending.done = None
        raise pending.outcome
