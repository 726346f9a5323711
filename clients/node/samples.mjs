/** dispatchd/samples for `import`. */

import samples from './samples.js'

export const { keepSample } = samples
