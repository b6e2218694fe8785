import { createHmac } from 'node:crypto'
import bcrypt from 'bcrypt'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createPasswords } from '../../../server/accounts/passwords.ts'
import { start } from '../../../server/processes/web.ts'
import { readConfig } from '../../../server/runtime/config.ts'
import { createLog } from '../../../server/runtime/log.ts'
import { createDatabase } from '../../support/database.ts'
import { callerTo, type Reply, SECRET } from '../../support/server.ts'

const REFUSED = 'too_many_requests'

afterEach(() => vi.restoreAllMocks())

describe('hashing', () => {
  test.each([1, 2, 3])('runs in at most %i lanes, and uses all', async (lanes) => {
    const running = watchBcrypt()
    const passwords = createPasswords({ cost: 5, lanes, waitingPerLane: 10 })
    const hash = await passwords.hash('a ferry to Lisbon')
    running.most = 0
    await Promise.all([
      ...Array.from({ length: lanes * 5 }, () => passwords.hash('a ferry to Lisbon')),
      ...Array.from({ length: lanes * 5 }, () => passwords.matches('a ferry to Porto', hash)),
    ])
    expect(running).toEqual({ now: 0, most: lanes, total: lanes * 10 + 1 })
  })

  test('has a limited queue, and tells others when to retry', async () => {
    const running = watchBcrypt()
    const passwords = createPasswords({ cost: 5, lanes: 2, waitingPerLane: 3 })
    const outcomes = await settle(
      Array.from({ length: 20 }, () => passwords.hash('a ferry to Lisbon')),
    )
    expect(outcomes).toEqual([...Array(8).fill('done'), ...Array(12).fill(REFUSED)])
    expect(running.total).toBe(8)

    const busy = Array.from({ length: 8 }, () => passwords.hash('a ferry to Lisbon'))
    const refusal = await passwords.matches('a ferry to Lisbon', undefined).catch((error) => error)
    expect(refusal).toMatchObject({ code: REFUSED, status: 429 })
    expect(String(refusal.retryAfter)).toMatch(/^[1-9]\d?$/)
    await Promise.all(busy)
  })

  test('is done in the order of arrival', async () => {
    const passwords = createPasswords({ cost: 4, lanes: 1, waitingPerLane: 10 })
    const done: number[] = []
    await Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        await passwords.hash('a ferry to Lisbon')
        done.push(i)
      }),
    )
    expect(done).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })

  test('goes to whoever has used least, whatever waits before them', async () => {
    const passwords = createPasswords({ cost: 4, lanes: 1, waitingPerLane: 30 })
    const done: string[] = []
    const ask = async (who: string) => {
      await passwords.matches('a ferry to Porto', undefined, { who })
      done.push(who)
    }
    await Promise.all([
      ...Array.from({ length: 20 }, (_, i) => ask(`attacker ${i % 2}`)),
      ask('ann'),
      ask('bob'),
    ])
    // The first one ran when nobody else was there; then the two who have used nothing and the other attacker.
    expect(done.slice(0, 4)).toEqual(['attacker 0', 'attacker 1', 'ann', 'bob'])
  })

  test('keeps a place in a full queue for whoever has used less', async () => {
    const passwords = createPasswords({ cost: 4, lanes: 1, waitingPerLane: 8 })
    const attack = () =>
      Array.from({ length: 10 }, (_, i) =>
        passwords.matches('a ferry to Porto', undefined, { who: `attacker ${i}` }),
      )
    await settle(attack())
    const attacks = settle(attack())
    const people = Array.from({ length: 5 }, (_, i) =>
      passwords.matches('a ferry to Lisbon', undefined, { who: `person ${i}` }),
    )
    expect(await settle(people)).toEqual(Array(5).fill('done'))
    expect((await attacks).filter((outcome) => outcome === REFUSED)).toHaveLength(6)
  })

  test('goes to known devices before strangers, even where those come from everywhere', async () => {
    const passwords = createPasswords({ cost: 4, lanes: 1, waitingPerLane: 4 })
    const strangers = settle(
      Array.from({ length: 9 }, (_, i) =>
        passwords.matches('a ferry to Porto', undefined, { who: `stranger ${i}` }),
      ),
    )
    const known = { who: 'ann', isKnown: true }
    await expect(passwords.matches('a ferry to Porto', undefined, known)).resolves.toBe(false)
    expect((await strangers).filter((outcome) => outcome === 'done')).toHaveLength(4)
  })

  test('continues after a full queue and after failures, with every lane', async () => {
    const running = watchBcrypt()
    const passwords = createPasswords({ cost: 5, lanes: 2, waitingPerLane: 2 })
    for (let round = 0; round < 5; round++) {
      const wrong = round % 2 === 0 ? (undefined as unknown as string) : 'a ferry to Lisbon'
      const outcomes = await settle(Array.from({ length: 10 }, () => passwords.hash(wrong)))
      const expected = round % 2 === 0 ? 'failed' : 'done'
      expect(outcomes).toEqual([...Array(6).fill(expected), ...Array(4).fill(REFUSED)])
    }
    running.most = 0
    const outcomes = await settle(
      Array.from({ length: 6 }, () => passwords.hash('a ferry to Lisbon')),
    )
    expect(outcomes).toEqual(Array(6).fill('done'))
    expect(running.most).toBe(2)
  })
})

