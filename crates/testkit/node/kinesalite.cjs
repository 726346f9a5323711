// Starts kinesalite on a free loopback port and prints that port: its own command line listens on every interface.
// It ends when standard input does, so that a test that is killed leaves no server behind.
const kinesalite = require('kinesalite')

const server = kinesalite({ createStreamMs: 5, deleteStreamMs: 5, updateStreamMs: 100, shardLimit: 100 })
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
