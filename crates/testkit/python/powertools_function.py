"""A function with Powertools for AWS Lambda, behind the path at which Lambda's emulators are invoked.

It answers as the runtime interface emulator does: 200, and an error as an object with errorType and errorMessage.
It prints a line of JSON for its port, for each invocation the number of its records, and for each event that it handled.
An event with `fails` is never handled; one with `raises` makes the whole invocation fail.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.parser.models import KinesisDataStreamModel

processor = BatchProcessor(event_type=EventType.KinesisDataStreams)


def say(line):
    print(json.dumps(line), flush=True)


def handle(record):
    event = record.kinesis.data_as_json()
    if event.get("fails"):
        raise ValueError("this one never")
    say({"handled": event})


def function(event):
    # Every field of Lambda's, in its form: else this raises.
    model = KinesisDataStreamModel.model_validate(event)
    events = [json.loads(record.kinesis.data) for record in model.Records]
    say({"invoked": len(events)})
    if any(event.get("raises") for event in events):
        raise RuntimeError("not this batch")
    return process_partial_response(event=event, record_handler=handle, processor=processor, context=None)


class Invocations(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            answer = function(event)
        except Exception as error:
            answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Invocations)
say({"port": server.server_port})
server.serve_forever()
