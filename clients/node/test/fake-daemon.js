'use strict'

/**
 * A daemon for the tests, on a real socket: it greets, keeps each line that it reads, and answers as the test says. It
 * stores nothing and decides nothing.
 */

const assert = require('node:assert/strict')
const fs = require('node:fs')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const { performance } = require('node:perf_hooks')
const { setTimeout: sleep } = require('node:timers/promises')
const { createClient } = require('../index.js')

const HELLO = { op: 'hello', ok: true, version: 1, maxEventBytes: 1048576, producerId: 'orders@host' }
const DEADLINE_MS = 20_000

function ack({ ref, type, options = {} }, more) {
  const { id, partitionKey = id } = options
  const place = { shardId: 'shardId-000000000001', sequenceNumber: `4968${ref}` }
  return { ref, ok: true, id, timestamp: '2026-01-01T00:00:00.000Z', partitionKey, ...place, ...(type && more) }
}

function refusal({ ref }, code, { retryable = false, ...more } = {}) {
  return { ref, ok: false, error: { code, message: `the daemon says ${code}`, retryable, ...more } }
}

/** Waits until `condition` gives something true, and gives that. */
async function until(condition, what) {
  const end = Date.now() + DEADLINE_MS
  for (;;) {
    const value = await condition()
    if (value) return value
    assert.ok(Date.now() < end, `within ${DEADLINE_MS} ms: ${what ?? condition}`)
    await sleep(2)
  }
}

class FakeDaemon {
  /** What each connection has sent, parsed, `hello` too; and the same as text. */
  lines = []
  texts = []
  connections = 0
  sockets = new Set()
  isReading = true

  constructor(socketPath, answer) {
    this.path = socketPath
    this.answer = answer
  }

  start() {
    this.server = net.createServer((socket) => this.#serve(socket))
    return new Promise((resolve) => this.server.listen(this.path, resolve))
  }

  /** Ends all connections, and takes no more. */
  async stop() {
    if (!this.server.listening) return
    const closed = new Promise((resolve) => this.server.close(resolve))
    this.cut()
    await closed
  }

  cut() {
    for (const socket of this.sockets) socket.destroy()
  }

  send(...answers) {
    const text = answers.map((answer) => JSON.stringify(answer) + '\n').join('')
    for (const socket of this.sockets) socket.write(text)
  }

  /** The events that came, in their order. */
  get events() {
    return this.lines.filter(({ op }) => op === undefined)
  }

  ops(op) {
    return this.lines.filter((line) => line.op === op)
  }

  async hasEvents(count) {
    await until(() => this.events.length >= count, `${count} events, there are ${this.events.length}`)
    return this.events
  }

  #serve(socket) {
    let rest = ''
    this.connections++
    this.sockets.add(socket)
    socket.setEncoding('utf8')
    socket.on('error', () => {})
    socket.on('close', () => this.sockets.delete(socket))
    if (!this.isReading) socket.pause()
    socket.on('data', (text) => {
      const texts = (rest + text).split('\n')
      rest = texts.pop()
      for (const one of texts) {
        const line = JSON.parse(one)
        this.texts.push(one)
        this.lines.push(line)
        const answer = this.answer(line) ?? (line.op === 'hello' ? HELLO : undefined)
        if (answer && !socket.destroyed) socket.write(JSON.stringify(answer) + '\n')
      }
    })
  }
}

let places = 0

/** A daemon and a client of it, both gone when the test ends. `answer` gives each line's answer, or nothing. */
async function setUp(t, { answer = () => {}, start = true, ...options } = {}) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dispatchd-'))
  const daemon = new FakeDaemon(path.join(folder, `${places++}.sock`), answer)
  if (start) await daemon.start()
  const client = createClient({ socket: daemon.path, ...options })
  t.after(async () => {
    await client.close({ timeoutMs: 0 })
    if (daemon.server) await daemon.stop()
    fs.rmSync(folder, { recursive: true })
  })
  return { daemon, client, folder }
}

/** How a promise ended: `ok`, or the code of its error. */
function endOf(promise) {
  return promise.then(
    () => 'ok',
    ({ code }) => code,
  )
}

/** Waits until a call that has no time ends for a reason like `pattern`: what the client knows of its connection. */
function knows(client, pattern) {
  const probe = () => client.publish(event(), { timeoutMs: 0 }).catch(({ message }) => pattern.test(message))
  return until(probe, `the client knows ${pattern}`)
}

/** Has the deadlines of all calls come, until `failed`: the clock jumps by 200 s, and a call without time has it read. */
async function expire(t, client, failed) {
  const read = endOf(client.publish(event(), { timeoutMs: 0 }))
  const now = performance.now.bind(performance)
  const jump = t.mock.method(performance, 'now', () => now() + 200_000)
  await Promise.all([failed, read])
  jump.mock.restore()
}

const event = (type = 't', more = {}) => ({ type, data: {}, ...more })

module.exports = { FakeDaemon, HELLO, ack, endOf, event, expire, knows, refusal, setUp, until }
