"""Publish after a Django commit, with `transaction.on_commit`. Prints the ids that are to be in the stream.

Django forgets the callback with the transaction or the savepoint that it was given in. Outside of a transaction it runs
at once. It is no outbox: see *Publish after commit* in docs/clients.md.
"""

import uuid

import django
from django.conf import settings
from django.db import connection, transaction

import dispatchd

settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()

client = dispatchd.Client()


def publish_on_commit(type, data, **options):
    """Publishes the event when the transaction has committed. Returns its id at once.

    A `DispatchdError` comes after the database's commit, and with `robust` it is logged instead of raised, so that
    one event that is not published does not hold back the callbacks behind it.
    """
    options = {"id": str(uuid.uuid4()), **options}
    transaction.on_commit(lambda: client.publish(type, data, **options), robust=True)
    return options["id"]


def place(customer):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders (customer) VALUES (%s)", [customer])
    return publish_on_commit("order.placed", {"recipe": "django", "customer": customer}, partition_key=customer)


with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE orders (customer TEXT)")

with transaction.atomic():
    print(place("committed"))
    try:
        with transaction.atomic():
            place("in a savepoint that is rolled back")
            raise KeyError("something went wrong")
    except KeyError:
        pass

try:
    with transaction.atomic():
        place("rolled back")
        raise KeyError("something went wrong")
except KeyError:
    pass

# Where a view has the whole transaction, the daemon checks the events before the database commits. The database's
# `with` is the inner one, and commits first.
with client.begin() as tx, transaction.atomic():
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders (customer) VALUES ('by hand')")
    print(tx.publish("order.placed", {"recipe": "django", "customer": "by hand"}))
    tx.staged()

try:
    with client.begin() as tx, transaction.atomic():
        tx.publish("", {"recipe": "django", "an event must have": "a type"})
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO orders (customer) VALUES ('refused')")
        tx.staged()
except dispatchd.DispatchdError as error:
    assert error.code == "InvalidRequest", error

with connection.cursor() as cursor:
    cursor.execute("SELECT count(*) FROM orders")
    assert cursor.fetchone() == (2,)
client.close()
