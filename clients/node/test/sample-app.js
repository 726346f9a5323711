'use strict'

/** A small application, which is given its client: what testing.test.js tests with `dispatchd/testing`. */

async function placeOrder(client, { customer, total }) {
  return client.publish({ type: 'order.placed', data: { total }, partitionKey: customer })
}

async function placeOrders(client, database, orders) {
  const events = client.begin()
  try {
    events.publishBatchAfterCommit(orders.map(({ total }) => ({ type: 'order.placed', data: { total } })))
    await events.staged()
    await database.commit()
  } catch (error) {
    events.rollback()
    throw error
  }
  return events.commit()
}

module.exports = { placeOrder, placeOrders }
