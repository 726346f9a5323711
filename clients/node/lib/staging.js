'use strict'

/**
 * One transaction. The daemon holds it for as long as it has a `ref`; without one its events are here alone, and go as
 * plain lines when the application commits. Here they stay in either case until they are settled. It never speaks to
 * the database: the application says when that has committed.
 */

const { clearTimeout, setTimeout } = require('node:timers')
const { DispatchError } = require('./errors.js')
const { QUEUED, SENT, SETTLED } = require('./entry.js')

class Staging {
  #engine
  /** Names the transaction and its commit on the wire. */
  #ref
  #entries = []
  /** Events that the daemon has not checked yet, and the first refusal. */
  #unchecked = 0
  #refusal = null
  #isEnded = false
  #isCommitWritten = false
  #watchers = new Set()

  constructor(engine) {
    this.#engine = engine
    this.#ref = engine.begin(this)
  }

  /** Stages an event and gives its id. Throws at a bound: who holds a database transaction must not wait for room. */
  add(event) {
    if (this.#isEnded) throw ended()
    const entry = this.#engine.prepare(event, this.#ref === null ? '' : `"tx":"t${this.#ref}",`)
    entry.staging = this
    entry.done.catch(() => {}) // `staged` and `commit` tell
    this.#engine.stage(entry)
    this.#entries.push(entry)
    this.#refusal ??= entry.error
    if (this.#ref !== null) this.#unchecked++
    return entry.id
  }

  /** Waits until the daemon has checked all that is staged, and fails with the first refusal. */
  staged(timeoutMs) {
    return new Promise((resolve, reject) => {
      const end = (error) => {
        clearTimeout(timer)
        this.#watchers.delete(end)
        if (error === null) resolve()
        else reject(error)
      }
      const timer = setTimeout(() => {
        const message = `${this.#unchecked} staged events are not checked within ${timeoutMs} ms`
        end(new DispatchError('Timeout', message, { retryable: true }))
      }, timeoutMs)
      this.#watchers.add(end)
      this.#tell()
    })
  }

  /** Sends what is staged. @returns {Promise<PromiseSettledResult<object>[]>} in the order of the events */
  commit(timeoutMs) {
    if (this.#isEnded) throw ended()
    this.#isEnded = true
    const engine = this.#engine
    for (const entry of this.#open) engine.addDeadline(entry, timeoutMs)
    if (engine.isClosing) for (const entry of this.#open) engine.fail(entry, 'Closed', 'the client is closed')
    // The daemon would publish a commit's events beside the earlier ones of their keys.
    else if (engine.isStrict && this.#ref !== null) this.#keepHere()
    else if (this.#ref === null) this.#sendPlain()
    else this.#commitThere()
    return Promise.allSettled(this.#entries.map(({ done }) => done))
  }

  /** Forgets what is staged. After a commit it does nothing. */
  rollback() {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#leaveDaemon()
    for (const entry of this.#open) this.#engine.rolledBack(entry)
    this.#tell()
  }

  // === What the engine tells

  /** The daemon has answered an event's staging. */
  checked(entry, error) {
    if (entry.isChecked) return
    entry.isChecked = true
    this.#unchecked--
    const mayGoLater = error?.retryable === true || error?.code === 'TransactionTooLarge'
    if (error !== null && !mayGoLater) {
      this.#engine.refused(entry, error)
      this.#refusal ??= entry.error
    } else if (error !== null && !this.#isCommitWritten) {
      this.#keepHere()
    } // Else the event is not in the commit's results, and goes when they have come.
    this.#tell()
  }

  /** The daemon has answered `commit`, with results or with an error for all. What it did not settle goes again. */
  committed(results = [], error) {
    this.#engine.forget(this.#ref)
    this.#ref = null
    const byRef = new Map(results.map((result) => [result?.ref, result]))
    for (const entry of this.#open) {
      const result = byRef.get(entry.ref)
      entry.head = ''
      if (error?.outcome === 'unknown') entry.mayBeStored = true
      if (result?.ok === true) this.#engine.acked(entry, result)
      else if (result?.error) this.#engine.refused(entry, result.error)
      else this.#engine.queue(entry)
    }
  }

  /** The connection has ended. What is committed keeps its place among the events that are sent again. */
  cut() {
    this.#ref = null
    if (!this.#isEnded) this.#engine.withdraw(this.#open)
    for (const entry of this.#open) {
      entry.head = ''
      if (entry.state !== SENT && this.#isEnded) entry.state = QUEUED
    }
    this.#tell()
  }

  // === Helpers

  get #open() {
    return this.#entries.filter(({ state }) => state !== SETTLED)
  }

  #commitThere() {
    for (const entry of this.#open) this.#engine.moveToEnd(entry)
    this.#engine.queue({ line: () => this.#commitLine() })
  }

  /** What is to be written when the commit's turn has come: after the events' deadline it is a rollback. */
  #commitLine() {
    if (this.#ref === null) return ''
    const open = this.#open
    if (open.length === 0) return this.#forget()
    this.#isCommitWritten = true
    for (const entry of open) entry.state = SENT
    return `{"op":"commit","tx":"t${this.#ref}","ref":${this.#ref}}\n`
  }

  /** The daemon cannot hold the transaction: it goes on here. */
  #keepHere() {
    this.#leaveDaemon()
    this.#engine.withdraw(this.#open)
    if (this.#isEnded) this.#sendPlain()
    this.#tell()
  }

  #leaveDaemon() {
    if (this.#ref === null) return
    const line = this.#forget()
    this.#engine.queue({ line: () => line })
  }

  #forget() {
    const line = `{"op":"rollback","tx":"t${this.#ref}"}\n`
    this.#engine.forget(this.#ref)
    this.#ref = null
    return line
  }

  /** With new refs: an answer to a line that staged the event must not be taken for that of the plain line. */
  #sendPlain() {
    for (const entry of this.#open) {
      entry.ref = this.#engine.newRef()
      this.#engine.send(entry)
    }
  }

  #tell() {
    if (this.#refusal === null && this.#ref !== null && this.#unchecked > 0) return
    for (const end of this.#watchers) end(this.#refusal)
  }
}

function ended() {
  return new DispatchError('TransactionEnded', 'the transaction was committed or rolled back', { retryable: true })
}

module.exports = { Staging }
