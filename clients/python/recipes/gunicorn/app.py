"""Asks `web:app` for something ten times, in workers of the class that is named. Prints the ids of the events."""

import json
import os
import subprocess
import sys
import urllib.request
import uuid

os.chdir(os.path.dirname(os.path.abspath(__file__)))
options = ["--preload", "--workers", "2", "--graceful-timeout", "10", "--bind", "127.0.0.1:0"]
command = [sys.executable, "-m", "gunicorn", *options, *sys.argv[1:]]
with subprocess.Popen([*command, "web:app"], stderr=subprocess.PIPE, text=True) as server:
    address = next(line.split()[-2] for line in server.stderr if "Listening at" in line)
    for _ in range(10):
        later = str(uuid.uuid4())
        with urllib.request.urlopen(urllib.request.Request(address, headers={"Later": later}), timeout=30) as answer:
            print(json.load(answer))
        print(later)
    server.terminate()
    server.wait(30)
