'use strict'

/**
 * What the client costs: `DISPATCHD_SOCKET=… node bench.js`. 4,096 events are unanswered at any time, of 10,000 keys;
 * then 1,000 events a second, for their latency. CPU is that of the whole process, and of the daemon's where its PID is
 * given (Linux). The other clients' benches publish the same events. Judges nothing.
 *
 *   --events N, --warm-up N   how many events are measured, and how many come before
 *   --data members | text     200 B of many small members, or of one text
 *   --daemon PID, --saturate-only
 */

const fs = require('node:fs')
const { setTimeout: sleep } = require('node:timers/promises')
const { parseArgs } = require('node:util')
const { createClient } = require('./index.js')

const UNANSWERED = 4_096
const KEYS = Array.from({ length: 10_000 }, (_, key) => `customer-${key}`)
const TICKS_PER_SECOND = 100 // of /proc, on every Linux
const RATE = 1_000
const RATE_SECONDS = 5
const DATA = {
  members: {
    order: 1234567,
    customer: 'customer-9',
    total: 12.5,
    currency: 'EUR',
    items: 3,
    paid: true,
    channel: 'web',
    region: 'eu-central-1',
    coupon: null,
    weight: 1200,
    carrier: 'post',
    note: 'at the door!',
  },
  text: { text: 'x'.repeat(189) },
}

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '300000' },
    'warm-up': { type: 'string', default: '100000' },
    data: { type: 'string', default: 'members' },
    daemon: { type: 'string' },
    'saturate-only': { type: 'boolean', default: false },
  },
})
const client = createClient({ maxBufferedEvents: UNANSWERED })
const data = DATA[values.data]
let published = 0

function publish() {
  return client.publish({ type: 'order.placed', data, partitionKey: KEYS[published++ % KEYS.length] })
}

async function flood(events) {
  const end = published + events
  const worker = async () => {
    while (published < end) await publish()
  }
  await Promise.all(Array.from({ length: UNANSWERED }, worker))
}

/** User and system time of the daemon in microseconds. */
function daemonCpu() {
  if (values.daemon === undefined) return NaN
  const [, rest] = fs.readFileSync(`/proc/${values.daemon}/stat`, 'utf8').split(') ')
  const fields = rest.split(' ')
  return ((Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND) * 1e6
}

async function latencies() {
  const millis = []
  const startedAt = performance.now()
  const calls = []
  for (let sent = 0; sent < RATE * RATE_SECONDS; sent++) {
    const dueAt = startedAt + (sent * 1_000) / RATE
    while (performance.now() < dueAt) await sleep(1)
    const at = performance.now()
    calls.push(publish().then(() => millis.push(performance.now() - at)))
  }
  await Promise.all(calls)
  return millis.sort((a, b) => a - b)
}

async function main() {
  const events = Number(values.events)
  await flood(Number(values['warm-up'])) // compiled, and every shard known
  const cpu = process.cpuUsage()
  const daemonBefore = daemonCpu()
  const startedAt = performance.now()
  await flood(events)
  const seconds = (performance.now() - startedAt) / 1_000
  const { user, system } = process.cpuUsage(cpu)
  const daemon = daemonCpu() - daemonBefore
  const own = ((user + system) / events).toFixed(2)
  const daemons = values.daemon === undefined ? '' : `, daemon ${(daemon / events).toFixed(2)} µs CPU/event`
  console.log(
    `saturated: ${events} events, ${Math.round(events / seconds)} events/s, client ${own} µs CPU/event${daemons}`,
  )
  if (!values['saturate-only']) {
    const millis = await latencies()
    const at = (share) => millis[Math.floor(millis.length * share)].toFixed(2)
    console.log(`at ${RATE} events/s: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`)
  }
  await client.close()
}

main()
