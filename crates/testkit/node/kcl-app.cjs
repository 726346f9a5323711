// A record processor of aws-kcl, as its users write them.
//
//     kcl-app.cjs FOLDER each|end [DATA]
//
// It notes what it is told in FOLDER, as python/child.py does, and sets a checkpoint at each record
// or after each batch. After the record with this data it dies, once.

const fs = require('fs');
const path = require('path');
const { promisify } = require('util');
const kcl = require('aws-kcl');

const [folder, mode, diesAt] = process.argv.slice(2);
const note = (name, line) => fs.appendFileSync(path.join(folder, name), `${line}\n`);

let shard;

// The callback has an error's name, or null.
const checkpoint = (checkpointer, ...at) =>
  promisify((done) => checkpointer.checkpoint(...at, (error) => done(error && new Error(error))))();

async function processRecords({ records, checkpointer }) {
  for (const record of records) {
    const data = Buffer.from(record.data, 'base64').toString();
    note('records', `${shard} ${record.sequenceNumber} ${record.subSequenceNumber} ${data}`);
    if (mode === 'each') await checkpoint(checkpointer, record.sequenceNumber);
    if (data === diesAt && !fs.existsSync(path.join(folder, 'failed'))) {
      note('failed', process.pid);
      process.exit(3);
    }
  }
  if (mode === 'end') await checkpoint(checkpointer);
}

kcl({
  initialize({ shardId, sequenceNumber }, done) {
    shard = shardId;
    note('actions', `${shard} initialize ${sequenceNumber}`);
    done();
  },
  processRecords(input, done) {
    processRecords(input).then(done);
  },
  leaseLost(input, done) {
    note('actions', `${shard} leaseLost`);
    done();
  },
  shardEnded({ checkpointer }, done) {
    checkpoint(checkpointer).then(() => {
      note('actions', `${shard} shardEnded`);
      done();
    });
  },
  shutdownRequested({ checkpointer }, done) {
    checkpoint(checkpointer).then(() => {
      note('actions', `${shard} shutdownRequested`);
      done();
    });
  },
}).run();

process.on('exit', () => note('actions', 'all EOF'));
