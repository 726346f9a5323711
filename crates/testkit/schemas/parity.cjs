// Holds the schemas of a folder against those that quicktype makes of the same samples: both are asked
// of 40 documents, each sample changed in one place. Prints a JSON line a document, with what each said.
//
//   node parity.cjs FOLDER
'use strict'

const fs = require('node:fs')
const path = require('node:path')
const { InputData, jsonInputForTargetLanguage, quicktype } = require('quicktype-core')
const Ajv = require('ajv')
const Ajv2020 = require('ajv/dist/2020')
const addFormats = require('ajv-formats')
const draft6 = require('ajv/dist/refs/json-schema-draft-06.json')

const DOCUMENTS = 40
const VALUES = [null, 7, 1.5, 'x', true, [], {}]

async function main(folder) {
  for (const file of fs.readdirSync(folder).filter((name) => name.endsWith('.sample.json'))) {
    const name = file.slice(0, -'.sample.json'.length)
    const read = (ending) => JSON.parse(fs.readFileSync(path.join(folder, name + ending), 'utf8'))
    const found = read('.sample.json')
    const samples = Array.isArray(found) ? found : [found]
    const ours = addFormats(new Ajv2020({ strict: false })).compile(read('.schema.json'))
    const ajv = addFormats(new Ajv({ strict: false, logger: false }))
    ajv.addMetaSchema(draft6)
    const theirs = ajv.compile(await quicktypes(samples))
    for (const document of samples.concat(spread(samples.flatMap(changed), DOCUMENTS))) {
      console.log(JSON.stringify({ name, document, ours: ours(document), theirs: theirs(document) }))
    }
  }
}

async function quicktypes(samples) {
  const input = jsonInputForTargetLanguage('schema')
  await input.addSource({ name: 'T', samples: samples.map((sample) => JSON.stringify(sample)) })
  const inputData = new InputData()
  inputData.addInput(input)
  const { lines } = await quicktype({ inputData, lang: 'schema' })
  return JSON.parse(lines.join('\n'))
}

/** The document changed in one place, in every way. */
function changed(document) {
  const documents = []
  const visit = (value, put) => {
    for (const other of VALUES) {
      documents.push(put(other))
    }
    if (Array.isArray(value)) {
      value.forEach((member, at) => visit(member, (other) => put(value.with(at, other))))
    } else if (value !== null && typeof value === 'object') {
      documents.push(put({ ...value, another: 1 }))
      for (const name of Object.keys(value)) {
        const { [name]: _, ...rest } = value
        documents.push(put(rest))
        visit(value[name], (other) => put({ ...value, [name]: other }))
      }
    }
  }
  visit(document, (other) => other)
  return documents
}

/** So many of them, from all over. */
function spread(documents, count) {
  const step = documents.length / count
  return Array.from({ length: count }, (_, at) => documents[Math.floor(at * step)])
}

main(process.argv[2])
