// An application with lk-dispatch as its users have it: it knows nothing of dispatchd. Arguments: stream, number of events.
'use strict'

const AWS = require('aws-sdk')
const createDispatch = require('lk-dispatch').default

const [kinesisStream, count] = process.argv.slice(2)
const dispatch = createDispatch({ kinesisClient: new AWS.Kinesis(), kinesisStream, producerId: 'app' })

async function main() {
  for (let place = 0; place < Number(count); place++) {
    await dispatch('order.placed', { place }, { partitionKey: 'customer-9' })
  }
}

main().catch(error => {
  console.error(error)
  process.exitCode = 1
})
