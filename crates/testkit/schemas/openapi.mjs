// Says whether a file is an OpenAPI 3.0 document, and exits 1 if it is not.
//
//   node openapi.mjs FILE
import { readFileSync } from 'node:fs'
import { Validator } from '@seriousme/openapi-schema-validator'

const validator = new Validator()
const { valid, errors } = await validator.validate(JSON.parse(readFileSync(process.argv[2], 'utf8')))
if (!valid || validator.version !== '3.0') {
  console.error(validator.version, JSON.stringify(errors))
  process.exit(1)
}
