/**
 * `npm run bench:load`: what nodes carry. Sockets and their memory, writes and their way to devices,
 * overload, readers that stop, leaks. README.md beside this file says how it is measured.
 */
import { cpus, loadavg, totalmem } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { openLine } from '../tests/support/line.ts'
import type { CrowdJob, Member, Read, Written } from './capacity/crowd.ts'
import { summary } from './latencies.ts'
import { addPerson, openGround, type ServerProcess } from './stage.ts'
import { band, decimals, median, table } from './table.ts'

const parts = ['sockets', 'writes', 'stopped', 'overload', 'leak'] as const

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: parts.join(',') },
    sockets: { type: 'string', default: '10000' },
    writes: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '60' },
    /** Of the leak check. Default: five times the seconds. */
    minutes: { type: 'string' },
  },
})
const only = options.only.split(',')
const sockets = Number(options.sockets)
const writesPerSecond = Number(options.writes)
const seconds = Number(options.seconds)
const leakSeconds = options.minutes === undefined ? 5 * seconds : 60 * Number(options.minutes)

const CROWDS = 2
/** Connections that are being opened at a time, by each crowd. */
const AT_ONCE = 50
/** Of the parts that write: a socket for each. */
const WRITERS = Math.min(600, sockets)
/** So few sockets, and so long texts, that those of readers who have stopped fill up. */
const READERS = Math.min(50, sockets)
const LONG_TEXT = 'All of the itinerary. '.repeat(450)
const TEXT = 'The early one, with a cabin.'
const ROUNDS = 5
/** So that the database is what limits the node that is overloaded, not a core that the load needs too. */
const FEW_CONNECTIONS = 4
const SLOW_MS = 20
const CLIENTS = 16
const OVERLOAD = 10
const TOKEN = 'Vb3kQ9xZt7Lw2Rf5Yh8Jn4Mc6Pd1Sg0A'

