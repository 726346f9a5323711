// Has AsyncAPI's own parser read a file: prints the names of its messages, and exits 1 if the parser
// finds an error.
//
//   node asyncapi.cjs FILE
'use strict'

const fs = require('node:fs')
const { Parser } = require('@asyncapi/parser')

async function main(file) {
  const { document, diagnostics } = await new Parser().parse(fs.readFileSync(file, 'utf8'))
  const errors = diagnostics.filter(({ severity }) => severity === 0)
  if (errors.length > 0 || document === undefined) {
    console.error(JSON.stringify(errors))
    process.exit(1)
  }
  const messages = document.channels().all().flatMap((channel) => channel.messages().all())
  console.log(JSON.stringify(messages.map((message) => message.name()).sort()))
}

main(process.argv[2])
