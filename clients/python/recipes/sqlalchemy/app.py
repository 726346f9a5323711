"""Commits, rolls back, and rolls back to a savepoint. Prints the ids of the events that are to be in the stream."""

from outgoing import client, publish
from sqlalchemy import String, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import dispatchd


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str] = mapped_column(String(50))


def place(session, customer):
    session.add(Order(customer=customer))
    return publish(session, "order.placed", {"recipe": "sqlalchemy", "customer": customer}, partition_key=customer)


engine = create_engine("sqlite://")
Base.metadata.create_all(engine)

with Session(engine) as session, session.begin():
    print(place(session, "committed"))

try:
    with Session(engine) as session, session.begin():
        place(session, "rolled back")
        raise KeyError("something went wrong")
except KeyError:
    pass

with Session(engine) as session, session.begin():
    print(place(session, "around a savepoint"))
    savepoint = session.begin_nested()
    place(session, "in a savepoint that is rolled back")
    inner = session.begin_nested()
    place(session, "in a savepoint within it")
    inner.commit()
    savepoint.rollback()
    with session.begin_nested():
        print(place(session, "in a savepoint that is kept"))

try:
    with Session(engine) as session, session.begin():
        place(session, "refused with the event beside it")
        publish(session, "", {"recipe": "sqlalchemy", "an event must have": "a type"})
except dispatchd.DispatchdError as error:
    assert error.code == "InvalidRequest", error

# Without hooks, where a function has the whole transaction: the database's `with` is the innermost, and commits first.
with client.begin() as tx, Session(engine) as session, session.begin():
    session.add(Order(customer="by hand"))
    print(tx.publish("order.placed", {"recipe": "sqlalchemy", "customer": "by hand"}))
    session.flush()
    tx.staged()

with Session(engine) as session:
    assert session.scalar(select(func.count()).select_from(Order)) == 4
client.close()
