'use strict'

/**
 * Node's cluster: each worker makes a client of its own and closes it when it is told to stop, so that what it has
 * published is confirmed, or known not to be, before it goes. It prints the ids that were confirmed.
 */

const cluster = require('node:cluster')
const { createClient } = require('dispatchd')

const WORKERS = 2
const EVENTS = 50
const STOP_MS = 25_000 // less than the 30 s that a pod has

/** Takes events on without waiting, and stops in the midst of them. */
function work() {
  const client = createClient()
  process.once('SIGTERM', async () => {
    const unconfirmed = await client.close({ timeoutMs: STOP_MS })
    process.exit(unconfirmed === 0 ? 0 : 1)
  })
  for (let place = 0; place < EVENTS; place++) {
    const data = { recipe: 'cluster', worker: cluster.worker.id, place }
    client.publish({ type: 'job.done', data, partitionKey: `worker-${cluster.worker.id}` }).then(({ id }) => {
      console.log(id)
    })
  }
  process.send('working')
}

function supervise() {
  for (let count = 0; count < WORKERS; count++) cluster.fork()
  cluster.on('message', (worker) => worker.process.kill('SIGTERM'))
  cluster.on('exit', (worker, code, signal) => {
    if (code !== 0) throw new Error(`worker ${worker.id} ended with ${signal ?? code}`)
  })
}

if (cluster.isPrimary) supervise()
else work()
