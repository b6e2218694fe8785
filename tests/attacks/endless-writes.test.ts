import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { type Attacker, openArena } from './arena.ts'

/** What a person may write in a minute by default: 20,000 times 2 kB. */
const BYTES_A_MINUTE = 20_000 * 2_048
const MEGABYTE = 1_000_000

const push = ({ call }: Attacker, rows: readonly object[]) =>
  call('POST', '/replication/tasks/0/push', rows)

const times = <T>(count: number, create: (nth: number) => T) =>
  Array.from({ length: count }, (_, nth) => create(nth))

test('one person who writes without end is stopped, and keeps nobody waiting', async () => {
  const arena = await openArena()
  const [attacker] = await arena.attackers(1)
  const description = 'x'.repeat(MEGABYTE / 100)
  let [status, bytes] = [200, 0]
  await arena.whileOthersWork(async () => {
    while (status === 200) {
      const rows = times(100, () => ({
        newDocumentState: { id: randomUUID(), title: 'x', description },
      }))
      status = (await push(attacker!, rows)).status
      if (status === 200) bytes += MEGABYTE
    }
  })
  expect(status).toBe(429)
  expect(bytes).toBeLessThan(BYTES_A_MINUTE + MEGABYTE)
})

const START = Date.UTC(2026, 0, 1)
const at = (ms: number) => new Date(START + ms).toISOString()
const seen = { id: randomUUID(), title: 'Milk', created_at: at(0), updated_at: at(0) }
/** Renames of a task that has been renamed since. */
const losing = (nth: number) => ({
  newDocumentState: { ...seen, title: `Rename ${nth}`, updated_at: at(nth + 1) },
  assumedMasterState: seen,
})
/** New tasks without a title, in categories that are nowhere. */
const refused = () => ({
  newDocumentState: { id: randomUUID(), title: ' ', category_id: randomUUID() },
})

test.each<[string, (nth: number) => object, entries: number]>([
  ['lose', losing, 20],
  ['are refused', refused, 1_000],
])(
  'five thousand edits that %s leave little, and keep nobody waiting',
  async (_, edit, entries) => {
    const arena = await openArena()
    const [attacker] = await arena.attackers(1)
    await push(attacker!, [{ newDocumentState: seen }])
    await attacker!.call('PATCH', `/api/tasks/${seen.id}/`, { title: 'Oat milk' })
    await arena.whileOthersWork(async () => {
      for (let first = 0; first < 5_000; first += 1_000) {
        const edits = times(1_000, (nth) => edit(first + nth))
        expect((await push(attacker!, edits)).status).toBe(200)
      }
    })
    const { db } = arena.database
    const of = { user_id: attacker!.id }
    expect(await db('categories').where(of)).toEqual([])
    const journal = await db('conflicts').where(of)
    expect(journal.filter(({ deleted }) => !deleted)).toHaveLength(entries)
    expect(journal.length).toBeLessThanOrEqual(5 * entries)
  },
)
