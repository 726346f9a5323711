'use strict'

/** The driver that clients/conformance/README.md asks for: commands on stdin, outcomes on stdout, the client between. */

const readline = require('node:readline')
const { setTimeout: sleep } = require('node:timers/promises')
const { createClient } = require('./index.js')
const { version } = require('./package.json')

let client
const transactions = new Map()

function print(outcome) {
  process.stdout.write(JSON.stringify(outcome) + '\n')
}

function published({ id, timestamp, source, shardId, sequenceNumber, deduplicated }) {
  const { producerId, kinesisPartitionKey: partitionKey } = source
  return { ok: true, id, timestamp, partitionKey, producerId, shardId, sequenceNumber, deduplicated }
}

function refused({ code, message, retryable, outcome }) {
  return { ok: false, code, message, retryable, outcome }
}

function batch(promise) {
  return promise.then(
    (events) => ({ ok: true, results: events.map(published) }),
    (error) => {
      if (error.results === undefined) return { ...refused(error), results: [] }
      const results = error.results.map(({ value, reason }) => (value ? published(value) : refused(reason)))
      return { ok: false, results }
    },
  )
}

/** What a command does, as a promise of its outcome. */
const commands = {
  publish: ({ event, timeoutMs }) => client.publish(event, { timeoutMs }).then(published, refused),
  tryPublish: ({ event }) => client.tryPublish(event).then(published, refused),
  publishBatch: ({ events, timeoutMs }) => batch(client.publishBatch(events, { timeoutMs })),
  begin: async ({ as }) => {
    transactions.set(as, client.begin())
    return { ok: true }
  },
  stage: async ({ tx, event }) => {
    try {
      return { ok: true, id: transactions.get(tx).publishAfterCommit(event) }
    } catch (error) {
      return refused(error)
    }
  },
  staged: ({ tx, timeoutMs }) =>
    transactions
      .get(tx)
      .staged({ timeoutMs })
      .then(() => ({ ok: true }), refused),
  commit: ({ tx, timeoutMs }) => batch(transactions.get(tx).commit({ timeoutMs })),
  rollback: async ({ tx }) => {
    transactions.get(tx).rollback()
    return { ok: true }
  },
  flush: async ({ timeoutMs }) => ({ unconfirmed: await client.flush({ timeoutMs }) }),
  close: async ({ timeoutMs }) => ({ unconfirmed: await client.close({ timeoutMs }) }),
  counters: async () => ({ counters: client.counters() }),
}

/** A `publish` that waits for room holds up the commands behind it. */
async function run(command) {
  const { sent } = client.counters()
  let hasEnded = false
  const ended = commands[command.do](command).then((outcome) => {
    hasEnded = true
    print({ as: command.as, ...outcome })
  })
  if (command.do !== 'publish') return
  await Promise.race([ended, null])
  while (!hasEnded && client.counters().sent === sent) await sleep(1)
}

async function main() {
  print({ driver: 'node', version, can: [] })
  for await (const text of readline.createInterface({ input: process.stdin })) {
    const { do: what, ...options } = JSON.parse(text)
    client ??= createClient(what === 'open' ? options : {})
    if (what !== 'open') await run({ do: what, ...options })
  }
  await client?.close()
}

main()
