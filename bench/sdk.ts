/**
 * `npm run bench:sdk`: our client beside the client of rxdb-server, each with its own server.
 * README.md beside this file says how it is measured.
 */
import { parseArgs } from 'node:util'
import { rxSchema } from '../client-sdk/local/rx-schema.ts'
import { resources, type Task } from '../protocol/index.ts'
import { createSlowLine } from '../tests/client-sdk/slow-line.ts'
import { bundleClients, type ClientName, clientNames } from './sdk/bundle.ts'
import type { Setting } from './sdk/device.ts'
import { openPlaces, type Place } from './sdk/places.ts'
import { openGround } from './stage.ts'
import { type Endpoints, setSyncStage } from './sync/stage.ts'
import { band, decimals, median, table } from './table.ts'

const TASKS = 10_000
const LISTED = 100
const EDITS_PER_SECOND = 20
const SECONDS = 10
/** What our client asks for, which nobody can set. */
const PULL_BATCH = 2_000
const PUSH_BATCH = 200

/** A line of a city: 20 Mbit/s each way, and 40 ms there and back. */
const LINE = { bytesPerSecond: 2_500_000, delayMs: 20 }

/** Milliseconds, one figure a round. */
interface Measured extends Record<ClientName, number[]> {
  name: string
}

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', default: 'sync,line,latency' },
    in: { type: 'string', default: 'node,chromium' },
    profile: { type: 'string' },
  },
})
const rounds = Number(options.rounds)
const only = options.only.split(',')

const bundles = await bundleClients()
const ground = await openGround()
const places = await openPlaces(options.in.split(','), options.profile)
try {
  const stage = await setSyncStage(ground)
  const measured: Measured[] = []
  if (only.includes('sync')) {
    const person = await stage.person('few', TASKS)
    for (const place of places) measured.push(await measureFirstSync(place, person))
  }
  if (only.includes('line')) {
    const person = await stage.person('few', TASKS)
    for (const place of places) measured.push(await measureOverLine(place, person))
  }
  if (only.includes('latency')) {
    const person = await stage.person('listener', LISTED)
    for (const place of places) measured.push(...(await measureLatency(place, person)))
  }
  console.log(report(measured))
} finally {
  for (const place of places) await place.close()
  await ground.close()
}

/** From nothing on the device until a query counts all tasks. */
async function measureFirstSync(place: Place, person: Endpoints, way = ''): Promise<Measured> {
  const ms: Measured = { name: `first sync${way}, ${place.name}`, ours: [], peer: [] }
  for (let round = -1; round < rounds; round++) {
    const fingerprints = new Set<string>()
    for (const client of inTurn(round)) {
      const result = await place.run(bundles[client], {
        kind: 'first sync',
        count: TASKS,
        ...settingOf(place, person, client),
      })
      if (result.pullBatch !== PULL_BATCH)
        throw new Error(`${client} asks for ${result.pullBatch} tasks at a time, not ${PULL_BATCH}`)
      fingerprints.add(result.fingerprint)
      if (round >= 0) ms[client].push(result.ms)
    }
    if (fingerprints.size > 1) throw new Error('The two devices do not hold the same tasks')
    process.stderr.write(`${ms.name} ${round + 1}/${rounds}\r`)
  }
  return ms
}

/** The same, through a line to each server. */
async function measureOverLine(place: Place, person: Endpoints): Promise<Measured> {
  const lines = await Promise.all(
    clientNames.map(async (client) => {
      const { origin } = new URL(person[client].url)
      return createSlowLine(origin, LINE.bytesPerSecond, LINE.delayMs)
    }),
  )
  const through = { ...person }
  for (const [i, client] of clientNames.entries()) {
    const { pathname } = new URL(person[client].url)
    through[client] = { ...person[client], url: lines[i]!.url + pathname }
  }
  const measured = await measureFirstSync(place, through, ' over a line')
  for (const line of lines) await line.close()
  return measured
}

/** From just before an edit on one device until a query of another one shows it. */
async function measureLatency(place: Place, person: Endpoints): Promise<Measured[]> {
  const p50: Measured = { name: `edit, ${place.name}, p50`, ours: [], peer: [] }
  const p99: Measured = { name: `edit, ${place.name}, p99`, ours: [], peer: [] }
  for (let round = -1; round < rounds; round++) {
    for (const client of inTurn(round)) {
      const latencies = await place.run(bundles[client], {
        kind: 'latency',
        count: LISTED,
        perSecond: EDITS_PER_SECOND,
        seconds: SECONDS,
        ...settingOf(place, person, client),
      })
      if (round < 0) continue
      p50[client].push(latencies.p50)
      p99[client].push(latencies.p99)
    }
    process.stderr.write(`edit, ${place.name} ${round + 1}/${rounds}\r`)
  }
  return [p50, p99]
}

function settingOf({ storage }: Place, person: Endpoints, client: ClientName): Setting {
  const schema = rxSchema<Task>(resources.tasks)
  return { ...person[client], storage, schema, pullBatch: PULL_BATCH, pushBatch: PUSH_BATCH }
}

/** The round before the first is to warm up the servers. */
function inTurn(round: number): readonly ClientName[] {
  return round % 2 === 0 ? clientNames : clientNames.toReversed()
}

function report(measured: readonly Measured[]): string {
  const rows = measured.map(({ name, ours, peer }) => {
    const ratio = band(ours.map((ms, round) => ms / peer[round]!))
    const ranged = (all: number[]) => {
      const { min, max } = band(all)
      return `${decimals(median(all), 1)} (${decimals(min, 1)}-${decimals(max, 1)})`
    }
    return [
      name,
      ranged(ours),
      ranged(peer),
      `${decimals(ratio.median, 2)} (${decimals(ratio.min, 2)}-${decimals(ratio.max, 2)})`,
    ]
  })
  return `
${TASKS.toLocaleString('en')} tasks in pages of ${PULL_BATCH}; ${EDITS_PER_SECOND} edits a second, ${EDITS_PER_SECOND * SECONDS} a round, in a list of ${LISTED}; ${rounds} rounds:

${table(['', 'ours ms (min-max)', 'peer ms (min-max)', 'of peer (min-max)'], rows)}

"of peer": milliseconds of ours, of those of the peer in the same round. The smaller the better.`
}
