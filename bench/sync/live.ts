import { v7 as uuidv7 } from 'uuid'
import type { Latencies } from '../latencies.ts'
import { band, decimals, median, table } from '../table.ts'
import { taskOf } from '../tasks.ts'
import { bodiesOf, created } from './rows.ts'
import type { SyncStage } from './stage.ts'

const TASKS = 500
const SECONDS = 3
const WARM_UP_SECONDS = 2

type Measured = 'ours' | 'peer' | 'floor'

const settings = [
  { name: 'one listener', listeners: 1, perSecond: 50 },
  { name: '100 listeners', listeners: 100, perSecond: 10 },
]

/**
 * From just before a write leaves until the last of a person's listeners has it. The floor is the answer of bare: nothing
 * can tell others of a write before it is durable.
 */
export async function measureLive(
  { person, newcomer, device }: SyncStage,
  rounds: number,
): Promise<string> {
  const { ours, peer } = await person('listener', TASKS)
  const { bare } = await newcomer()
  const tasks = Array.from({ length: TASKS }, (_, n) => taskOf(uuidv7(), n))
  await device.push({ ...bare, bodies: bodiesOf(created(tasks), TASKS) })
  const rows: string[][] = []
  for (const { name, ...setting } of settings) {
    const samples = { ours: [], peer: [], floor: [] } as Record<Measured, Latencies[]>
    for (let round = -1; round < rounds; round++) {
      const seconds = round < 0 ? WARM_UP_SECONDS : SECONDS
      const inTurn = [
        ['ours', ours, 'socket'] as const,
        ['peer', peer, 'stream'] as const,
        ['floor', bare, 'answer'] as const,
      ]
      if (round % 2 === 1) inTurn.reverse()
      for (const [server, endpoint, by] of inTurn) {
        const latencies = await device.live({ ...endpoint, by, ...setting, seconds })
        if (round >= 0) samples[server].push(latencies)
      }
      process.stderr.write(`${name} ${round + 1}/${rounds}\r`)
    }
    const ratio = (other: Measured, pick: (latencies: Latencies) => number) => {
      const of = band(samples.ours.map((mine, round) => pick(mine) / pick(samples[other][round]!)))
      return `${decimals(of.median, 2)} (${decimals(of.min, 2)}-${decimals(of.max, 2)})`
    }
    const each = (pick: (latencies: Latencies) => number) =>
      [samples.ours, samples.peer, samples.floor]
        .map((all) => decimals(median(all.map(pick)), 1))
        .join(' / ')
    rows.push([
      `${name}, ${setting.perSecond} writes/s`,
      each(({ p50 }) => p50),
      each(({ p99 }) => p99),
      ratio('peer', ({ p50 }) => p50),
      ratio('peer', ({ p99 }) => p99),
      ratio('floor', ({ p50 }) => p50),
    ])
  }
  return `
From a write to the last listener of its person: frames of ours / events of peer / answers of bare, ${rounds} rounds of ${SECONDS} s:

${table(['', 'p50 ms', 'p99 ms', 'p50 of peer (min-max)', 'p99 of peer (min-max)', 'p50 of floor (min-max)'], rows)}`
}
