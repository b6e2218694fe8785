import { randomUUID } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { expect, onTestFinished } from 'vitest'
import type { TestDatabase } from '../support/database.ts'
import { type Caller, callerTo, type Person, startServer } from '../support/server.ts'
import { startNode } from '../support/web-node.ts'

/** The heap of the attacked node. */
const HEAP_MB = 512
/** Within this, 99 of 100 lists of another person are answered during an attack. */
const P99_MS = 250
/** Fewer answers would say nothing about the slowest hundredth. */
const LEAST_ANSWERS = 100

export interface Attacker {
  id: string
  username: string
  password: string
  access: string
  refresh: string
  /** Calls the attacked node. */
  call: Caller
}

export interface Arena {
  url: string
  database: TestDatabase
  /** So many free accounts, each with a session. */
  attackers(count: number): Promise<Attacker[]>
  /**
   * Attacks while another person lists tasks, 50 times a second.
   *
   * @throws AssertionError if the node ends, or another person's list fails or is slow
   */
  whileOthersWork(attack: () => Promise<void>): Promise<void>
}

/** A production node in a process of its own with a heap of 512 MB; it ends with the test. */
export async function openArena(environment: Record<string, string> = {}): Promise<Arena> {
  // People register here, where hashes are cheap.
  const home = await startServer()
  onTestFinished(home.stop)
  const node = await startNode({
    DATABASE_URL: home.testDatabase.url,
    NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}`,
    ...environment,
  })
  onTestFinished(node.close)
  let ended = false
  void node.exit.then(() => {
    ended = true
  })

  return {
    url: node.url,
    database: home.testDatabase,
    async attackers(count) {
      const attackers: Attacker[] = []
      // One after the other: a network has few places to hash passwords at.
      for (let i = 0; i < count; i++) {
        const person = await home.person()
        const call = callerTo(node.url, { authorization: `Bearer ${person.access}` })
        attackers.push({ ...person, call })
      }
      return attackers
    },

    async whileOthersWork(attack) {
      const other = await home.person()
      for (let i = 0; i < 20; i++) await other.call('POST', '/api/tasks/', { title: `Task ${i}` })
      await useEverything(callerTo(node.url), await home.person())
      const bystander = await startBystander(`${node.url}/api/tasks/`, other.access)
      const before = timesOf(await bystander.answers())
      await attack()
      const answers = await bystander.answers()
      expect(ended, `the node ended:\n${node.log().slice(-2_000)}`).toBe(false)
      const refused = answers.filter(({ status }) => status !== 200)
      expect(refused, 'lists that failed').toEqual([])
      const times = timesOf(answers)
      console.log(
        `${times.count} lists of another person: p50 ${times.p50} ms, p99 ${times.p99} ms, max ${times.max} ms; before the attack: p99 ${before.p99} ms`,
      )
      expect(times.p99, 'p99 of the lists of another person').toBeLessThan(P99_MS)
    },
  }
}

/**
 * A node that has just started compiles, opens connections and starts its program for hashes, which takes half a
 * second of two cores, whoever asks first. So each kind of request has been served before, several at a time.
 */
async function useEverything(anyone: Caller, { username, password, access }: Person) {
  const headers = { authorization: `Bearer ${access}` }
  const rows = (n: number) =>
    Array.from({ length: 100 }, () => ({
      newDocumentState: { id: randomUUID(), title: `Task ${n}`, description: 'x'.repeat(10_000) },
    }))
  for (let round = 0; round < 5; round++) {
    const requests: [method: string, path: string, body?: object][] = [
      ...Array.from({ length: 12 }, () => ['GET', '/api/tasks/'] as [string, string]),
      ['GET', '/api/tasks/?search=task'],
      ['GET', '/api/account/export/'],
      ['GET', '/replication/tasks/0/pull?limit=100'],
      ['POST', '/replication/tasks/0/push', rows(round)],
      [
        'POST',
        '/replication/tasks/0/push',
        [{ newDocumentState: { id: randomUUID(), mood: 'x' } }],
      ],
      ['POST', '/api/token/', { username, password }],
    ]
    const answers = requests.map(([method, path, body]) => anyone(method, path, body, { headers }))
    for (const { status } of await Promise.all(answers)) expect(status).toBe(200)
  }
}

function timesOf(answers: readonly Answer[]) {
  const times = answers.map(({ ms }) => Math.round(ms)).sort((a, b) => a - b)
  const at = (share: number) => times[Math.ceil(times.length * share) - 1]!
  return { count: times.length, p50: at(0.5), p99: at(0.99), max: at(1) }
}

interface Answer {
  /** 0 when the connection failed. */
  status: number
  ms: number
}

/** Lists tasks in a thread of its own, so that the attack in this thread does not delay its clock. */
async function startBystander(url: string, access: string) {
  const worker = new Worker(new URL('./bystander.mjs', import.meta.url), {
    workerData: { url, access },
  })
  onTestFinished(async () => void (await worker.terminate()))
  const told = () =>
    new Promise<Answer[]>((resolve, reject) => {
      worker.once('message', resolve)
      worker.once('error', reject)
    })
  await told()
  return {
    /** @returns every answer since the last call, and enough of them */
    async answers(): Promise<Answer[]> {
      const answers = told()
      worker.postMessage({ least: LEAST_ANSWERS })
      return answers
    },
  }
}
