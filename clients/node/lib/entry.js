'use strict'

/** One event on its way through the client. Only holds what is known of it: engine.js and staging.js decide. */

const { randomUUID } = require('node:crypto')
const { performance } = require('node:perf_hooks')
const { DispatchError } = require('./errors.js')

const WAITING = 'waiting' // the call found no room in the buffer
const HELD = 'held' // strictOrder: an earlier event of its key is under way
const QUEUED = 'queued' // its line is to be written
const SENT = 'sent' // its line, or its transaction's commit, is written and not answered
const PAUSED = 'paused' // refused, to be sent again at `retryAt`
const STAGED = 'staged' // it belongs to a transaction that is not committed
const SETTLED = 'settled'

/** Milliseconds of a clock that never jumps. Whole ones: V8 boxes every other number that an entry holds. */
function now() {
  return Math.trunc(performance.now())
}

class Entry {
  state = QUEUED
  startedAt = now()
  /** When the call ends at the latest; 0 for never, as long as the event belongs to an open transaction. */
  deadline = 0
  /** When the event is to be sent again, after how many refusals, and the last of them in words. */
  retryAt = 0
  refusals = 0
  refusal = null
  writes = 0
  /** An attempt has ended without anybody knowing whether it stored the event. */
  mayBeStored = false
  /** It has its place in the buffer. */
  isTaken = false
  /** strictOrder: the one event of its key that may be unanswered. */
  isFirstOfKey = false
  /** Its transaction, and whether the daemon has answered its staging. */
  staging = null
  isChecked = false
  /** How it failed. */
  error = null

  /**
   * Makes the id and the bytes. Throws where the event cannot be written as JSON.
   * @param {number} ref
   * @param {string} head what stands in the line before the event: the transaction's name, or nothing
   */
  constructor(event, { traceparent, tracestate }, ref, head) {
    const { type, data, partitionKey, explicitHashKey, sourceUserId, envelope } = event
    const id = event.id || randomUUID()
    const options = { id, partitionKey, explicitHashKey, sourceUserId, envelope, traceparent, tracestate }
    try {
      this.json = JSON.stringify({ type, data, options })
    } catch (cause) {
      throw new DispatchError('InvalidRequest', `the event cannot be written as JSON: ${cause.message}`, { cause })
    }
    this.ref = ref
    this.head = head
    this.bytes = Buffer.byteLength(this.json) + '"ref":,\n'.length + String(ref).length + head.length
    this.id = id
    this.type = type
    this.data = data
    this.userId = sourceUserId || null
    this.key = partitionKey || null
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }

  /** The same bytes each time, `head` apart. */
  line() {
    return `{"ref":${this.ref},${this.head}${this.json.slice(1)}\n`
  }

  /** A deadline holds for it: it is the application's no more to commit or to forget. */
  get isUnderWay() {
    return this.deadline !== 0
  }

  /** What is known of the event should it end now, without an answer. */
  get outcome() {
    return this.mayBeStored || this.state === SENT ? 'unknown' : 'not_stored'
  }
}

module.exports = { Entry, now, WAITING, HELD, QUEUED, SENT, PAUSED, STAGED, SETTLED }
