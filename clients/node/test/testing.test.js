'use strict'

/** `dispatchd/testing`, by an application's tests as they would be written with it: test/sample-app.js is the application. */

const assert = require('node:assert/strict')
const { beforeEach, test } = require('node:test')
const { createTestClient } = require('../testing.js')
const { placeOrder, placeOrders } = require('./sample-app.js')

const events = createTestClient()
let database

beforeEach(() => {
  events.reset()
  database = { saved: [], commit: async () => database.saved.push('committed') }
})

test('placing an order publishes that it was placed', async () => {
  const { id } = await placeOrder(events, { customer: 'customer-9', total: 12.5 })
  assert.equal(events.published.length, 1)
  const [{ type, data, partitionKey, ...event }] = events.published
  assert.deepEqual([type, data, partitionKey], ['order.placed', { total: 12.5 }, 'customer-9'])
  assert.equal(event.id, id)
})

test('an order whose event is refused is not placed', async () => {
  events.refuseNext('EventTooLarge')
  await assert.rejects(placeOrder(events, { customer: 'customer-9', total: 12.5 }), { code: 'EventTooLarge' })
  assert.deepEqual(events.published, [])
  assert.deepEqual(events.counters().refused, { EventTooLarge: 1 })
})

test('the events of many orders come after the database has committed', async () => {
  database.commit = async () => {
    assert.deepEqual(events.published, [])
    database.saved.push('committed')
  }
  await placeOrders(events, database, [{ total: 1 }, { total: 2 }])
  assert.deepEqual(
    events.publishedOf('order.placed').map(({ data }) => data.total),
    [1, 2],
  )
})

test('nothing is committed when an event is refused, and nothing is published when the database fails', async () => {
  events.refuseNext('SchemaViolation')
  await assert.rejects(placeOrders(events, database, [{ total: 1 }]), { code: 'SchemaViolation' })
  assert.deepEqual(database.saved, [])
  database.commit = () => Promise.reject(new Error('the database is away'))
  await assert.rejects(placeOrders(events, database, [{ total: 1 }]), /the database is away/)
  assert.deepEqual(events.published, [])
})

test('what is recorded is what the stream would have: as JSON, and with a time, a key and a number', async () => {
  const data = { at: new Date(0), gone: undefined }
  const { id, sequenceNumber, shardId } = await events.dispatch('t', data, { sourceUserId: 'u' })
  const [{ timestamp, ...recorded }] = events.published
  assert.match(timestamp, /Z$/)
  const rest = { partitionKey: id, sourceUserId: 'u', sequenceNumber }
  assert.deepEqual(recorded, { id, type: 't', data: { at: '1970-01-01T00:00:00.000Z' }, ...rest })
  assert.equal(shardId, 'shardId-000000000000')
})
