'use strict'

/** A cluster of two workers. All three processes publish with "the same" client, and print the id. */

const cluster = require('node:cluster')
const { createClient } = require('../index.js')

const client = createClient()

async function main() {
  const { id } = await client.publish({ type: 't', data: {} })
  console.log(id)
  if (cluster.isPrimary) for (let count = 0; count < 2; count++) cluster.fork()
  else cluster.worker.disconnect()
}

main()
