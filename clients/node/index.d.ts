/** Events for Kinesis by way of the dispatchd daemon. What is promised: docs/clients.md of dispatchd. */

/** What a code says: docs/protocol.md, and docs/clients.md for `Timeout`, `Closed` and `BufferFull`. */
export type ErrorCode =
  | 'InvalidRequest'
  | 'EventTooLarge'
  | 'IdReused'
  | 'SchemaViolation'
  | 'NoSchema'
  | 'Rejected'
  | 'TransactionTooLarge'
  | 'TransactionEnded'
  | 'DeliveryTimeout'
  | 'ShuttingDown'
  | 'Overloaded'
  | 'Timeout'
  | 'Closed'
  | 'BufferFull'
  // A newer daemon may have others.
  | (string & {})

/** `unknown`: the event may be in the stream all the same. */
export type Outcome = 'not_stored' | 'unknown'

/** The form in which an event is published: docs/protocol.md. */
export type Envelope = 'lk' | 'type-data' | 'eventbridge' | 'cloudevents'

/** An event that was not published, or of which that is not known. */
export class DispatchError extends Error {
  constructor(code: ErrorCode, message: string, about?: { retryable?: boolean; outcome?: Outcome; cause?: unknown })
  readonly name: 'DispatchError'
  readonly code: ErrorCode
  /** Sending the same event again, with the same id, may help. */
  readonly retryable: boolean
  readonly outcome: Outcome
}

/** Some events of a batch or a transaction were not published. */
export class BatchError extends AggregateError {
  constructor(results: PromiseSettledResult<PublishedEvent>[])
  readonly name: 'BatchError'
  readonly errors: DispatchError[]
  /** How each event ended, in the order of the events. A `reason` is a `DispatchError`. */
  readonly results: PromiseSettledResult<PublishedEvent>[]
}

/** W3C Trace Context, passed on as it is. */
export interface TraceContext {
  traceparent?: string
  tracestate?: string
}

export interface EventOptions extends TraceContext {
  /** 1 to 256 code points: the events of a key keep their order. Without it the event has a key of its own. */
  partitionKey?: string | null
  /** From 0 to 2^128 - 1 in decimal digits: chooses the shard. */
  explicitHashKey?: string | null
  /** Becomes `source.userId`. */
  sourceUserId?: string | null
  /** A UUID. Without it the client makes one. */
  id?: string
  envelope?: Envelope
}

export interface Event<T extends object = object> extends EventOptions {
  type: string
  /** A JSON object. */
  data: T
}

export interface PublishedEvent<T extends object = object> {
  id: string
  type: string
  data: T
  /** When the daemon accepted it: `YYYY-MM-DDTHH:MM:SS.mmmZ`. */
  timestamp: string
  source: {
    userId: string | null
    producerId: string | null
    kinesisPartitionKey: string
    correlationId?: string
    organisationId?: string
  }
  /** Where it stands; absent where the client is `disabled`. */
  shardId?: string
  sequenceNumber?: string
  /** Where several events share the record: which of them it is, from 0. */
  subSequenceNumber?: number
  /** The event was stored by an earlier attempt. */
  deduplicated?: boolean
}

/** What an event says. A subclass adds its own members, all of which are published. */
export class BaseEventPayload {
  constructor(correlationId?: string, userId?: string, organisationId?: string)
  correlationId?: string
  userId?: string
  organisationId?: string
}

/**
 * An event with a name, the module that it comes from, and a payload. Published as `{type: name, data: payload}`, with
 * the payload's `userId` as `sourceUserId`. Its module has to be the client's `producerId`, where both are given.
 */
export class BaseEvent<T extends object = BaseEventPayload> {
  constructor(name: string, module?: string)
  readonly name: string
  readonly module?: string
  payload: T
  partitionKey?: string
  id?: string
}

export interface Timeout {
  /** How long the call may take, in ms: 0 to 2147483647. */
  timeoutMs?: number
}

/** How an event has ended, for those who count elsewhere. */
export interface Settled {
  type: string
  ok: boolean
  /** Null for an event that is published, or was rolled back. */
  code: ErrorCode | null
  /** From the call to the end. */
  durationMs: number
  /** How many times its line was written again. */
  resent: number
}

