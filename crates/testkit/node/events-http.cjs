// Sends CloudEvents to a daemon's socket as the official SDK makes them, and reads what was published with the same SDK.
// Arguments: send SOCKET, which prints an answer's status a line; or read, which reads events from standard input, a line
// each, and prints the id and the data of each.
'use strict'

const fs = require('node:fs')
const http = require('node:http')
const { CloudEvent, HTTP } = require('cloudevents')

const [, , what, socketPath] = process.argv

function event(id, attributes) {
  return new CloudEvent({ id, source: '/orders', type: 'placed', ...attributes })
}

function post({ headers, body }) {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath, path: '/v1/events', method: 'POST', headers }, (response) => {
      let text = ''
      response.on('data', (piece) => { text += piece })
      response.on('end', () => resolve(`${response.statusCode} ${JSON.parse(text).id}`))
    })
    request.on('error', reject)
    request.end(body)
  })
}

async function send() {
  for (const mode of ['binary', 'structured']) {
    for (const made of [
      event(`js-${mode}-json`, { subject: 'customer-9', partitionkey: 'k', count: 7, data: { n: 1.5, text: '\u00e9' } }),
      event(`js-${mode}-typed`, { datacontenttype: 'application/json', data: [1, 2] }),
      event(`js-${mode}-text`, { datacontenttype: 'text/plain', data: 'plain text' })
    ]) {
      console.log(await post(HTTP[mode](made)))
    }
  }
}

function read() {
  for (const line of fs.readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
    const { id, data } = HTTP.toEvent({ headers: { 'content-type': 'application/cloudevents+json' }, body: line })
    console.log(JSON.stringify([id, data]))
  }
}

if (what === 'send') send()
else read()
