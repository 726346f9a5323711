'use strict'

/** The package `dispatchd`: events for Kinesis by way of the dispatchd daemon. The API is described in index.d.ts. */

const { Client, Transaction } = require('./lib/client.js')
const { BatchError, DispatchError } = require('./lib/errors.js')
const { BaseEvent, BaseEventPayload } = require('./lib/event.js')

let hasWarned = false

function createClient(options) {
  return new Client(options)
}

/** What lk-dispatch exports: its options for AWS are the daemon's matter here. */
function getDispatch({ kinesisClient, kinesisStream, ...options } = {}) {
  if (!hasWarned && (kinesisClient !== undefined || kinesisStream !== undefined)) {
    hasWarned = true
    const message = 'dispatchd ignores kinesisClient and kinesisStream: the daemon has the stream and the credentials'
    process.emitWarning(message, { code: 'DISPATCHD_IGNORED_OPTION' })
  }
  return new Client(options).dispatch
}

// `import getDispatch from 'dispatchd'` of Babel and TypeScript reads `default`, where there is `__esModule`.
Object.defineProperty(exports, '__esModule', { value: true })
Object.assign(exports, { BaseEvent, BaseEventPayload, BatchError, Client, DispatchError, Transaction })
Object.assign(exports, { createClient, getDispatch })
exports.default = getDispatch // said so that tools that only read the file see it