describe('a password is compared', () => {
  const passwords = createPasswords({ cost: 4, lanes: 1 })

  test('with the hash of the account', async () => {
    const hash = await passwords.hash('a ferry to Lisbon')
    expect(await passwords.matches('a ferry to Lisbon', hash)).toBe(true)
    expect(await passwords.matches('a ferry to Porto', hash)).toBe(false)
  })

  test('beyond the 72 bytes that bcrypt reads, and behind a NUL', async () => {
    const long = `${'ferry to Lisbon '.repeat(5)}and back`
    const hash = await passwords.hash(long)
    expect(await passwords.matches(long, hash)).toBe(true)
    for (const other of [`${long}!`, long.slice(0, -1), long.slice(0, 72), `${long}\0`])
      expect({ other, matches: await passwords.matches(other, hash) }).toEqual({
        other,
        matches: false,
      })
    // What stands in the database is no password, and neither is the digest of one.
    const digest = createHmac('sha256', 'tasktide password').update(long).digest('base64')
    expect(await passwords.matches(digest, hash)).toBe(false)
  })

  test('with a hash of the release before, and one of now by that release', async () => {
    const short = 'a ferry to Lisbon'
    expect(await passwords.matches(short, await bcrypt.hash(short, 4))).toBe(true)
    expect(await bcrypt.compare(short, await passwords.hash(short))).toBe(true)
    const long = await passwords.hash('ferry to Lisbon '.repeat(5))
    expect(await bcrypt.compare('ferry to Lisbon '.repeat(5), long)).toBe(false)
  })

  test('with an equally costly hash without an account, and never matches', async () => {
    const compared = vi.spyOn(bcrypt, 'compare')
    expect(await passwords.matches('nobody has this password', undefined)).toBe(false)
    expect(compared.mock.calls.map(([, hash]) => bcrypt.getRounds(hash))).toEqual([4])
  })
})

test('many sign-ins do not slow down other requests', async () => {
  const database = await createDatabase()
  const config = readConfig({
    NODE_ENV: 'test',
    DATABASE_URL: database.url,
    SECRET_KEY: SECRET,
    PORT: '0',
    HOST: '127.0.0.1',
    AUTH_RATE_LIMIT: '0',
  })
  const log = createLog('silent', { readable: false, to: { write: () => {} } })
  const passwords = createPasswords({ cost: 10, lanes: 1, waitingPerLane: 8 })
  const server = await start(config, log, { passwords })
  try {
    const call = callerTo(server.url)
    const ann = { username: 'ann', password: 'a ferry to Lisbon' }
    await call('POST', '/api/register/', { ...ann, email: 'ann@example.com' })
    const { access } = (await call('POST', '/api/token/', ann)).body
    const asAnn = callerTo(server.url, { authorization: `Bearer ${access}` })

    let storming = true
    const storm = Promise.all(
      Array.from({ length: 60 }, (_, i): Promise<Reply> => {
        const password = i % 2 === 0 ? ann.password : 'a ferry to Porto'
        return call('POST', '/api/token/', { ...ann, password })
      }),
    ).finally(() => {
      storming = false
    })
    let answered = 0
    while (storming) {
      expect((await asAnn('GET', '/api/tasks/')).status).toBe(200)
      answered++
    }
    expect(answered).toBeGreaterThan(5)

    const replies = await storm
    const statuses = new Set(replies.map(({ status }) => status))
    expect([...statuses].sort()).toEqual([200, 401, 429])
    for (const { status, body, headers } of replies)
      if (status === 429) {
        expect(body.code).toBe(REFUSED)
        expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
      }
    expect((await call('POST', '/api/token/', ann)).status).toBe(200)
  } finally {
    await server.stop()
    await database.drop()
  }
})

/** Counts what bcrypt does, which it goes on doing. */
function watchBcrypt() {
  const running = { now: 0, most: 0, total: 0 }
  const { hash, compare } = bcrypt
  vi.spyOn(bcrypt, 'hash').mockImplementation(((password: string, cost: number) =>
    counted(() => hash(password, cost))) as never)
  vi.spyOn(bcrypt, 'compare').mockImplementation(((password: string, known: string) =>
    counted(() => compare(password, known))) as never)
  return running

  async function counted<T>(work: () => Promise<T>): Promise<T> {
    running.total++
    running.now++
    running.most = Math.max(running.most, running.now)
    try {
      return await work()
    } finally {
      running.now--
    }
  }
}

async function settle(all: Promise<unknown>[]): Promise<string[]> {
  const outcomes = await Promise.allSettled(all)
  return outcomes.map((outcome) =>
    outcome.status === 'fulfilled' ? 'done' : outcome.reason.code === REFUSED ? REFUSED : 'failed',
  )
}
