"""Promises about forks: a child has a connection of its own, and the parent's events stay the parent's."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from scripted import until

import dispatchd
from dispatchd import Client, DispatchdError


def in_child(work, fork=os.fork) -> int:
    """Runs `work` in a child that ends without clean-up, as those of job queues do: with 0 if all went well."""
    pid = fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # Else pytest's timer catches it.
        signal.alarm(30)  # A test that fails leaves no child behind.
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_publishes_on_its_own_connection_and_the_parent_s_future_is_the_parent_s(daemon):
    client = Client(daemon.path)
    future = client.submit("parent", {})
    parent = daemon.accept()
    line = parent.line()

    def work():
        assert client.counters.sent == 0
        assert client.publish("child", {}).type == "child"

    pid = in_child(work)
    child = daemon.accept()
    event = child.line()
    assert event["type"] == "child"
    child.ack(event)
    assert code_of(pid) == 0
    assert child.ended()
    parent.ack(line)
    assert future.result().id == line["options"]["id"]
    client.close()


def test_a_child_does_not_hold_the_parent_s_connection_open(daemon):
    client = Client(daemon.path)
    client.submit("t", {})
    connection = daemon.accept()
    connection.line()
    pid = in_child(signal.pause)
    client.close(0)
    assert connection.ended()
    os.kill(pid, signal.SIGKILL)
    assert code_of(pid) == -signal.SIGKILL


def nobody_wants_the_interpreter() -> bool:
    """Whether every other thread waits in the kernel, and none for a lock of the interpreter's."""
    waits_for_a_lock = {"x86_64": "202", "aarch64": "98"}[platform.machine()]  # futex
    others = (task for task in Path("/proc/self/task").iterdir() if int(task.name) != threading.get_native_id())
    calls = [(task / "syscall").read_text().split()[0] for task in others]
    return "running" not in calls and waits_for_a_lock not in calls


def test_a_fork_that_python_is_not_told_of_is_noticed(fake):
    client = Client(fake.socket)
    client.publish("parent", {})
    # A thread that asks for the interpreter just then would be waited for in the child, where it is not.
    until(nobody_wants_the_interpreter)
    pid = in_child(lambda: client.publish("child", {}), ctypes.PyDLL(None).fork)
    assert code_of(pid) == 0
    client.publish("parent", {})
    assert [event.type for event in fake.published] == ["parent", "child", "parent"]
    assert len({event.id for event in fake.published}) == 3
    client.close()


def test_a_fork_in_the_middle_of_a_call_of_another_thread_does_not_block_the_child(fake):
    client = Client(fake.socket)
    client.publish("parent", {})
    held, free = threading.Event(), threading.Event()

    def hold():
        with client._lock:
            held.set()
            free.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert code_of(in_child(lambda: client.publish("child", {}, timeout=20))) == 0
    free.set()
    thread.join()
    client.close()


def test_a_transaction_and_the_end_of_a_client_belong_to_the_process(fake):
    client, closed = Client(fake.socket), Client(fake.socket)
    tx = client.begin()
    tx.publish("t", {})
    closed.close()

    def work():
        with pytest.raises(RuntimeError, match="process"):
            tx.commit()
        with pytest.raises(DispatchdError, match="Closed"):
            closed.publish("t", {})

    assert code_of(in_child(work)) == 0
    assert len(tx.commit()) == 1
    client.close()


def test_a_child_that_ends_without_clean_up_publishes_what_it_has_flushed(fake):
    """Exit hooks do not run after `os._exit`: this is why the README says to flush at the end of each job."""
    client = Client(fake.socket)

    def work():
        for _ in range(200):
            client.submit("t", {})
        assert client.flush() == 0

    assert code_of(in_child(work)) == 0
    assert len(fake.published) == 200
    client.close()


inherited: list[Client] = []


def publish_from_pool(number: int) -> str:
    return inherited[0].publish("pool", {"n": number}).id


def test_workers_of_a_multiprocessing_pool_share_the_client_they_inherit(fake):
    inherited.append(Client(fake.socket))
    inherited[0].publish("parent", {})
    with multiprocessing.get_context("fork").Pool(2) as pool:
        ids = pool.map(publish_from_pool, range(50))
    assert {event.id for event in fake.published if event.type == "pool"} == set(ids)
    assert len(set(ids)) == 50
    inherited.pop().close()


def test_gunicorn_s_workers_use_the_client_that_was_made_before_the_fork(fake, tmp_path):
    (tmp_path / "app.py").write_text(
        "import os, dispatchd\n"
        "client = dispatchd.Client()\n"
        "client.publish('master', {'pid': os.getpid()})\n"
        "def app(environ, start_response):\n"
        "    client.publish('request', {'pid': os.getpid()})\n"
        "    client.submit('late', {'pid': os.getpid()})\n"
        "    start_response('200 OK', [])\n"
        "    return [b'ok']\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(Path(dispatchd.__file__).parent.parent)])
    environment = {**os.environ, "DISPATCHD_SOCKET": fake.socket, "PYTHONPATH": paths}
    # Between its fork and gunicorn's `init_signals` a worker has the master's handlers, and a SIGTERM is lost on it:
    # gunicorn waits for it, and kills it. On a busy machine one worker may answer all requests before the other is that
    # far. That is so without this client too. It must not take 30 s, then.
    options = ["--preload", "--workers", "2", "--graceful-timeout", "5", "--bind", "127.0.0.1:0"]
    command = [sys.executable, "-m", "gunicorn", *options, "app:app"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        address = next(line.split()[-2] for line in server.stderr if "Listening at" in line)
        for _ in range(10):
            assert urllib.request.urlopen(address, timeout=20).read() == b"ok"
        server.terminate()
        assert server.wait(30) == 0
    until(lambda: len(fake.published) == 21)
    pids = {event.data["pid"] for event in fake.published if event.type == "request"}
    assert server.pid not in pids
    assert [event.data["pid"] for event in fake.published if event.type == "master"] == [server.pid]
