'use strict'

/**
 * The recipe at work: of five orders two are committed, one of them in a nested transaction; the others are rolled back,
 * or have an event that is refused. It prints the ids that were committed. POSTGRES_URL and DISPATCHD_SOCKET say where
 * the two are.
 */

require('reflect-metadata')
const assert = require('node:assert/strict')
const { createClient } = require('dispatchd')
const { DataSource, EntitySchema } = require('typeorm')
const { PublishAfterCommit, eventsOf } = require('./publish-after-commit.js')

const Order = new EntitySchema({
  name: 'typeorm_orders',
  columns: { id: { type: 'int', primary: true, generated: true }, customer: { type: 'text' } },
})
const url = process.env.POSTGRES_URL
const dataSource = new DataSource({ type: 'postgres', url, entities: [Order], synchronize: true, dropSchema: false })
const client = createClient({ timeoutMs: 30_000 })

async function placeOrder(manager, customer, type = 'order.placed') {
  const { id: order } = await manager.save(Order, { customer })
  const data = { recipe: 'typeorm', order, customer }
  return eventsOf(manager).publishAfterCommit({ type, data, partitionKey: customer })
}

async function placeAndFail(manager, customer) {
  await placeOrder(manager, customer)
  throw new Error('no such article')
}

async function main() {
  await dataSource.initialize()
  dataSource.subscribers.push(new PublishAfterCommit(client))
  await dataSource.manager.clear(Order)

  const ids = await dataSource.transaction(async (manager) => {
    const outer = await placeOrder(manager, 'outer')
    const nested = await manager.transaction((inner) => placeOrder(inner, 'nested'))
    await manager.transaction((inner) => placeAndFail(inner, 'savepoint rolled back')).catch(() => {})
    return [outer, nested]
  })
  const failing = dataSource.transaction((manager) => placeAndFail(manager, 'rolled back'))
  await assert.rejects(failing, /no such article/)
  const refused = dataSource.transaction((manager) => placeOrder(manager, 'refused', ''))
  await assert.rejects(refused, { code: 'InvalidRequest' })

  const orders = await dataSource.manager.find(Order, { order: { id: 'ASC' } })
  assert.deepEqual(
    orders.map(({ customer }) => customer),
    ['outer', 'nested'],
  )
  console.log(ids.join('\n'))
  await dataSource.destroy()
}

main()
