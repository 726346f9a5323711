'use strict'

/**
 * The connection to the daemon: connects again for as long as its owner wants a connection, splits what comes into
 * lines, and writes what the owner has, a chunk at a time. It knows nothing of events, holds no line back for itself
 * (what the kernel does not take stays with the owner), and never keeps the process running.
 */

const net = require('node:net')
// Taken at load, so that the fake timers of an application's tests do not stop the client.
const { clearTimeout, setImmediate, setTimeout } = require('node:timers')

const WAIT_MIN_MS = 50
const WAIT_MAX_MS = 5_000

// The longest answer is that of a commit: some 300 bytes for each event of a transaction. What is longer is no answer.
const ANSWER_CHARS_MAX = 64 * 1024 * 1024

/**
 * How long to wait before the attempt that follows `failures` failed ones: full jitter, at most 50 ms at first, which
 * doubles up to 5 s.
 */
function backoffMs(failures, random = Math.random) {
  return random() * Math.min(WAIT_MAX_MS, WAIT_MIN_MS * 2 ** failures)
}

class Link {
  /** Why the last connection, or the attempt at one, has failed; null once a daemon has greeted us. */
  reason = null

  #path
  #owner
  #socket = null
  #isOpen = false
  #isFull = false
  #isWoken = false
  #isClosed = false
  #failures = 0
  #dropReason = null
  #timer = null
  #rest = []
  #restChars = 0

  /**
   * @param {string} path of the Unix socket
   * @param {{opened(): void, line(text: string): void, ended(): void, wanted(): boolean, next(): string}} owner `next`
   *   gives what is to be written now, and `''` for nothing; `ended` comes after an attempt that has failed, too
   */
  constructor(path, owner) {
    this.#path = path
    this.#owner = owner
  }

  get isOpen() {
    return this.#isOpen
  }

  /** The last attempt has failed, and the next one is not due yet. */
  get isDown() {
    return this.#timer !== null
  }

  /** Sees to a connection, and to the owner being asked for lines once this tick is over: many events, one write. */
  wake() {
    if (this.#socket === null && this.#timer === null && !this.#isClosed) this.#connect()
    if (!this.#isOpen || this.#isWoken) return
    this.#isWoken = true
    setImmediate(() => {
      this.#isWoken = false
      this.#write()
    })
  }

  /** The daemon has taken us on: the next wait is short again. A daemon that turns us away has connected us as well. */
  greeted() {
    this.#failures = 0
    this.reason = null
  }

  /** Ends this connection. The next one is another attempt. */
  drop(reason) {
    this.#dropReason = reason
    this.#socket?.destroy()
  }

  close() {
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#timer = null
    this.#socket?.destroy()
  }

  #connect() {
    const socket = net.connect({ path: this.#path })
    this.#socket = socket
    let error = null
    // The owner's timer holds the process for as long as a call is open; an idle connection does not.
    socket.unref()
    socket.setEncoding('utf8')
    socket.on('connect', () => {
      this.#isOpen = true
      this.#owner.opened()
      // A daemon that turns us away has said why and closed: that is read first, since a write would fail and lose it.
      setImmediate(() => setImmediate(() => this.#write()))
    })
    socket.on('data', (text) => this.#read(socket, text))
    socket.on('drain', () => {
      this.#isFull = false
      this.#write()
    })
    socket.on('error', (cause) => (error = cause))
    socket.on('close', () => this.#ended(error))
  }

  #ended(error) {
    this.reason = this.#dropReason ?? error?.message ?? 'the daemon has closed the connection'
    this.#dropReason = null
    this.#socket = null
    this.#isOpen = this.#isFull = false
    this.#rest = []
    this.#restChars = 0
    this.#owner.ended()
    if (this.#isClosed || !this.#owner.wanted()) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#connect()
    }, backoffMs(this.#failures++)).unref()
  }

  #write() {
    while (this.#isOpen && !this.#isFull && this.#socket.writable) {
      const chunk = this.#owner.next()
      if (chunk === '') return
      this.#isFull = !this.#socket.write(chunk)
    }
  }

  /** Lines, each joined once: an answer may come in a thousand pieces. */
  #read(socket, text) {
    let start = 0
    let end
    while ((end = text.indexOf('\n', start)) !== -1) {
      this.#rest.push(text.slice(start, end))
      const line = this.#rest.length === 1 ? this.#rest[0] : this.#rest.join('')
      this.#rest = []
      this.#restChars = 0
      start = end + 1
      this.#owner.line(line)
      if (socket.destroyed) return
    }
    if (start === text.length) return
    this.#rest.push(text.slice(start))
    this.#restChars += text.length - start
    if (this.#restChars > ANSWER_CHARS_MAX) this.drop('the daemon sends a line without an end')
  }
}

module.exports = { Link, backoffMs }
