import type { Latencies } from '../latencies.ts'
import { band, decimals, median, table } from '../table.ts'
import type { SyncStage } from './stage.ts'

const TASKS = 500
const SECONDS = 3
const WARM_UP_SECONDS = 2

const settings = [
  { name: 'one listener', listeners: 1, perSecond: 50 },
  { name: '100 listeners', listeners: 100, perSecond: 10 },
]

/** From just before a write leaves until the last of a person's listeners has it. */
export async function measureLive({ person, device }: SyncStage, rounds: number): Promise<string> {
  const { ours, peer } = await person('listener', TASKS)
  const rows: string[][] = []
  for (const { name, ...setting } of settings) {
    const samples = { ours: [] as Latencies[], peer: [] as Latencies[] }
    for (let round = -1; round < rounds; round++) {
      const seconds = round < 0 ? WARM_UP_SECONDS : SECONDS
      const inTurn = [['ours', ours, 'socket'] as const, ['peer', peer, 'stream'] as const]
      if (round % 2 === 1) inTurn.reverse()
      for (const [server, endpoint, by] of inTurn) {
        const latencies = await device.live({ ...endpoint, by, ...setting, seconds })
        if (round >= 0) samples[server].push(latencies)
      }
      process.stderr.write(`${name} ${round + 1}/${rounds}\r`)
    }
    const ratio = (pick: (latencies: Latencies) => number) => {
      const of = band(samples.ours.map((mine, round) => pick(mine) / pick(samples.peer[round]!)))
      return `${decimals(of.median, 2)} (${decimals(of.min, 2)}-${decimals(of.max, 2)})`
    }
    const both = (pick: (latencies: Latencies) => number) =>
      [samples.ours, samples.peer].map((all) => decimals(median(all.map(pick)), 1)).join(' / ')
    rows.push([
      `${name}, ${setting.perSecond} writes/s`,
      both(({ p50 }) => p50),
      both(({ p99 }) => p99),
      ratio(({ p50 }) => p50),
      ratio(({ p99 }) => p99),
    ])
  }
  return `
From a write to the last listener of its person: frames of ours / events of peer, ${rounds} rounds of ${SECONDS} s:

${table(['', 'p50 ms', 'p99 ms', 'p50 of peer (min-max)', 'p99 of peer (min-max)'], rows)}`
}