export interface ClientOptions {
  /** The daemon's socket, 107 bytes at most. Default: `DISPATCHD_SOCKET`, else `/run/dispatchd/dispatchd.sock`. */
  socket?: string
  /** What holds for all events of this client; each at most 256 bytes. Default: the daemon's. */
  producerId?: string
  sourceUserId?: string
  correlationId?: string
  organisationId?: string
  envelope?: Envelope
  /** Of a call that names none, in ms: 0 to 2147483647. Default: 150,000. */
  timeoutMs?: number
  /** Events that are taken on and not yet settled. Default: 10,000. */
  maxBufferedEvents?: number
  /** Their lines. Default: 32 MiB. */
  maxBufferedBytes?: number
  /** Sends an event when the earlier event of its partition key has its answer. Default: false. */
  strictOrder?: boolean
  /** Every event ends at once, published nowhere. Default: false. */
  disabled?: boolean
  /** Called once for each event that was taken on. What it throws is a warning of the process, once. */
  onSettled?: (settled: Settled) => void
  /** Finds the trace of an event that names none. */
  traceContext?: () => TraceContext | undefined
}

/** `sent` = `acked` + all of `refused` + `rolledBack` + `buffered`, at every moment. */
export interface Counters {
  /** Events taken on. */
  sent: number
  acked: number
  /** By code. */
  refused: Record<string, number>
  rolledBack: number
  buffered: number
  bufferedBytes: number
  /** Lines that were written again. */
  resent: number
  reconnects: number
}

export interface Publisher {
  /** Publishes an event. At a bound it waits for room, within its timeout. Rejects with a `DispatchError`. */
  publish<T extends object>(event: Event<T> | BaseEvent<T>, options?: Timeout): Promise<PublishedEvent<T>>
  /** Publishes events, each for itself. Rejects with a `BatchError` where any of them is not published. */
  publishBatch(events: readonly (Event | BaseEvent<object>)[], options?: Timeout): Promise<PublishedEvent[]>
}

export type Dispatch = <T extends object>(
  type: string,
  data: T,
  options?: (EventOptions & Timeout) | null,
) => Promise<PublishedEvent<T>>

/** A connection to the daemon, which is made with the first event, and again for as long as there are events. */
export class Client implements Publisher {
  constructor(options?: ClientOptions)
  /** As lk-dispatch's function, and like that it needs no `this`. */
  readonly dispatch: Dispatch
  publish<T extends object>(event: Event<T> | BaseEvent<T>, options?: Timeout): Promise<PublishedEvent<T>>
  publishBatch(events: readonly (Event | BaseEvent<object>)[], options?: Timeout): Promise<PublishedEvent[]>
  /** As `publish`, but rejects with `BufferFull` at a bound. */
  tryPublish<T extends object>(event: Event<T> | BaseEvent<T>, options?: Timeout): Promise<PublishedEvent<T>>
  /** Begins a transaction: to be committed once the application's database has committed. */
  begin(): Transaction
  /** Waits for the events that are under way, 5 s unless said otherwise. Gives the number of those not confirmed. */
  flush(options?: Timeout): Promise<number>
  /** As `flush`; then the calls that are still open reject with `Closed`, and the socket is closed. */
  close(options?: Timeout): Promise<number>
  /**
   * Events under way keep the process running, for at most their timeout. With this, once the process has nothing else
   * to do, for at most `timeoutMs` (5 s): it closes the client then, and warns where an event is not confirmed. It does
   * nothing at `process.exit` and at signals: call `close` before you exit.
   */
  closeOnExit(options?: Timeout): this
  counters(): Counters
}

/** A publisher that is bound to one transaction of the application's database. */
export class Transaction implements Publisher {
  private constructor()
  /** Publishes at once, whatever becomes of the transaction. */
  publish<T extends object>(event: Event<T> | BaseEvent<T>, options?: Timeout): Promise<PublishedEvent<T>>
  publishBatch(events: readonly (Event | BaseEvent<object>)[], options?: Timeout): Promise<PublishedEvent[]>
  /**
   * Stages an event and gives its id. Throws a `DispatchError` at once where it can be none, or with `BufferFull`: an
   * open transaction must not wait for room.
   */
  publishAfterCommit(event: Event | BaseEvent<object>): string
  publishBatchAfterCommit(events: readonly (Event | BaseEvent<object>)[]): string[]
  /** Waits until the daemon has checked what is staged. Rejects with the first refusal. Call it before you commit. */
  staged(options?: Timeout): Promise<void>
  /** Publishes what is staged. Rejects with a `BatchError` where any event is not published. */
  commit(options?: Timeout): Promise<PublishedEvent[]>
  /** Forgets what is staged. Does nothing after `commit`. */
  rollback(): void
}

export function createClient(options?: ClientOptions): Client

/** lk-dispatch's options. Those of AWS are ignored, with a warning of the process: the daemon has them. */
export interface GetDispatchOptions extends ClientOptions {
  kinesisClient?: unknown
  kinesisStream?: string
}

/** What lk-dispatch exports: makes a client and gives its `dispatch`. */
export function getDispatch(options?: GetDispatchOptions): Dispatch
export default getDispatch
