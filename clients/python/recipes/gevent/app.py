"""A client among greenlets: patch first, then make the client. Its thread is a greenlet then, and so are its waits."""

import gevent.monkey

gevent.monkey.patch_all()

import gevent  # noqa: E402

import dispatchd  # noqa: E402

client = dispatchd.Client()
turns = []


def count():
    while True:
        turns.append(None)
        gevent.sleep(0.001)


counting = gevent.spawn(count)
greenlets = [gevent.spawn(client.publish, "order.placed", {"recipe": "gevent", "n": n}) for n in range(100)]
for greenlet in gevent.joinall(greenlets, timeout=30):
    print(greenlet.get().id)
assert len(turns) > 1, "nobody else had a turn"
counting.kill()
assert client.close() == 0
