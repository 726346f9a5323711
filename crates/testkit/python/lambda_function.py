"""A function with Powertools for AWS Lambda, which Lambda's own runtime client or `lambda_runtime.py` calls.

It prints a line of JSON for each invocation with the number of its records, and for each event that it handled.
An event with `fails` is never handled, and is reported; one with `raises` makes the whole invocation fail.
One with `hangs` or `dies` does so the first time that it is seen: a file in the folder MARKS remembers it.
"""

import base64
import json
import os
import pathlib
import time

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

processor = BatchProcessor(event_type=EventType.KinesisDataStreams)


def say(line):
    print(json.dumps(line), flush=True)


def seen_before(name):
    mark = pathlib.Path(os.environ["MARKS"], name)
    was_there = mark.exists()
    mark.touch()
    return was_there


def handle_record(record):
    event = record.kinesis.data_as_json()
    if event.get("fails"):
        raise ValueError("this one never")
    if event.get("hangs") and not seen_before("hung"):
        time.sleep(600)
    if event.get("dies") and not seen_before("died"):
        os._exit(3)
    say({"handled": event})


def handle(event, context):
    events = [json.loads(base64.b64decode(record["kinesis"]["data"])) for record in event["Records"]]
    say({"invoked": len(events)})
    if any(each.get("raises") for each in events):
        raise RuntimeError("not this batch")
    return process_partial_response(event=event, record_handler=handle_record, processor=processor, context=context)
