/** The same package by way of `import`. Compiled, never run. */

import getDispatch, { createClient, type Event, type PublishedEvent } from 'dispatchd'
import { keepSample } from 'dispatchd/samples'
import { createTestClient, type Recorded } from 'dispatchd/testing'

const event: Event<{ total: number }> = { type: 'order.placed', data: { total: 12.5 } }
const published: Promise<PublishedEvent<{ total: number }>> = createClient({ disabled: true }).publish(event)
const dispatched: Promise<PublishedEvent<{ key: string }>> = getDispatch()('eventType', { key: 'value' })
const recorded: Recorded[] = createTestClient().publishedOf('order.placed')
void [published, dispatched, recorded]
keepSample('schemas', 'order.placed', event.data, '{}')
// @ts-expect-error a sample is needed
keepSample('schemas', 'order.placed')
