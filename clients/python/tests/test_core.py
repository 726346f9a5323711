"""Promises of the core, with time and chance as arguments."""

from __future__ import annotations

import json
import random
import uuid

import pytest
from scripted import ack, refusal

from dispatchd import DispatchdError, Event, Published, _core
from dispatchd._core import Core, Ids, Pending
from dispatchd._types import Settings


def settings(**more) -> Settings:
    defaults = Settings("/s.sock", {}, 150.0, 10_000, 1 << 25, False, False, None, None)
    return defaults._replace(**more)


class World:
    """A core, its clock, and a daemon's side of it that a test speaks for."""

    def __init__(self, chance=lambda: 1.0, up=True, **more) -> None:
        self.core = Core(settings(**more), chance)
        self.ids = Ids()
        self.now = 1000.0
        self.settled: list[Pending] = []
        if up:
            self.connect()

    def connect(self) -> list[dict]:
        self.core.want(self.now)
        self.core.connected()
        hello, *lines = self.written()
        assert hello["op"] == "hello"
        self.say({"op": "hello", "ok": True, "maxEventBytes": 1 << 20, "producerId": "p@host"})
        return lines

    def put(self, key=None, timeout=150.0, tx=None, data=None, wait=True) -> Pending:
        event = Pending(Event("t", data or {}, key), self.ids.next(), self.now, timeout, tx)
        self.core.put(event, self.now, wait)
        return event

    def written(self) -> list[dict]:
        return [json.loads(line) for line in self.raw()]

    def raw(self) -> list[bytes]:
        chunks = []
        while chunk := self.core.take():
            chunks.append(chunk)
        return b"".join(chunks).splitlines()

    def say(self, *answers: dict) -> None:
        self.core.received(b"".join(json.dumps(answer).encode() + b"\n" for answer in answers), self.now)
        self.balance()

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.core.tick(self.now)
        self.balance()

    def cut(self) -> None:
        self.core.lost("cut", self.now)

    def balance(self) -> None:
        self.settled += self.core.drain()
        counters = self.core.counters()
        assert (
            counters.sent == counters.acked + sum(counters.refused.values()) + counters.rolled_back + counters.buffered
        )


def failed(event: Pending) -> tuple[str, str]:
    assert isinstance(event.outcome, DispatchdError), event.outcome
    return event.outcome.code, event.outcome.outcome


def test_the_waits_between_connections_double_from_50_ms_to_5_s_and_begin_anew_after_a_hello():
    world = World(up=False)
    world.core.want(world.now)
    waits = []
    for _ in range(9):
        world.cut()
        waits.append(round(world.core.connect_at - world.now, 3))
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    world.connect()
    world.cut()
    assert world.core.connect_at - world.now == pytest.approx(0.05)


def test_a_wait_is_random_up_to_its_bound():
    world = World(chance=lambda: 0.25, up=False)
    world.cut()
    assert world.core.connect_at - world.now == pytest.approx(0.0125)


def test_a_refused_event_is_sent_again_after_doubling_waits_until_its_timeout():
    world = World()
    event = world.put(timeout=2.0)
    (line,) = world.raw()
    for wait in (0.05, 0.1, 0.2, 0.4, 0.8):
        world.say(refusal(json.loads(line), "Overloaded", retryable=True))
        world.advance(wait * 0.9)
        assert not world.raw()
        world.advance(wait * 0.11)
        assert world.raw() == [line]
    world.say(refusal(json.loads(line), "Overloaded", retryable=True))
    world.advance(2.0)
    assert failed(event) == ("Timeout", "not_stored")
    assert "Overloaded: because" in str(event.outcome)


def test_an_unknown_attempt_is_not_undone_by_a_later_refusal():
    world = World()
    cut, answered = world.put(timeout=60), world.put(timeout=60)
    _, second = world.written()
    world.say(refusal(second, "DeliveryTimeout", retryable=True, outcome="unknown"))
    world.cut()
    first, *_ = world.connect()
    world.say(refusal(first, "ShuttingDown", retryable=True, outcome="not_stored"))
    world.advance(1)
    world.say(*(refusal(line, "ShuttingDown", retryable=True, outcome="not_stored") for line in world.written()))
    world.advance(60)
    assert failed(cut) == failed(answered) == ("Timeout", "unknown")


