import { expect, test } from 'vitest'
import { openDatabase } from '../../server/database/open.ts'
import { readConfig } from '../../server/runtime/config.ts'
import { createLog } from '../../server/runtime/log.ts'
import { atEnd } from '../support/at-end.ts'
import { SECRET } from '../support/server.ts'
import { type Actor, lineTo, type Place, type Stage, setStage } from './stage.ts'

const WRITERS = 8

test('a machine that vanishes in eight transactions costs nobody else a request', async () => {
  const stage = await setStage()
  const place = stage.places[0]!
  const people = await stage.people(WRITERS + 1)
  const bystander = people.pop()!
  const vanished = await connectionOfANode(stage)
  await vanished.hold(people)
  vanished.line.blackHole()

  const writers = people.map((person) => writeOnAndOn(person, place))
  atEnd(() => Promise.all(writers.map(({ stop }) => stop())))
  const statuses: number[] = []
  const call = bystander.at(place)
  for (let i = 0; i < 50; i++) {
    statuses.push((await call('POST', '/api/tasks/', { title: `Task ${i}` })).status)
    statuses.push((await call('GET', '/api/tasks/')).status)
  }
  expect(statuses.filter((status) => status !== 200 && status !== 201)).toEqual([])
  expect((await call('GET', '/readyz')).status).toBe(200)

  // The database has given up the vanished transactions long before the network would.
  await Promise.all(writers.map(({ stored }) => stored))
  expect(Date.now() - vanished.since()).toBeLessThan(12_000)
  for (const { stop } of writers) expect([...(await stop())].sort()).toEqual([201, 503])
})

test('a writer whose feed is held is told to come back, and holds no connection meanwhile', async () => {
  const stage = await setStage({ environment: { DATABASE_POOL_SIZE: '2' } })
  const place = stage.places[0]!
  const [ann, bob, cid] = await stage.people(3)
  const holder = await stage.database.db.transaction()
  atEnd(() => holder.rollback().catch(() => {}))
  await holder.raw('select from feeds where user_id = any(?) for update', [[ann!.id, bob!.id]])

  const began = Date.now()
  const refused = Promise.all([
    ann!.at(place)('POST', '/api/tasks/', { title: 'Milk' }),
    bob!.at(place)('POST', '/replication/tasks/0/push', [
      { newDocumentState: { id: bob!.id, title: 'Milk' } },
    ]),
  ])
  for (let i = 0; i < 20; i++) {
    expect((await cid!.at(place)('POST', '/api/tasks/', { title: 'Bread' })).status).toBe(201)
  }
  const answers = await refused
  expect(Date.now() - began).toBeLessThan(6_000)
  for (const answer of answers) {
    expect(answer).toMatchObject({ status: 503, body: { code: 'unavailable' } })
    expect(answer.headers.get('content-type')).toMatch('application/problem+json')
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
  }
  await holder.rollback()
  expect((await ann!.at(place)('POST', '/api/tasks/', { title: 'Milk' })).status).toBe(201)
})

/** A connection such as nodes have for requests, on a line of its own. */
async function connectionOfANode({ database }: Stage) {
  const line = await lineTo(database.url)
  const config = readConfig({ NODE_ENV: 'test', DATABASE_URL: line.url, SECRET_KEY: SECRET })
  const { db, close } = await openDatabase(config, createLog('silent', { readable: false }))
  // Its line is dead, so it does not end in any orderly way.
  atEnd(() => void close().catch(() => {}))
  let held = 0
  return {
    line,
    since: () => held,
    async hold(people: readonly Actor[]) {
      const trx = await db.transaction()
      const ids = people.map(({ id }) => id)
      await trx.raw('select from feeds where user_id = any(?) for update', [ids])
      held = Date.now()
    },
  }
}

/** A person who writes, and tries again when told to. */
function writeOnAndOn(person: Actor, place: Place) {
  const call = person.at(place)
  const statuses = new Set<number>()
  let isStopped = false
  let isStored = () => {}
  const stored = new Promise<void>((resolve) => {
    isStored = resolve
  })
  const writing = write()
  return {
    stored,
    /** @returns the statuses that it got */
    async stop() {
      isStopped = true
      await writing
      return statuses
    },
  }

  async function write() {
    while (!isStopped) {
      const { status } = await call('POST', '/api/tasks/', { title: 'Milk' })
      statuses.add(status)
      if (status === 201) isStored()
    }
  }
}
