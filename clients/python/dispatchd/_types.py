"""The words of the package: what goes in, what comes out, what can go wrong. Nothing here does anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, TypedDict, Union

if TYPE_CHECKING:
    from typing_extensions import Literal

    Outcome = Literal["not_stored", "unknown"]


class Event(NamedTuple):
    """An event, as `publish_batch` takes it. The options are those of `publish`."""

    type: str
    data: Mapping[str, Any]
    partition_key: str | None = None
    explicit_hash_key: str | None = None
    source_user_id: str | None = None
    id: str | None = None
    envelope: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


class Options(TypedDict, total=False):
    """What may be said of an event besides its type and its data. An option that is `None` or `""` is not sent.

    The daemon's docs/protocol.md has the bounds of each. `id` is a hyphenated UUID; without it the client makes one.
    """

    partition_key: str | None
    explicit_hash_key: str | None
    source_user_id: str | None
    id: str | None
    envelope: str | None
    traceparent: str | None
    tracestate: str | None


class Source(NamedTuple):
    """Who published an event, as its envelope says it."""

    user_id: str | None
    producer_id: str | None
    partition_key: str | None


class Published(NamedTuple):
    """An event that is durable in the stream (or, from a client that is `disabled`, one that went nowhere)."""

    id: str
    type: str
    timestamp: str
    """When the daemon accepted the event: UTC, with milliseconds."""
    source: Source
    shard_id: str | None
    sequence_number: str | None
    """The event's place in its shard. `None`, as `shard_id` is, where the client is disabled."""
    sub_sequence_number: int | None
    """The event's index in its record, from 0, where the daemon aggregates events."""
    deduplicated: bool
    """The daemon had stored the event before: this was a second sending."""


class DispatchdError(Exception):
    """An event was not published, or it is not known whether it was.

    `code` is one of the daemon's, or `Timeout`, `Closed` or `BufferFull` (docs/clients.md has the table). `outcome`
    says whether the event can be in the stream: `not_stored` or `unknown`. `id` is the event's id: publish with the
    same id to try again.
    """

    def __init__(self, code: str, message: str, retryable: bool, outcome: Outcome, id: str | None = None) -> None:
        super().__init__(code, message, retryable, outcome, id)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.outcome: Outcome = outcome
        self.id = id

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


Result = Union[Published, DispatchdError]


class BatchError(DispatchdError):
    """At least one event of a batch or of a commit was not published.

    `results` has a `Published` or a `DispatchdError` for each event, in the order of the events. `code`, `retryable`
    and `outcome` are those of the first that failed.
    """

    def __init__(self, results: Sequence[Result]) -> None:
        failures = [result for result in results if isinstance(result, DispatchdError)]
        first = failures[0]
        message = f"{len(failures)} of {len(results)} events failed, the first with {first}"
        super().__init__(first.code, message, first.retryable, first.outcome, first.id)
        self.results = list(results)

    def __reduce__(self) -> tuple[type[BatchError], tuple[list[Result]]]:
        return (BatchError, (self.results,))


class Counters(NamedTuple):
    """What became of the events so far: sent = acked + sum(refused) + rolled_back + buffered, at every moment."""

    sent: int
    acked: int
    refused: dict[str, int]
    """By code."""
    rolled_back: int
    buffered: int
    buffered_bytes: int
    resent: int
    """Lines that were written again."""
    reconnects: int


class Settled(NamedTuple):
    """What `on_settled` is told of each event that ends. Of one that was rolled back, `ok` is false without a code."""

    type: str
    ok: bool
    code: str | None
    duration_ms: float
    resent: int


Trace = Callable[[dict[str, str]], None]
OnSettled = Callable[[Settled], None]


class Settings(NamedTuple):
    """What a client was made with, checked."""

    socket: str
    context: dict[str, str]
    timeout: float
    max_buffered_events: int
    max_buffered_bytes: int
    strict_order: bool
    disabled: bool
    trace: Trace | None
    on_settled: OnSettled | None
