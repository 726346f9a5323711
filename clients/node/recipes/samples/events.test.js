'use strict'

/**
 * Every event has a complete sample: copy this file. Then `dispatchd schema generate schemas` makes
 * the schemas, and `dispatchd schema check schemas` is for CI.
 */

const { join } = require('node:path')
const { expect, test } = require('@jest/globals')
const { keepSample } = require('dispatchd/samples')
const { BaseEventPayload } = require('dispatchd')
const events = require('./events.js')

test.each(Object.entries(events.payloads))('%s has a complete sample', (type, payload) => {
  keepSample(join(__dirname, 'schemas'), type, ...[payload.schema()].flat())
})

test('every payload is in the list', () => {
  const all = Object.values(events).filter((value) => value.prototype instanceof BaseEventPayload)
  expect(Object.values(events.payloads)).toEqual(expect.arrayContaining(all))
})
