"""Promises of the client for asyncio: those of its twin, and what an event loop adds."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os

import pytest
from scripted import ack

from dispatchd import AsyncClient, BatchError, DispatchdError, Event

DEADLINE_S = 20.0


def looped(work):
    """A test in a loop of its own, with a deadline that it never reaches."""

    def test(**fixtures):
        asyncio.run(asyncio.wait_for(work(**fixtures), DEADLINE_S))

    test.__name__, test.__doc__ = work.__name__, work.__doc__
    test.__signature__ = inspect.signature(work)
    return test


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.002)


async def accepted(daemon):
    return await asyncio.get_running_loop().run_in_executor(None, daemon.accept)


async def line_of(connection):
    return await asyncio.get_running_loop().run_in_executor(None, connection.line)


@looped
async def test_events_batches_and_transactions_end_as_with_the_twin(fake):
    async with AsyncClient(fake.socket, source_user_id="u") as client:
        published = await client.publish("t", {"n": 1}, partition_key="k")
        assert published.source == ("u", "test@localhost", "k")
        assert len(await client.publish_batch(Event("t", {}) for _ in range(5))) == 5
        fake.refuse_next("Rejected")
        with pytest.raises(BatchError) as raised:
            await client.publish_batch([Event("t", {}), Event("t", {"x": object()}), Event("t", {})])
        assert [getattr(result, "code", 0) for result in raised.value.results] == ["Rejected", "InvalidRequest", 0]
        async with client.begin() as tx:
            id = await tx.publish("t", {})
            await tx.staged()
        assert fake.published[-1].id == id
        with pytest.raises(KeyError):
            async with client.begin() as tx:
                await tx.publish("t", {})
                raise KeyError
        tx = client.begin()
        fake.refuse_next("EventTooLarge")
        await tx.publish("t", {})
        with pytest.raises(DispatchdError, match="EventTooLarge"):
            await tx.staged()
        await tx.rollback()
        with pytest.raises(RuntimeError, match="ended"):
            await tx.commit()
        assert client.counters.rolled_back == 2


@looped
async def test_what_is_published_in_one_turn_of_the_loop_is_one_write(fake):
    async with AsyncClient(fake.socket) as client:
        take, writes = client._core.take, []
        client._core.take = lambda: writes.append(take()) or writes[-1]
        futures = [client.try_submit("t", {"n": n}) for n in range(100)]
        await asyncio.gather(*futures)
        assert [chunk.count(b"\n") for chunk in writes if chunk] == [1 + 100]


@looped
async def test_who_waits_for_room_is_served_in_order_and_within_the_timeout(daemon):
    client = AsyncClient(daemon.path, max_buffered_events=1)
    tasks = [asyncio.ensure_future(client.publish("t", {"n": n})) for n in range(3)]
    connection = await accepted(daemon)
    first = await line_of(connection)
    with pytest.raises(DispatchdError, match="BufferFull"):
        client.try_submit("t", {})
    with pytest.raises(DispatchdError, match=r"Timeout: .* the buffer is full"):
        await client.submit("t", {}, timeout=0.05)
    connection.ack(first)
    for n in (1, 2):
        line = await line_of(connection)
        assert line["data"]["n"] == n
        connection.ack(line)
    await asyncio.gather(*tasks)
    await client.close()


@looped
async def test_a_call_that_is_cancelled_while_it_waits_publishes_nothing_and_later_it_goes_on_alone(daemon):
    client = AsyncClient(daemon.path, max_buffered_events=1)
    taken = asyncio.ensure_future(client.publish("taken", {}))
    waiting = asyncio.ensure_future(client.publish("waiting", {}))
    await until(lambda: client._core._waiting)
    waiting.cancel()
    taken.cancel()
    await asyncio.wait([taken, waiting])
    assert not client._core._waiting
    connection = await accepted(daemon)
    line = await line_of(connection)
    connection.ack(line)
    await until(lambda: client.counters.acked == 1)
    assert line["type"] == "taken"
    assert await client.close() == 0


@looped
async def test_close_ends_open_calls(daemon):
    client = AsyncClient(daemon.path)
    future = await client.submit("t", {})
    connection = await accepted(daemon)
    await line_of(connection)
    assert await client.flush(0) == 1
    assert await client.close(0) == 1
    error = future.exception() if future.done() else await asyncio.wait_for(asyncio.shield(future), 1)
    assert (error.code, error.outcome) == ("Closed", "unknown")
    assert await asyncio.get_running_loop().run_in_executor(None, connection.ended)
    with pytest.raises(DispatchdError, match="Closed"):
        await client.publish("t", {})


@looped
async def test_a_slow_reader_is_waited_for_without_holding_up_the_loop(daemon):
    client = AsyncClient(daemon.path)
    future = await client.submit("t", {"text": "é" * 3_000_000})
    connection = await accepted(daemon)
    await until(lambda: client._link.writing())
    line = await line_of(connection)
    connection.ack(line)
    assert (await future).id == line["options"]["id"]
    await client.close()


@looped
async def test_a_cut_and_a_retry_happen_without_anything_else_happening(daemon):
    client = AsyncClient(daemon.path)
    future = await client.submit("t", {})
    connection = await accepted(daemon)
    await line_of(connection)
    connection.close()
    connection = await accepted(daemon)
    line = await line_of(connection)
    error = {"code": "Overloaded", "message": "", "retryable": True}
    connection.say({"ref": line["ref"], "ok": False, "error": error})
    connection.say(ack(await line_of(connection)))
    assert (await future).shard_id
    assert client.counters.resent == 2
    assert client.counters.reconnects == 1
    await client.close()


@looped
async def test_a_loop_s_client_is_refused_in_another_loop(fake):
    client = AsyncClient(fake.socket)
    await client.publish("t", {})

    def other():
        with pytest.raises(RuntimeError, match="another event loop"):
            asyncio.run(client.publish("t", {}))

    await asyncio.get_running_loop().run_in_executor(None, other)
    await client.close()


def test_a_client_outlives_a_loop_that_was_closed_without_it(fake):
    client = AsyncClient(fake.socket)
    asyncio.run(client.publish("t", {}))
    asyncio.run(client.publish("t", {}))
    assert len(fake.published) == 2


def test_a_child_has_a_connection_of_its_own_and_leaves_the_parent_s_loop_alone(fake):
    async def main():
        client = AsyncClient(fake.socket)
        await client.publish("parent", {})
        pid = os.fork()
        if pid == 0:
            asyncio._set_running_loop(None)
            asyncio.run(client.publish("child", {}))
            os._exit(0)
        await asyncio.get_running_loop().run_in_executor(None, os.waitpid, pid, 0)
        await client.publish("parent", {})
        assert client.counters.reconnects == 0
        await client.close()

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))
    assert [event.type for event in fake.published] == ["parent", "child", "parent"]


@looped
async def test_nothing_is_left_behind_that_nobody_asked_for(fake):
    """No "exception was never retrieved" for an event that was not taken on."""
    faults = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    async with AsyncClient(fake.socket) as client:
        with pytest.raises(DispatchdError, match="InvalidRequest"):
            await client.submit("t", {"x": object()})
        with pytest.raises(DispatchdError, match="InvalidRequest"):
            client.try_submit("t", {"x": object()})
        await client.publish("t", {})
    gc.collect()
    assert not faults