const ground = await openGround()
try {
  console.log(await machine())
  const crowds = Array.from({ length: CROWDS }, () =>
    ground.startWorker('dist/bench/capacity/crowd.js'),
  )
  const tokens = await people(Math.max(sockets, WRITERS))
  const node = () => ground.startOurs(undefined, { METRICS_TOKEN: TOKEN })
  const nodes = [await node(), await node(), await node()] as const
  const measure = { sockets: measureSockets, writes, stopped, overload, leak }
  for (const part of parts) if (only.includes(part)) console.log(`\n${await measure[part]()}`)

  /** The same job for every crowd, with its part of the members. */
  async function all<Result>(job: CrowdJob): Promise<Result[]> {
    return Promise.all(crowds.map((run) => run<Result>(job)))
  }

  /** A socket for each of so many people; writes go to another node, if there is one. */
  async function gather(count: number, at: readonly ServerProcess[]): Promise<number> {
    const members: Member[] = tokens.slice(0, count).map((access, i) => ({
      access,
      listensTo: at[i % at.length]!.url,
      writesTo: at[(i + 1) % at.length]!.url,
    }))
    const began = performance.now()
    await Promise.all(
      crowds.map((run, crowd) =>
        run({
          kind: 'open',
          members: members.filter((_, i) => i % CROWDS === crowd),
          atOnce: AT_ONCE,
        }),
      ),
    )
    return (performance.now() - began) / 1000
  }

  async function measureSockets(): Promise<string> {
    const [one] = nodes
    // The first ones warm up.
    await gather(Math.ceil(sockets / 20), [one])
    await all({ kind: 'close' })
    const [memory, cpu] = [one.memory(), one.cpu()]
    const took = await gather(sockets, [one])
    await sleep(2_000)
    const [more, spent] = [one.memory() - memory, one.cpu() - cpu]
    await all({ kind: 'close' })
    const row = [
      String(sockets),
      decimals((more * 1024) / sockets, 1),
      decimals(one.memory(), 0),
      decimals(sockets / took, 0),
      decimals((spent * 1000) / sockets, 2),
    ]
    return `Sockets of one node, each of another user:

${table(['sockets', 'KB each', 'MB in all', 'accepted/s', 'CPU ms each'], [row])}`
  }

  async function writes(): Promise<string> {
    await gather(WRITERS, nodes)
    const cpu = nodes.map((each) => each.cpu())
    const measured = merged(await writing(writesPerSecond, seconds))
    const busy = nodes.map((each, i) => (each.cpu() - cpu[i]!) / seconds)
    await all({ kind: 'close' })
    const { p50, p99, count } = summary(measured.latencies)
    const row = [
      decimals(count / seconds, 0),
      decimals(p50, 1),
      decimals(p99, 1),
      String(measured.missing),
      JSON.stringify(measured.statuses),
      busy.map((each) => decimals(each, 2)).join(' '),
    ]
    return `${writesPerSecond} writes/s over three nodes for ${seconds} s, ${WRITERS} sockets, each on another node than its writer:

${table(['arrived/s', 'p50 ms', 'p99 ms', 'missing', 'statuses', 'cores of each node'], [row])}`
  }

  async function stopped(): Promise<string> {
    await gather(READERS, nodes)
    const perSecond = writesPerSecond / 4
    const each = seconds / 6
    const p99 = { reading: [] as number[], stopped: [] as number[] }
    let heldBack = 0
    await writing(perSecond, each)
    for (let round = 0; round < ROUNDS; round++) {
      const inTurn = [['reading', 0] as const, ['stopped', 0.1] as const]
      if (round % 2 === 1) inTurn.reverse()
      for (const [name, share] of inTurn) {
        await all({ kind: 'pause', share })
        const before = await frames()
        const { latencies, statuses } = merged(await writing(perSecond, each, LONG_TEXT))
        p99[name].push(summary(latencies).p99)
        if (share > 0) heldBack += statuses[201]! - ((await frames()) - before)
      }
    }
    await all({ kind: 'pause', share: 0 })
    await all({ kind: 'close' })
    const ratio = band(p99.stopped.map((ms, round) => ms / p99.reading[round]!))
    const row = [
      decimals(median(p99.reading), 1),
      decimals(median(p99.stopped), 1),
      `${decimals(ratio.median, 2)} (${decimals(ratio.min, 2)}-${decimals(ratio.max, 2)})`,
      String(heldBack),
    ]
    return `${perSecond} writes/s of 10 KB, all of ${READERS} sockets read, or a tenth has stopped: p99 of the others, ${ROUNDS} rounds of ${decimals(each, 0)} s:

${table(['all read, ms', 'a tenth stopped, ms', 'ratio (min-max)', 'frames held back'], [row])}`
  }

  async function frames(): Promise<number> {
    const sent = await Promise.all(nodes.map((each) => metric(each, 'tasktide_frames_sent_total')))
    return sum(sent)
  }

  async function overload(): Promise<string> {
    const line = await openLine(ground.url)
    line.slowDown(SLOW_MS)
    const one = await ground.startOurs(undefined, {
      DATABASE_URL: line.url,
      DATABASE_POOL_SIZE: String(FEW_CONNECTIONS),
    })
    await gather(WRITERS, nodes)
    const each = Math.max(5, seconds / 6)
    const closed = {
      kind: 'capacity',
      url: one.url,
      clients: CLIENTS / CROWDS,
      seconds: each,
    } as const
    await all(closed)
    const capacity = sum(await all<number>(closed))
    const perSecond = (OVERLOAD * capacity) / CROWDS
    const began = performance.now()
    const answers = await all<Read>({ kind: 'read', url: one.url, perSecond, seconds: each })
    const took = (performance.now() - began) / 1000
    await sleep(3_000)
    const after = sum(await all<number>(closed))
    await all({ kind: 'close' })
    await one.stop()
    await line.close()
    const served = answers.flatMap(({ latencies }) => latencies)
    const refused = answers.flatMap(({ refusals }) => refusals)
    const asked = OVERLOAD * capacity * each
    const row = [
      decimals(capacity, 0),
      decimals(asked / took / capacity, 1),
      decimals(served.length / took / capacity, 2),
      decimals(summary(served).p99, 0),
      `${decimals((100 * refused.length) / asked, 0)} %`,
      decimals(summary(refused).p50, 0),
      decimals(summary(refused).p99, 0),
      decimals(after / capacity, 2),
    ]
    return `Lists of one node with ${FEW_CONNECTIONS} connections to a database that answers ${SLOW_MS} ms late: ${CLIENTS} clients, then ${OVERLOAD} times as many requests as those were served, for ${decimals(each, 0)} s:

${table(['served/s', 'reached', 'served in time, of that', 'p99 ms', 'refused', 'p50 ms', 'p99 ms', 'afterwards, of that'], [row])}`
  }

  async function leak(): Promise<string> {
    const one = await ground.startServer(
      [
        '--expose-gc',
        '--import=data:text/javascript,setInterval(gc,1000).unref()',
        'scripts/start.mjs',
      ],
      { METRICS_TOKEN: TOKEN },
    )
    await gather(WRITERS, [one])
    const slice = leakSeconds / 10
    const heaps: number[] = []
    const rows: string[][] = []
    for (let i = 0; i < 10; i++) {
      await all({ kind: 'churn', perSecond: 20, seconds: slice / 2 })
      await writing(writesPerSecond / 10, slice / 2)
      heaps.push(await smallestHeap(one))
      if (i % 3 === 0)
        rows.push([decimals((i + 1) * slice, 0), decimals(heaps[i]!, 1), decimals(one.memory(), 0)])
    }
    await all({ kind: 'close' })
    const third = (from: number) => median(heaps.slice(from, from + 3))
    return `One node for ${decimals(leakSeconds, 0)} s, ${WRITERS} sockets, of which 40 a second are replaced, and ${writesPerSecond / 10} writes/s, in turn:

${table(['second', 'heap MB', 'resident MB'], rows)}

Heap at the end (median of three): ${decimals(third(7) / third(1), 2)} of the one at the beginning.`
  }

  async function writing(
    perSecond: number,
    seconds: number,
    description = TEXT,
  ): Promise<Written[]> {
    return all<Written>({ kind: 'write', perSecond: perSecond / CROWDS, seconds, description })
  }
} finally {
  await ground.close()
}

