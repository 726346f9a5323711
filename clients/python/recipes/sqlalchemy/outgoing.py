"""Publish after a SQLAlchemy commit, from anywhere that has the session.

The events are staged and checked just before the database commits, and sent once it has. What is rolled back, or stood
in a savepoint that was rolled back, is forgotten. It is no outbox: see *Publish after commit* in docs/clients.md.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

import dispatchd

client = dispatchd.Client()


def publish(session: Session, type: str, data: dict[str, Any], **options: Any) -> str:
    """Publishes the event when the session has committed. Returns its id at once."""
    session.connection()  # From here on the session is in a transaction, and so is the event.
    outgoing = dispatchd.Event(type, data, **{"id": str(uuid.uuid4()), **options})
    transaction = session.get_nested_transaction() or session.get_transaction()
    session.info.setdefault("outgoing", []).append((transaction, outgoing))
    return outgoing.id


@event.listens_for(Session, "before_commit")
def stage(session: Session) -> None:
    """Raises a refusal while the database can still be rolled back."""
    if session.in_nested_transaction() or not session.info.get("outgoing"):
        return
    session.flush()
    tx = client.begin()
    session.info["tx"] = tx
    for _, outgoing in session.info.pop("outgoing"):
        tx.publish(**outgoing._asdict())
    tx.staged(timeout=10)


@event.listens_for(Session, "after_commit")
def commit(session: Session) -> None:
    """A `BatchError` from here comes after the database's commit: it has the events that are not published."""
    if "tx" in session.info:
        session.info.pop("tx").commit()


@event.listens_for(Session, "after_soft_rollback")
def forget(session: Session, ended: SessionTransaction) -> None:
    if "tx" in session.info:
        session.info.pop("tx").rollback()
    outgoing = session.info.get("outgoing", [])
    session.info["outgoing"] = [each for each in outgoing if not is_within(each[0], ended)]


def is_within(transaction: SessionTransaction | None, ended: SessionTransaction) -> bool:
    while transaction is not None and transaction is not ended:
        transaction = transaction.parent
    return transaction is ended
