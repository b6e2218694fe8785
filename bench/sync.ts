/**
 * `npm run bench:sync`: what replication costs over the least that could do the same, and beside
 * rxdb-server. README.md beside this file says how it is measured.
 */
import { parseArgs } from 'node:util'
import { openGround } from './stage.ts'
import { measureLive } from './sync/live.ts'
import { expectSameDocuments } from './sync/same-documents.ts'
import { MAX_NEWCOMERS, setSyncStage } from './sync/stage.ts'
import { measureTableSize } from './sync/table-size.ts'
import { measurePull, measurePush, reportTransfer } from './sync/transfer.ts'

const parts = ['pull', 'push', 'live', 'table']

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', default: parts.join(',') },
    profile: { type: 'string' },
    'without-wall': { type: 'boolean', default: false },
  },
})
// One newcomer is for the warm-up, one for comparing what the servers do, and one for the floor of live.
const rounds = Math.min(Number(options.rounds), MAX_NEWCOMERS - 3)
const only = options.only.split(',')

const ground = await openGround(!options['without-wall'])
try {
  if (only.some((part) => part !== 'table')) {
    const stage = await setSyncStage(ground, options.profile)
    await expectSameDocuments(stage)
    const measured = [
      ...(only.includes('pull') ? await measurePull(stage, rounds) : []),
      ...(only.includes('push') ? await measurePush(stage, rounds) : []),
    ]
    if (measured.length > 0) console.log(reportTransfer(measured, rounds))
    if (only.includes('live')) console.log(await measureLive(stage, rounds))
  }
  if (only.includes('table')) console.log(await measureTableSize(ground, rounds))
} finally {
  await ground.close()
}
