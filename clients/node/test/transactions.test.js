'use strict'

/** Publish after commit: what is staged, what becomes of it, and what goes when the daemon has lost it. */

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { BatchError } = require('../index.js')
const { HELLO, ack, endOf, event, expire, knows, refusal, setUp, until } = require('./fake-daemon.js')

/** A daemon that holds transactions as the real one does. `wrong` may answer a line otherwise. */
function transactional(wrong = () => {}) {
  const open = new Map()
  return (line) => {
    const answer = wrong(line)
    if (answer !== undefined) return answer
    const { op, tx, ref } = line
    if (op === 'hello') return HELLO
    if (op === 'begin') open.set(tx, [])
    if (op === 'begin' || op === 'rollback') return { op, tx, ok: true }
    if (op === 'commit') {
      const results = open.get(tx).map((staged) => ack(staged))
      return { op, tx, ref, ok: true, results }
    }
    if (tx === undefined) return ack(line)
    open.get(tx).push(line)
    return { ref, ok: true, staged: true, id: line.options.id }
  }
}

const ids = (lines) => lines.map(({ options }) => options.id)
const plain = (daemon) => daemon.events.filter(({ tx }) => tx === undefined)

test('what is staged is held by the daemon, and published with the commit', async (t) => {
  const { daemon, client } = await setUp(t, { answer: transactional() })
  const transaction = client.begin()
  const staged = [transaction.publishAfterCommit(event('a', { partitionKey: 'k' }))]
  staged.push(...transaction.publishBatchAfterCommit([event('b'), event('c')]))
  await transaction.staged()
  assert.deepEqual(
    daemon.lines.map(({ op, tx, type }) => op ?? `${tx && 'staged'} ${type}`),
    ['hello', 'begin', 'staged a', 'staged b', 'staged c'],
  )
  assert.equal(await client.flush(), 0, 'an open transaction is not under way')
  const published = await transaction.commit()
  assert.deepEqual(
    published.map(({ id }) => id),
    staged,
  )
  const [{ type, data, source, sequenceNumber }] = published
  assert.deepEqual([type, data, sequenceNumber.slice(0, 4)], ['a', {}, '4968'])
  assert.deepEqual(source, { userId: null, producerId: 'orders@host', kinesisPartitionKey: 'k' })
  assert.deepEqual(ids(daemon.events), staged, 'each was sent once')
  const { sent, acked, buffered } = client.counters()
  assert.deepEqual([sent, acked, buffered], [3, 3, 0])
})

test('what is rolled back is forgotten, here and there', async (t) => {
  const { daemon, client } = await setUp(t, { answer: transactional() })
  const transaction = client.begin()
  transaction.publishAfterCommit(event())
  await transaction.staged()
  transaction.rollback()
  transaction.rollback()
  await until(() => daemon.ops('rollback').length === 1)
  const { rolledBack, buffered, bufferedBytes } = client.counters()
  assert.deepEqual([rolledBack, buffered, bufferedBytes], [1, 0, 0])
  assert.throws(() => transaction.publishAfterCommit(event()), { code: 'TransactionEnded' })
  await assert.rejects(transaction.commit(), { code: 'TransactionEnded' })
  await client.publish(event())
  assert.equal(plain(daemon).length, 1)
})

test('publish of a transaction does not wait for the commit', async (t) => {
  const { client } = await setUp(t, { answer: transactional() })
  const transaction = client.begin()
  const { sequenceNumber } = await transaction.publish(event())
  const [published] = await transaction.publishBatch([event()])
  assert.ok(sequenceNumber && published.sequenceNumber)
  transaction.rollback()
  assert.equal(client.counters().acked, 2)
})

test('staged fails with the first refusal, which stands in the results of a commit', async (t) => {
  const refuses = (line) => (line.type?.startsWith('bad') ? refusal(line, 'InvalidRequest') : undefined)
  const { daemon, client } = await setUp(t, { answer: transactional(refuses) })
  const transaction = client.begin()
  transaction.publishBatchAfterCommit(['a', 'bad1', 'bad2', 'b'].map((type) => event(type)))
  await assert.rejects(transaction.staged(), { code: 'InvalidRequest', outcome: 'not_stored' })
  await assert.rejects(transaction.commit(), (error) => {
    assert.ok(error instanceof BatchError)
    const ends = error.results.map(({ value, reason }) => value?.type ?? reason.code)
    assert.deepEqual(ends, ['a', 'InvalidRequest', 'InvalidRequest', 'b'])
    return true
  })
  assert.equal(plain(daemon).length, 0)
  assert.deepEqual(client.counters().refused, { InvalidRequest: 2 })
})

test('staged has its own timeout', async (t) => {
  const { client } = await setUp(t)
  const transaction = client.begin()
  transaction.publishAfterCommit(event())
  await assert.rejects(transaction.staged({ timeoutMs: 20 }), { code: 'Timeout', outcome: 'not_stored' })
  transaction.rollback()
})

