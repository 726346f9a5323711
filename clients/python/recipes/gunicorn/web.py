"""A web application whose workers share one client, made before the fork: each worker gets a connection of its own.

A worker that gunicorn stops ends as a Python program does, so what is open is flushed (5 s). One that it kills, after
`--timeout`, does not: what a request must not lose, it publishes with `publish`, which waits.
"""

import json
import os

import dispatchd

client = dispatchd.Client()


def app(environ, start_response):
    published = client.publish("order.placed", {"recipe": os.environ["RECIPE"]})
    later = client.submit("order.seen", {"recipe": os.environ["RECIPE"]}, id=environ["HTTP_LATER"])
    assert not later.cancelled()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(published.id).encode()]