def test_a_refusal_for_good_does_not_undo_an_unknown_attempt():
    world = World()
    event = world.put()
    world.written()
    world.cut()
    world.say(*(refusal(line, "InvalidRequest") for line in world.connect()))
    assert failed(event) == ("InvalidRequest", "unknown")


def test_what_was_never_written_is_not_stored():
    world = World(up=False)
    event = world.put(timeout=1)
    world.cut()
    world.advance(1)
    assert failed(event) == ("Timeout", "not_stored")
    assert "no connection to /s.sock: cut" in str(event.outcome)


def test_who_was_turned_away_is_told_why_until_a_daemon_has_answered():
    # Each attempt connects before it is turned away: at that moment nothing would be known of the reason.
    world = World()
    turned_away, answered = world.put(timeout=1), world.put(timeout=2)
    world.say({"ok": False, "error": {"code": "Overloaded", "message": "too many connections", "retryable": True}})
    world.core.connected()
    world.advance(1)
    hangs = "connected to /s.sock, which has not answered hello"
    assert str(turned_away.outcome).split("; ")[1] == hangs
    assert "too many connections" in str(turned_away.outcome)
    world.say({"op": "hello", "ok": True})
    world.advance(1)
    assert str(answered.outcome).endswith("the daemon at /s.sock has not answered")


def test_ids_are_uuids_of_version_4_and_never_the_same():
    ids = Ids()
    made = [uuid.UUID(ids.next()) for _ in range(1000)]
    assert {(id.version, id.variant) for id in made} == {(4, uuid.RFC_4122)}
    assert len(set(made)) == 1000


def test_what_comes_again_is_the_same_bytes():
    world = World()
    world.put("k", data={"x": "é\ud800", "n": 1.5})
    (first,) = world.raw()
    world.cut()
    world.core.connected()
    assert world.raw()[1] == first
    assert world.core.counters().resent == 1


def test_a_late_answer_to_an_event_that_timed_out_is_ignored():
    world = World()
    event = world.put(timeout=1)
    (line,) = world.written()
    world.advance(1)
    world.say(ack(line))
    assert failed(event) == ("Timeout", "unknown")
    assert world.core.up


def test_memory_is_let_go_of_while_the_daemon_takes_nothing():
    world = World()
    for _ in range(50):
        for _ in range(100):
            world.put("k", timeout=1)
        world.advance(1)
    assert len(world.core._outbox) == len(world.core.events) == 0
    assert world.core.counters().buffered_bytes == 0


def test_deadlines_and_waits_of_what_is_settled_ring_nobody():
    # Else a client that has nothing to do would wake its process.
    world = World()
    world.put(timeout=1)
    world.say(*map(ack, world.written()))
    assert world.core.next_at() == float("inf")


def test_a_storm_of_retries_is_looked_through_a_few_times_only():
    # Each look goes through all events: one for each retry would take the square of their count.
    chance = iter(range(1000))
    world = World(chance=lambda: next(chance) / 1000)
    events = [world.put() for _ in range(1000)]
    world.say(*(refusal(line, "Overloaded", retryable=True) for line in world.written()))
    looks = 0
    while len([event for event in events if event.retry_at]) > 0:
        world.advance(world.core.next_at() - world.now)
        looks += 1
    assert looks < 20
    assert len(world.written()) == 1000


@pytest.mark.parametrize("tail", [b"x" * 100, b""])
def test_an_answer_beyond_the_bound_ends_the_connection(monkeypatch, tail):
    monkeypatch.setattr(_core, "ANSWER_BYTES_MAX", 1000)
    world = World()
    for _ in range(10):
        world.core.received(b"x" * 100, world.now)
        assert world.core.up
    world.core.received(tail, world.now)
    assert world.core.up == (not tail)


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b"7\n", b"\xff\n"])
def test_a_line_that_is_no_object_ends_the_connection(line):
    world = World()
    world.core.received(line, world.now)
    assert not world.core.up


@pytest.mark.parametrize(
    "answer",
    [{}, {"ref": [1], "ok": True}, {"ref": "1", "ok": True}, {"op": "later", "ref": 1}, {"op": "commit", "ref": {}},
     {"ref": None, "ok": False, "error": None}, {"op": "hello", "ok": True, "producerId": None, "maxEventBytes": "x"}],
)  # fmt: skip
def test_an_answer_that_means_nothing_changes_nothing(answer):
    world = World()
    event = world.put()
    (line,) = world.written()
    world.say(answer)
    assert world.core.up
    assert event.outcome is None
    world.say(ack(line))
    assert isinstance(event.outcome, Published)


