/**
 * `npm run bench:couch`: the CouchDB face beside express-pouchdb, with PouchDB as the client of all. README.md
 * beside this file says how it is measured.
 */
import { parseArgs } from 'node:util'
import { v7 as uuidv7 } from 'uuid'
import { type CouchServer, type CouchStage, couchServers, setCouchStage } from './couch/stage.ts'
import { openGround } from './stage.ts'
import { band, decimals, median, table } from './table.ts'
import { taskOf } from './tasks.ts'

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', default: 'transfer,live' },
    profile: { type: 'string' },
  },
})
const rounds = Number(options.rounds)
const DOCUMENTS = 10_000
const EDITS = 100

/** By server, one figure for each round. */
type Samples = Record<CouchServer, number[]>
const noSamples = (): Samples => ({ ours: [], leveldb: [], memory: [] })

const ground = await openGround()
try {
  const stage = await setCouchStage(ground, options.profile)
  try {
    if (options.only.includes('transfer')) console.log(await measureTransfer(stage))
    if (options.only.includes('live')) console.log(await measureLive(stage))
  } finally {
    await stage.close()
  }
} finally {
  await ground.close()
}

/** What one device has made offline, and then all of it to another device. */
async function measureTransfer({ servers, device, newcomer }: CouchStage): Promise<string> {
  const rows: string[][] = []
  for (const batch of [100, 1_000]) {
    const samples = { push: noSamples(), pull: noSamples() }
    const cpu = { push: noSamples(), pull: noSamples() }
    for (let round = -1; round < rounds; round++) {
      const person = await newcomer()
      const documents = Array.from({ length: DOCUMENTS }, (_, n) => taskOf(uuidv7(), n))
      for (const kind of ['push', 'pull'] as const)
        for (const server of inTurn(round)) {
          const before = servers[server].cpu()
          const { ms, count } =
            kind === 'push'
              ? await device.push({ ...person[server], batch, documents })
              : await device.pull({ ...person[server], batch })
          if (count !== DOCUMENTS) throw new Error(`${server} ${kind}: ${count} of ${DOCUMENTS}`)
          if (round < 0) continue
          samples[kind][server].push((DOCUMENTS * 1000) / ms)
          cpu[kind][server].push(((servers[server].cpu() - before) * 1e6) / DOCUMENTS)
        }
      process.stderr.write(`batches of ${batch} ${round + 1}/${rounds}\r`)
    }
    for (const kind of ['push', 'pull'] as const)
      rows.push([
        `${kind} 10,000, batches of ${batch}`,
        ratio(samples[kind], 'leveldb'),
        ratio(samples[kind], 'memory'),
        each(samples[kind], 0),
        each(cpu[kind], 0),
      ])
  }
  return `
${rounds} rounds, ours / leveldb / memory, medians over the rounds:

${table(['', 'of leveldb (min-max)', 'of memory (min-max)', 'documents/s', 'µs CPU'], rows)}

"of": documents a second of ours, of those of the other in the same round. "µs CPU": what the server process takes
for one document, Postgres apart.`
}

/** From an edit on one device until another one has it. */
async function measureLive({ device, newcomer }: CouchStage): Promise<string> {
  const samples = { p50: noSamples(), p99: noSamples() }
  for (let round = 0; round < rounds; round++) {
    const person = await newcomer()
    for (const server of inTurn(round)) {
      const document = taskOf(uuidv7(), 1)
      const { p50, p99 } = await device.live({ ...person[server], document, edits: EDITS })
      samples.p50[server].push(p50)
      samples.p99[server].push(p99)
    }
    process.stderr.write(`live ${round + 1}/${rounds}\r`)
  }
  const rows = (['p50', 'p99'] as const).map((name) => [
    `live, ${name}`,
    ratio(samples[name], 'leveldb'),
    ratio(samples[name], 'memory'),
    each(samples[name], 1),
  ])
  return `
From an edit on one device to the other, ${EDITS} edits in each round, ours / leveldb / memory:

${table(['', 'of leveldb (min-max)', 'of memory (min-max)', 'ms'], rows)}`
}

/** Each goes first as often as the others. */
function inTurn(round: number): CouchServer[] {
  const first = (round + couchServers.length) % couchServers.length
  return [...couchServers.slice(first), ...couchServers.slice(0, first)]
}

function ratio({ ours, ...others }: Samples, of: Exclude<CouchServer, 'ours'>): string {
  const found = band(ours.map((mine, round) => mine / others[of][round]!))
  return `${decimals(found.median, 2)} (${decimals(found.min, 2)}-${decimals(found.max, 2)})`
}

function each(samples: Samples, digits: number): string {
  return couchServers.map((server) => decimals(median(samples[server]), digits)).join(' / ')
}
