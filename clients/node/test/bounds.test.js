'use strict'

/** What is bounded, what waits at the bound, and what `flush`, `close` and the counters say. */

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { createClient } = require('../index.js')
const { ack, endOf, event, refusal, setUp, until } = require('./fake-daemon.js')

const acks = (line) => (line.op === undefined ? ack(line) : undefined)

test('at the bound of events publish waits, in the order of the calls, and tryPublish fails', async (t) => {
  const { daemon, client } = await setUp(t, { maxBufferedEvents: 2 })
  const calls = ['a', 'b', 'c', 'd'].map((type) => client.publish(event(type)))
  await assert.rejects(client.tryPublish(event('x')), {
    ...{ code: 'BufferFull', retryable: true, outcome: 'not_stored' },
    message: /2 events/,
  })
  const [a, b] = await daemon.hasEvents(2)
  assert.equal(client.counters().sent, 2)
  daemon.send(ack(a))
  const [, , c] = await daemon.hasEvents(3)
  assert.equal(c.type, 'c')
  // A place is free, but an earlier call waits for it.
  assert.equal(await endOf(client.tryPublish(event('x'))), 'BufferFull')
  daemon.answer = acks
  daemon.send(ack(b), ack(c))
  await Promise.all(calls)
  await client.tryPublish(event('y'))
  assert.deepEqual(
    daemon.events.map(({ type }) => type),
    ['a', 'b', 'c', 'd', 'y'],
  )
})

test('at the bound of bytes publish waits, and an event that alone is larger is refused', async (t) => {
  const { daemon, client } = await setUp(t, { maxBufferedBytes: 1_000 })
  const large = event('large', { data: { text: 'é'.repeat(300) } })
  const first = client.publish(large)
  const second = client.publish(large)
  const [line] = await daemon.hasEvents(1)
  const { buffered, bufferedBytes } = client.counters()
  assert.deepEqual([buffered, bufferedBytes], [1, Buffer.byteLength(daemon.texts[1]) + 1])
  const tooLarge = event('t', { data: { text: 'x'.repeat(1_000) } })
  await assert.rejects(client.publish(tooLarge), { code: 'EventTooLarge', retryable: false })
  daemon.send(ack(line))
  await first
  const [, next] = await daemon.hasEvents(2)
  daemon.send(ack(next))
  await second
  assert.equal(client.counters().bufferedBytes, 0)
})

test('a call that waits for room ends with its timeout, and lets smaller ones pass then', async (t) => {
  const { daemon, client } = await setUp(t, { maxBufferedBytes: 1_000 })
  const first = client.publish(event('first', { data: { text: 'x'.repeat(300) } }))
  const large = client.publish(event('large', { data: { text: 'x'.repeat(800) } }), { timeoutMs: 100 })
  const small = client.publish(event('small'))
  assert.equal(client.counters().sent, 1, 'no call passes another')
  await assert.rejects(large, { code: 'Timeout', outcome: 'not_stored', message: /no room in the buffer/ })
  const [one, two] = await daemon.hasEvents(2)
  assert.equal(two.type, 'small')
  daemon.send(ack(one), ack(two))
  await Promise.all([first, small])
  assert.equal(client.counters().sent, 2)
})

test('what a daemon does not read stays in the client, and is not written twice', async (t) => {
  const { daemon, client } = await setUp(t, { start: false })
  daemon.isReading = false
  daemon.answer = acks
  await daemon.start()
  const data = { text: 'x'.repeat(20_000) }
  const calls = Array.from({ length: 200 }, (_, place) => client.publish({ type: `${place}`, data }))
  await until(() => daemon.sockets.size === 1)
  assert.equal(await client.flush({ timeoutMs: 50 }), 200)
  await assert.rejects(client.publish(event(), { timeoutMs: 50 }), { code: 'Timeout', outcome: 'not_stored' })
  const [socket] = daemon.sockets
  socket.resume()
  await Promise.all(calls)
  assert.deepEqual(
    daemon.events.map(({ type }) => Number(type)),
    calls.map((_, place) => place),
  )
  assert.equal(client.counters().resent, 0)
})

test('events of one tick go in few writes', async (t) => {
  const { daemon, client } = await setUp(t, { answer: acks })
  await client.publish(event())
  let chunks = 0
  for (const socket of daemon.sockets) socket.on('data', () => chunks++)
  await client.publishBatch(Array.from({ length: 100 }, () => event()))
  assert.ok(chunks <= 2, `${chunks} chunks`)
})

test('flush waits for what is under way, not for what comes after it, and counts what is not confirmed', async (t) => {
  const { daemon, client } = await setUp(t)
  assert.equal(await client.flush(), 0)
  const [one, two] = [client.publish(event('one')), client.publish(event('two'))]
  const flushed = client.flush()
  const three = client.publish(event('three'))
  const [first, second, third] = await daemon.hasEvents(3)
  assert.equal(await client.flush({ timeoutMs: 20 }), 3)
  daemon.send(ack(first))
  await one
  daemon.send(ack(second))
  assert.equal(await flushed, 0)
  assert.equal(client.counters().buffered, 1)
  daemon.send(refusal(third, 'Rejected'))
  assert.equal(await endOf(three), 'Rejected')
  await two
  assert.equal(await client.flush(), 0)
})

