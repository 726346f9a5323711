"""Takes records apart with the public reader of PyPI: records as lines of JSON in, events as lines of JSON out."""

import base64
import json
import sys

from aws_kinesis_agg import deaggregator, messages_pb2

for line in sys.stdin:
    record = json.loads(line)
    data = base64.b64decode(record["data"])
    boto = {
        "SequenceNumber": record["sequence"],
        "PartitionKey": record["partition_key"],
        "Data": data,
        "ApproximateArrivalTimestamp": 0,
    }
    events = list(deaggregator.iter_deaggregate_records([boto], data_format="Boto3"))
    if not events[0]["kinesis"].get("aggregated"):
        plain = {"index": None, "partition_key": record["partition_key"], "explicit_hash_key": None, "data": record["data"]}
        print(json.dumps({"sequence": record["sequence"]} | plain))
        continue
    # The reader gives a member without an explicit hash key the table's first: the message itself tells.
    message = messages_pb2.AggregatedRecord()
    message.ParseFromString(data[4:-16])
    table = message.explicit_hash_key_table
    for index, (event, member) in enumerate(zip(events, message.records, strict=True)):
        has_hash_key = member.HasField("explicit_hash_key_index")
        print(json.dumps({
            "sequence": record["sequence"],
            "index": index,
            "partition_key": event["kinesis"]["partitionKey"],
            "explicit_hash_key": table[member.explicit_hash_key_index] if has_hash_key else None,
            "data": event["kinesis"]["data"].decode(),
        }))
