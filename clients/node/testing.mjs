/** dispatchd/testing for `import`. */

import testing from './testing.js'

export const { TestClient, createTestClient } = testing
