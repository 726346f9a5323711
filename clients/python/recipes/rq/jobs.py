"""An RQ worker whose jobs share one client, made before the fork.

RQ does each job in a child that ends by `os._exit`: no exit hook runs, so what a job submitted is flushed after it.
"""

from rq import Worker

import dispatchd

client = dispatchd.Client()


def place(id):
    client.submit("order.placed", {"recipe": "rq"}, id=id)


class FlushingWorker(Worker):
    def perform_job(self, *args, **kwargs):
        try:
            return super().perform_job(*args, **kwargs)
        finally:
            unconfirmed = client.flush()
            if unconfirmed:
                raise RuntimeError(f"{unconfirmed} events are not confirmed")
