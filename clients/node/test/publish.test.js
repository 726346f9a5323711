'use strict'

/** What `publish` promises: how an event ends, and what was on the wire. */

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { setTimeout: sleep } = require('node:timers/promises')
const { BaseEvent, BaseEventPayload, DispatchError } = require('../index.js')
const { backoffMs } = require('../lib/link.js')
const { HELLO, ack, endOf, event, expire, knows, refusal, setUp, until } = require('./fake-daemon.js')

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const acks = (line) => (line.op === undefined ? ack(line) : undefined)

test('a published event has its id, timestamp and source, and says where it stands', async (t) => {
  const { daemon, client } = await setUp(t, { answer: acks })
  const published = await client.publish({ type: 'order.placed', data: { total: 12.5 }, partitionKey: 'customer-9' })
  assert.match(published.id, UUID)
  assert.deepEqual(published, {
    id: daemon.events[0].options.id,
    type: 'order.placed',
    data: { total: 12.5 },
    timestamp: '2026-01-01T00:00:00.000Z',
    source: { userId: null, producerId: 'orders@host', kinesisPartitionKey: 'customer-9' },
    shardId: 'shardId-000000000001',
    sequenceNumber: '49681',
  })
})

test('a line that no daemon could read the ref of is refused here, and a long one waits to know', async (t) => {
  const { daemon, client } = await setUp(t, { answer: acks })
  daemon.answer = (line) => (line.op === 'hello' ? { op: 'news' } : ack(line))
  const text = (length) => event('t', { data: { text: 'x'.repeat(length) } })
  const small = client.publish(text(60_000))
  const long = client.publish(text(70_000))
  const tooLong = client.publish(text(1024 * 1024 + 64 * 1024))
  const after = client.publish(event('after'))
  await small
  assert.equal(daemon.events.length, 1)
  daemon.send(HELLO)
  await assert.rejects(tooLong, { code: 'EventTooLarge', outcome: 'not_stored', message: /takes 1114112/ })
  await Promise.all([long, after])
  assert.equal(daemon.events.length, 3)
})

test('all that an event can have is on its line, and nothing that was not given', async (t) => {
  const { daemon, client } = await setUp(t, { answer: acks })
  const options = {
    ...{ id: '9c0c1d52-5c2b-4d9c-9f5c-0a4c3a5a7d11', partitionKey: 'k', explicitHashKey: '7', sourceUserId: 'u-3' },
    ...{ envelope: 'lk', traceparent: '00-a-b-01', tracestate: 'x=y' },
  }
  await client.publish({ type: 'full', data: { a: 1 }, ...options })
  await client.publish({ type: 'bare', data: {}, id: options.id })
  assert.deepEqual(daemon.texts, [
    '{"op":"hello"}',
    JSON.stringify({ ref: 1, type: 'full', data: { a: 1 }, options }),
    JSON.stringify({ ref: 2, type: 'bare', data: {}, options: { id: options.id } }),
  ])
})

test('text is UTF-8 on the wire, and half of a surrogate pair is escaped', async (t) => {
  const { daemon, client } = await setUp(t, { answer: acks })
  const data = { text: 'é 😀 \u2028 \n', half: '\ud800' }
  await client.publish({ type: 'ü', data })
  assert.deepEqual(daemon.events[0].data, data)
  assert.ok(daemon.texts[1].includes('"half":"\\ud800"'))
})

test('an answer may come in pieces, after others, beside unknown ones, and with unknown fields', async (t) => {
  const { daemon, client } = await setUp(t)
  const first = client.publish(event())
  const second = client.publish(event())
  const [one, two] = await daemon.hasEvents(2)
  daemon.send({ op: 'news', x: 1 }, { ref: 99, ok: true }, { ref: 'x', ok: false, error: { code: 'Rejected' } })
  daemon.send({ ...ack(two), new: [{}], deduplicated: true, subSequenceNumber: 3 })
  const { deduplicated, subSequenceNumber } = await second
  assert.deepEqual([deduplicated, subSequenceNumber], [true, 3])
  const bytes = Buffer.from(JSON.stringify({ ...ack(one), partitionKey: 'clé 😀' }) + '\n')
  const [socket] = daemon.sockets
  // The second cut is in the midst of a character. What arrives in one piece all the same proves less, but is no failure.
  const cuts = [0, 5, bytes.indexOf('é') + 1, bytes.length]
  for (const [place, cut] of cuts.entries()) {
    socket.write(bytes.subarray(cuts[place - 1] ?? 0, cut))
    await sleep(20)
  }
  assert.equal((await first).source.kinesisPartitionKey, 'clé 😀')
  assert.equal(daemon.connections, 1)
})

