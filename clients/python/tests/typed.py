"""What type checkers say of an application: mypy reads this file, and nobody runs it.

An error that is expected has a `type: ignore` with its code; mypy complains of one that is not needed.
"""

from concurrent.futures import Future
from typing import TypedDict, Union

from typing_extensions import assert_type

from dispatchd import AsyncClient, BatchError, Client, DispatchdError, Event, Published
from dispatchd.samples import keep_sample
from dispatchd.testing import FakeDaemon


class Order(TypedDict):
    total: float


def threads(client: Client, order: Order) -> None:
    assert_type(client.publish("t", order, partition_key="k", timeout=1), Published)
    assert_type(client.submit("t", {"n": [1]}), Future[Published])
    assert_type(client.publish_batch([Event("t", order, id=None)]), list[Published])
    assert_type(client.close(), int)
    with client.begin() as tx:
        assert_type(tx.publish("t", {}), str)
        assert_type(tx.commit(), list[Published])
    client.publish("t", {}, partitionKey="k")  # type: ignore[call-arg]
    client.publish("t", 7)  # type: ignore[arg-type]
    client.publish("t", {}, partition_key=7)  # type: ignore[arg-type]


async def loop(client: AsyncClient, order: Order) -> None:
    assert_type(await client.publish("t", order), Published)
    assert_type(await (await client.submit("t", {})), Published)
    async with client.begin() as tx:
        assert_type(await tx.publish("t", {}), str)
    client.try_submit("t", {}, partitionKey="k")  # type: ignore[call-arg]


def errors(daemon: FakeDaemon) -> None:
    daemon.refuse_next("Rejected")
    try:
        Client(daemon.socket, on_settled=lambda settled: print(settled.code))
    except BatchError as error:
        assert_type(error.results, list[Union[Published, DispatchdError]])


def samples(order: Order) -> None:
    keep_sample("schemas", "t", order, {"total": 1.5})
    keep_sample("schemas", "t", "{}")  # type: ignore[arg-type]
