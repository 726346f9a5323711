"""The events of an application, each with a sample."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class OrderPlaced:
    type = "order.placed"
    order_id: str
    total: float
    lines: list[dict[str, Any]]

    @classmethod
    def samples(cls) -> list[OrderPlaced]:
        return [cls("o-1", 12.5, [{"sku": "s-7", "count": 2}])]


@dataclass
class OrderCancelled:
    type = "order.cancelled"
    order_id: str
    reason: str | None

    @classmethod
    def samples(cls) -> list[OrderCancelled]:
        """What may be `None` has two samples, one with a value: the schema has both."""
        return [cls("o-1", "sold out"), cls("o-2", None)]


EVENTS = [OrderPlaced, OrderCancelled]


def data(event: OrderPlaced | OrderCancelled) -> dict[str, Any]:
    """What is published: `client.publish(event.type, data(event))`."""
    return asdict(event)
