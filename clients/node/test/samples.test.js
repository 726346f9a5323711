'use strict'

/** What the files of samples promise. */

const assert = require('node:assert/strict')
const { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, utimesSync } = require('node:fs')
const { tmpdir } = require('node:os')
const { join } = require('node:path')
const { afterEach, beforeEach, test } = require('node:test')

const { keepSample } = require('../samples.js')

let folder
const ci = process.env.CI
beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'samples-')), 'schemas')
  delete process.env.CI
})
afterEach(() => {
  rmSync(join(folder, '..'), { recursive: true })
  delete process.env.CI
  if (ci !== undefined) process.env.CI = ci
})

test('one sample is a value, several are an array, and members keep their order', () => {
  keepSample(folder, 'one', { b: 1, a: 'x' })
  keepSample(folder, 'two', { b: 1 }, '{"b":2.5}')
  assert.equal(readFileSync(join(folder, 'one.sample.json'), 'utf8'), '{\n  "b": 1,\n  "a": "x"\n}\n')
  assert.deepEqual(JSON.parse(readFileSync(join(folder, 'two.sample.json'), 'utf8')), [{ b: 1 }, { b: 2.5 }])
})

test('a type that no file could be named after has its name', () => {
  for (const type of ['inserted in a/b', '.hidden', 'é%']) keepSample(folder, type, { a: 1 })
  assert.deepEqual(readdirSync(folder).sort(), [
    '%2Ehidden.sample.json',
    '%C3%A9%25.sample.json',
    'inserted in a%2Fb.sample.json',
  ])
})

test('a file that says the same is left alone', () => {
  keepSample(folder, 't', { a: 1 })
  const path = join(folder, 't.sample.json')
  utimesSync(path, 1, 1)
  keepSample(folder, 't', { a: 1 })
  assert.equal(statSync(path).mtimeMs, 1000)
})

test('in CI nothing is written, and what differs fails', () => {
  keepSample(folder, 't', { a: 1 })
  process.env.CI = 'true'
  keepSample(folder, 't', { a: 1 })
  assert.throws(() => keepSample(folder, 't', { a: 2 }), /t\.sample\.json is not the sample of t: run the tests/)
  assert.throws(() => keepSample(folder, 'new', { a: 2 }), /new\.sample\.json/)
  assert.deepEqual(readdirSync(folder), ['t.sample.json'])
  assert.match(readFileSync(join(folder, 't.sample.json'), 'utf8'), /1/)
})

test('a member without a value in any sample is named', () => {
  const items = [{ price: null }, { price: 7, 'a/b~': [] }]
  const missing = { items, buyer: { name: '', mail: undefined }, note: null, at: new Date(0), no: false, zero: 0 }
  assert.throws(() => keepSample(folder, 't', missing), {
    message: 't: no sample has a value for /items/*/a~1b~0, /buyer/name, /buyer/mail, /note',
  })
  keepSample(folder, 't', missing, { items: [{ 'a/b~': [1] }], buyer: { name: 'A', mail: 'a@b.c' }, note: 'x' })
  keepSample(folder, 'empty', {})
})

test('what is no sample is refused', () => {
  assert.throws(() => keepSample(folder, 't'), TypeError)
  for (const sample of [null, 7, [], '7', '[{}]', undefined]) assert.throws(() => keepSample(folder, 't', sample))
  assert.throws(() => keepSample(folder, 't', '{'), SyntaxError)
})
