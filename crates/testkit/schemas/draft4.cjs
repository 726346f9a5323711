// Asks a schema in draft 4 of values: prints a JSON array with true for each that fits.
//
//   node draft4.cjs SCHEMA VALUES, both files, the second with an array
'use strict'

const fs = require('node:fs')
const Ajv4 = require('ajv-draft-04')
const addFormats = require('ajv-formats')

const [schema, values] = process.argv.slice(2).map((file) => JSON.parse(fs.readFileSync(file, 'utf8')))
const fits = addFormats(new Ajv4({ strict: false })).compile(schema)
console.log(JSON.stringify(values.map((value) => fits(value))))
