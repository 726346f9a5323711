"""The protocol, without a socket, a clock or a thread: calls, bytes and the time go in, bytes and outcomes come out.

`Client` and `AsyncClient` are shells around it, and decide nothing. A `Core` is not locked: its shell lets one call at
a time in. What must hold:

- An event is in `events` from the moment it is taken on until it is settled, once. Everything else that refers to it
  (the outbox, the queue of its key, the watches) lets go of it then, so that nothing grows behind the bounds.
- `events` is in the order in which events are to be written: so it is also the order after a cut.
- A plain event's line is the same bytes each time: its ref is never given anew.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
from collections import OrderedDict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Callable

from dispatchd._types import Counters, DispatchdError, Event, Published, Result, Settings, Source

if TYPE_CHECKING:
    from dispatchd._types import Outcome

WRITE_BYTES = 64 * 1024
"""Lines are joined into one write up to about this size."""
IDS_AT_ONCE = 256
"""Ids whose random bytes are fetched in one system call."""
LINE_BYTES_MIN = 64 * 1024
"""A daemon takes lines that are this much longer than the events it takes; how long those may be, it says in its answer
to hello. A longer line waits for that: the daemon skips what is too long, so its refusal would name no event."""
ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""A longer answer ends the connection. The longest that a daemon gives is that of a commit of all it can hold."""
WIRE_TRANSACTIONS_MAX = 60
"""Transactions that are open on the daemon at once; it takes 64 a connection. More are kept in the client alone."""
WAIT_MIN_S, WAIT_MAX_S = 0.05, 5.0
"""The first wait before a retry or a connection is at most the one, no wait is longer than the other."""

ALARMS_APART_S = 0.005
"""All events are looked through for what is due, at most this often."""

# A circle ends at the interpreter's depth of recursion: to look for it in all data costs a fifth of an event.
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":")).encode
# The options as they begin on the wire, and their places in an `Event`. The id is always there, before them.
_OPTIONS = (
    (',"partitionKey":', 2),
    (',"explicitHashKey":', 3),
    (',"sourceUserId":', 4),
    (',"envelope":', 6),
    (',"traceparent":', 7),
    (',"tracestate":', 8),
)


class Transaction:
    """Events that are held back until the application commits, staged with the daemon while `name` is open there."""

    __slots__ = ("ended", "events", "name", "refusal", "unchecked")

    def __init__(self, name: str) -> None:
        self.name = name
        self.events: list[Pending] = []
        self.unchecked: set[int] = set()
        self.refusal: DispatchdError | None = None
        self.ended = False


class Ids:
    """UUIDs v4. Random bytes are fetched for many at once: each fetch lets another thread run, which costs more."""

    def __init__(self) -> None:
        self._digits: list[str] = []

    def next(self) -> str:
        try:
            digits = self._digits.pop()
        except IndexError:
            fetched = os.urandom(16 * IDS_AT_ONCE).hex()
            digits, *more = (fetched[at : at + 32] for at in range(0, len(fetched), 32))
            self._digits.extend(more)
        variant = "89ab"[int(digits[16], 16) & 3]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


class Pending:
    """An event on its way, from the call to the outcome. It is serialised once, when it is made."""

    __slots__ = (
        "admitted", "began", "body", "deadline", "done", "id", "key", "last", "open", "outcome", "ref", "refusal",
        "retry_at", "sends", "size", "taken", "timeout", "tries", "tx", "type", "unknown", "user",
    )  # fmt: skip

    def __init__(self, event: Event, id: str, now: float, timeout: float, tx: Transaction | None = None) -> None:
        self.type, self.key, self.user = event.type, event.partition_key, event.source_user_id
        self.id = id
        self.began, self.timeout, self.deadline = now, timeout, now + timeout
        self.tx = tx
        self.done: Callable[[Result], None] | None = None
        self.admitted: Callable[[], None] | None = None
        """Called once an event that had to wait for room is taken on, or has ended."""
        self.ref = 0
        self.taken = False
        self.open = False
        """The line was written, and has no answer yet."""
        self.unknown = False
        """An earlier attempt may have stored the event."""
        self.sends = self.tries = 0
        self.retry_at = 0.0
        self.last: DispatchdError | None = None
        self.outcome: Result | None = None
        self.refusal: DispatchdError | None = None
        try:
            try:
                self.body = _body(event, id, _encode)
            except UnicodeEncodeError:  # Half of a surrogate pair has no UTF-8; JSON can escape it.
                self.body = _body(event, id, _encode_ascii)
        except (TypeError, ValueError, RecursionError) as error:
            self.body = b""
            self.refusal = DispatchdError("InvalidRequest", f"no JSON: {error}", False, "not_stored", self.id)
        self.size = len(self.body) + 24

    def line(self) -> bytes:
        return b'{"ref":%d%s' % (self.ref, self.body)

    def staged_line(self, tx: Transaction) -> bytes:
        return b'{"ref":%d,"tx":"%s"%s' % (self.ref, tx.name.encode(), self.body)


