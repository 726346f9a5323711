/** The types of dispatchd/testing for `import`. */

export * from './testing.js'
