import { expect, test } from 'vitest'
import { openArena } from './arena.ts'

const TASKS = 100_000

test('four people with 100,000 tasks change their timezone at once, which succeeds and slows down nobody else', async () => {
  const arena = await openArena()
  const attackers = await arena.attackers(4)
  for (const { id, call } of attackers) {
    // Without triggers, which would plan each reminder by itself.
    await arena.database.db.transaction(async (trx) => {
      await trx.raw('set local session_replication_role = replica')
      await trx('feeds').where({ user_id: id }).increment('seq', TASKS)
      await trx.raw(
        `insert into tasks (user_id, id, title, description, priority, completed, position, created_at, updated_at, due_date, due_time, seq)
         select f.user_id, gen_random_uuid(), 'Task ' || n, '', 'low', false, 'a0', now(), now(), date '2036-01-01' + n % 365, '08:30', f.seq - n + 1
         from feeds f, generate_series(1, ?::int) n where f.user_id = ?`,
        [TASKS, id],
      )
    })
    await call('PATCH', '/api/profile/', { remind_minutes_before: 10 })
  }
  await arena.whileOthersWork(async () => {
    await Promise.all(
      attackers.map(async ({ call }) => {
        // Three have their turn at once, and the fourth may have to come again.
        for (;;) {
          const { status, body } = await call('PATCH', '/api/profile/', { timezone: 'Asia/Tokyo' })
          if (status === 200) return
          expect([status, body.code]).toEqual([503, 'too_slow'])
        }
      }),
    )
  })
  const { rows } = await arena.database.db.raw(
    `select count(*)::int as count from reminders where due_at = '2035-12-31T23:20Z' and user_id = ?`,
    [attackers[0]!.id],
  )
  expect(rows[0].count).toBeGreaterThan(0)
})