class Core:
    """All that a client knows. `now` is the time of one monotonic clock, in seconds."""

    def __init__(self, settings: Settings, chance: Callable[[], float] = random.random) -> None:
        self._settings, self._chance = settings, chance
        self.events: dict[int, Pending] = {}
        self._waiting: OrderedDict[int, Pending] = OrderedDict()
        self._outbox: OrderedDict[int, Pending | bytes] = OrderedDict()
        self._queues: dict[str, OrderedDict[int, Pending]] = {}
        self._alarm = math.inf
        self._wire: dict[str, Transaction] = {}
        self._commits: dict[int, list[Pending]] = {}
        self._watches: list[tuple[set[int], Callable[[], None]]] = []
        self._settled: list[Pending] = []
        self._refs, self._names = itertools.count(1), itertools.count(1)
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self.up = self.wanted = self.closing = self.closed = self._greeted = False
        self._hello_line = b""
        self._line_max = LINE_BYTES_MIN
        self.connect_at = 0.0
        self._connects = self._cuts = 0
        self._why: str | None = "it was not tried yet"
        """Why the last connection, or the attempt at one, has failed; `None` once a daemon has answered hello."""
        self._producer_id = settings.context.get("producerId")
        self._sent = self._acked = self._rolled_back = self._resent = self._bytes = 0
        self._refused: dict[str, int] = {}

    # What callers do.

    def want(self, now: float) -> None:
        """From the first call on there is to be a connection; after a hello refused for good, from the next call on."""
        if not self.wanted:
            self.wanted, self.connect_at = not self._settings.disabled, now

    def put(self, event: Pending, now: float, wait: bool = True) -> None:
        """Takes the event on or, with `wait`, lets it wait for room until its deadline. It may be settled at once."""
        event.ref = next(self._refs)
        limits = self._settings
        if self.closing:
            self._fail(event, "Closed", "the client is closed")
        elif event.refusal:
            self._settle(event, event.refusal)
        elif event.size > limits.max_buffered_bytes:
            self._settle(event, _too_large(event, f"max_buffered_bytes is {limits.max_buffered_bytes}"))
        elif not self._waiting and self._room(event):
            self._take_on(event)
        elif wait:
            self._waiting[event.ref] = event
        else:
            self._fail(event, "BufferFull", self._full())
        if event.outcome is None and event.deadline:
            self._arm(event.deadline)
        self.want(now)

    def withdraw(self, event: Pending) -> None:
        """The caller gave up while its event waited for room. An event that was taken on stays."""
        if self._waiting.pop(event.ref, None):
            event.deadline = 0.0
            self._admit()

    def begin(self) -> Transaction:
        tx = Transaction(f"t{next(self._names)}")
        # The lines of transactions are no events: this alone bounds them where the daemon reads nothing.
        read = len(self._outbox) <= self._settings.max_buffered_events
        if self.up and read and len(self._wire) < WIRE_TRANSACTIONS_MAX:
            self._wire[tx.name] = tx
            self._tell("begin", tx)
        return tx

    def commit(self, tx: Transaction, now: float, timeout: float) -> None:
        """Ends the transaction: its events are settled one by one, as plain events are."""
        tx.ended = True
        # The daemon would write two events of a key in one request: strict order is the client's to keep.
        if self._settings.strict_order and tx.name in self._wire:
            self._leave(tx, tell=True)
        wire = self._wire.pop(tx.name, None)
        ref = self._tell("commit", tx) if wire else 0
        if wire:
            self._commits[ref] = tx.events
        for event in tx.events:
            event.tx = None
            # An event goes to the end, where its turn is now. A staged line's late answer must not be taken for that
            # of the plain line, so what goes plain has a new ref.
            del self.events[event.ref]
            event.ref = event.ref if wire else next(self._refs)
            self.events[event.ref] = event
            event.began, event.timeout, event.deadline = now, timeout, now + timeout
            if event.refusal:
                self._settle(event, event.refusal)
            elif self.closing:
                self._fail(event, "Closed", "the client is closed")
            elif wire:
                event.open, event.sends = True, 1
                self._arm(event.deadline)
            else:
                self._arm(event.deadline)
                self._send(event)
        self.want(now)

    def rollback(self, tx: Transaction) -> None:
        tx.ended = True
        if tx.name in self._wire:
            self._leave(tx, tell=True)
        for event in tx.events:
            self._settle(event, None)

    def check_staged(self, tx: Transaction, left: set[int], timeout: float) -> None:
        """Raises what speaks against a commit, `left` being the events that are not checked after `timeout`."""
        if tx.refusal:
            raise tx.refusal
        if left and self.closed:
            raise DispatchdError("Closed", "the client was closed", True, "not_stored")
        if left:
            message = f"{len(left)} staged events are not checked within {timeout:g} s"
            raise DispatchdError("Timeout", message, True, "not_stored")

    def watch(self, refs: set[int], done: Callable[[], None]) -> set[int]:
        """Calls `done` when all of `refs` are settled (or checked, if staged). `refs` always holds what is left."""
        if refs and not self.closed:
            self._watches.append((refs, done))
        else:
            done()
        return refs

    def unwatch(self, refs: set[int]) -> int:
        self._watches = [watch for watch in self._watches if watch[0] is not refs]
        return len(refs)

    def unconfirmed(self) -> set[int]:
        """The refs of the events that were taken on and are not settled. What is staged is not published yet."""
        return {event.ref for event in self.events.values() if event.tx is None}

    def shut(self) -> None:
        """Ends every call that is open."""
        self.closing = self.closed = True
        self._outbox.clear()
        for event in [*self._waiting.values(), *self.events.values()]:
            if event.tx is None or not event.taken:
                self._fail(event, "Closed", f"the client was closed; {self._state(event)}")
        self.up = False
        for _, done in self._watches:
            done()
        self._watches.clear()

    def counters(self) -> Counters:
        return Counters(
            self._sent, self._acked, dict(self._refused), self._rolled_back, len(self.events), self._bytes,
            self._resent, max(0, self._connects - 1),
        )  # fmt: skip

    def drain(self) -> list[Pending]:
        """The events that have ended since the last call, for the shell to tell their callers."""
        settled, self._settled = self._settled, []
        return settled

    # What the connection does.

    def connected(self) -> None:
        self.up = True
        if self._cuts == 0:
            self._why = None
        self._connects += 1
        hello: dict[str, Any] = {"op": "hello"}
        if self._settings.context:
            hello["context"] = self._settings.context
        self._hello_line = _encode(hello).encode() + b"\n"
        # Behind a hello that is refused, the daemon would publish events without their context.
        self._greeted = not self._settings.context
        self._line_max = LINE_BYTES_MIN
        for event in self.events.values():
            if event.tx is None and not event.retry_at:
                self._send(event)

    def lost(self, why: str, now: float) -> None:
        """There is no connection, or no longer. What was written and not answered will be written again."""
        self.up = False
        self._why = why
        self.connect_at = now + self._wait(self._cuts)
        self._cuts += 1
        self._outbox.clear()
        self._commits.clear()
        self._tail, self._tail_bytes = [], 0
        for event in self.events.values():
            event.unknown |= event.open
            event.open = False
        for tx in list(self._wire.values()):
            self._leave(tx, tell=False)

    def take(self) -> bytes:
        """The next lines to write. From here on they count as written: some of their bytes will be."""
        lines, self._hello_line = [self._hello_line], b""
        size = 0
        while self._greeted and self._outbox and size < WRITE_BYTES:
            ref, item = self._outbox.popitem(last=False)
            if isinstance(item, Pending):
                if item.size > self._line_max:
                    if self._line_max > LINE_BYTES_MIN:
                        self._settle(item, _too_large(item, f"the daemon takes lines of {self._line_max}"))
                        continue
                    self._outbox[ref] = item
                    self._outbox.move_to_end(ref, last=False)
                    break
                self._resent += item.sends > 0
                item.sends += 1
                item.open = True
                item = item.line()
            lines.append(item)
            size += len(item)
        return b"".join(lines)

    def received(self, chunk: bytes, now: float) -> None:
        lines = chunk.split(b"\n")
        tail = lines.pop()
        if lines:
            lines[0] = b"".join([*self._tail, lines[0]])
            self._tail, self._tail_bytes = [], 0
        self._tail.append(tail)
        self._tail_bytes += len(tail)
        for answer in _parsed(lines):
            if isinstance(answer, dict):
                self._answer(answer, now)
            else:
                self.lost("the daemon sent a line that is no JSON object", now)
            if not self.up:
                return
        if self._tail_bytes > ANSWER_BYTES_MAX:
            self.lost(f"the daemon sent a line of more than {ANSWER_BYTES_MAX} bytes", now)

    def next_at(self) -> float:
        """When `tick` has something to do."""
        alarm = self._alarm if self.events or self._waiting else math.inf
        return alarm if self.up or not self.wanted else min(alarm, self.connect_at)

    def tick(self, now: float) -> None:
        """Ends what is too late, and sends again what has waited.

        There is one alarm for all deadlines and waits. What ends in time leaves it nothing to do, and when it rings,
        all events are looked through: a timer for each would cost each event more.
        """
        if now < self._alarm:
            return
        self._alarm = math.inf
        again = now + ALARMS_APART_S
        for event in [*self._waiting.values(), *self.events.values()]:
            if event.outcome is not None or not event.deadline:
                continue
            if event.deadline <= now:
                waited = f"no outcome within {event.timeout:g} s; "
                self._fail(event, "Timeout", waited + (self._state(event) if event.taken else self._full()))
                continue
            self._arm(max(event.deadline, again))
            if event.retry_at > now:
                self._arm(max(event.retry_at, again))
            elif event.retry_at:
                event.retry_at = 0.0
                self._send(event)

    # An event's life.

    def _take_on(self, event: Pending) -> None:
        tx = event.tx
        if tx and tx.ended:
            self._fail(event, "TransactionEnded", "the transaction ended while the event waited for room")
            return
        event.taken = True
        self.events[event.ref] = event
        self._bytes += event.size
        self._sent += 1
        if event.admitted:
            event.admitted()
        if tx is None:
            self._send(event)
            return
        event.deadline = 0.0
        tx.events.append(event)
        if tx.name in self._wire and event.size > self._line_max:
            self._leave(tx, tell=True)
        elif tx.name in self._wire:
            self._outbox[event.ref] = event.staged_line(tx)
            tx.unchecked.add(event.ref)

    def _send(self, event: Pending) -> None:
        if self._settings.disabled:
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            self._settle(
                event, self._published(event, {"timestamp": now, "partitionKey": event.key or event.id.lower()})
            )
            return
        if self._settings.strict_order and event.key:
            queue = self._queues.setdefault(event.key, OrderedDict())
            queue[event.ref] = event
            if next(iter(queue)) != event.ref:
                return
        if self.up:
            self._outbox[event.ref] = event

    def _settle(self, event: Pending, outcome: Result | None) -> None:
        """Ends the event; an outcome of `None` is a rollback."""
        event.outcome = outcome
        self._settled.append(event)
        if event.taken:
            del self.events[event.ref]
            self._bytes -= event.size
            self._outbox.pop(event.ref, None)
            if self._settings.strict_order and event.key:
                self._next_of(event.key, event.ref)
            if outcome is None:
                self._rolled_back += 1
            elif isinstance(outcome, Published):
                self._acked += 1
            else:
                self._refused[outcome.code] = self._refused.get(outcome.code, 0) + 1
            if self._watches:
                self._off(event.ref)
        else:
            self._waiting.pop(event.ref, None)
            if event.admitted:
                event.admitted()
        if self._waiting:
            self._admit()

    def _room(self, event: Pending) -> bool:
        limits = self._settings
        fits = self._bytes + event.size <= limits.max_buffered_bytes
        return fits and len(self.events) < limits.max_buffered_events

    def _admit(self) -> None:
        while self._waiting and not self.closed:
            first = next(iter(self._waiting.values()))
            if not self._room(first):
                break
            del self._waiting[first.ref]
            self._take_on(first)

    def _next_of(self, key: str, ref: int) -> None:
        queue = self._queues.get(key)
        if queue is None or ref not in queue:
            return
        was_first = next(iter(queue)) == ref
        del queue[ref]
        if not queue:
            del self._queues[key]
        elif was_first and not self.closed:
            self._send(next(iter(queue.values())))

    def _fail(self, event: Pending, code: str, message: str) -> None:
        outcome: Outcome = "unknown" if event.unknown or event.open else "not_stored"
        self._settle(event, DispatchdError(code, message, True, outcome, event.id))

    def _state(self, event: Pending) -> str:
        if event.last:
            return f"the last refusal was {event.last}"
        return self._missing() or f"the daemon at {self._settings.socket} has not answered"

    def _full(self) -> str:
        full = f"the buffer is full: {len(self.events)} events, {self._bytes} bytes"
        return "; ".join(filter(None, [full, self._missing()]))

    def _missing(self) -> str | None:
        """What is waited for before the daemon can answer an event."""
        if not self.up:
            return f"no connection to {self._settings.socket}: {self._why}"
        if self._line_max > LINE_BYTES_MIN:
            return None
        hangs = f"connected to {self._settings.socket}, which has not answered hello"
        return f"{hangs}; the connection before: {self._why}" if self._why else hangs

    # Answers.

    def _answer(self, answer: dict[str, Any], now: float) -> None:
        op, ref = answer.get("op"), answer.get("ref")
        if op == "hello":
            self._hello(answer, now)
        elif op == "commit" and isinstance(ref, int) and ref in self._commits:
            results = answer.get("results")
            for result in results if isinstance(results, list) else []:
                if isinstance(result, dict):
                    self._result(result, now)
            self._uncovered(self._commits.pop(ref), answer, now)
        elif op is None and ref is not None:
            self._result(answer, now)
        elif op is None and _failure(answer).code == "Overloaded":
            for event in self.events.values():
                event.open = False  # A connection that is turned away stores nothing.
            self.lost(f"the daemon refused the connection: {_failure(answer)}", now)

    def _hello(self, answer: dict[str, Any], now: float) -> None:
        if answer.get("ok") is True:
            self._cuts, self._why, self._greeted = 0, None, True
            event_max = answer.get("maxEventBytes")
            self._line_max = LINE_BYTES_MIN + (event_max if isinstance(event_max, int) else ANSWER_BYTES_MAX)
            self._producer_id = answer.get("producerId", self._producer_id)
            return
        refusal = _failure(answer)
        self.lost(f"the daemon refused hello: {refusal}", now)
        if not refusal.retryable:
            self.wanted = False
            for event in [*self._waiting.values(), *self.events.values()]:
                if event.tx is None:
                    self._settle(event, _failure(answer, event))

    def _result(self, answer: dict[str, Any], now: float) -> None:
        """The answer to one event: to its own line, to its staged line, or in the results of its commit."""
        ref = answer.get("ref")
        event = self.events.get(ref) if isinstance(ref, int) else None
        if event is None:
            return
        tx = event.tx
        if answer.get("ok") is True:
            if "staged" not in answer:
                self._settle(event, self._published(event, answer))
            elif tx:
                self._checked(tx, event)
            return
        failure = _failure(answer, event)
        if tx is None and failure.retryable:
            self._retry(event, failure, now)
        elif tx is None:
            if event.unknown:
                failure.outcome = "unknown"  # What an earlier attempt may have stored, no later one takes away.
            self._settle(event, failure)
        elif failure.retryable or failure.code == "TransactionTooLarge":
            if tx.name in self._wire:
                self._leave(tx, tell=failure.code != "TransactionEnded")
        else:
            event.refusal = failure
            tx.refusal = tx.refusal or failure
            self._checked(tx, event)

    def _uncovered(self, events: list[Pending], answer: dict[str, Any], now: float) -> None:
        """A commit without a result for each event was refused as a whole: its events go on by themselves, in order."""
        for event in events:
            if event.outcome is None and event.open:
                failure = _failure(answer, event)
                if not failure.retryable:
                    self._settle(event, failure)
                    continue
                event.open, event.last = False, failure
                event.unknown |= failure.outcome == "unknown"
                self._send(event)

    def _retry(self, event: Pending, failure: DispatchdError, now: float) -> None:
        event.open, event.last = False, failure
        event.unknown |= failure.outcome == "unknown"
        event.retry_at = now + self._wait(event.tries)
        event.tries += 1
        self._arm(event.retry_at)

    def _checked(self, tx: Transaction, event: Pending) -> None:
        tx.unchecked.discard(event.ref)
        self._off(event.ref)

    def _published(self, event: Pending, answer: dict[str, Any]) -> Published:
        user = event.user or self._settings.context.get("sourceUserId")
        return Published(
            answer.get("id", event.id),
            event.type,
            answer.get("timestamp", ""),
            Source(user, self._producer_id, answer.get("partitionKey")),
            answer.get("shardId"),
            answer.get("sequenceNumber"),
            answer.get("subSequenceNumber"),
            answer.get("deduplicated", False),
        )

    # Small parts.

    def _tell(self, op: str, tx: Transaction) -> int:
        ref = next(self._refs)
        self._outbox[ref] = b'{"op":"%s","tx":"%s","ref":%d}\n' % (op.encode(), tx.name.encode(), ref)
        return ref

    def _leave(self, tx: Transaction, tell: bool) -> None:
        """The transaction is the client's alone from now on: nothing of it is left to check."""
        del self._wire[tx.name]
        for event in tx.events:
            self._outbox.pop(event.ref, None)
        for ref in list(tx.unchecked):
            self._off(ref)
        tx.unchecked.clear()
        if tell:
            self._tell("rollback", tx)

    def _off(self, ref: int) -> None:
        for refs, done in self._watches:
            if ref in refs:
                refs.discard(ref)
                if not refs:
                    done()

    def _wait(self, tries: int) -> float:
        return self._chance() * min(WAIT_MAX_S, WAIT_MIN_S * 2.0 ** min(tries, 10))

    def _arm(self, when: float) -> None:
        if when < self._alarm:
            self._alarm = when


