"""Calls `lambda_function` by Lambda's runtime API, at the URL that RUNTIME_API holds.

Lambda's own client for Python never answers cargo-lambda, whose API stands below a path.
"""

import json
import os
from urllib.request import Request, urlopen

from lambda_function import handle

INVOCATION = os.environ["RUNTIME_API"] + "/2018-06-01/runtime/invocation/"


def answer(invocation, how, what):
    body = json.dumps(what).encode()
    urlopen(Request(f"{INVOCATION}{invocation}/{how}", body, {"Content-Type": "application/json"})).read()


while True:
    with urlopen(INVOCATION + "next") as response:
        invocation, event = response.headers["Lambda-Runtime-Aws-Request-Id"], json.load(response)
    try:
        answer(invocation, "response", handle(event, None))
    except Exception as error:
        answer(invocation, "error", {"errorType": type(error).__name__, "errorMessage": str(error)})