test('a line that is no answer ends the connection, and the event goes on the next', async (t) => {
  const { daemon, client } = await setUp(t)
  const broken = ['no json', '7', 'null', '{"ref":1,"ok":false}', '{"ref":1,"results":[]}', '{"op":"hello","ok":false}']
  for (const line of broken) {
    const before = daemon.events.length
    const published = client.publish(event())
    await daemon.hasEvents(before + 1)
    for (const socket of daemon.sockets) socket.write(line + '\n')
    const events = await daemon.hasEvents(before + 2)
    assert.equal(daemon.texts.at(-1), daemon.texts.at(-3), 'the same bytes')
    daemon.send(ack(events.at(-1)))
    await published
  }
})

test('what is unanswered when the connection ends is sent again: in order, the same bytes', async (t) => {
  const { daemon, client } = await setUp(t)
  const published = ['a', 'b', 'c', 'd'].map((type) => client.publish(event(type)))
  const [, b] = await daemon.hasEvents(4)
  daemon.send(ack(b))
  await published[1]
  const sent = daemon.texts.slice(1)
  daemon.cut()
  await daemon.hasEvents(7)
  assert.deepEqual(daemon.texts.slice(5), ['{"op":"hello"}', sent[0], sent[2], sent[3]])
  daemon.send(...daemon.events.slice(4).map((line) => ack(line)))
  await Promise.all(published)
  const { resent, reconnects } = client.counters()
  assert.deepEqual({ resent, reconnects }, { resent: 3, reconnects: 1 })
})

test('a client that is there before its daemon waits for it, and one whose socket is replaced finds the new one', async (t) => {
  const { daemon, client } = await setUp(t, { answer: acks, start: false })
  const early = client.publish(event())
  await daemon.start()
  await early
  await daemon.stop()
  const between = client.publish(event())
  await daemon.start()
  await between
  assert.equal(client.counters().reconnects, 1)
})

test('without a daemon a call ends with Timeout, and the error names the socket', async (t) => {
  const { daemon, client } = await setUp(t, { start: false })
  const failed = assert.rejects(client.publish(event()), (error) => {
    assert.ok(error instanceof DispatchError)
    const { code, retryable, outcome } = error
    assert.deepEqual({ code, retryable, outcome }, { code: 'Timeout', retryable: true, outcome: 'not_stored' })
    assert.match(error.message, new RegExp(`after \\d+ ms; no daemon at ${daemon.path}: connect ENOENT`))
    return true
  })
  await knows(client, /ENOENT/)
  await expire(t, client, failed)
})

test('a daemon that never answers leaves the outcome unknown', async (t) => {
  const { daemon, client } = await setUp(t)
  const message = /has not answered/
  const failed = assert.rejects(client.publish(event()), { code: 'Timeout', outcome: 'unknown', message })
  await daemon.hasEvents(1)
  await knows(client, message)
  await expire(t, client, failed)
})

test('a daemon that turns connections away is asked again, and named when the time is up', async (t) => {
  const { daemon, client } = await setUp(t)
  daemon.answer = ({ op }) => (op === 'hello' ? refusal({}, 'Overloaded', { retryable: true }) : undefined)
  const message = /Overloaded: the daemon says Overloaded/
  const failed = assert.rejects(client.publish(event()), { code: 'Timeout', outcome: 'not_stored', message })
  await until(() => daemon.connections > 1)
  await expire(t, client, failed)
  daemon.answer = acks
  await client.publish(event())
})

test('what a daemon says before it closes is read, also where there is something to write', async (t) => {
  const { daemon, client } = await setUp(t)
  daemon.server.on('connection', (socket) => {
    socket.write(JSON.stringify(refusal({}, 'Overloaded', { retryable: true })) + '\n', () => socket.destroy())
  })
  const message = /Overloaded/
  const failed = assert.rejects(client.publish(event()), { code: 'Timeout', outcome: 'not_stored', message })
  await until(() => daemon.connections > 1)
  await expire(t, client, failed)
})

test('a refusal for good ends the call at once, and no other', async (t) => {
  const { daemon, client } = await setUp(t)
  const bad = client.publish(event())
  const good = client.publish(event())
  const [first, second] = await daemon.hasEvents(2)
  daemon.send(refusal(first, 'Rejected'))
  await assert.rejects(bad, { code: 'Rejected', retryable: false, outcome: 'not_stored', message: /says Rejected/ })
  daemon.send(ack(second))
  await good
  assert.deepEqual(client.counters().refused, { Rejected: 1 })
})

