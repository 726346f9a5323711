'use strict'

/** Publish after commit with Knex: copy this file. */

/**
 * Runs `work(trx, events)` in a transaction of the database. What `work` gives to `events.publishAfterCommit` is
 * published once the database has committed, and forgotten if it has not.
 *
 * - An event that the daemon refuses rolls the database back: `staged` fails before the commit.
 * - A `BatchError` of dispatchd means that the database has committed, and that an event is not published: its
 *   `results` say which, and whether that is for good.
 */
async function publishAfterCommit(knex, client, work) {
  const events = client.begin()
  let result
  try {
    result = await knex.transaction(async (trx) => {
      const done = await work(trx, events)
      await events.staged()
      return done
    })
  } catch (error) {
    events.rollback()
    throw error
  }
  await events.commit()
  return result
}

module.exports = { publishAfterCommit }