test('a transaction that the daemon has ended goes as plain events with the same ids, in their order', async (t) => {
  const ends = ({ op, ref }) =>
    op === 'commit' ? { op, ...refusal({ ref }, 'TransactionEnded', { retryable: true }) } : undefined
  const { daemon, client } = await setUp(t, { answer: transactional(ends) })
  const transaction = client.begin()
  const staged = transaction.publishBatchAfterCommit(['a', 'b', 'c'].map((type) => event(type)))
  await transaction.commit()
  assert.deepEqual(ids(plain(daemon)), staged)
  const [was, is] = [daemon.events[0], plain(daemon)[0]]
  assert.deepEqual({ type: is.type, options: is.options }, { type: was.type, options: was.options })
})

test('a transaction that cannot be staged any more is kept here, and goes with the commit', async (t) => {
  for (const [code, retryable] of [
    ['TransactionEnded', true],
    ['TransactionTooLarge', false],
    ['Overloaded', true],
  ]) {
    const refuses = (line) => (line.tx && line.type === 'b' ? refusal(line, code, { retryable }) : undefined)
    const { daemon, client } = await setUp(t, { answer: transactional(refuses) })
    const transaction = client.begin()
    const staged = transaction.publishBatchAfterCommit(['a', 'b'].map((type) => event(type)))
    await transaction.staged()
    staged.push(transaction.publishAfterCommit(event('c')))
    await transaction.staged()
    await until(() => daemon.ops('rollback').length === 1)
    assert.equal(plain(daemon).length, 0)
    await transaction.commit()
    assert.deepEqual(ids(plain(daemon)), staged)
    assert.equal(daemon.ops('commit').length, 0)
  }
})

test('a late answer to what was staged is not taken for the answer to what is sent now', async (t) => {
  const { daemon, client } = await setUp(t)
  const transaction = client.begin()
  transaction.publishBatchAfterCommit([event('a'), event('b')])
  const [a, b] = await daemon.hasEvents(2)
  daemon.send(refusal(a, 'Overloaded', { retryable: true }))
  await transaction.staged()
  const committed = transaction.commit()
  await daemon.hasEvents(4)
  daemon.send(refusal(b, 'InvalidRequest'), ...plain(daemon).map((line) => ack(line)))
  assert.equal((await committed).length, 2)
})

test('a transaction that may not begin is kept here', async (t) => {
  const refuses = (line) => {
    const { op, tx } = line
    if (op === 'begin') return { op, ...refusal({}, 'TransactionTooLarge') }
    return tx && op === undefined ? refusal(line, 'TransactionEnded', { retryable: true }) : undefined
  }
  const { daemon, client } = await setUp(t, { answer: transactional(refuses) })
  const transaction = client.begin()
  const id = transaction.publishAfterCommit(event())
  await transaction.staged()
  assert.equal((await transaction.commit())[0].id, id)
  assert.deepEqual(ids(plain(daemon)), [id])
})

test('a cut before the commit leaves the events here, and the commit sends them', async (t) => {
  const { daemon, client } = await setUp(t, { answer: transactional() })
  const transaction = client.begin()
  const staged = [transaction.publishAfterCommit(event('a'))]
  await transaction.staged()
  daemon.cut()
  await client.publish(event('elsewhere'))
  staged.push(transaction.publishAfterCommit(event('b')))
  const published = await transaction.commit()
  assert.deepEqual(
    published.map(({ id }) => id),
    staged,
  )
  assert.deepEqual(ids(plain(daemon).slice(1)), staged)
  assert.equal(await client.flush({ timeoutMs: 0 }), 0)
})

test('a cut after the commit was written sends the events again, each with its id, in the order of the calls', async (t) => {
  const silent = ({ op, tx }) => (op === 'commit' || (op === undefined && tx === undefined) ? null : undefined)
  const { daemon, client } = await setUp(t, { answer: transactional(silent) })
  const before = client.publish(event('before'))
  const transaction = client.begin()
  const staged = transaction.publishBatchAfterCommit(['a', 'b'].map((type) => event(type)))
  const during = client.publish(event('during'))
  const committed = transaction.commit()
  const after = client.publish(event('after'))
  await until(() => daemon.ops('commit').length === 1 && daemon.events.length === 5)
  const seen = daemon.events.length
  daemon.answer = transactional()
  daemon.cut()
  const published = await committed
  await Promise.all([before, during, after])
  assert.deepEqual(
    published.map(({ id }) => id),
    staged,
  )
  const again = daemon.events.slice(seen)
  assert.deepEqual(
    again.map(({ type, tx }) => `${type} ${tx}`),
    ['before', 'during', 'a', 'b', 'after'].map((type) => `${type} undefined`),
  )
})

test('after a cut behind the commit, and no daemon any more, the outcome is unknown', async (t) => {
  const silent = ({ op }) => (op === 'commit' ? null : undefined)
  const { daemon, client } = await setUp(t, { answer: transactional(silent) })
  const transaction = client.begin()
  transaction.publishAfterCommit(event())
  const failed = assert.rejects(transaction.commit(), ({ errors: [{ code, outcome }] }) => {
    assert.deepEqual([code, outcome], ['Timeout', 'unknown'])
    return true
  })
  await until(() => daemon.ops('commit').length === 1)
  await daemon.stop()
  await expire(t, client, failed)
})

