import { setTimeout as sleep } from 'node:timers/promises'
import { io } from 'socket.io-client'
import { expect, test } from 'vitest'
import { atEnd } from '../support/at-end.ts'
import { type Actor, type Place, setStage } from './stage.ts'

const HOLE_MS = 10_000
const RECOVERY_MS = 5_000

test('five seconds after ten of silence, a node serves as before', async () => {
  const { places, people } = await setStage({ nodes: 2 })
  const [one, other] = [places[0]!, places[1]!]
  const crowd = await people(12)
  const [ann] = crowd
  await Promise.all(crowd.map((person) => person.at(one)('GET', '/api/tasks/')))

  one.line.blackHole()
  // Some requests meet the silence at once, others while it lasts, and some near its end.
  const requests = crowd.flatMap((person, i) => [
    after(100 * i, () => person.at(one)('GET', '/api/tasks/')),
    after(800 * i, () => person.at(one)('POST', '/api/tasks/', { title: 'Milk' })),
    after(700 * i, () => person.at(one)('GET', '/api/profile/')),
  ])
  const hole = sleep(HOLE_MS)
  await sleep(HOLE_MS / 2)
  expect((await ann!.at(one)('GET', '/readyz')).status).toBe(503)
  expect((await ann!.at(other)('GET', '/readyz')).status).toBe(200)
  await hole
  one.line.pass()

  await sleep(RECOVERY_MS)
  const began = Date.now()
  expect(await ann!.at(one)('GET', '/readyz')).toMatchObject({ status: 200 })
  for (let round = 0; round < 5; round++) {
    const statuses = await Promise.all(crowd.map((person) => useEverything(person, one)))
    expect(statuses.flat().filter((status) => status >= 300)).toEqual([])
  }
  expect(Date.now() - began).toBeLessThan(5_000)
  // Lost hints are made up for every three seconds.
  const [, , median] = await delaysOfChanges(ann!, one, other)
  expect(median).toBeLessThan(500)
  const statuses = await Promise.all(requests)
  expect(statuses.filter(({ status }) => ![200, 201, 503].includes(status))).toEqual([])
})

/** How long changes that are made on the other node take to a socket of this one. */
async function delaysOfChanges(person: Actor, place: Place, other: Place): Promise<number[]> {
  const socket = io(place.url, { transports: ['websocket'], auth: { token: person.access } })
  atEnd(() => socket.disconnect())
  await new Promise((ready) => socket.once('ready', ready))
  const delays: number[] = []
  for (let i = 0; i < 5; i++) {
    const frame = new Promise((arrived) => socket.once('changes', arrived))
    const began = Date.now()
    await person.at(other)('POST', '/api/tasks/', { title: 'Milk' })
    await frame
    delays.push(Date.now() - began)
  }
  return delays.sort((a, b) => a - b)
}

async function after<T>(milliseconds: number, work: () => Promise<T>): Promise<T> {
  await sleep(milliseconds)
  return work()
}

async function useEverything(person: Actor, place: Place): Promise<number[]> {
  const call = person.at(place)
  const task = await call('POST', '/api/tasks/', { title: 'Bread' })
  const answers = await Promise.all([
    call('GET', '/api/tasks/'),
    call('PATCH', `/api/tasks/${task.body.id}/`, { title: 'Butter' }),
    call('GET', '/api/profile/'),
    call('GET', '/replication/tasks/0/pull?lwt=0&id=1&limit=100'),
  ])
  return [task, ...answers].map(({ status }) => status)
}
