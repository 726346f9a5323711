// Takes records apart with the public reader of npm: records as lines of JSON in, events as lines of JSON out.
'use strict'

const { deaggregateSync } = require('aws-kinesis-agg')

const MAGIC = Buffer.from('f3899ac2', 'hex')

require('node:readline').createInterface({ input: process.stdin }).on('line', line => {
  const record = JSON.parse(line)
  const isAggregate = Buffer.from(record.data, 'base64').subarray(0, 4).equals(MAGIC)
  const kinesis = { data: record.data, partitionKey: record.partition_key, sequenceNumber: record.sequence }
  deaggregateSync(kinesis, true, (error, events) => {
    if (error) throw error
    events.forEach((event, index) => {
      const { partitionKey, explicitPartitionKey, data } = event
      console.log(JSON.stringify({
        sequence: record.sequence,
        index: isAggregate ? index : null,
        partition_key: partitionKey,
        explicit_hash_key: explicitPartitionKey || null,
        data
      }))
    })
  })
})
