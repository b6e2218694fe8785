import { v7 as uuidv7 } from 'uuid'
import { band, decimals, median, table } from '../table.ts'
import { taskOf } from '../tasks.ts'
import { bodiesOf, changed, created } from './rows.ts'
import { type Endpoints, type ServerName, type SyncStage, serverNames } from './stage.ts'

const PAGE = 1_000
const BATCH = 100
const FEW = 10_000
const MANY = 100_000

interface Sample {
  perSecond: number
  /** Microseconds of CPU that the server process took for one document. */
  cpu: number
}

interface Measured {
  name: string
  target: number
  samples: Record<ServerName, Sample[]>
}

/** Everything that a person has, to a device that has nothing. */
export async function measurePull(stage: SyncStage, rounds: number): Promise<Measured[]> {
  const few = measured('pull 10,000', 0.6)
  const many = measured('pull 100,000', 0.6)
  const people = { few: await stage.person('few', FEW), many: await stage.person('many', MANY) }
  for (let round = -1; round < rounds; round++) {
    await pullAll(few, people.few, FEW, round)
    await pullAll(many, people.many, MANY, round)
    process.stderr.write(`pull ${round + 1}/${rounds}\r`)
  }
  return [few, many]

  async function pullAll(into: Measured, person: Endpoints, count: number, round: number) {
    for (const server of inTurn(round))
      await sample(stage, into, server, count, round, async () => {
        const result = await stage.device.pull({ ...person[server], limit: PAGE })
        if (result.count !== count) throw new Error(`${server} gives ${result.count} of ${count}`)
        return result
      })
  }
}

/** What a device has made and changed while it was offline. */
export async function measurePush(stage: SyncStage, rounds: number): Promise<Measured[]> {
  const fresh = measured('push 10,000 new', 0.4)
  const edited = measured('push 10,000 changed', 0.4)
  for (let round = -1; round < rounds; round++) {
    const person = await stage.newcomer()
    const tasks = Array.from({ length: FEW }, (_, n) => taskOf(uuidv7(), n))
    for (const [into, rows] of [
      [fresh, created(tasks)],
      [edited, changed(tasks)],
    ] as const) {
      const bodies = bodiesOf(rows, BATCH)
      for (const server of inTurn(round))
        await sample(stage, into, server, FEW, round, () =>
          stage.device.push({ ...person[server], bodies }),
        )
    }
    process.stderr.write(`push ${round + 1}/${rounds}\r`)
  }
  return [fresh, edited]
}

export function reportTransfer(measured: readonly Measured[], rounds: number): string {
  const rows = measured.map(({ name, target, samples: { ours, bare, peer } }) => {
    const ofBare = band(ours.map(({ perSecond }, round) => perSecond / bare[round]!.perSecond))
    const ofPeer = band(ours.map(({ perSecond }, round) => perSecond / peer[round]!.perSecond))
    const all = (pick: (sample: Sample) => number) =>
      [ours, bare, peer].map((samples) => decimals(median(samples.map(pick)), 0)).join(' / ')
    return [
      name,
      decimals(ofBare.median, 2),
      `${decimals(ofBare.min, 2)}-${decimals(ofBare.max, 2)}`,
      decimals(target, 2),
      decimals(ofPeer.median, 2),
      `${decimals(ofPeer.min, 2)}-${decimals(ofPeer.max, 2)}`,
      all(({ perSecond }) => perSecond),
      all(({ cpu }) => cpu),
    ]
  })
  const head = ['', 'of bare', 'min-max', 'target', 'of peer', 'min-max', 'documents/s', 'µs CPU']
  return `
Pages of ${PAGE}, batches of ${BATCH}; ${rounds} rounds, ours / bare / peer, medians over the rounds:

${table(head, rows)}

"of bare", "of peer": documents a second of ours, of those of the other in the same round. "µs CPU":
what the server process takes for one document, Postgres apart.`
}

function measured(name: string, target: number): Measured {
  return { name, target, samples: { ours: [], bare: [], peer: [] } }
}

/** Each goes first as often as the others. */
function inTurn(round: number): ServerName[] {
  const first = (round + serverNames.length) % serverNames.length
  return [...serverNames.slice(first), ...serverNames.slice(0, first)]
}

/** Does the work and notes what it cost; the round before the first is to warm up. */
async function sample(
  { servers }: SyncStage,
  { samples }: Measured,
  server: ServerName,
  count: number,
  round: number,
  work: () => Promise<{ ms: number }>,
): Promise<void> {
  const before = servers[server].cpu()
  const { ms } = await work()
  const cpu = ((servers[server].cpu() - before) * 1e6) / count
  if (round >= 0) samples[server].push({ perSecond: (count * 1000) / ms, cpu })
}