test('close waits like flush', async (t) => {
  const { daemon, client } = await setUp(t)
  const call = client.publish(event())
  const [line] = await daemon.hasEvents(1)
  const closed = client.close({ timeoutMs: 60_000 })
  daemon.send(ack(line))
  assert.equal(await closed, 0)
  await call
})

test('after its time close ends what is open with Closed, and nothing is taken on any more', async (t) => {
  const { daemon, client } = await setUp(t, { maxBufferedEvents: 2 })
  const calls = ['sent', 'answered', 'waiting'].map((type) => client.publish(event(type)))
  const [, answered] = await daemon.hasEvents(2)
  daemon.send(ack(answered))
  await calls[1]
  const closed = client.close({ timeoutMs: 100 })
  assert.equal(await endOf(client.publish(event())), 'Closed')
  assert.throws(() => client.begin().publishAfterCommit(event()), { code: 'Closed' })
  assert.equal(await closed, 2)
  await assert.rejects(calls[0], { code: 'Closed', retryable: true, outcome: 'unknown' })
  await assert.rejects(calls[2], { code: 'Closed' })
  assert.equal(await client.close(), 2, 'the same answer again')
  await until(() => daemon.sockets.size === 0)
})

test('a client whose socket is not there closes all the same', async (t) => {
  const { client } = await setUp(t, { start: false })
  const call = client.publish(event())
  assert.equal(await client.close({ timeoutMs: 20 }), 1)
  await assert.rejects(call, { code: 'Closed', outcome: 'not_stored' })
})

test('sent is acked, refused, rolled back and buffered at every moment, and the hook hears of each end', async (t) => {
  const ends = {}
  const onSettled = ({ ok, code, type, durationMs, resent }) => {
    assert.ok(type === 't' && durationMs >= 0 && resent >= 0)
    ends[ok ? 'acked' : (code ?? 'rolledBack')] = (ends[ok ? 'acked' : (code ?? 'rolledBack')] ?? 0) + 1
    adds()
  }
  const codes = ['Rejected', 'EventTooLarge', 'Overloaded']
  let asked = 0
  const answer = (line) => {
    if (line.op !== undefined) return undefined
    if (asked++ % 3 === 0) daemonCut(asked)
    return asked % 2 === 0 ? ack(line) : refusal(line, codes[asked % 3], { retryable: asked % 3 === 2 })
  }
  const { daemon, client } = await setUp(t, { answer, maxBufferedEvents: 20, onSettled })
  const daemonCut = (count) => count % 21 === 1 && daemon.cut()
  const adds = () => {
    const { sent, acked, refused, rolledBack, buffered } = client.counters()
    const refusals = Object.values(refused).reduce((sum, count) => sum + count, 0)
    assert.equal(sent, acked + refusals + rolledBack + buffered)
  }
  const transaction = client.begin()
  transaction.publishBatchAfterCommit([event(), event()])
  const calls = Array.from({ length: 100 }, () => endOf(client.publish(event(), { timeoutMs: 10_000 })))
  transaction.rollback()
  await Promise.all(calls)
  adds()
  const { acked, refused, rolledBack, buffered, bufferedBytes } = client.counters()
  assert.deepEqual({ ...ends }, { acked, rolledBack, ...refused })
  assert.deepEqual([buffered, bufferedBytes, rolledBack], [0, 0, 2])
})

test('a hook that throws breaks nothing, and is told of once', async (t) => {
  const warned = []
  const onWarning = ({ message }) => warned.push(message)
  process.on('warning', onWarning)
  t.after(() => process.off('warning', onWarning))
  const hook = () => {
    throw new Error('a mistake')
  }
  const { client } = await setUp(t, { answer: acks, onSettled: hook, traceContext: hook })
  await client.publishBatch([event(), event()])
  await until(() => warned.length > 0)
  assert.equal(warned.length, 1)
  assert.match(warned[0], /a mistake/)
})

test('a bound that is none is named', () => {
  assert.throws(() => createClient({ timeoutMs: '5s' }), { name: 'RangeError', message: /timeoutMs.*5s/ })
  assert.throws(() => createClient({ maxBufferedEvents: -1 }), /maxBufferedEvents/)
  assert.throws(() => createClient({ maxBufferedBytes: Infinity }), /maxBufferedBytes/)
})

test('a path that no socket can have is refused at once, and not cut to another', async () => {
  await createClient({ socket: '/' + 's'.repeat(106) }).close()
  const message = /at most 107 bytes, not 109: \/é/
  assert.throws(() => createClient({ socket: '/' + 'é'.repeat(54) }), { name: 'RangeError', message })
})
