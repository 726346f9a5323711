// Starts dynalite, which plays DynamoDB, on a free loopback port with a table of the KCL's leases, and prints that port.
// Arguments: the table, then a shard's id, first and last hash key, for each shard. The KCL takes a table that is there, and
// its rows; one that it made itself it would wait for, for minutes, and dynalite refuses the index it adds.
// It ends when standard input does, so that a test that is killed leaves no server behind.
'use strict'

const { DynamoDB } = require('aws-sdk')
const dynalite = require('dynalite')

require('aws-sdk/lib/maintenance_mode_message').suppress = true

const [table, ...shards] = process.argv.slice(2)
const server = dynalite({ createTableMs: 0, updateTableMs: 0, deleteTableMs: 0 })

async function listening() {
  const { port } = server.address()
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' }
  const db = new DynamoDB({ endpoint: `http://127.0.0.1:${port}`, region: 'us-east-1', credentials })
  await db.createTable({
    TableName: table,
    BillingMode: 'PAY_PER_REQUEST',
    AttributeDefinitions: ['leaseKey', 'leaseOwner'].map(AttributeName => ({ AttributeName, AttributeType: 'S' })),
    KeySchema: [{ AttributeName: 'leaseKey', KeyType: 'HASH' }],
    GlobalSecondaryIndexes: [{
      IndexName: 'LeaseOwnerToLeaseKeyIndex',
      KeySchema: [{ AttributeName: 'leaseOwner', KeyType: 'HASH' }, { AttributeName: 'leaseKey', KeyType: 'RANGE' }],
      Projection: { ProjectionType: 'KEYS_ONLY' }
    }]
  }).promise()
  await db.waitFor('tableExists', { TableName: table, $waiter: { delay: 0.1 } }).promise()
  for (let n = 0; n < shards.length; n += 3) {
    const [leaseKey, startingHashKey, endingHashKey] = shards.slice(n, n + 3).map(S => ({ S }))
    await db.putItem({
      TableName: table,
      Item: {
        leaseKey, startingHashKey, endingHashKey,
        leaseCounter: { N: '0' },
        checkpoint: { S: 'TRIM_HORIZON' },
        checkpointSubSequenceNumber: { N: '0' },
        ownerSwitchesSinceCheckpoint: { N: '0' },
        entityType: { S: 'LEASE' }
      }
    }).promise()
  }
  console.log(port)
}

server.listen(0, '127.0.0.1', listening)
process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