test('what may be sent again is sent again, and only that', async (t) => {
  const { daemon, client } = await setUp(t)
  const published = ['a', 'b'].map((type) => client.publish(event(type)))
  const [a, b] = await daemon.hasEvents(2)
  daemon.send(ack(b), refusal(a, 'DeliveryTimeout', { retryable: true, outcome: 'unknown' }))
  await daemon.hasEvents(3)
  assert.equal(daemon.texts[3], daemon.texts[1])
  daemon.send(ack(a))
  await Promise.all(published)
  assert.equal(client.counters().resent, 1)
})

test('after the timeout the error names the last refusal, and what is known', async (t) => {
  const cases = [
    ['not_stored', [{ outcome: 'not_stored' }]],
    ['not_stored', [{ code: 'Overloaded' }]],
    ['unknown', [{ outcome: 'unknown' }]],
    // A later attempt says nothing of an earlier one.
    ['unknown', [{ outcome: 'unknown' }, { outcome: 'not_stored' }]],
    ['unknown', [{}]],
  ]
  const waits = []
  t.mock.method(Math, 'random', () => waits.shift() ?? 0)
  for (const [outcome, refusals] of cases) {
    const left = refusals.slice()
    const { client } = await setUp(t, {
      answer(line) {
        if (line.op !== undefined) return undefined
        if (left.length === 0) return ack(line)
        const { code = 'DeliveryTimeout', ...more } = left.shift()
        return refusal(line, code, { retryable: true, ...more })
      },
    })
    // What follows the last refusal is a wait that outlasts the test.
    waits.push(...refusals.slice(1).map(() => 0), 1_000)
    const message = /not confirmed after \d+ ms; the last refusal was \w+: the daemon says/
    const failed = assert.rejects(client.publish(event()), { code: 'Timeout', outcome, message })
    await until(() => left.length === 0)
    await client.publish(event('behind'))
    await expire(t, client, failed)
  }
})

test('an event that was cut off stays unknown, also when the daemon is gone', async (t) => {
  const { daemon, client } = await setUp(t)
  const message = /no daemon at/
  const failed = assert.rejects(client.publish(event()), { code: 'Timeout', outcome: 'unknown', message })
  await daemon.hasEvents(1)
  await daemon.stop()
  await knows(client, message)
  await expire(t, client, failed)
})

test('waits are random, at most 50 ms at first, and double up to 5 s', () => {
  const most = [0, 1, 2, 6, 7, 1_000].map((failures) => backoffMs(failures, () => 1))
  assert.deepEqual(most, [50, 100, 200, 3200, 5000, 5000])
  assert.equal(
    backoffMs(3, () => 0.5),
    200,
  )
})

test('what is no JSON is refused before it is sent', async (t) => {
  const { daemon, client } = await setUp(t, { answer: acks })
  const loop = {}
  loop.loop = loop
  await assert.rejects(client.publish({ type: 't', data: loop }), { code: 'InvalidRequest', outcome: 'not_stored' })
  await assert.rejects(client.publish({ type: 't', data: { n: 1n } }), { code: 'InvalidRequest' })
  await client.publish(event())
  assert.equal(daemon.events.length, 1)
})

test('the context goes first on each connection, and no event before it is agreed to', async (t) => {
  const context = {
    ...{ sourceUserId: 'u', producerId: 'p@h', correlationId: 'c', organisationId: 'o', envelope: 'eventbridge' },
  }
  const { daemon, client } = await setUp(t, context)
  daemon.answer = () => ({ op: 'news' })
  const published = client.publish(event())
  for (const connections of [1, 2]) {
    await until(() => daemon.ops('hello').length === connections)
    assert.deepEqual(daemon.lines.at(-1), { op: 'hello', context })
    assert.equal(daemon.events.length, connections - 1)
    daemon.send({ ...HELLO, producerId: 'p@h' })
    await daemon.hasEvents(connections)
    if (connections === 1) daemon.cut()
  }
  const [line] = daemon.events
  daemon.send(ack(line))
  const { source } = await published
  const known = { userId: 'u', producerId: 'p@h', kinesisPartitionKey: line.options.id }
  assert.deepEqual(source, { ...known, correlationId: 'c', organisationId: 'o' })
})

test('a context that is refused fails the calls at once, and the next call asks again', async (t) => {
  const { daemon, client } = await setUp(t, { envelope: 'xml' })
  daemon.answer = ({ op }) => (op === 'hello' ? { op, ...refusal({}, 'InvalidRequest') } : undefined)
  for (const call of [client.publish(event()), client.publish(event())]) {
    await assert.rejects(call, { code: 'InvalidRequest', retryable: false, outcome: 'not_stored', message: /hello/ })
  }
  daemon.answer = acks
  await client.publish(event())
  assert.equal(daemon.connections, 2)
  assert.equal(daemon.events.length, 1, 'nothing was sent without its context')
})

