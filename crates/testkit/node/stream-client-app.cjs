// An application with Rabble Rouser's stream client as its users have it: it publishes, and handles what is posted to it.
// Arguments: the package of Express, the port (0: any) or the path of a socket, the emulator's endpoint, the stream. It
// prints a line of JSON for its port, for each event that it handled, and for each answer. A line of JSON on standard
// input is a list of events to publish, one after the other.
'use strict'

const readline = require('node:readline')
const createClient = require('@rabblerouser/stream-client')

const [expressPackage, port, kinesisEndpoint, publishToStream] = process.argv.slice(2)
const express = require(expressPackage)

const say = line => console.log(JSON.stringify(line))
const logger = { debug() {}, info() {}, warn() {}, error() {} }
const client = createClient({
  publishToStream,
  listenWithAuthToken: 'secret',
  region: 'us-east-1',
  accessKeyId: 'test',
  secretAccessKey: 'test',
  kinesisEndpoint,
  logger
})

// `fails`: how often the handler rejects before it takes the event.
const rejected = {}
client.on('member-registered', async data => {
  rejected[data.n] = rejected[data.n] ?? 0
  if (rejected[data.n] < (data.fails ?? 0)) {
    rejected[data.n]++
    throw new Error('not now')
  }
  say({ handled: data })
})
// What a stream client does not survive: a handler that returns no promise. On Express 4 that is a rejection which nobody
// handles, and an application that logs such ones lives on with a client that answers 503 for ever.
if (process.env.WEDGES) process.on('unhandledRejection', () => {})
client.on('member-removed', data => {
  if (process.env.WEDGES) return undefined
  say({ handled: data })
  return Promise.resolve()
})

const app = express()
app.use(express.json())
app.use((request, response, next) => {
  response.on('finish', () => say({ status: response.statusCode }))
  next()
})
app.post('/events', client.listen())
const place = port.startsWith('/') ? [port] : [Number(port), '127.0.0.1']
const server = app.listen(...place, () => say({ port: server.address().port ?? 0 }))

async function publish(events) {
  for (const { type, data } of events) await client.publish(type, data)
  say({ published: events.length })
}
readline.createInterface({ input: process.stdin }).on('line', line => publish(JSON.parse(line)))
