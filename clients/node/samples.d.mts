/** The types of dispatchd/samples for `import`. */

export * from './samples.js'
