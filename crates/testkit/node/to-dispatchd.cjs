// Leads an application that uses the SDK for JavaScript v2 to dispatchd, without a change to it:
//   NODE_OPTIONS=--require=/path/to-dispatchd.cjs
// Version 2 knows no AWS_ENDPOINT_URL_KINESIS; this sets the same on the application's own copy of the SDK.
'use strict'

const { createRequire } = require('module')
const endpoint = process.env.AWS_ENDPOINT_URL_KINESIS
if (endpoint) {
  try {
    const own = createRequire(process.cwd() + '/')
    own('aws-sdk').config.update({ kinesis: { endpoint } })
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error // npm and the like have no aws-sdk
  }
}
