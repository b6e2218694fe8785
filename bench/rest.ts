/**
 * `npm run bench:rest`: what the server costs over the least that could do the same, and what
 * signing in costs those who read, and how long searches take. README.md beside this file says how it is measured.
 */
import { parseArgs } from 'node:util'
import { measureHashing } from './hashing.ts'
import type { ClosedResult } from './load.ts'
import { type OperationName, operationNames } from './operations.ts'
import { expectSameAnswers } from './same-answers.ts'
import { measureSearch } from './search.ts'
import { type ServerProcess, type Stage, setStage } from './stage.ts'
import { band, decimals, median, table } from './table.ts'

/** What we set out to reach, as a share of bare's requests a second. */
const TARGETS: Record<OperationName, number> = { list: 0.6, get: 0.5, create: 0.6, patch: 0.6 }
const WARM_UP_SECONDS = 2

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    only: { type: 'string', default: [...operationNames, 'hashing', 'search'].join(',') },
    profile: { type: 'string' },
    'without-wall': { type: 'boolean', default: false },
  },
})
const rounds = Number(options.rounds)
const seconds = Number(options.seconds)
const only = options.only.split(',')

const stage = await setStage(options.profile, !options['without-wall'])
try {
  await expectSameAnswers(stage)
  const wanted = operationNames.filter((operation) => only.includes(operation))
  const measured: Measured[] = []
  for (const operation of wanted) measured.push(await measureOperation(stage, operation))
  if (measured.length > 0) console.log(report(measured, stage.people.length))
  if (only.includes('hashing')) console.log(await measureHashing(stage, Math.max(seconds, 4)))
  if (only.includes('search')) console.log(await measureSearch(stage, rounds))
} finally {
  await stage.close()
}

interface Sample extends ClosedResult {
  /** Microseconds of CPU that the server process took for one request. */
  cpu: number
  memory: number
}

interface Measured {
  operation: OperationName
  ours: Sample[]
  bare: Sample[]
}

/** Ours and bare in turn, so that whatever else the machine does falls on both. */
async function measureOperation(stage: Stage, operation: OperationName): Promise<Measured> {
  const { ours, bare, load, people } = stage
  const measured: Measured = { operation, ours: [], bare: [] }
  for (const server of [ours, bare]) await sample(server, WARM_UP_SECONDS)
  for (let round = 0; round < rounds; round++) {
    const inTurn = [['ours', ours] as const, ['bare', bare] as const]
    if (round % 2 === 1) inTurn.reverse()
    for (const [name, server] of inTurn) measured[name].push(await sample(server, seconds))
    process.stderr.write(`${operation} ${round + 1}/${rounds}\r`)
  }
  return measured

  async function sample(server: ServerProcess, forSeconds: number): Promise<Sample> {
    const before = server.cpu()
    const result = await load.closed({ port: server.port, operation, people, seconds: forSeconds })
    if (Object.keys(result.unexpected).length > 0)
      throw new Error(`${operation}: unexpected answers ${JSON.stringify(result.unexpected)}`)
    const cpu = ((server.cpu() - before) * 1e6) / result.count
    return { ...result, cpu, memory: server.memory() }
  }
}

function report(measured: Measured[], connections: number): string {
  const rows = measured.map(({ operation, ours, bare }) => {
    const ratio = band(ours.map(({ perSecond }, round) => perSecond / bare[round]!.perSecond))
    const both = (pick: (sample: Sample) => number, digits: number) =>
      [ours, bare].map((samples) => decimals(median(samples.map(pick)), digits)).join(' / ')
    return [
      operation,
      decimals(ratio.median, 2),
      `${decimals(ratio.min, 2)}-${decimals(ratio.max, 2)}`,
      decimals(TARGETS[operation], 2),
      both(({ perSecond }) => perSecond, 0),
      both(({ p50 }) => p50, 1),
      both(({ p99 }) => p99, 1),
      both(({ cpu }) => cpu, 0),
      both(({ memory }) => memory, 0),
    ]
  })
  const head = [
    '',
    'of bare',
    'min-max',
    'target',
    'requests/s',
    'p50 ms',
    'p99 ms',
    'µs CPU',
    'MB',
  ]
  return `
${connections} connections, ${rounds} rounds of ${seconds} s each, ours / bare, medians over the rounds:

${table(head, rows)}

"of bare": requests a second of ours, of those of bare in the same round. "µs CPU": what the server
process takes for one request. "MB": its resident memory after the round.`
}
