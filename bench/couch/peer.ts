/** express-pouchdb in its smallest mode, on memory or on leveldb. */
import { createRequire } from 'node:module'
import path from 'node:path'

const { PORT, BENCH_ADAPTER, BENCH_FOLDER } = process.env
// Its packages are not ours (tests/peers).
const require = createRequire(path.resolve('tests/peers/package.json'))
const PouchDB = require('pouchdb')
PouchDB.plugin(require('pouchdb-adapter-memory'))
const databases = PouchDB.defaults(
  BENCH_ADAPTER === 'memory' ? { adapter: 'memory' } : { prefix: `${BENCH_FOLDER}/` },
)
const express = createRequire(require.resolve('express-pouchdb'))('express')
const face = require('express-pouchdb')(databases, {
  mode: 'minimumForPouchDB',
  inMemoryConfig: true,
  logPath: path.join(BENCH_FOLDER!, 'log.txt'),
})
express().use('/', face).listen(Number(PORT), '127.0.0.1')
