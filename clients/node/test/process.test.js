'use strict'

/** A client among the other things of a process: its end, its threads, its workers, and how it is loaded. */

const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const path = require('node:path')
const { test } = require('node:test')
const { promisify } = require('node:util')
const { Worker } = require('node:worker_threads')
const { ack, setUp } = require('./fake-daemon.js')

const acks = (line) => (line.op === undefined ? ack(line) : undefined)
const folder = path.join(__dirname, '..')

/** Runs a script in a process of its own, with `client` and, where there is one, the daemon's socket. */
async function run(script, socket, ...flags) {
  const code = `const client = require('dispatchd').createClient(); const event = { type: 't', data: {} }; ${script}`
  const env = { ...process.env, DISPATCHD_SOCKET: socket }
  const args = [...flags, '--eval', flags.length === 0 ? code : script]
  const startedAt = performance.now()
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { cwd: folder, env, timeout: 60_000 })
  return { stdout, stderr, tookMs: performance.now() - startedAt }
}

test('a process ends when its events are confirmed: not earlier, and not later', async (t) => {
  const { daemon } = await setUp(t, { answer: acks })
  const { stdout } = await run('client.publish(event).then(({ id }) => console.log(id))', daemon.path)
  assert.equal(stdout.trim(), daemon.events[0].options.id)
})

test('without closeOnExit a process waits for its calls, with it for a time of its own', async (t) => {
  const { daemon } = await setUp(t)
  const waits = run('client.publish(event).then(() => console.log("ok"))', daemon.path)
  const [line] = await daemon.hasEvents(1)
  daemon.send(ack(line))
  assert.equal((await waits).stdout, 'ok\n')
  const print = '.catch(({ code }) => console.log(code))'
  const ends = await run(`client.closeOnExit({ timeoutMs: 300 }).publish(event)${print}`, daemon.path)
  assert.equal(ends.stdout, 'Closed\n')
  assert.match(ends.stderr, /1 events are not confirmed at exit/)
  assert.ok(ends.tookMs < 30_000, `took ${ends.tookMs} ms, and the call 150 s`)
})

test('with closeOnExit what is under way is still confirmed', async (t) => {
  const { daemon } = await setUp(t, { answer: acks })
  const { stdout, stderr } = await run('client.closeOnExit().publish(event).then(() => console.log("ok"))', daemon.path)
  assert.deepEqual([stdout, stderr], ['ok\n', ''])
})

test('an open transaction does not keep a process', async (t) => {
  const { daemon } = await setUp(t)
  const { stdout } = await run('client.begin().publishAfterCommit(event); console.log("ok")', daemon.path)
  assert.equal(stdout, 'ok\n')
})

test('each worker thread has its own connection', async (t) => {
  const { daemon } = await setUp(t, { answer: acks })
  const script = `
    const { parentPort } = require('node:worker_threads')
    const client = require('dispatchd').createClient({ socket: ${JSON.stringify(daemon.path)} })
    client.publishBatch([{ type: 't', data: {} }, { type: 't', data: {} }]).then((all) => parentPort.postMessage(all.length))`
  const workers = [1, 2].map(() => new Worker(script, { eval: true }))
  const counts = await Promise.all(workers.map((worker) => new Promise((resolve) => worker.on('message', resolve))))
  assert.deepEqual([counts, daemon.connections, daemon.events.length], [[2, 2], 2, 4])
})

test('each worker of a cluster has its own connection, and a client from before the fork is not shared', async (t) => {
  const { daemon } = await setUp(t, { answer: acks })
  const script = path.join(__dirname, 'cluster-app.js')
  const env = { ...process.env, DISPATCHD_SOCKET: daemon.path }
  const { stdout } = await promisify(execFile)(process.execPath, [script], { env, timeout: 60_000 })
  const ids = stdout.trim().split('\n')
  assert.equal(ids.length, 3)
  assert.deepEqual(new Set(ids), new Set(daemon.events.map(({ options }) => options.id)))
  assert.equal(daemon.connections, 3)
})

test('lk-dispatch becomes dispatchd by its name, for require and for import', async (t) => {
  const { daemon } = await setUp(t, { answer: acks })
  const rest = `
    const dispatch = getDispatch({ kinesisClient: {}, kinesisStream: 'entrypoint', producerId: 'server@hostname' })
    getDispatch({ kinesisClient: {}, kinesisStream: 'entrypoint' })
    dispatch('eventType', { key: 'value' }, { sourceUserId: 'userId', partitionKey: 'partitionKey' }).then((event) =>
      console.log(JSON.stringify(Object.keys(event)), event.source.userId, event.source.kinesisPartitionKey))`
  for (const [first, type] of [
    ["const getDispatch = require('dispatchd').default", 'commonjs'],
    ["import getDispatch from 'dispatchd'", 'module'],
  ]) {
    const { stdout, stderr } = await run(`${first};${rest}`, daemon.path, `--input-type=${type}`)
    const keys = '["id","type","data","timestamp","source","shardId","sequenceNumber"]'
    assert.equal(stdout, `${keys} userId partitionKey\n`)
    assert.equal(stderr.match(/ignores kinesisClient and kinesisStream/g).length, 1)
  }
  const [{ context }, { type, data, options }] = daemon.lines
  assert.deepEqual([context, type, data], [{ producerId: 'server@hostname' }, 'eventType', { key: 'value' }])
  assert.deepEqual([options.sourceUserId, options.partitionKey], ['userId', 'partitionKey'])
})

test('require and import give the same classes', async () => {
  const script = `
    import dispatchd, * as all from 'dispatchd'
    import { createRequire } from 'node:module'
    import * as testing from 'dispatchd/testing'
    const require = createRequire(process.cwd() + '/')
    const names = Object.keys(require('dispatchd')).filter((name) => all[name] !== require('dispatchd')[name])
    const same = testing.createTestClient === require('dispatchd/testing').createTestClient
    console.log(dispatchd === all.getDispatch, names.length, same)`
  const { stdout } = await run(script, '', '--input-type=module')
  assert.equal(stdout, 'true 0 true\n')
})
