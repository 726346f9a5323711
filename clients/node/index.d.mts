/** The types of the package for `import`. */

import { getDispatch } from './index.js'

export * from './index.js'
export default getDispatch