def _body(event: Event, id: str, encode: Callable[[Any], str]) -> bytes:
    """An event's line behind its ref. A text is encoded at once; an object needs an encoder made for it."""
    options = "".join([name + encode(event[index]) for name, index in _OPTIONS if event[index]])
    line = f',"type":{encode(event.type)},"data":{encode(event.data)},"options":{{"id":{encode(id)}{options}}}}}\n'
    return line.encode()


def _parsed(lines: list[bytes]) -> list[Any]:
    """The lines as values, `None` for one that is no JSON. To read them as one array costs a third as much."""
    try:
        values: list[Any] = json.loads(b"[%s]" % b",".join(lines))
        if len(values) == len(lines):
            return values
    except (ValueError, RecursionError):
        pass
    return [_parsed_line(line) for line in lines]


def _parsed_line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _too_large(event: Pending, limit: str) -> DispatchdError:
    return DispatchdError("EventTooLarge", f"the line has {event.size} bytes, {limit}", False, "not_stored", event.id)


def _failure(answer: dict[str, Any], event: Pending | None = None) -> DispatchdError:
    """A refusal in the daemon's words. What it leaves out is what is safe: try again, with the outcome unknown."""
    error = answer.get("error")
    if not isinstance(error, dict):
        error = {"code": "Unanswered", "message": "the answer has no result", "retryable": True, "outcome": "unknown"}
    code, message = str(error.get("code")), str(error.get("message"))
    # A refusal for good says nothing of an earlier attempt that may have stored the event.
    earlier = event is not None and event.unknown and error.get("retryable") is not True
    outcome: Outcome = "unknown" if earlier or error.get("outcome") == "unknown" else "not_stored"
    return DispatchdError(code, message, error.get("retryable") is True, outcome, event.id if event else None)
