import { expect, test } from 'vitest'
import { openArena } from './arena.ts'

const SEARCHES = 8
const MEGABYTES = 90

test('four people who search 90 MB each, eight times at once, slow down nobody else', async () => {
  const arena = await openArena()
  const attackers = await arena.attackers(4)
  for (const { id } of attackers)
    for (let i = 0; i < MEGABYTES / 10; i++)
      await arena.database.db.raw(
        `insert into tasks (user_id, id, title, description, priority, completed, position, created_at, updated_at)
         select ?, gen_random_uuid(), 'Task ' || n,
           (select string_agg(md5(n::text || k), ' ') from generate_series(1, 303) k),
           'low', false, 'a0', now(), now()
         from generate_series(1, 1000) n`,
        [id],
      )
  const refused: { status: number; code: string; retryAfter: number }[] = []
  await arena.whileOthersWork(async () => {
    await Promise.all(
      attackers.flatMap(({ call }) =>
        Array.from({ length: SEARCHES }, async (_, i) => {
          const search = encodeURIComponent(`nichts davon, ü${i}`)
          const { status, headers, body } = await call('GET', `/api/tasks/?search=${search}`)
          if (status === 200) return
          refused.push({
            status,
            code: body.code,
            retryAfter: Number(headers.get('retry-after')),
          })
        }),
      ),
    )
  })
  for (const { status, code, retryAfter } of refused) {
    expect([status, code]).toEqual([503, 'too_slow'])
    expect(retryAfter).toBeGreaterThan(0)
  }
})
