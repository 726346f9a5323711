# Reads a stream through splits and merges as boto3 is used for it: page by page, from a shard's end to its children.
# Arguments: endpoint, stream, number of records. Prints a record a line: its data.
import sys

import boto3

endpoint, stream, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
kinesis = boto3.client("kinesis", "us-east-1", endpoint_url=endpoint)


def start(shard):
    answer = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    return answer["ShardIterator"]


shards = [shard for page in kinesis.get_paginator("list_shards").paginate(StreamName=stream) for shard in page["Shards"]]
iterators = {shard["ShardId"]: start(shard["ShardId"]) for shard in shards if "ParentShardId" not in shard}
ended, waiting = set(), {}
while left > 0:
    for shard, iterator in list(iterators.items()):
        page = kinesis.get_records(ShardIterator=iterator, Limit=100)
        left -= len(page["Records"])
        for record in page["Records"]:
            print(record["Data"].decode())
        if "NextShardIterator" in page:
            iterators[shard] = page["NextShardIterator"]
            continue
        del iterators[shard]
        ended.add(shard)
        assert page["MillisBehindLatest"] == 0, page
        waiting |= {child["ShardId"]: set(child["ParentShards"]) for child in page["ChildShards"]}
        for child in [child for child, parents in waiting.items() if parents <= ended]:
            del waiting[child]
            iterators[child] = start(child)
