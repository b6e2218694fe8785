import { expect, test } from 'vitest'
import { setStage } from './stage.ts'

/** Every answer of the database takes so long: time to see what it has done before the node knows. */
const SLOW_MS = 400

/** A node that is killed in the middle of a creation with a key, when the database is so far; and another one. */
async function killed(isSoFar: string) {
  const { database, places, people } = await setStage({ nodes: 2 })
  const [one, other] = [places[0]!, places[1]!]
  const [ann] = await people(1)
  await ann!.at(one)('GET', '/api/tasks/') // the node has its connections, and knows the session
  one.line.slowDown(SLOW_MS)
  const send = (place: typeof one) =>
    ann!.at(place)(
      'POST',
      '/api/tasks/',
      { title: 'Milk' },
      { headers: { 'idempotency-key': 'k' } },
    )
  const unanswered = send(one).then(
    ({ status }) => status,
    () => 'no answer',
  )
  await expect
    .poll(async () => (await database.db.raw(isSoFar)).rows.length, {
      interval: 5,
      timeout: 20_000,
    })
    .toBeGreaterThan(0)
  one.signal('SIGKILL')
  expect(await unanswered).toBe('no answer')
  const stored = async () => (await ann!.at(other)('GET', '/api/tasks/')).body.count
  return { stored, repeat: () => send(other) }
}

test('a creation whose node is killed after the commit is answered by another one, and done once', async () => {
  const { stored, repeat } = await killed('select 1 from tasks')
  expect(await stored()).toBe(1)
  const [first, again] = [await repeat(), await repeat()]
  expect(first).toMatchObject({ status: 201, body: { title: 'Milk' } })
  expect(again.text).toBe(first.text)
  expect(await stored()).toBe(1)
})

test('a creation whose node is killed before the commit is not done, and blocks no repetition', async () => {
  const { stored, repeat } = await killed(
    `select 1 from pg_stat_activity where datname = current_database() and state = 'idle in transaction'
       and query like '%insert into tasks%'`,
  )
  expect(await stored()).toBe(0)
  expect((await repeat()).status).toBe(201)
  expect(await stored()).toBe(1)
})