def test_a_refused_hello_ends_all_calls_and_only_the_next_call_connects_again():
    world = World(up=False, max_buffered_events=1)
    taken, waiting = world.put(), world.put()
    world.core.connected()
    hello = {"op": "hello", "ok": False, "error": {"code": "InvalidRequest", "message": "no", "retryable": False}}
    world.say(hello)
    assert failed(taken) == failed(waiting) == ("InvalidRequest", "not_stored")
    assert world.core.next_at() == float("inf")
    world.put()
    assert world.core.next_at() == world.now


def test_nothing_is_written_behind_a_hello_with_a_context_before_it_is_answered():
    world = World(up=False, context={"producerId": "p"})
    world.put()
    world.core.connected()
    tx = world.core.begin()
    world.put(tx=tx)
    assert world.written() == [{"op": "hello", "context": {"producerId": "p"}}]
    world.advance(100)
    assert world.written() == []
    world.say({"op": "hello", "ok": True, "producerId": "p"})
    assert [line.get("op", line.get("tx")) for line in world.written()] == [None, "begin", "t1"]


# Bounds.


def test_who_waits_for_room_is_taken_on_in_order_even_if_a_later_one_would_fit():
    world = World(max_buffered_bytes=450)
    first = world.put(data={"x": "x" * 200})
    big, small = world.put(data={"x": "x" * 200}), world.put()
    assert not big.taken
    assert not small.taken
    world.say(ack(world.written()[0]))
    assert first.outcome
    assert big.taken


def test_who_gives_up_waiting_lets_the_next_in():
    world = World(max_buffered_bytes=450)
    world.put(data={"x": "x" * 200})
    big, small = world.put(data={"x": "x" * 200}), world.put()
    world.core.withdraw(big)
    assert small.taken
    world.advance(200)
    assert big.outcome is None


def test_an_event_is_not_dropped_at_a_bound():
    world = World(max_buffered_events=2)
    events = [world.put() for _ in range(3)]
    refused = world.put(wait=False)
    assert failed(refused) == ("BufferFull", "not_stored")
    world.say(*map(ack, world.written()))
    world.say(*map(ack, world.written()))
    assert all(isinstance(event.outcome, Published) for event in events)


def test_a_line_that_the_daemon_would_skip_is_refused_and_a_long_one_waits_for_what_hello_says():
    world = World(up=False)
    long, too_long = world.put(data={"x": "x" * 1_000_000}), world.put(data={"x": "x" * 1_200_000})
    last = world.put()
    world.core.connected()
    assert [line["op"] for line in world.written()] == ["hello"]
    world.say({"op": "hello", "ok": True, "maxEventBytes": 1 << 20})
    assert [line["ref"] for line in world.written()] == [long.ref, last.ref]
    assert failed(too_long) == ("EventTooLarge", "not_stored")


def test_a_staged_line_that_the_daemon_would_skip_is_refused_at_the_commit():
    world = World()
    tx = world.core.begin()
    event = world.put(tx=tx, data={"x": "x" * 1_200_000})
    assert [line["op"] for line in world.written()] == ["begin", "rollback"]
    world.core.check_staged(tx, tx.unchecked, 1)
    world.core.commit(tx, world.now, 5)
    assert not world.written()
    assert failed(event) == ("EventTooLarge", "not_stored")


# Strict order.


def test_strict_order_has_one_event_of_a_key_open_also_over_a_cut_and_a_retry():
    world = World(strict_order=True)
    first, second, free = world.put("k"), world.put("k"), world.put()
    assert [line["ref"] for line in world.written()] == [first.ref, free.ref]
    world.cut()
    lines = world.connect()
    assert [line["ref"] for line in lines] == [first.ref, free.ref]
    world.say(refusal(lines[0], "Overloaded", retryable=True))
    assert not world.written()
    world.advance(0.05)
    (again,) = world.written()
    world.say(ack(again))
    assert [line["ref"] for line in world.written()] == [second.ref]


