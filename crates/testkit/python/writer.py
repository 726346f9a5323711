# Writes with boto3 as an application does that knows nothing of dispatchd: the endpoint comes from
# AWS_ENDPOINT_URL_KINESIS. Arguments: stream, single records, calls of 100 records. Prints a line a record,
# `DATA SEQUENCE SHARD` or `DATA failed CODE`, then how many shards it sees.
import sys

import boto3

stream, singles, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
kinesis = boto3.client("kinesis")
for place in range(singles):
    data = f"one:{place}"
    put = kinesis.put_record(StreamName=stream, Data=data.encode(), PartitionKey="one")
    print(data, put["SequenceNumber"], put["ShardId"])
for call in range(calls):
    names = [f"key-{n % 10}:{call * 10 + n // 10}" for n in range(100)]
    records = [{"Data": name.encode(), "PartitionKey": name.split(":")[0]} for name in names]
    put = kinesis.put_records(StreamName=stream, Records=records)
    for name, record in zip(names, put["Records"], strict=True):
        print(name, record.get("SequenceNumber", "failed"), record.get("ShardId", record.get("ErrorCode")))
print("shards", len(kinesis.list_shards(StreamName=stream)["Shards"]))
