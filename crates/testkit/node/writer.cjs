// Writes with the SDK for JavaScript as an application does that knows nothing of dispatchd. Arguments: version of the SDK (2
// or 3), stream, single records, calls of 100 records. Version 3 finds the endpoint in AWS_ENDPOINT_URL_KINESIS; version 2
// knows no such variable, see to-dispatchd.cjs. Prints what python/writer.py prints.
'use strict'

const [version, StreamName, singles, calls] = process.argv.slice(2)

function client() {
  if (version === '2') {
    const AWS = require('aws-sdk')
    const kinesis = new AWS.Kinesis()
    return operation => input => kinesis[operation](input).promise()
  }
  const sdk = require('@aws-sdk/client-kinesis')
  const kinesis = new sdk.KinesisClient()
  return operation => input => {
    const command = operation[0].toUpperCase() + operation.slice(1) + 'Command'
    return kinesis.send(new sdk[command](input))
  }
}

async function main() {
  const call = client()
  for (let place = 0; place < Number(singles); place++) {
    const data = `one:${place}`
    const put = await call('putRecord')({ StreamName, Data: Buffer.from(data), PartitionKey: 'one' })
    console.log(data, put.SequenceNumber, put.ShardId)
  }
  for (let round = 0; round < Number(calls); round++) {
    const names = Array.from({ length: 100 }, (_, n) => `key-${n % 10}:${round * 10 + Math.floor(n / 10)}`)
    const Records = names.map(name => ({ Data: Buffer.from(name), PartitionKey: name.split(':')[0] }))
    const put = await call('putRecords')({ StreamName, Records })
    put.Records.forEach((record, n) => {
      console.log(names[n], record.SequenceNumber ?? 'failed', record.ShardId ?? record.ErrorCode)
    })
  }
  console.log('shards', (await call('listShards')({ StreamName })).Shards.length)
}

main().catch(error => {
  console.error(error)
  process.exitCode = 1
})
