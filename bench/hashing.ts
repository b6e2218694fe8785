import type { OpenResult } from './load.ts'
import { PASSWORD, type Stage } from './stage.ts'
import { type Band, band, decimals, median, table } from './table.ts'

const READS_PER_SECOND = 200
const SIGN_INS_PER_SECOND = 8
const ALTERNATIONS = 5

/** Reads at a steady rate while nobody signs in, and while eight people a second do. */
export async function measureHashing({ load, ours, people }: Stage, seconds: number) {
  const measure = (signInsPerSecond: number, forSeconds: number) =>
    load.open({
      port: ours.port,
      people,
      password: PASSWORD,
      readsPerSecond: READS_PER_SECOND,
      signInsPerSecond,
      seconds: forSeconds,
    })
  await measure(SIGN_INS_PER_SECOND, 1)
  const quiet: OpenResult[] = []
  const busy: OpenResult[] = []
  for (let i = 0; i < ALTERNATIONS; i++) {
    quiet.push(await measure(0, seconds))
    busy.push(await measure(SIGN_INS_PER_SECOND, seconds))
  }
  const unexpected = [...quiet, ...busy].flatMap((result) => Object.entries(result.unexpected))
  const statuses = totals(busy.map(({ signInStatuses }) => signInStatuses))
  const strange = Object.keys(statuses).filter((status) => !['200', '429'].includes(status))
  if (unexpected.length > 0 || strange.length > 0)
    throw new Error(`Unexpected answers: ${JSON.stringify({ unexpected, statuses })}`)

  const p99 = (results: OpenResult[]) => results.map(({ reads }) => reads.p99)
  const ratio: Band = band(p99(busy).map((value, i) => value / p99(quiet)[i]!))
  const row = (name: string, results: OpenResult[]) => [
    name,
    decimals(median(results.map(({ reads }) => reads.p50)), 1),
    decimals(median(p99(results)), 1),
    p99(results)
      .map((value) => decimals(value, 1))
      .join(', '),
  ]
  return `
${table(
  [`${READS_PER_SECOND} reads a second (get)`, 'p50 ms', 'p99 ms', 'p99 of each round'],
  [row('nobody signs in', quiet), row(`${SIGN_INS_PER_SECOND} sign-ins a second`, busy)],
)}

p99 with sign-ins, of p99 without: ${decimals(ratio.median, 2)} (${decimals(ratio.min, 2)} to ${decimals(ratio.max, 2)}); it may not reach 2.
Sign-ins answered: ${Object.entries(statuses)
    .map(([status, count]) => `${count} with ${status}`)
    .join(
      ', ',
    )}; p50 ${decimals(median(busy.map(({ signIns }) => signIns.p50)), 0)} ms, refused ones included.`
}

function totals(counts: Record<string, number>[]): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const [key, count] of counts.flatMap(Object.entries)) sums[key] = (sums[key] ?? 0) + count
  return sums
}
