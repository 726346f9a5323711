'use strict'

/** What an application publishes, besides plain objects: events in the manner of an EventBridge publisher. */

const { DispatchError } = require('./errors.js')

/** What an event says. A subclass adds its own members, all of which are published. */
class BaseEventPayload {
  constructor(correlationId, userId, organisationId) {
    this.correlationId = correlationId
    this.userId = userId
    this.organisationId = organisationId
  }
}

/** An event with a name, the module that it comes from, and a payload. */
class BaseEvent {
  /**
   * @param {string} name the event's type
   * @param {string} [module] the module that publishes it
   */
  constructor(name, module) {
    this.name = name
    this.module = module
    this.payload = undefined
  }
}

/**
 * The plain event that is meant. An event's module is the producer of its connection, and can be no other: what
 * consumers match as its `source` would be wrong.
 */
function toPlainEvent(event, producerId) {
  if (!(event instanceof BaseEvent)) return event
  const { name, module, payload, partitionKey, id } = event
  if (module && producerId && module !== producerId) {
    const message = `${name} is of the module ${module}, and this client publishes as ${producerId}: make one for each`
    throw new DispatchError('InvalidRequest', message)
  }
  return { type: name, data: payload, partitionKey, id, sourceUserId: payload?.userId }
}

module.exports = { BaseEvent, BaseEventPayload, toPlainEvent }
