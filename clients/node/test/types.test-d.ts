/** What the types let an application write, and what they do not, with `require` underneath. Compiled, never run. */

import getDispatch, {
  BaseEvent,
  BaseEventPayload,
  BatchError,
  createClient,
  DispatchError,
  Transaction,
  type Publisher,
} from 'dispatchd'
import { createTestClient } from 'dispatchd/testing'

async function publish(): Promise<void> {
  const client = createClient({ producerId: 'orders@host', onSettled: ({ type, ok }) => void [type.length, ok] })
  const event = await client.publish({ type: 'order.placed', data: { total: 12.5 }, partitionKey: 'customer-9' })
  const total: number = event.data.total
  const shard: string | undefined = event.shardId
  void [total, shard]
  // @ts-expect-error an event has a type
  await client.publish({ data: {} })
  // @ts-expect-error data is an object
  await client.publish({ type: 'order.placed', data: 7 })
  // @ts-expect-error no such form
  await client.publish({ type: 'order.placed', data: {}, envelope: 'xml' })
  await client.publishBatch([{ type: 'order.placed', data: {} }], { timeoutMs: 1_000 })
  const unconfirmed: number = await client.flush({ timeoutMs: 1_000 })
  void unconfirmed
  client.closeOnExit()
}

class OrderPlaced extends BaseEventPayload {
  constructor(readonly total: number) {
    super('correlation', 'user', 'organisation')
  }
}

class OrderPlacedEvent extends BaseEvent<OrderPlaced> {
  constructor(total: number) {
    super('OrderPlaced', 'trading')
    this.payload = new OrderPlaced(total)
  }
}

async function afterCommit(publisher: Publisher): Promise<void> {
  const published = await publisher.publish(new OrderPlacedEvent(12.5))
  const total: number = published.data.total
  const transaction = createClient().begin()
  const id: string = transaction.publishAfterCommit(new OrderPlacedEvent(total))
  const ids: string[] = transaction.publishBatchAfterCommit([{ type: 'order.placed', data: { id } }])
  await transaction.staged()
  await transaction.commit().catch((error: unknown) => {
    if (error instanceof BatchError) void error.results.map(({ status }) => status)
    if (error instanceof DispatchError && error.code === 'Timeout') void error.outcome
  })
  void ids
  // @ts-expect-error only a client begins a transaction
  void new Transaction()
}

function dispatchAsBefore(): Promise<string> {
  const dispatch = getDispatch({ kinesisClient: {}, kinesisStream: 'entrypoint', producerId: 'server@hostname' })
  return dispatch('eventType', { key: 'value' }, { sourceUserId: 'userId', partitionKey: 'partitionKey' }).then(
    (event) => event.source.kinesisPartitionKey + event.id,
  )
}

function testDouble(): void {
  const client = createTestClient()
  client.refuseNext('EventTooLarge')
  void client.published.map(({ type }) => type.length)
}

void [publish, afterCommit, dispatchAsBefore, testDouble]
