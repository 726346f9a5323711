'use strict'

/**
 * The events of one client, from the call to the answer. What it promises is docs/clients.md: bounds by events and by
 * bytes, the same bytes again after a cut, retries until the call's deadline, one end for each event. A plain event's
 * way, in the words of entry.js:
 *
 *   WAITING → QUEUED → SENT → SETTLED
 *      HELD ↗      ↖ PAUSED ↙
 *
 * The engine never reads a file, never logs, and never changes an event's bytes once they are made.
 */

const { clearTimeout, setTimeout } = require('node:timers')
const { Entry, now, WAITING, HELD, QUEUED, SENT, PAUSED, STAGED, SETTLED } = require('./entry.js')
const { DispatchError } = require('./errors.js')
const { toPlainEvent } = require('./event.js')
const { Link, backoffMs } = require('./link.js')

// Lines are joined up to this size for one write.
const WRITE_CHARS = 64 * 1024

// A line may be so much longer than the largest event, which `hello` says; any daemon takes a line of this size.
const LINE_BYTES_MORE = 64 * 1024

// The daemon lets a connection have 64 open transactions; the others are kept here.
const TRANSACTIONS_MAX = 60

// Deadlines and pauses are looked at together and this often at most, since a look goes over all events.
const SWEEP_MS = 10

// Refusals that come before anything is sent to Kinesis, and so need no `outcome`.
const STORES_NOTHING = new Set(['Overloaded', 'TransactionEnded'])

class Engine {
  isClosing = false

  #options
  #hello
  #hasContext
  #answer
  #link
  #refs = 0
  #producerId
  #isHelloWritten = false
  /** The longest line that the daemon takes; null until it has answered `hello`. */
  #lineBytesMax = null
  #hasConnected = false
  /** Events that an answer can be for, by ref, in the order in which they are sent again after a cut. */
  #pending = new Map()
  /** What is to be written: events, of which those are passed over that are QUEUED no more, and control lines. */
  #queue = []
  /** Calls that found the buffer full, in their order. */
  #waiting = []
  /** With strictOrder: for each key with an event under way, the later ones. */
  #held = new Map()
  /** Transactions that the daemon holds, by the ref that their commit has. */
  #stagings = new Map()
  #flushes = new Set()
  #underWay = 0
  /** The process runs on while events are under way. */
  #holdsProcess = true
  #timer = null
  #dueAt = Infinity
  #counters = { sent: 0, acked: 0, rolledBack: 0, buffered: 0, bufferedBytes: 0, resent: 0, reconnects: 0 }
  #refused = {}
  #hasWarned = false

  /**
   * @param {object} options with all defaults filled in
   * @param {((event: object, isStaging: boolean) => {answer?: object, error?: object}) | null} answer stands in for a
   *   daemon, where there is to be none
   */
  constructor(options, answer) {
    this.#options = options
    const { sourceUserId, producerId, correlationId, organisationId, envelope } = options
    const context = JSON.stringify({ sourceUserId, producerId, correlationId, organisationId, envelope })
    this.#hasContext = context !== '{}'
    this.#hello = this.#hasContext ? `{"op":"hello","context":${context}}\n` : '{"op":"hello"}\n'
    this.#answer = answer
    this.#producerId = producerId ?? null
    this.#link = new Link(options.socket, this)
  }

  get isStrict() {
    return this.#options.strictOrder
  }

