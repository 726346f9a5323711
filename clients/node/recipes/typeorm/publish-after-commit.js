'use strict'

/**
 * Publish after commit with TypeORM: copy this file. Register the subscriber once, and each transaction of the data
 * source has its events:
 *
 *   dataSource.subscribers.push(new PublishAfterCommit(client))
 *   await dataSource.transaction(async (manager) => {
 *     await manager.save(order)
 *     eventsOf(manager).publishAfterCommit({ type: 'order.placed', data: { … } })
 *   })
 *
 * - An event that the daemon refuses rolls the database back: `staged` fails before the commit.
 * - A `BatchError` of dispatchd means that the database has committed, and that an event is not published: its
 *   `results` say which, and whether that is for good.
 * - What a nested transaction has staged is forgotten when its savepoint is rolled back, and published with the
 *   outermost one otherwise: behind that one's own events.
 */

class PublishAfterCommit {
  #client

  constructor(client) {
    this.#client = client
  }

  /** Each level of nesting has a publisher of its own, and those of the levels below that were released. */
  afterTransactionStart({ queryRunner: { data } }) {
    data.events ??= []
    data.events.push([this.#client.begin()])
  }

  async beforeTransactionCommit({ queryRunner: { data } }) {
    await Promise.all(data.events.at(-1).map((publisher) => publisher.staged()))
  }

  async afterTransactionCommit({ queryRunner: { data } }) {
    const level = data.events.pop()
    if (data.events.length > 0) data.events.at(-1).push(...level)
    else await Promise.all(level.map((publisher) => publisher.commit()))
  }

  afterTransactionRollback({ queryRunner: { data } }) {
    for (const publisher of data.events.pop()) publisher.rollback()
  }
}

/** The publisher of the transaction that the manager runs in. */
function eventsOf(manager) {
  return manager.queryRunner.data.events.at(-1)[0]
}

module.exports = { PublishAfterCommit, eventsOf }