function merged(all: readonly Written[]): Written {
  const statuses: Record<string, number> = {}
  for (const each of all)
    for (const [status, count] of Object.entries(each.statuses))
      statuses[status] = (statuses[status] ?? 0) + count
  return {
    latencies: all.flatMap(({ latencies }) => latencies),
    statuses,
    missing: sum(all.map(({ missing }) => missing)),
  }
}

/** Megabytes; the smallest of two seconds, so after a garbage collection. */
async function smallestHeap(node: ServerProcess): Promise<number> {
  let smallest = Number.POSITIVE_INFINITY
  for (let i = 0; i < 10; i++) {
    smallest = Math.min(smallest, (await metric(node, 'nodejs_heap_size_used_bytes')) / 2 ** 20)
    await sleep(200)
  }
  return smallest
}

async function metric({ url }: ServerProcess, name: string): Promise<number> {
  const answer = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${TOKEN}` } })
  return Number(new RegExp(`^${name} (\\S+)`, 'm').exec(await answer.text())?.[1])
}

/** The tokens of so many people without tasks. */
async function people(count: number): Promise<string[]> {
  const tokens: string[] = []
  let next = 0
  const add = async () => {
    while (next < count) tokens.push((await addPerson(ground.db, `person${next++}`, [])).access)
  }
  await Promise.all(Array.from({ length: 4 }, add))
  await ground.db.raw('vacuum analyze')
  return tokens
}

async function machine(): Promise<string> {
  const { rows } = await ground.db.raw('show server_version')
  const [processor] = cpus()
  const load = loadavg()[0]!
  return `${processor?.model}, ${cpus().length} cores, ${decimals(totalmem() / 2 ** 30, 0)} GB; Node ${process.versions.node}, Postgres ${rows[0].server_version}; load of the machine at the start: ${decimals(load, 1)}`
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
