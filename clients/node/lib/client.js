'use strict'

/** What an application calls. The promises and their bounds are in docs/clients.md; nothing is decided here. */

const { Engine } = require('./engine.js')
const { BatchError } = require('./errors.js')
const { Staging } = require('./staging.js')

const CLOSE_MS = 5_000

// Longer paths no socket has: Node would cut them, and connect to another.
const SOCKET_BYTES_MAX = 107

const DEFAULTS = {
  timeoutMs: 150_000, // longer than the daemon itself tries
  maxBufferedEvents: 10_000,
  maxBufferedBytes: 32 * 1024 * 1024,
  strictOrder: false,
  disabled: false,
}

class Client {
  #engine
  #timeoutMs
  #closed = null

  /**
   * @param {object} [options] the settings: see index.d.ts
   * @param {Function | null} [answer] stands in for the daemon, in dispatchd/testing
   */
  constructor(options = {}, answer = options.disabled ? publishNowhere : null) {
    const socket = process.env.DISPATCHD_SOCKET || '/run/dispatchd/dispatchd.sock'
    const given = Object.entries(options).filter(([, value]) => value !== undefined && value !== null)
    const settings = { ...DEFAULTS, socket, ...Object.fromEntries(given) }
    for (const name of ['timeoutMs', 'maxBufferedEvents', 'maxBufferedBytes']) bound(name, settings[name])
    const bytes = Buffer.byteLength(settings.socket)
    if (bytes > SOCKET_BYTES_MAX) {
      throw new RangeError(`the socket's path has at most ${SOCKET_BYTES_MAX} bytes, not ${bytes}: ${settings.socket}`)
    }
    this.#engine = new Engine(settings, answer)
    this.#timeoutMs = settings.timeoutMs
    // lk-dispatch gives the function alone.
    this.dispatch = this.dispatch.bind(this)
  }

  dispatch(type, data, options) {
    const { timeoutMs, ...rest } = options ?? {}
    return this.publish({ ...rest, type, data }, { timeoutMs })
  }

  publish(event, options) {
    return this.#publish(event, options, true)
  }

  tryPublish(event, options) {
    return this.#publish(event, options, false)
  }

  /** No async function: giving a promise back from one costs as much again as the promise. */
  #publish(event, { timeoutMs = this.#timeoutMs } = {}, mayWait) {
    try {
      return this.#engine.publish(event, bound('timeoutMs', timeoutMs), mayWait)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async publishBatch(events, options) {
    return allOrError(await Promise.allSettled(events.map((event) => this.publish(event, options))))
  }

  begin() {
    return new Transaction(this, new Staging(this.#engine), this.#timeoutMs)
  }

  async flush({ timeoutMs = CLOSE_MS } = {}) {
    return this.#engine.flush(bound('timeoutMs', timeoutMs))
  }

  async close({ timeoutMs = CLOSE_MS } = {}) {
    this.#closed ??= this.#engine.close(bound('timeoutMs', timeoutMs))
    return this.#closed
  }

  /** Ends the process's wait for this client's events after `timeoutMs`, once it has nothing else to do. */
  closeOnExit({ timeoutMs = CLOSE_MS } = {}) {
    bound('timeoutMs', timeoutMs)
    this.#engine.holdProcess(false)
    process.once('beforeExit', async () => {
      const unconfirmed = await this.close({ timeoutMs })
      if (unconfirmed > 0) process.emitWarning(`dispatchd: ${unconfirmed} events are not confirmed at exit`)
    })
    return this
  }

  counters() {
    return this.#engine.counters()
  }
}

/** A publisher that is bound to one transaction of the application's database. */
class Transaction {
  #client
  #staging
  #timeoutMs

  constructor(client, staging, timeoutMs) {
    this.#client = client
    this.#staging = staging
    this.#timeoutMs = timeoutMs
  }

  publish(event, options) {
    return this.#client.publish(event, options)
  }

  publishBatch(events, options) {
    return this.#client.publishBatch(events, options)
  }

  publishAfterCommit(event) {
    return this.#staging.add(event)
  }

  publishBatchAfterCommit(events) {
    return events.map((event) => this.#staging.add(event))
  }

  async staged({ timeoutMs = this.#timeoutMs } = {}) {
    return this.#staging.staged(bound('timeoutMs', timeoutMs))
  }

  async commit({ timeoutMs = this.#timeoutMs } = {}) {
    return allOrError(await this.#staging.commit(bound('timeoutMs', timeoutMs)))
  }

  rollback() {
    this.#staging.rollback()
  }
}

function allOrError(results) {
  if (results.some(({ status }) => status === 'rejected')) throw new BatchError(results)
  return results.map(({ value }) => value)
}

/** A bound that a timer of Node can keep: some 24 days. */
function bound(name, value) {
  if (value >= 0 && value < 2 ** 31) return value
  throw new RangeError(`${name} is a number from 0 to 2147483647, not ${value}`)
}

function publishNowhere({ options: { id, partitionKey } }) {
  return { answer: { id, timestamp: new Date().toISOString(), partitionKey: partitionKey || id } }
}

module.exports = { Client, Transaction }
