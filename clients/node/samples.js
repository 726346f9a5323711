'use strict'

/**
 * Keeps the files of sample events that `dispatchd schema generate` makes schemas of. For an application's tests: one of
 * them calls `keepSample` for each of its events, so that each has a sample, and that sample is complete. The client
 * itself reads and writes no such file.
 */

const { mkdirSync, readFileSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')

/**
 * Writes `FOLDER/TYPE.sample.json`, unless it says the same already: then nothing is written. Where the environment has
 * `CI`, it never writes, and throws if the file differs: what was generated is to be committed.
 *
 * A sample is the event's data, or its JSON text. It has to be complete: each member has a value, in at least one of the
 * samples, from which its schema can be told. `null`, `undefined`, `''`, `[]` and `{}` are none.
 */
function keepSample(folder, type, ...samples) {
  const data = samples.map((sample) => (typeof sample === 'string' ? JSON.parse(sample) : sample))
  // Its text leaves out what is undefined: here it has to be missed.
  const seen = data.map((sample) =>
    JSON.parse(JSON.stringify(sample, (_, value) => (value === undefined ? null : value))),
  )
  if (seen.length === 0 || !seen.every(isObject))
    throw new TypeError(`${type}: a sample is an object, or its JSON text`)
  const missing = withoutValue(seen)
  if (missing.length > 0) throw new Error(`${type}: no sample has a value for ${missing.join(', ')}`)

  const path = join(folder, `${fileName(type)}.sample.json`)
  const text = `${JSON.stringify(data.length === 1 ? data[0] : data, null, 2)}\n`
  if (textOf(path) === text) return
  if (process.env.CI) throw new Error(`${path} is not the sample of ${type}: run the tests without CI, and commit it`)
  mkdirSync(folder, { recursive: true })
  writeFileSync(path, text)
}

/** The members that have a value in no sample, as JSON pointers; `*` is any element of an array. */
function withoutValue(samples) {
  const hasValue = new Map()
  const look = (value, path) => {
    const members = Array.isArray(value)
      ? value.map((element) => ['*', element])
      : isObject(value) && Object.entries(value)
    const isValue = members ? members.length > 0 : value !== null && value !== ''
    hasValue.set(path, isValue || hasValue.get(path) === true)
    for (const [name, member] of members || []) {
      look(member, `${path}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`)
    }
  }
  for (const sample of samples) look(sample, '')
  hasValue.delete('') // An event may have no members.
  return [...hasValue.keys()].filter((path) => !hasValue.get(path))
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A type as a file's name: each byte that might not stand in one is written as `%XX`. */
function fileName(type) {
  const bytes = [...Buffer.from(type)]
  return bytes.map((byte, at) => (isPlain(byte, at) ? String.fromCharCode(byte) : `%${hex(byte)}`)).join('')
}

function isPlain(byte, at) {
  const character = String.fromCharCode(byte)
  return /[A-Za-z0-9._ -]/.test(character) && !(at === 0 && character === '.')
}

function hex(byte) {
  return byte.toString(16).toUpperCase().padStart(2, '0')
}

function textOf(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error.code === 'ENOENT') return undefined
    throw error
  }
}

module.exports = { keepSample }
