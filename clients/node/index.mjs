/** The same package for `import`: the same classes, so that `instanceof` holds across both. */

import dispatchd from './index.js'

export const { BaseEvent, BaseEventPayload, BatchError, Client, DispatchError, Transaction } = dispatchd
export const { createClient, getDispatch } = dispatchd
export default getDispatch
