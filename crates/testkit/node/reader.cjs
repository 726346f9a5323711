// Reads a stream through splits and merges as the SDK for JavaScript v3 is used for it: page by page, from a shard's end to
// its children. Speaks HTTP/2, as that client does. Arguments: endpoint, stream, number of records. Prints a record a line:
// its data.
'use strict'

const {
  GetRecordsCommand, GetShardIteratorCommand, KinesisClient, ListShardsCommand
} = require('@aws-sdk/client-kinesis')

const [endpoint, StreamName, count] = process.argv.slice(2)
const client = new KinesisClient({ endpoint })

async function start(ShardId) {
  const command = new GetShardIteratorCommand({ StreamName, ShardId, ShardIteratorType: 'TRIM_HORIZON' })
  return (await client.send(command)).ShardIterator
}

async function main() {
  const iterators = new Map()
  for (const shard of (await client.send(new ListShardsCommand({ StreamName }))).Shards) {
    if (!shard.ParentShardId) iterators.set(shard.ShardId, await start(shard.ShardId))
  }
  const ended = new Set()
  const waiting = new Map()
  for (let left = Number(count); left > 0; ) {
    for (const [shard, ShardIterator] of [...iterators]) {
      const page = await client.send(new GetRecordsCommand({ ShardIterator, Limit: 100 }))
      left -= page.Records.length
      for (const record of page.Records) console.log(Buffer.from(record.Data).toString())
      if (page.NextShardIterator) {
        iterators.set(shard, page.NextShardIterator)
        continue
      }
      iterators.delete(shard)
      ended.add(shard)
      if (page.MillisBehindLatest !== 0) throw new Error(JSON.stringify(page))
      for (const child of page.ChildShards) waiting.set(child.ShardId, child.ParentShards)
      for (const [child, parents] of [...waiting]) {
        if (!parents.every(parent => ended.has(parent))) continue
        waiting.delete(child)
        iterators.set(child, await start(child))
      }
    }
  }
  client.destroy()
}

main()
