"""Promises of the client for threads: with a daemon in memory, or one that does what the test says."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from scripted import refusal, until

import dispatchd
from dispatchd import AsyncClient, BatchError, Client, DispatchdError, Event, Published


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program of its own, as an application would be."""
    environment = {**os.environ, "PYTHONPATH": str(Path(dispatchd.__file__).parent.parent), **environment}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, env=environment, check=False)


def test_an_event_ends_with_where_it_is(fake):
    with Client(fake.socket, source_user_id="u") as client:
        published = client.publish("t", {"n": 1}, partition_key="k")
    assert published.type == "t"
    assert published.source == ("u", "test@localhost", "k")
    assert published.sequence_number
    assert published.timestamp.endswith("Z")
    assert fake.published == [Event("t", {"n": 1}, "k", id=published.id)]


def test_the_socket_is_found_in_the_environment(fake, monkeypatch):
    monkeypatch.setenv("DISPATCHD_SOCKET", fake.socket)
    with Client() as client:
        assert client.publish("t", {}).shard_id


circular: dict = {}
circular["itself"] = circular


@pytest.mark.parametrize("data", [{"x": float("nan")}, {"x": object()}, {1: {(): 1}}, circular])
def test_data_that_is_no_json_is_refused_at_once(fake, data):
    with Client(fake.socket) as client, pytest.raises(DispatchdError, match="InvalidRequest") as raised:
        client.submit("t", data)
    assert (raised.value.retryable, raised.value.outcome) == (False, "not_stored")
    assert raised.value.id


def test_a_wrong_option_is_a_type_error_and_a_wrong_timeout_a_value_error(fake):
    with Client(fake.socket) as client:
        with pytest.raises(TypeError):
            client.publish("t", {}, partitionKey="k")
        with pytest.raises(ValueError, match="timeout"):
            client.publish("t", {}, timeout=-1)
    with pytest.raises(ValueError, match="at least 1"):
        Client(max_buffered_events=0)


def test_a_path_that_no_socket_can_have_is_a_value_error_at_once(monkeypatch):
    Client("/" + "s" * 106).close()
    monkeypatch.setenv("DISPATCHD_SOCKET", "/" + "é" * 54)
    with pytest.raises(ValueError, match="at most 107 bytes, not 109: /é"):
        Client()


def test_a_refusal_has_code_outcome_and_id_and_survives_pickle(fake):
    fake.refuse_next("Rejected")
    with Client(fake.socket) as client, pytest.raises(DispatchdError) as raised:
        client.publish("t", {}, id="9c0c1d52-5c2b-4d9c-9f5c-0a4c3a5a7d11")
    error = pickle.loads(pickle.dumps(raised.value))
    assert (error.code, error.retryable, error.outcome) == ("Rejected", False, "not_stored")
    assert error.id == "9c0c1d52-5c2b-4d9c-9f5c-0a4c3a5a7d11"


def test_a_batch_says_of_each_event_what_became_of_it(fake):
    with Client(fake.socket) as client:
        published = client.publish_batch(Event("t", {"n": n}) for n in range(5))
        assert [event.data["n"] for event in fake.published] == list(range(5))
        assert all(isinstance(event, Published) for event in published)
        fake.refuse_next("Rejected")
        with pytest.raises(BatchError) as raised:
            client.publish_batch([Event("t", {}), Event("t", {"x": object()}), Event("t", {})])
        assert client.publish_batch([]) == []
    results = pickle.loads(pickle.dumps(raised.value)).results
    assert [getattr(result, "code", "acked") for result in results] == ["Rejected", "InvalidRequest", "acked"]


def test_a_batch_larger_than_the_buffer_is_published(fake):
    with Client(fake.socket, max_buffered_events=3) as client:
        assert len(client.publish_batch(Event("t", {}) for _ in range(100))) == 100


def test_leaving_a_transaction_normally_commits_and_by_an_exception_rolls_back(fake):
    with Client(fake.socket) as client:
        with client.begin() as tx:
            id = tx.publish("t", {})
            tx.staged()
            assert not fake.published
        assert [event.id for event in fake.published] == [id]
        with pytest.raises(KeyError), client.begin() as tx:
            tx.publish("t", {})
            raise KeyError
        assert len(fake.published) == 1
        assert client.counters.rolled_back == 1


def test_a_transaction_that_has_ended_is_over(fake):
    with Client(fake.socket) as client:
        with client.begin() as tx:
            tx.publish("t", {})
            assert len(tx.commit()) == 1
        for call in (tx.commit, tx.rollback, tx.staged, lambda: tx.publish("t", {})):
            with pytest.raises(RuntimeError, match="ended"):
                call()


def test_a_refused_event_fails_staged_and_the_rest_can_still_be_committed(fake):
    with Client(fake.socket) as client:
        tx = client.begin()
        fake.refuse_next("EventTooLarge")
        tx.publish("t", {})
        tx.publish("t", {})
        with pytest.raises(DispatchdError, match="EventTooLarge"):
            tx.staged()
        with pytest.raises(BatchError) as raised:
            tx.commit()
        assert [getattr(result, "code", "acked") for result in raised.value.results] == ["EventTooLarge", "acked"]


