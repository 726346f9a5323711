/** A client for an application's own tests: the real one, with a daemon in memory in place of the socket. */

import { Client, ClientOptions, ErrorCode, EventOptions, Outcome } from './index.js'

/** A published event as JSON has it, with its options beside it. */
export interface Recorded extends EventOptions {
  id: string
  type: string
  data: any
  timestamp: string
  partitionKey: string
  sequenceNumber: string
}

export class TestClient extends Client {
  constructor(options?: ClientOptions)
  /** What is published so far, in its order. */
  readonly published: Recorded[]
  publishedOf(type: string): Recorded[]
  /** Refuses the next event, when it is published or staged. The application sees the code as it is, never a retry. */
  refuseNext(code: ErrorCode, about?: { message?: string; retryable?: boolean; outcome?: Outcome }): void
  /** Forgets what was published, and the refusals that are left. */
  reset(): void
}

export function createTestClient(options?: ClientOptions): TestClient
