'use strict'

/** The events of an application, each with a sample of its payload. */

const { BaseEvent, BaseEventPayload } = require('dispatchd')

/** `context` is of the request: its correlation id, user and organisation. */
class OrderPlaced extends BaseEventPayload {
  constructor(context, order) {
    super(context.correlationId, context.userId, context.organisationId)
    this.orderId = order.id
    this.total = order.total
    this.lines = order.lines
    this.coupon = order.coupon
  }

  static schema() {
    const context = { correlationId: 'c-1', userId: 'u-3', organisationId: 'o-2' }
    const order = { id: 'o-1', total: 12.5, lines: [{ sku: 's-7', count: 2 }], coupon: 'SPRING' }
    return JSON.stringify(new OrderPlaced(context, order))
  }
}

class OrderPlacedEvent extends BaseEvent {
  constructor(context, order) {
    super('OrderPlaced', 'orders')
    this.payload = new OrderPlaced(context, order)
  }
}

/** What may be absent has two samples, one with it and one without: then the schema does not require it. */
class OrderCancelled extends BaseEventPayload {
  constructor(orderId, reason) {
    super('c-1', 'u-3', 'o-2')
    this.orderId = orderId
    if (reason) this.reason = reason
  }

  static schema() {
    return [new OrderCancelled('o-1', 'sold out'), new OrderCancelled('o-2')]
  }
}

module.exports = { OrderPlaced, OrderPlacedEvent, OrderCancelled, payloads: { OrderPlaced, OrderCancelled } }
