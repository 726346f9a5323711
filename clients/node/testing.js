'use strict'

/**
 * A client for an application's own tests: the real one, with a daemon in memory in place of the socket. It records what
 * is published, and refuses what it is told to refuse. There is no socket, no thread, and no waiting.
 */

const { Client } = require('./lib/client.js')

class TestClient extends Client {
  #published
  #refusals

  constructor(options) {
    const published = []
    const refusals = []
    super(options, (event, isStaging) => {
      if (refusals.length > 0) return { error: refusals.shift() }
      if (isStaging) return {}
      const { type, data } = event
      const { id, partitionKey = id } = event.options
      const timestamp = new Date().toISOString()
      const sequenceNumber = String(published.length + 1)
      published.push({ ...event.options, type, data, timestamp, partitionKey, sequenceNumber })
      return { answer: { id, timestamp, partitionKey, shardId: 'shardId-000000000000', sequenceNumber } }
    })
    this.#published = published
    this.#refusals = refusals
  }

  /** What is published so far, in its order, as JSON has it. */
  get published() {
    return [...this.#published]
  }

  publishedOf(type) {
    return this.#published.filter((event) => event.type === type)
  }

  /** Refuses the next event, when it is published or staged. The code is what the application sees, whatever it is. */
  refuseNext(code, { message = `refused with ${code}, as the test asked`, retryable = false, outcome } = {}) {
    this.#refusals.push({ code, message, retryable, outcome })
  }

  /** Forgets what was published, and the refusals that are left. */
  reset() {
    this.#published.length = this.#refusals.length = 0
  }
}

function createTestClient(options) {
  return new TestClient(options)
}

module.exports = { TestClient, createTestClient }
