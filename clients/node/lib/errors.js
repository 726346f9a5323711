'use strict'

/**
 * How a call can fail. Nothing here decides anything: the codes, and which of them may be sent again, are the daemon's
 * (docs/protocol.md) and the client's own three (docs/clients.md).
 */

/** An event that was not published, or of which that is not known. */
class DispatchError extends Error {
  /**
   * @param {string} code what happened, as `EventTooLarge`
   * @param {string} message
   * @param {{retryable?: boolean, outcome?: 'not_stored' | 'unknown', cause?: unknown}} [about] `retryable`: sending the
   *   same event again may help; `outcome`: whether the event may be in the stream all the same
   */
  constructor(code, message, { retryable = false, outcome = 'not_stored', cause } = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'DispatchError'
    this.code = code
    this.retryable = retryable
    this.outcome = outcome
  }
}

/** Some events of a batch or a transaction were not published. `results` says of each event how it ended, in order. */
class BatchError extends AggregateError {
  /** @param {PromiseSettledResult<object>[]} results */
  constructor(results) {
    const errors = results.filter(({ status }) => status === 'rejected').map(({ reason }) => reason)
    super(errors, `${errors.length} of ${results.length} events were not published, the first: ${errors[0].message}`)
    this.name = 'BatchError'
    this.results = results
  }
}

module.exports = { BatchError, DispatchError }
