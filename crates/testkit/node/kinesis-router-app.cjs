// A function whose handler is kinesis-router, behind the path at which Lambda's emulators are invoked. It answers as the
// runtime interface emulator does: 200, and a failure as an object with errorType and errorMessage. It prints a line of
// JSON for its port, for each event that a handler saw, and for each invocation the number of its records.
'use strict'

const http = require('node:http')
const createRouter = require('kinesis-router').default

const say = line => console.log(JSON.stringify(line))
const router = createRouter()
router.on('order.placed', event => say({ handled: event }))

function invoke(event) {
  return new Promise((resolve, reject) => {
    const context = { succeed: () => resolve(null), fail: reject }
    router(event, context)
  })
}

const server = http.createServer((request, response) => {
  let body = ''
  request.on('data', piece => { body += piece })
  request.on('end', async () => {
    const event = JSON.parse(body)
    say({ invoked: event.Records.length })
    let answer
    try {
      answer = await invoke(event)
    } catch (error) {
      answer = { errorType: error.name, errorMessage: String(error.message) }
    }
    response.end(JSON.stringify(answer))
  })
})
server.listen(0, '127.0.0.1', () => say({ port: server.address().port }))
