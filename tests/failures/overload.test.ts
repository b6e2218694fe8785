import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { atEnd } from '../support/at-end.ts'
import { type Actor, type Place, setStage } from './stage.ts'

const PEOPLE = 40
/** So much longer the database takes: what a node can serve is then limited by its connections. */
const SLOW_MS = 80
/** A person who waits has given up by then. */
const PATIENCE_MS = 1_000
const NORMAL_MS = 4_000
const OVERLOAD_MS = 8_000
/** In which a node notices the overload. */
const ONSET_MS = 3_000

test('at ten times what it can serve, a node serves nearly as much as before, and refuses the rest at once', async () => {
  // So few connections that the load needs no whole core of the machine.
  const stage = await setStage({ environment: { DATABASE_POOL_SIZE: '2' } })
  const place = stage.places[0]!
  const people = await stage.people(PEOPLE)
  place.line.slowDown(SLOW_MS)
  const load = createLoad(people, place)

  const capacity = await load.closedLoop(3, NORMAL_MS)
  const stop = new AbortController()
  const answers = load.openLoop(10 * capacity, stop.signal)
  await sleep(ONSET_MS)
  const measured = Date.now()
  const ready: number[] = []
  for (let i = 0; i < 4; i++) {
    ready.push((await people[0]!.at(place)('GET', '/readyz')).status)
    await sleep((OVERLOAD_MS - ONSET_MS) / 4)
  }
  const seconds = (Date.now() - measured) / 1000
  stop.abort()
  const counted = answers.filter(({ began }) => began > measured)
  const inTime = counted.filter(({ status, ms }) => status === 200 && ms < PATIENCE_MS)
  const refused = counted.filter(({ status }) => status === 503).map(({ ms }) => ms)
  refused.sort((a, b) => a - b)
  expect(inTime.length / seconds).toBeGreaterThan(0.7 * capacity)
  // Generous: the load and the node share the cores of this machine with whatever else runs.
  expect(refused[Math.floor(refused.length * 0.5)]).toBeLessThan(200)
  expect(refused[Math.floor(refused.length * 0.9)]).toBeLessThan(500)
  const unanswered = counted.filter(({ status }) => status === 0)
  expect(unanswered.length).toBeLessThan(0.05 * counted.length)
  expect(ready).toEqual([503, 503, 503, 503])

  await sleep(3_000)
  expect((await people[0]!.at(place)('GET', '/readyz')).status).toBe(200)
  expect(await load.closedLoop(3, NORMAL_MS)).toBeGreaterThan(0.8 * capacity)
})

interface Answer {
  began: number
  /** 0 if it did not come in time. */
  status: number
  ms: number
}

function createLoad(people: readonly Actor[], { url }: Place) {
  const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY })
  atEnd(() => agent.destroy())
  let next = 0

  return {
    /** So many at a time, each after the last answer. @returns served in time, per second */
    async closedLoop(clients: number, milliseconds: number): Promise<number> {
      const end = Date.now() + milliseconds
      let served = 0
      const client = async () => {
        while (Date.now() < end) if ((await ask()).status === 200) served++
      }
      await Promise.all(Array.from({ length: clients }, client))
      return served / (milliseconds / 1000)
    },

    /** So many per second, whatever the answers. */
    openLoop(perSecond: number, signal: AbortSignal): Answer[] {
      const answers: Answer[] = []
      const began = Date.now()
      let asked = 0
      const timer = setInterval(() => {
        const due = ((Date.now() - began) / 1000) * perSecond
        for (; asked < due; asked++) void ask().then((answer) => answers.push(answer))
      }, 5)
      signal.addEventListener('abort', () => clearInterval(timer))
      return answers
    },
  }

  function ask(): Promise<Answer> {
    const began = Date.now()
    const { access } = people[next++ % people.length]!
    return new Promise((resolve) => {
      const answer = (status: number) => resolve({ began, status, ms: Date.now() - began })
      const asking = request(
        `${url}/api/tasks/`,
        { agent, headers: { authorization: `Bearer ${access}` } },
        (response) => {
          clearTimeout(late)
          response.resume()
          response.on('end', () => answer(response.statusCode!))
        },
      )
      const late = setTimeout(() => asking.destroy(), PATIENCE_MS)
      asking.on('error', () => answer(0))
      asking.end()
    })
  }
}
