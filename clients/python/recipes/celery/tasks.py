"""A Celery worker whose processes share one client, made before the fork.

Celery's processes end by `os._exit`: no exit hook runs, so what a task only submitted is flushed after the task.
"""

import os

from celery import Celery, signals

import dispatchd

client = dispatchd.Client()
app = Celery(
    "tasks",
    broker="filesystem://",
    broker_transport_options={
        "data_folder_in": os.environ["BROKER"],
        "data_folder_out": os.environ["BROKER"],
        "control_folder": os.environ["BROKER"],
    },
)


@app.task
def place(id):
    client.submit("order.placed", {"recipe": "celery"}, id=id)


@signals.task_postrun.connect
def flush(**_):
    unconfirmed = client.flush()
    if unconfirmed:
        raise RuntimeError(f"{unconfirmed} events are not confirmed")