  counters() {
    return { ...this.#counters, refused: { ...this.#refused } }
  }

  // === Calls

  /** Takes an event on; where there is no room, lets it wait, or throws. @returns {Promise<object>} the published event */
  publish(event, timeoutMs, mayWait) {
    const entry = this.prepare(event, '')
    const hasRoom = this.#waiting.length === 0 && this.#fits(entry)
    if (!hasRoom && !mayWait) throw this.#full()
    this.addDeadline(entry, timeoutMs)
    if (hasRoom) {
      this.#take(entry)
      this.send(entry)
    } else {
      entry.state = WAITING
      this.#waiting.push(entry)
    }
    return entry.done
  }

  /** Makes an event's entry, or throws where the event can never be sent. */
  prepare(event, head) {
    if (this.isClosing) throw new DispatchError('Closed', 'the client is closed', { retryable: true })
    const { maxBufferedBytes, producerId } = this.#options
    const plain = toPlainEvent(event, producerId)
    const entry = new Entry(plain, plain.traceparent ? plain : this.#trace(), this.newRef(), head)
    if (entry.bytes <= maxBufferedBytes) return entry
    throw new DispatchError('EventTooLarge', `the event is ${entry.bytes} bytes, the buffer takes ${maxBufferedBytes}`)
  }

  /** Gives an event of a transaction its place, and sends it to be checked where the daemon holds the transaction. */
  stage(entry) {
    if (this.#waiting.length > 0 || !this.#fits(entry)) throw this.#full()
    this.#take(entry)
    if (entry.head !== '') {
      this.#pending.set(entry.ref, entry)
      this.queue(entry)
      return
    }
    entry.state = STAGED
    const error = this.#answer?.(JSON.parse(entry.line()), true).error
    if (error !== undefined) this.refused(entry, error)
  }

  /** From here on the event is under way. */
  addDeadline(entry, timeoutMs) {
    entry.deadline = now() + Math.ceil(timeoutMs)
    if (this.#underWay++ === 0 && this.#holdsProcess) this.#timer?.ref()
    this.#arm(entry.deadline)
  }

  /** Queues an event as a line of its own, behind the earlier event of its key where the order is strict. */
  send(entry) {
    if (this.#answer !== null) return this.#settleHere(entry)
    this.#pending.set(entry.ref, entry)
    if (this.isStrict && entry.key !== null) {
      const later = this.#held.get(entry.key)
      if (later !== undefined) {
        entry.state = HELD
        later.push(entry)
        return
      }
      this.#held.set(entry.key, [])
      entry.isFirstOfKey = true
    }
    this.queue(entry)
  }

  /** Waits for what is under way now. @returns {Promise<number>} how many events are not confirmed after `timeoutMs` */
  flush(timeoutMs) {
    const open = new Set(this.#open)
    if (open.size === 0) return Promise.resolve(0)
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer)
        this.#flushes.delete(flush)
        resolve(open.size)
      }
      const timer = setTimeout(end, timeoutMs)
      const flush = { open, end }
      this.#flushes.add(flush)
    })
  }

  async close(timeoutMs) {
    this.isClosing = true
    const unconfirmed = await this.flush(timeoutMs)
    const message = 'the client was closed before the event was confirmed'
    for (const entry of this.#open) this.fail(entry, 'Closed', message)
    this.#link.close()
    clearTimeout(this.#timer)
    return unconfirmed
  }

  holdProcess(holds) {
    this.#holdsProcess = holds
    if (!holds) this.#timer?.unref()
  }

  // === For transactions

  /** Begins a transaction with the daemon and gives its ref; null where the transaction is to be kept here. */
  begin(staging) {
    if (this.#answer !== null || this.#link.isDown || this.#stagings.size >= TRANSACTIONS_MAX) return null
    const ref = this.newRef()
    this.#stagings.set(ref, staging)
    this.queue({ line: () => `{"op":"begin","tx":"t${ref}"}\n` })
    return ref
  }

  forget(ref) {
    this.#stagings.delete(ref)
  }

  newRef() {
    return ++this.#refs
  }

  queue(item) {
    item.state = QUEUED
    this.#queue.push(item)
    this.#link.wake()
  }

  /** Takes events of a transaction out of what answers can be for, and their lines out of the queue. */
  withdraw(entries) {
    for (const entry of entries) {
      this.#pending.delete(entry.ref)
      entry.head = ''
      entry.state = STAGED
    }
    this.#queue = this.#queue.filter(({ state }) => state === QUEUED)
  }

  /** Gives an event of a commit its place in the order of the calls. */
  moveToEnd(entry) {
    this.#pending.delete(entry.ref)
    this.#pending.set(entry.ref, entry)
  }

  // === For the link

  wanted() {
    return this.#pending.size > 0 || this.#waiting.length > 0
  }

  opened() {
    if (this.#hasConnected) this.#counters.reconnects++
    this.#hasConnected = true
    this.#isHelloWritten = false
    this.#lineBytesMax = null
  }

  /** The lines to be written now, joined; '' for none. */
  next() {
    let text = this.#isHelloWritten ? '' : this.#hello
    this.#isHelloWritten = true
    // What follows a `hello` that is refused, the daemon publishes without its context.
    if (this.#hasContext && this.#lineBytesMax === null) return text
    let place = 0
    for (; text.length < WRITE_CHARS && place < this.#queue.length; place++) {
      const item = this.#queue[place]
      if (item.state !== QUEUED) continue
      // A long line waits for what the daemon can take: of a line that is too long it cannot read the ref.
      if (item.bytes > (this.#lineBytesMax ?? LINE_BYTES_MORE)) {
        if (this.#lineBytesMax === null) break
        const message = `the event's line is ${item.bytes} bytes, the daemon takes ${this.#lineBytesMax}`
        const error = { code: 'EventTooLarge', message }
        if (item.head === '') this.refused(item, error)
        else item.staging.checked(item, error)
      } else {
        text += item.line()
        if (item instanceof Entry) this.#written(item)
      }
    }
    this.#queue.splice(0, place)
    return text
  }

  line(text) {
    const answer = parse(text)
    if (answer === null) return this.#link.drop('the daemon has sent a line that is no answer')
    const error = answer.ok === true ? null : answer.error
    if (answer.op === 'hello') this.#greeted(answer, error)
    if (answer.op === 'commit') this.#stagings.get(answer.ref)?.committed(answer.results, error)
    if (answer.op !== undefined) return
    const entry = this.#pending.get(answer.ref)
    if (entry?.head) entry.staging.checked(entry, error)
    else if (entry?.state === SENT && error === null) this.acked(entry, answer)
    else if (entry?.state === SENT) this.refused(entry, error)
    else if (answer.ref === undefined && error?.code === 'Overloaded') this.#turnedAway(error)
  }

  ended() {
    for (const staging of this.#stagings.values()) staging.cut()
    this.#stagings.clear()
    this.#queue = []
    for (const entry of this.#pending.values()) {
      if (entry.state === SENT) {
        entry.mayBeStored = true
        entry.state = QUEUED
      }
      if (entry.state === QUEUED) this.#queue.push(entry)
    }
  }

  // === Answers

  #greeted({ producerId, maxEventBytes = Infinity }, error) {
    if (error === null) {
      this.#producerId = producerId ?? this.#producerId
      this.#lineBytesMax = maxEventBytes + LINE_BYTES_MORE
      this.#link.greeted()
      this.#link.wake()
      return
    }
    const message = `hello was refused: ${error.code}: ${error.message}`
    if (error.retryable !== true) {
      for (const entry of this.#open) this.#reject(entry, error.code, message, { outcome: entry.outcome })
    }
    this.#link.drop(message)
  }

  /** The daemon has no place for this connection, says so in its only line, and has read nothing of what we wrote. */
  #turnedAway({ code, message }) {
    for (const entry of this.#pending.values()) if (entry.state === SENT) entry.state = QUEUED
    this.#link.drop(`${code}: ${message}`)
  }

  acked(entry, { id, timestamp, partitionKey, shardId, sequenceNumber, subSequenceNumber, deduplicated }) {
    const { sourceUserId, correlationId, organisationId } = this.#options
    const userId = entry.userId || sourceUserId || null
    const source = { userId, producerId: this.#producerId, kinesisPartitionKey: partitionKey }
    if (correlationId) source.correlationId = correlationId
    if (organisationId) source.organisationId = organisationId
    const { type, data } = entry
    const published = { id: id ?? entry.id, type, data, timestamp, source, shardId, sequenceNumber }
    if (subSequenceNumber !== undefined) published.subSequenceNumber = subSequenceNumber
    if (deduplicated !== undefined) published.deduplicated = deduplicated
    this.#counters.acked++
    this.#settle(entry, true, null)
    entry.resolve(published)
  }

  /** Sends the event again after a while, or ends it. */
  refused(entry, { code, message, retryable, outcome }) {
    if (retryable !== true)
      return this.#reject(entry, code, message, { outcome: entry.mayBeStored ? 'unknown' : outcome })
    if (outcome === 'unknown' || (outcome !== 'not_stored' && !STORES_NOTHING.has(code))) entry.mayBeStored = true
    entry.refusal = `${code}: ${message}`
    entry.state = PAUSED
    entry.retryAt = now() + Math.ceil(backoffMs(entry.refusals++))
    this.#arm(entry.retryAt)
  }

  /** Ends an event for the client's own reasons. */
  fail(entry, code, message) {
    this.#reject(entry, code, message, { retryable: true, outcome: entry.outcome })
  }

  rolledBack(entry) {
    this.#counters.rolledBack++
    this.#settle(entry, false, null)
  }

  #settleHere(entry) {
    const { answer, error } = this.#answer(JSON.parse(entry.line()), false)
    if (error === undefined) this.acked(entry, answer)
    else this.#reject(entry, error.code, error.message, error)
  }

  #reject(entry, code, message, about) {
    if (entry.isTaken) this.#refused[code] = (this.#refused[code] ?? 0) + 1
    entry.error = new DispatchError(code, message, about)
    this.#settle(entry, false, code)
    entry.reject(entry.error)
  }

  #settle(entry, ok, code) {
    this.#pending.delete(entry.ref)
    entry.state = SETTLED
    if (entry.isUnderWay && --this.#underWay === 0) this.#timer?.unref()
    if (entry.isFirstOfKey) this.#sendNextOfKey(entry.key)
    for (const flush of this.#flushes) {
      if (flush.open.delete(entry) && flush.open.size === 0) flush.end()
    }
    if (!entry.isTaken) return
    this.#counters.buffered--
    this.#counters.bufferedBytes -= entry.bytes
    this.#admit()
    const { onSettled } = this.#options
    if (onSettled === undefined) return
    const { type, startedAt, writes } = entry
    const durationMs = now() - startedAt
    this.#ask(() => onSettled({ type, ok, code, durationMs, resent: Math.max(writes - 1, 0) }))
  }

  #sendNextOfKey(key) {
    const later = this.#held.get(key)
    while (later[0]?.state === SETTLED) later.shift()
    const next = later.shift()
    if (next === undefined) return this.#held.delete(key)
    next.isFirstOfKey = true
    this.queue(next)
  }

  // === The buffer and the clock

  get #open() {
    return [...this.#pending.values(), ...this.#waiting].filter(({ isUnderWay }) => isUnderWay)
  }

  #take(entry) {
    entry.isTaken = true
    this.#counters.sent++
    this.#counters.buffered++
    this.#counters.bufferedBytes += entry.bytes
  }

  #fits({ bytes }) {
    const { buffered, bufferedBytes } = this.#counters
    const { maxBufferedEvents, maxBufferedBytes } = this.#options
    return buffered < maxBufferedEvents && bufferedBytes + bytes <= maxBufferedBytes
  }

  #full() {
    const { buffered, bufferedBytes } = this.#counters
    const message = `the buffer is full: ${buffered} events of ${bufferedBytes} bytes are not settled yet`
    return new DispatchError('BufferFull', message, { retryable: true })
  }

  /** Takes on the calls that wait, in their order, as far as there is room. */
  #admit() {
    while (this.#waiting.length > 0) {
      const [entry] = this.#waiting
      if (entry.state === WAITING && !this.#fits(entry)) return
      this.#waiting.shift()
      if (entry.state !== WAITING) continue
      this.#take(entry)
      this.send(entry)
    }
  }

  #written(entry) {
    if (entry.writes++ > 0) this.#counters.resent++
    entry.state = entry.head === '' ? SENT : STAGED
  }

  /** Sees to a sweep at `at`, by the clock of `now`. One timer serves all calls. */
  #arm(at) {
    if (at >= this.#dueAt) return
    clearTimeout(this.#timer)
    this.#dueAt = at
    const waitMs = Math.max(at - now(), SWEEP_MS)
    this.#timer = setTimeout(() => this.#sweep(), waitMs)
    if (this.#underWay === 0 || !this.#holdsProcess) this.#timer.unref()
  }

  #sweep() {
    const at = now()
    let next = Infinity
    this.#dueAt = Infinity
    for (const entry of this.#open) {
      if (entry.state === PAUSED && entry.retryAt <= at) this.queue(entry)
      if (entry.deadline <= at) this.fail(entry, 'Timeout', this.#explain(entry, at))
      else next = Math.min(next, entry.deadline, entry.state === PAUSED ? entry.retryAt : Infinity)
    }
    this.#waiting = this.#waiting.filter(({ state }) => state === WAITING)
    this.#admit()
    this.#arm(next)
  }

  #explain({ startedAt, state, refusal }, at) {
    const { socket } = this.#options
    const { isOpen, reason } = this.#link
    const reasons = [`not confirmed after ${at - startedAt} ms`]
    if (refusal !== null) reasons.push(`the last refusal was ${refusal}`)
    if (!isOpen) reasons.push(`no daemon at ${socket}: ${reason ?? 'not connected yet'}`)
    else if (this.#lineBytesMax === null) {
      reasons.push(`connected to ${socket}, which has not answered hello`)
      if (reason !== null) reasons.push(`the connection before: ${reason}`)
    } else if (state === WAITING) reasons.push('no room in the buffer')
    else if (refusal === null) reasons.push(`the daemon at ${socket} has not answered`)
    return reasons.join('; ')
  }

  // === Hooks of the application

  #trace() {
    const { traceContext } = this.#options
    return (traceContext && this.#ask(traceContext)) ?? {}
  }

  /** A hook that throws breaks nothing; the first time, the process warns of it. */
  #ask(hook) {
    try {
      return hook()
    } catch (error) {
      if (!this.#hasWarned) process.emitWarning(`a hook of the dispatchd client has thrown: ${error?.stack ?? error}`)
      this.#hasWarned = true
    }
  }
}

/** An answer, or null where the line is none. What it answers may be unknown to us; how that has ended may not. */
function parse(text) {
  try {
    const answer = JSON.parse(text)
    if (answer.op === 'commit' && Array.isArray(answer.results)) return answer
    if (answer.ok === true || typeof answer.error?.code === 'string') return answer
    return answer.op === undefined || answer.op === 'hello' || answer.op === 'commit' ? null : answer
  } catch {
    return null
  }
}

module.exports = { Engine }
