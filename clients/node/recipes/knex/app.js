'use strict'

/**
 * The recipe at work: three orders, of which one is committed, one is rolled back, and one has an event that is refused.
 * It prints the ids that were committed. POSTGRES_URL and DISPATCHD_SOCKET say where the two are.
 */

const assert = require('node:assert/strict')
const { createClient } = require('dispatchd')
const makeKnex = require('knex')
const { publishAfterCommit } = require('./publish-after-commit.js')

const knex = makeKnex({ client: 'pg', connection: process.env.POSTGRES_URL })
const client = createClient({ timeoutMs: 30_000 })

function placeOrder(customer, type, thenFail) {
  return publishAfterCommit(knex, client, async (trx, events) => {
    const [{ id: order }] = await trx('knex_orders').insert({ customer }).returning('id')
    const id = events.publishAfterCommit({ type, data: { recipe: 'knex', order, customer }, partitionKey: customer })
    if (thenFail) throw new Error('no such article')
    return id
  })
}

async function main() {
  await knex.schema.dropTableIfExists('knex_orders')
  await knex.schema.createTable('knex_orders', (table) => {
    table.increments('id')
    table.string('customer')
  })
  const id = await placeOrder('committed', 'order.placed')
  await assert.rejects(placeOrder('rolled back', 'order.placed', true), /no such article/)
  await assert.rejects(placeOrder('refused', ''), { code: 'InvalidRequest' })
  assert.deepEqual(await knex('knex_orders').pluck('customer'), ['committed'])
  console.log(id)
  await knex.destroy()
}

main()