def test_strict_order_goes_on_after_a_timeout_of_the_first_or_of_one_that_waits():
    world = World(strict_order=True)
    world.put("k", timeout=2)
    held, last = world.put("k", timeout=1), world.put("k")
    world.written()
    world.advance(1)
    assert failed(held) == ("Timeout", "not_stored")
    assert not world.written()
    world.advance(1)
    assert [line["ref"] for line in world.written()] == [last.ref]
    world.say(ack({"ref": last.ref, "options": {"id": last.id}}))
    assert not world.core._queues


def test_strict_order_holds_a_commit_back_too():
    world = World(strict_order=True)
    tx = world.core.begin()
    world.put("k", tx=tx)
    world.put("k", tx=tx)
    world.written()
    world.core.commit(tx, world.now, 5)
    rollback, first = world.written()
    assert rollback["op"] == "rollback"
    world.say(ack(first))
    assert len(world.written()) == 1


# Transactions.


def staged(world: World, tx: _core.Transaction, count: int) -> list[Pending]:
    events = [world.put(tx=tx) for _ in range(count)]
    world.say(*({"ref": line["ref"], "ok": True, "staged": True} for line in world.written() if "type" in line))
    assert not tx.unchecked
    return events


def test_a_commit_that_is_refused_as_a_whole_goes_as_plain_events_in_order_at_once():
    world = World()
    tx = world.core.begin()
    events = staged(world, tx, 3)
    world.core.commit(tx, world.now, 5)
    (commit,) = world.written()
    world.say({"op": "commit", **refusal(commit, "TransactionEnded", retryable=True)})
    lines = world.written()
    assert [line["options"]["id"] for line in lines] == [event.id for event in events]
    assert all("tx" not in line for line in lines)
    world.say(*map(ack, lines))
    assert all(isinstance(event.outcome, Published) for event in events)


def test_after_a_transaction_was_refused_for_an_unknown_reason_its_events_may_be_stored():
    world = World()
    tx = world.core.begin()
    (event,) = staged(world, tx, 1)
    world.core.commit(tx, world.now, 5)
    (commit,) = world.written()
    world.say({"op": "commit", **refusal(commit, "ShuttingDown", retryable=True, outcome="unknown")})
    world.cut()
    world.advance(5)
    assert failed(event) == ("Timeout", "unknown")


def test_a_commit_that_names_fewer_results_than_events_settles_the_rest_by_plain_lines():
    world = World()
    tx = world.core.begin()
    first, second = staged(world, tx, 2)
    world.core.commit(tx, world.now, 5)
    (commit,) = world.written()
    results = [None, ack({"ref": first.ref, "options": {"id": first.id}})]
    world.say({"op": "commit", "ref": commit["ref"], "ok": True, "results": results})
    assert [line["options"]["id"] for line in world.written()] == [second.id]


def test_a_late_answer_to_a_staged_line_is_not_taken_for_the_plain_line_s():
    world = World()
    tx = world.core.begin()
    first, second = world.put(tx=tx), world.put(tx=tx)
    _, *lines = world.written()
    world.say(refusal(lines[0], "TransactionEnded", retryable=True))
    world.core.commit(tx, world.now, 5)
    plain = world.written()
    world.say(refusal(lines[1], "InvalidRequest"))
    assert first.outcome is None
    assert second.outcome is None
    world.say(*map(ack, plain))
    assert isinstance(second.outcome, Published)


def test_what_was_refused_when_it_was_staged_stands_in_the_results_and_the_rest_is_published():
    world = World()
    tx = world.core.begin()
    bad, good = world.put(tx=tx), world.put(tx=tx)
    _, first, second = world.written()
    world.say(refusal(first, "EventTooLarge"), {"ref": second["ref"], "ok": True, "staged": True})
    with pytest.raises(DispatchdError, match="EventTooLarge"):
        world.core.check_staged(tx, set(), 1)
    world.cut()
    world.core.commit(tx, world.now, 5)
    assert failed(bad) == ("EventTooLarge", "not_stored")
    assert [line["options"]["id"] for line in world.connect()] == [good.id]


def test_what_stays_in_the_client_is_rolled_back_on_the_daemon():
    world = World()
    tx = world.core.begin()
    world.put(tx=tx)
    _, line = world.written()
    world.say(refusal(line, "TransactionTooLarge"))
    assert [line["op"] for line in world.written()] == ["rollback"]


def test_only_so_many_transactions_are_open_on_the_daemon():
    world = World()
    transactions = [world.core.begin() for _ in range(70)]
    assert [line["op"] for line in world.written()] == ["begin"] * 60
    world.core.rollback(transactions[0])
    world.core.begin()
    assert [line["op"] for line in world.written()] == ["rollback", "begin"]


