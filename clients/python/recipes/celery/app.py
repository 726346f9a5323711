"""Has ten tasks done, and prints the ids of their events."""

import os
import subprocess
import sys
import tempfile
import uuid

os.chdir(os.path.dirname(os.path.abspath(__file__)))
with tempfile.TemporaryDirectory() as broker:
    os.environ["BROKER"] = broker
    sys.path.insert(0, os.getcwd())
    from tasks import place

    for _ in range(10):
        id = str(uuid.uuid4())
        place.delay(id)
        print(id, flush=True)
    command = [sys.executable, "-m", "celery", "--app", "tasks", "worker", "--pool", "prefork", "--concurrency", "2"]
    # A child for each task: it ends as soon as the task has, with nobody to flush for it.
    with subprocess.Popen(
        [*command, "--loglevel", "INFO", "--max-tasks-per-child", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        done = 0
        for line in worker.stderr:
            done += "succeeded in" in line
            if done == 10:
                break
        worker.terminate()
        worker.communicate(timeout=60)
assert done == 10, done