test('an event in the manner of EventBridge is published with its name and its payload', async (t) => {
  class TradeAllocated extends BaseEventPayload {
    constructor(quantity) {
      super('c-1', 'u-1', 'o-1')
      this.quantity = quantity
    }
  }
  class TradeAllocatedEvent extends BaseEvent {
    constructor(module) {
      super('TradeAllocated', module)
      this.payload = new TradeAllocated(5)
      this.partitionKey = 'trade-7'
    }
  }
  const { daemon, client } = await setUp(t, { answer: acks, producerId: 'trading' })
  const { source } = await client.publish(new TradeAllocatedEvent('trading'))
  const { type, data, options } = daemon.events[0]
  const payload = { correlationId: 'c-1', userId: 'u-1', organisationId: 'o-1', quantity: 5 }
  assert.deepEqual({ type, data }, { type: 'TradeAllocated', data: payload })
  assert.deepEqual([options.partitionKey, options.sourceUserId, source.userId], ['trade-7', 'u-1', 'u-1'])
  await assert.rejects(client.publish(new TradeAllocatedEvent('billing')), { code: 'InvalidRequest' })
  await client.publish(new TradeAllocatedEvent())
})

test('a trace that was given is passed on; the hook is asked where none was', async (t) => {
  const traceContext = () => ({ traceparent: 'found', tracestate: 'a=b' })
  const { daemon, client } = await setUp(t, { answer: acks, traceContext })
  await client.publish(event('t', { traceparent: 'given' }))
  await client.publish(event())
  const traces = daemon.events.map(({ options: { traceparent, tracestate } }) => [traceparent, tracestate])
  assert.deepEqual(traces, [
    ['given', undefined],
    ['found', 'a=b'],
  ])
})

test('a batch ends when all are settled, with a result for each event in its order', async (t) => {
  const { daemon, client } = await setUp(t)
  const batch = client.publishBatch(['a', 'b', 'c'].map((type) => event(type)))
  const [a, b, c] = await daemon.hasEvents(3)
  daemon.send(ack(c), refusal(b, 'EventTooLarge'), ack(a))
  await assert.rejects(batch, ({ name, results, errors, message }) => {
    const ends = results.map(({ value, reason }) => value?.type ?? reason.code)
    assert.deepEqual([name, ends, errors.length], ['BatchError', ['a', 'EventTooLarge', 'c'], 1])
    assert.match(message, /1 of 3 events were not published, the first: the daemon says EventTooLarge/)
    return true
  })
  daemon.answer = acks
  const published = await client.publishBatch(['d', 'e'].map((type) => event(type)))
  assert.deepEqual(
    published.map(({ type }) => type),
    ['d', 'e'],
  )
  assert.deepEqual(await client.publishBatch([]), [])
})

test('with strictOrder an event waits for the answer to the earlier one of its key, and for no other', async (t) => {
  const { daemon, client } = await setUp(t, { strictOrder: true })
  const sent = () => daemon.events.map(({ type }) => type)
  const late = client.publish(event('a1', { partitionKey: 'a' }))
  const expired = client.publish(event('a2', { partitionKey: 'a' }), { timeoutMs: 100 })
  const after = client.publish(event('a3', { partitionKey: 'a' }))
  const others = [event('b1', { partitionKey: 'b' }), event('x'), event('y')].map((one) => client.publish(one))
  const [a1] = await daemon.hasEvents(4)
  assert.deepEqual(sent(), ['a1', 'b1', 'x', 'y'])
  daemon.send(...daemon.events.slice(1).map((line) => ack(line)))
  await Promise.all(others)
  assert.equal(await endOf(expired), 'Timeout')
  // A refusal that may be sent again is no end.
  daemon.send(refusal(a1, 'Overloaded', { retryable: true }))
  await daemon.hasEvents(5)
  assert.equal(sent().at(-1), 'a1')
  daemon.answer = acks
  daemon.send(ack(a1))
  await Promise.all([late, after])
  assert.deepEqual(sent().slice(4), ['a1', 'a3'])
})

test('a disabled client publishes nowhere, and says so by what it leaves out', async (t) => {
  const { daemon, client } = await setUp(t, { disabled: true, producerId: 'p@h' })
  const published = await client.publish(event('t', { partitionKey: 'k', sourceUserId: 'u' }))
  assert.match(published.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  assert.deepEqual(published.source, { userId: 'u', producerId: 'p@h', kinesisPartitionKey: 'k' })
  assert.deepEqual([published.shardId, published.sequenceNumber], [undefined, undefined])
  const transaction = client.begin()
  const id = transaction.publishAfterCommit(event())
  await transaction.staged()
  assert.equal((await transaction.commit())[0].id, id)
  assert.equal(client.counters().acked, 2)
  assert.equal(daemon.connections, 0)
})