def test_the_lines_of_transactions_do_not_gather_for_a_daemon_that_reads_nothing():
    world = World(max_buffered_events=10)
    for _ in range(1000):
        world.core.rollback(world.core.begin())
    assert len(world.core._outbox) <= 10 + 2


def test_an_event_published_before_a_commit_stays_before_it_over_a_cut():
    world = World()
    tx = world.core.begin()
    (event,) = staged(world, tx, 1)
    plain = world.put()
    world.core.commit(tx, world.now, 5)
    world.written()
    world.cut()
    assert [line["options"]["id"] for line in world.connect()] == [plain.id, event.id]


def test_a_staged_event_is_no_unconfirmed_event_and_its_transaction_has_no_timeout():
    world = World()
    tx = world.core.begin()
    staged(world, tx, 1)
    assert not world.core.unconfirmed()
    world.advance(1000)
    assert world.core.counters().buffered == 1


def test_an_event_that_waits_for_room_when_its_transaction_ends_is_told():
    world = World(max_buffered_events=1)
    tx = world.core.begin()
    staged(world, tx, 1)
    late = world.put(tx=tx)
    world.core.rollback(tx)
    assert failed(late) == ("TransactionEnded", "not_stored")
    assert world.core.counters().rolled_back == 1


def test_after_the_end_a_commit_is_closed_and_a_rollback_is_a_rollback():
    world = World()
    first, second = world.core.begin(), world.core.begin()
    (event,) = staged(world, first, 1)
    staged(world, second, 1)
    world.core.shut()
    world.core.commit(first, world.now, 5)
    world.core.rollback(second)
    assert failed(event) == ("Closed", "not_stored")
    assert world.core.counters().rolled_back == 1


def test_a_disabled_client_acks_what_it_throws_away():
    world = World(up=False, disabled=True)
    event = world.put("k")
    assert isinstance(event.outcome, Published)
    assert event.outcome.shard_id is event.outcome.sequence_number is None
    assert not world.core.wanted


# Everything at once.


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_every_event_ends_once_and_the_counters_add_up(seed):
    chance = random.Random(seed)
    world = World(chance=chance.random, up=False, max_buffered_events=20, strict_order=bool(seed % 2))
    world.core.want(world.now)
    events: list[Pending] = []
    transactions = []
    unanswered: list[dict] = []
    for _ in range(2000):
        action = chance.random()
        if action < 0.35:
            key = chance.choice(["a", "b", None])
            tx = chance.choice(transactions) if transactions and chance.random() < 0.5 else None
            events.append(world.put(key, chance.choice([0.1, 5.0]), tx))
        elif action < 0.40:
            transactions.append(world.core.begin())
        elif action < 0.45 and transactions:
            tx = transactions.pop(chance.randrange(len(transactions)))
            if chance.random() < 0.7:
                world.core.commit(tx, world.now, 5.0)
            else:
                world.core.rollback(tx)
        elif action < 0.60 and world.core.up:
            unanswered += world.written()
        elif action < 0.85 and unanswered and world.core.up:
            line = unanswered.pop(chance.randrange(len(unanswered)))
            if "type" in line:
                code = chance.choice(["Overloaded", "InvalidRequest", "TransactionEnded"])
                good = {"ref": line["ref"], "ok": True, "staged": True} if "tx" in line else ack(line)
                world.say(good if chance.random() < 0.7 else refusal(line, code, code != "InvalidRequest"))
            elif line["op"] == "commit":
                world.say({"op": "commit", **refusal(line, "TransactionEnded", retryable=True)})
        elif action < 0.90:
            world.advance(chance.random() * 0.2)
        elif world.core.up and action < 0.93:
            world.cut()
            unanswered.clear()
        elif not world.core.up:
            world.connect()
        assert len(world.core.events) <= 20
        world.balance()
    for tx in transactions:
        world.core.rollback(tx)
    world.core.shut()
    world.balance()
    assert len(world.settled) == len(set(map(id, world.settled)))
    assert {id(event) for event in events} == {id(event) for event in world.settled}
    assert world.core.counters().buffered == world.core.counters().buffered_bytes == 0
    assert not world.core._outbox
    assert not world.core._queues
    assert not world.core._waiting
