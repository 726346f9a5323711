// Starts kinesis-local on a free loopback port and prints that port: by itself it listens on every interface, on ports that
// must be known before, and once more with TLS, which no test needs.
// It ends when standard input does, so that a test that is killed leaves no server behind.
const net = require('net')
const path = require('path')

const PLAIN = 1
const TLS = 2
Object.assign(process.env, {
  KINESIS_MOCK_CERT_PATH: path.join(__dirname, 'node_modules/kinesis-local/server.json'),
  KINESIS_MOCK_PLAIN_PORT: String(PLAIN),
  KINESIS_MOCK_TLS_PORT: String(TLS),
  CREATE_STREAM_DURATION: '1ms',
  LOG_LEVEL: 'ERROR',
})
const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (options, ...rest) {
  const wanted = typeof options === 'object' ? options.port : options
  if (wanted === PLAIN) this.once('listening', () => console.log(this.address().port))
  return listen.call(this, { port: 0, host: '127.0.0.1' }, ...rest.filter((argument) => typeof argument === 'function'))
}
process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
require('kinesis-local/main.js')
