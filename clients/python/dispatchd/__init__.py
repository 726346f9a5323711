"""Publish events through dispatchd: each call ends with a durable event, or with an error that says what is known.

`Client` is for threads, `AsyncClient` for asyncio. `dispatchd.testing` has a daemon for unit tests. This package has no
dependency, makes no log, and starts nothing when it is imported.
"""

from dispatchd._aio import AsyncClient, AsyncTransaction
from dispatchd._client import Client, Transaction
from dispatchd._types import BatchError, Counters, DispatchdError, Event, Published, Settled, Source

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncTransaction",
    "BatchError",
    "Client",
    "Counters",
    "DispatchdError",
    "Event",
    "Published",
    "Settled",
    "Source",
    "Transaction",
]