def test_staged_ends_with_its_timeout_and_the_transaction_can_still_commit(daemon):
    client = Client(daemon.path)
    tx = client.begin()
    connection = daemon.accept()
    id = tx.publish("t", {})
    with pytest.raises(DispatchdError, match="Timeout: 1 staged"):
        tx.staged(timeout=0)
    result = []
    commit = threading.Thread(target=lambda: result.append(tx.commit()))
    commit.start()
    begin, event, commit_line = connection.line(), connection.line(), connection.line()
    assert [begin["op"], event["options"]["id"], commit_line["op"]] == ["begin", id, "commit"]
    connection.close()
    connection = daemon.accept()
    connection.ack(connection.line())
    commit.join()
    assert result[0][0].id == id
    client.close()


def test_many_threads_share_a_client_and_its_bounds(fake):
    with Client(fake.socket, max_buffered_events=7) as client:

        def publish():
            for n in range(100):
                client.publish("t", {"n": n})

        threads = [threading.Thread(target=publish) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.counters.acked == len(fake.published) == 800


def test_at_the_bound_try_submit_raises_and_submit_waits_within_its_timeout(daemon):
    client = Client(daemon.path, max_buffered_events=1)
    first = client.submit("t", {})
    connection = daemon.accept()
    with pytest.raises(DispatchdError, match="BufferFull"):
        client.try_submit("t", {})
    with pytest.raises(DispatchdError, match=r"Timeout: .* the buffer is full") as raised:
        client.submit("t", {}, timeout=0.05)
    assert raised.value.outcome == "not_stored"
    connection.ack(connection.line())
    assert first.result().shard_id
    client.close(0)


def test_a_line_of_many_writes_arrives_whole(daemon):
    client = Client(daemon.path)
    future = client.submit("t", {"text": "é" * 3_000_000})
    connection = daemon.accept()
    line = connection.line()
    assert len(line["data"]["text"]) == 3_000_000
    connection.ack(line)
    future.result()
    client.close()


def test_what_the_daemon_said_before_it_hung_up_is_heard_by_who_finds_out_by_writing(daemon):
    client = AsyncClient(daemon.path)  # Of no loop: only its state is wanted, which then moves when the test says so.
    core, link = client._core, client._link
    first, second = (client._pending(Event("t", {}), 20) for _ in range(2))
    core.put(first, 0.0)
    link.pump(0.0)
    connection = daemon.accept()
    line = connection.line()
    link.pump(0.0, readable=True)
    connection.ack(line)
    connection.close()
    core.put(second, 0.0)
    link.pump(0.0)
    assert first.outcome.id == line["options"]["id"]
    assert second.outcome is None
    assert not core.up


def test_a_callback_must_not_wait_for_its_own_client(daemon):
    client = Client(daemon.path)
    future = client.submit("t", {})
    said = []

    def done(_):
        for call in (lambda: client.publish("t", {}), client.flush, client.close, lambda: client.publish_batch([])):
            try:
                call()
            except RuntimeError as error:
                said.append(str(error))
        client.submit("next", {})

    future.add_done_callback(done)
    connection = daemon.accept()
    connection.ack(connection.line())
    assert connection.line()["type"] == "next"
    assert len(said) == 4
    client.close(0)


def test_a_future_cannot_be_cancelled_since_the_event_cannot_be_taken_back(daemon):
    client = Client(daemon.path)
    assert not client.submit("t", {}).cancel()
    client.close(0)


def test_the_hook_hears_of_each_event_and_its_fault_stops_nothing(fake, monkeypatch):
    heard, faults = [], []
    monkeypatch.setattr(sys, "excepthook", lambda kind, value, traceback: faults.append(kind))

    def hook(settled):
        heard.append((settled.type, settled.ok, settled.code, settled.resent))
        assert settled.duration_ms >= 0
        raise KeyError

    with Client(fake.socket, on_settled=hook) as client:
        client.publish("a", {})
        fake.refuse_next("Rejected")
        with pytest.raises(DispatchdError):
            client.publish("b", {})
        tx = client.begin()
        tx.publish("c", {})
        tx.rollback()
        client.publish("d", {})
    expected = [("a", True, None, 0), ("b", False, "Rejected", 0), ("c", False, None, 0), ("d", True, None, 0)]
    until(lambda: len(heard) == 4)
    assert sorted(heard, key=str) == sorted(expected, key=str)
    assert faults == [KeyError] * 4


def test_a_trace_is_passed_on_if_it_is_given_or_found(fake):
    def inject(carrier):
        carrier["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    with Client(fake.socket, trace=inject) as client:
        client.publish("found", {})
        client.publish("given", {}, traceparent="00-00000000000000000000000000000001-0000000000000001-01")
    found, given = fake.published
    assert found.traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert given.traceparent == "00-00000000000000000000000000000001-0000000000000001-01"


def test_flush_waits_for_what_was_taken_on_before_it_and_not_for_what_comes_after(daemon):
    client = Client(daemon.path)
    client.submit("t", {})
    connection = daemon.accept()
    line = connection.line()
    assert client.flush(0) == 1
    left = []
    flush = threading.Thread(target=lambda: left.append(client.flush(20)))
    flush.start()
    until(lambda: client._core._watches)
    client.submit("later", {})
    connection.ack(line)
    flush.join()
    assert left == [0]
    assert client.close(0) == 1


def test_close_ends_open_calls_and_takes_nothing_more(daemon):
    client = Client(daemon.path, max_buffered_events=1)
    taken = client.submit("t", {})
    connection = daemon.accept()
    connection.line()
    waiting: list[BaseException] = []

    def submit():
        try:
            client.submit("t", {})
        except DispatchdError as error:
            waiting.append(error)

    thread = threading.Thread(target=submit)
    thread.start()
    until(lambda: client._core._waiting)
    tx = client.begin()
    assert client.close(0) == 1
    thread.join()
    assert connection.ended()
    assert (taken.exception().code, taken.exception().outcome) == ("Closed", "unknown")
    assert (waiting[0].code, waiting[0].outcome) == ("Closed", "not_stored")
    with pytest.raises(DispatchdError, match="Closed"):
        client.publish("t", {})
    with pytest.raises(DispatchdError, match="Closed"):
        tx.publish("t", {})
    assert client.close() == 0
    until(lambda: not client._thread.is_alive())


def test_an_interrupted_wait_for_room_publishes_nothing(daemon, monkeypatch):
    client = Client(daemon.path, max_buffered_events=1)
    client.submit("first", {})
    connection = daemon.accept()

    class Interrupted(threading.Event):
        def wait(self, timeout=None):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading, "Event", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.submit("second", {})
    connection.ack(connection.line())
    future = client.submit("third", {})
    line = connection.line()
    assert line["type"] == "third"
    connection.ack(line)
    future.result()
    client.close()


def test_a_process_without_files_or_threads_to_spare_is_told_and_can_try_again(fake, monkeypatch):
    client = Client(fake.socket)

    def none_left(*_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socketpair", none_left)
        with pytest.raises(OSError, match="Too many"):
            client.submit("t", {})
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no thread")))
        with pytest.raises(RuntimeError, match="no thread"):
            client.submit("t", {})
    client.publish("t", {})
    client.close()
    assert len(fake.published) == 3
    other = AsyncClient(fake.socket)
    other._core.want(0.0)
    monkeypatch.setattr(socket, "socket", none_left)
    other._link.pump(0.0)
    assert other._core._why == "Too many open files"


def test_an_idle_client_uses_no_time(fake):
    with Client(fake.socket) as client:
        client.publish("t", {})
        until(lambda: client._asleep)
        assert client._core.next_at() == float("inf")


def test_a_retry_after_waiting_is_made_without_anything_else_happening(daemon):
    client = Client(daemon.path)
    future = client.submit("t", {})
    connection = daemon.accept()
    connection.say(refusal(connection.line(), "Overloaded", retryable=True))
    connection.ack(connection.line())
    assert future.result().shard_id
    client.close()


# The end of a process.


def test_at_exit_what_is_open_is_flushed_and_nothing_is_said(fake):
    ended = run(
        """
        import dispatchd
        client = dispatchd.Client()
        for n in range(1000):
            client.submit("t", {"n": n})
        """,
        DISPATCHD_SOCKET=fake.socket,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert len(fake.published) == 1000


@pytest.mark.parametrize("client", ["Client", "AsyncClient"])
def test_at_exit_it_is_said_how_many_are_not_confirmed(tmp_path, client):
    ended = run(
        f"""
        import asyncio, dispatchd, dispatchd._base
        assert dispatchd._base.CLOSE_TIMEOUT_S == 5.0
        dispatchd._base.CLOSE_TIMEOUT_S = 0.1
        client = dispatchd.{client}({str(tmp_path / "nobody.sock")!r})
        async def main():
            await client.submit("t", {{}})
            await client.submit("t", {{}})
        if client.__class__.__name__ == "AsyncClient":
            asyncio.run(main())
        else:
            client.submit("t", {{}})
            client.submit("t", {{}})
        """
    )
    assert ended.returncode == 0
    assert ended.stderr == f"dispatchd: 2 events are not confirmed at exit ({tmp_path}/nobody.sock)\n"


def test_a_client_holds_no_process_and_no_import_starts_anything(tmp_path):
    ended = run(
        f"""
        import threading, dispatchd, dispatchd.testing
        client = dispatchd.Client({str(tmp_path / "nobody.sock")!r})
        assert threading.active_count() == 1
        client.begin()
        """
    )
    assert (ended.returncode, ended.stderr) == (0, "")