test('of a commit, only what may be sent again is sent again', async (t) => {
  const commits = ({ op, tx, ref }) => {
    if (op !== 'commit') return undefined
    const [a, b, c] = daemon.events
    const again = refusal(b, 'DeliveryTimeout', { retryable: true, outcome: 'unknown' })
    return { op, tx, ref, ok: false, results: [ack(a), again, refusal(c, 'Rejected')] }
  }
  const { daemon, client } = await setUp(t, { answer: transactional(commits) })
  const transaction = client.begin()
  const [, b] = transaction.publishBatchAfterCommit(['a', 'b', 'c'].map((type) => event(type)))
  await assert.rejects(transaction.commit(), ({ results }) => {
    const ends = results.map(({ value, reason }) => value?.type ?? reason.code)
    assert.deepEqual(ends, ['a', 'b', 'Rejected'])
    return true
  })
  assert.deepEqual(ids(plain(daemon)), [b])
})

test('without a daemon a transaction is kept here from the start', async (t) => {
  const { daemon, client } = await setUp(t, { start: false, answer: transactional() })
  await knows(client, /ENOENT/)
  const transaction = client.begin()
  const id = transaction.publishAfterCommit(event())
  const committed = transaction.commit()
  await daemon.start()
  assert.equal((await committed)[0].id, id)
  assert.equal(daemon.ops('begin').length, 0)
})

test('the daemon holds 60 transactions of a client at most; more are kept here', async (t) => {
  const { daemon, client } = await setUp(t, { answer: transactional() })
  const transactions = Array.from({ length: 62 }, () => client.begin())
  for (const transaction of transactions) transaction.publishAfterCommit(event())
  await Promise.all(transactions.map((transaction) => transaction.staged()))
  assert.equal(daemon.ops('begin').length, 60)
  transactions[0].rollback()
  transactions.push(client.begin())
  await Promise.all(transactions.slice(1).map((transaction) => transaction.commit()))
  assert.equal(daemon.ops('begin').length, 61)
  assert.equal(plain(daemon).length, 2)
})

test('staged events count for the bounds, and who stages at one does not wait', async (t) => {
  const { client } = await setUp(t, { answer: transactional(), maxBufferedEvents: 1 })
  const transaction = client.begin()
  transaction.publishAfterCommit(event())
  assert.throws(() => transaction.publishAfterCommit(event()), { code: 'BufferFull' })
  assert.equal(await endOf(client.tryPublish(event())), 'BufferFull')
  const waiting = client.publish(event())
  transaction.rollback()
  await waiting
})

test('with strictOrder a commit goes behind the earlier events of its keys', async (t) => {
  const silent = (line) => (line.type === 'early' ? null : undefined)
  const { daemon, client } = await setUp(t, { answer: transactional(silent), strictOrder: true })
  const early = client.publish(event('early', { partitionKey: 'k' }))
  const transaction = client.begin()
  transaction.publishBatchAfterCommit([event('a', { partitionKey: 'k' }), event('b', { partitionKey: 'k' })])
  await transaction.staged()
  const committed = transaction.commit()
  await until(() => daemon.ops('rollback').length === 1)
  assert.equal(plain(daemon).length, 1)
  daemon.send(ack(plain(daemon)[0]))
  await Promise.all([early, committed])
  assert.deepEqual(
    plain(daemon).map(({ type }) => type),
    ['early', 'a', 'b'],
  )
})

test('a commit whose time is over before it was written is a rollback', async (t) => {
  const { daemon, client } = await setUp(t, { answer: transactional(), start: false })
  daemon.isReading = false
  await daemon.start()
  const ahead = client.publish(event('waits for hello', { data: { text: 'x'.repeat(100_000) } }))
  const transaction = client.begin()
  transaction.publishAfterCommit(event())
  await assert.rejects(transaction.commit({ timeoutMs: 200 }), ({ errors: [{ code, outcome }] }) => {
    assert.deepEqual([code, outcome], ['Timeout', 'not_stored'])
    return true
  })
  for (const socket of daemon.sockets) socket.resume()
  await ahead
  await until(() => daemon.ops('rollback').length === 1)
  assert.equal(daemon.ops('commit').length, 0)
})

test('after close a commit fails with Closed', async (t) => {
  const { daemon, client } = await setUp(t, { answer: transactional() })
  const transaction = client.begin()
  transaction.publishAfterCommit(event())
  await transaction.staged()
  assert.equal(await client.close(), 0)
  await assert.rejects(transaction.commit(), ({ errors: [{ code, outcome }] }) => {
    assert.deepEqual([code, outcome], ['Closed', 'not_stored'])
    return true
  })
  const { buffered, refused } = client.counters()
  assert.deepEqual([buffered, refused], [0, { Closed: 1 }])
  assert.equal(daemon.ops('commit').length, 0)
})
